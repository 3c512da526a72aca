"""Whether to believe a prediction: physical checks, familiarity, repair."""

from ._assess import UNCHECKED as UNCHECKED
from ._assess import Assessment as Assessment
from ._assess import Familiarity as Familiarity
from ._assess import assess as assess
from ._noise import CameraNoise as CameraNoise
from ._outside import OutsideSupport as OutsideSupport
from ._outside import outside_support as outside_support
from ._psf_likeness import PSFLikeness as PSFLikeness
from ._record import TrainingRecord as TrainingRecord
from ._repair import Repair as Repair
from ._repair import repair as repair
from ._residual import ResidualMap as ResidualMap
from ._residual import residual_map as residual_map
