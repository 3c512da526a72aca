"""Fusion: one sharp volume from several views of a specimen."""

from ._alternating import UPDATES as UPDATES
from ._alternating import AlternatingRichardsonLucy as AlternatingRichardsonLucy
from ._alternating import AlternatingState as AlternatingState
from ._alternating import joint_scheme as joint_scheme
from ._back_projectors import compound_back_projectors as compound_back_projectors
from ._blending import BLENDS as BLENDS
from ._fuse import METHODS as METHODS
from ._fuse import Fusion as Fusion
from ._fuse import fuse as fuse
from ._joint import joint_richardson_lucy as joint_richardson_lucy
from ._register_views import register_views as register_views
from ._series import POSES as POSES
from ._series import TimePoint as TimePoint
from ._series import fuse_next as fuse_next
from ._series import fuse_series as fuse_series
from ._series import smooth_poses as smooth_poses
