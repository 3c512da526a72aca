"""Point spread functions: models, measures, and preparation of measured ones.

Every PSF is an array (z, y, x), or (y, x), centred on index n // 2 of every axis,
non-negative, with unit sum.
"""

from ._gaussian import FWHM_PER_SIGMA as FWHM_PER_SIGMA
from ._gaussian import gaussian as gaussian
from ._measure import fwhm as fwhm
from ._measured import PreparedPSF as PreparedPSF
from ._measured import crop_to_energy as crop_to_energy
from ._measured import from_measured as from_measured
from ._widefield import widefield as widefield
