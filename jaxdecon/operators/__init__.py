"""Linear operators between object and camera: pytrees with an exact adjoint."""

from ._base import Adjoint as Adjoint
from ._base import Composition as Composition
from ._base import LinearOperator as LinearOperator
from ._blur import BOUNDARIES as BOUNDARIES
from ._check import check_adjoint as check_adjoint
from ._convolution import Convolution as Convolution
from ._grid import Crop as Crop
from ._grid import Downsample as Downsample
from ._grid import Transpose as Transpose
from ._light_sheet import LightSheet as LightSheet
from ._sharded import ShardedConvolution as ShardedConvolution
from ._sharded import on_mesh as on_mesh
from ._sharded import z_mesh as z_mesh
from ._varying import VaryingConvolution as VaryingConvolution
from ._views import Views as Views
from ._warp import Warp as Warp
from ._weight import Weight as Weight
