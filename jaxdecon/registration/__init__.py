"""Registration: the pose of one volume in another."""

from ._phase import phase_correlation as phase_correlation
from ._register import METRICS as METRICS
from ._register import STARTS as STARTS
from ._register import register as register
from ._result import Registration as Registration
from ._result import Status as Status
from ._series import SeriesRegistration as SeriesRegistration
from ._series import register_series as register_series
