"""Image files with their metadata.

Read and written: TIFF, OME-TIFF, ImageJ TIFF, OME-Zarr, `.npy`. Read only: series of
TIFF files, HDF5, N5, BigDataViewer data sets.
"""

from ._atomic import atomic_target as atomic_target
from ._atomic import check_target as check_target
from ._back_projector import StoredBackProjector as StoredBackProjector
from ._back_projector import read_back_projector as read_back_projector
from ._back_projector import write_back_projector as write_back_projector
from ._bdv import read_bdv as read_bdv
from ._convert import convert as convert
from ._files import FORMATS as FORMATS
from ._files import READ_ONLY as READ_ONLY
from ._files import format_of as format_of
from ._files import read as read
from ._files import write as write
from ._image import Image as Image
from ._image import stack_time as stack_time
from ._matrices import MATRIX_FORMATS as MATRIX_FORMATS
from ._matrices import read_matrix as read_matrix
from ._matrices import write_matrix as write_matrix
from ._psf_field import StoredPSFField as StoredPSFField
from ._psf_field import read_psf_field as read_psf_field
from ._psf_field import write_psf_field as write_psf_field
from ._zarr import read_levels as read_levels
