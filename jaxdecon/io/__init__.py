"""Image files with their metadata: TIFF, OME-TIFF, ImageJ TIFF, OME-Zarr, `.npy`."""

from ._atomic import atomic_target as atomic_target
from ._atomic import check_target as check_target
from ._convert import convert as convert
from ._files import FORMATS as FORMATS
from ._files import format_of as format_of
from ._files import read as read
from ._files import write as write
from ._image import Image as Image
from ._image import stack_time as stack_time
from ._matrices import MATRIX_FORMATS as MATRIX_FORMATS
from ._matrices import read_matrix as read_matrix
from ._matrices import write_matrix as write_matrix
