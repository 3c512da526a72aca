"""Poses and resampling: transforms, matrices in voxels and µm, warps."""

from ._grid import REGIONS as REGIONS
from ._grid import Grid as Grid
from ._grid import common_grid as common_grid
from ._grid import deskewed_grid as deskewed_grid
from ._grid import turned as turned
from ._matrix import check_matrix as check_matrix
from ._matrix import in_micrometres as in_micrometres
from ._matrix import in_voxels as in_voxels
from ._resample import resample as resample
from ._transform import MODELS as MODELS
from ._transform import Transform as Transform
from ._warp import ORDERS as ORDERS
from ._warp import warp as warp
