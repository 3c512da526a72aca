"""Point spread functions: models, measures, and preparation of measured ones.

Every PSF is an array (z, y, x), or (y, x), centred on index n // 2 of every axis,
non-negative, with unit sum.
"""

from ._confocal import confocal as confocal
from ._distil import BeadFit as BeadFit
from ._distil import DistilledPSF as DistilledPSF
from ._distil import distil as distil
from ._distil_curvature import FieldCurvature as FieldCurvature
from ._distil_field import DistilledField as DistilledField
from ._distil_field import FieldNode as FieldNode
from ._distil_field import distil_field as distil_field
from ._field import PSFField as PSFField
from ._find_beads import Beads as Beads
from ._find_beads import find_beads as find_beads
from ._gaussian import FWHM_PER_SIGMA as FWHM_PER_SIGMA
from ._gaussian import gaussian as gaussian
from ._gibson_lanni import gibson_lanni as gibson_lanni
from ._light_sheet import gaussian_sheet as gaussian_sheet
from ._light_sheet import illuminate as illuminate
from ._light_sheet import light_sheet as light_sheet
from ._measure import fwhm as fwhm
from ._measured import PreparedPSF as PreparedPSF
from ._measured import crop_to_energy as crop_to_energy
from ._measured import from_measured as from_measured
from ._optics import MODELS as MODELS
from ._optics import UndersampledWarning as UndersampledWarning
from ._optics import cutoffs as cutoffs
from ._optics import nyquist as nyquist
from ._support import OTFSupport as OTFSupport
from ._support import hull_gauge as hull_gauge
from ._support import otf_support as otf_support
from ._widefield import widefield as widefield
from ._zernike import zernike as zernike
