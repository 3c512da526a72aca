"""Differentiable deconvolution of fluorescence microscopy volumes on JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from . import deconvolution as deconvolution
from . import fourier as fourier
from . import fusion as fusion
from . import geometry as geometry
from . import metrics as metrics
from . import operators as operators
from . import psf as psf
from . import registration as registration
from ._version import __version__ as __version__
from .deconvolution import back_projector as back_projector
from .deconvolution import deconvolve as deconvolve
from .deconvolution import richardson_lucy as richardson_lucy
from .deconvolution import wiener as wiener
from .fusion import fuse as fuse
from .fusion import joint_richardson_lucy as joint_richardson_lucy
from .geometry import warp as warp
from .registration import phase_correlation as phase_correlation
from .registration import register as register

if TYPE_CHECKING:
    from . import io as io
    from . import learning as learning
    from . import report as report
    from . import volumes as volumes

_ON_FIRST_USE = ("io", "learning", "report", "volumes")


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ON_FIRST_USE])
