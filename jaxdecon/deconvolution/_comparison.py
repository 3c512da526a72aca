"""Compare the back projectors of a PSF, and recommend a resolution limit."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_psf
from ..psf import fwhm, otf_support
from ._back_projector import KINDS, back_projector

FINEST = 2.0
"""Voxels: no grid holds a finer period."""
LEAST_SIZE = 64
"""Voxels along every axis, for cut-offs to within 1/64 cycle per voxel."""
OMW_ALPHA = 0.005


@dataclasses.dataclass(frozen=True)
class BackProjectorComparison:
    """What the back projectors of one PSF let through.

    Attributes:
        resolution: recommended limit along each axis, voxels: the finest period in the
            support of the OTF (`jaxdecon.psf.otf_support`), at least two voxels.
        width: FWHM of the PSF along each axis, voxels; NaN where it is cut before.
        cutoffs: of the OTF's support along each axis, cycles per voxel.
        kernels: kind -> back projector, centred on n // 2, unit sum.
        transmission: kind -> gain `|B F|` of one back projection of a blurred object,
            of the PSF's shape, zero frequency at n // 2. Flat up to the resolution
            limit and zero beyond is ideal.
    """

    resolution: tuple[float, ...]
    width: tuple[float, ...]
    cutoffs: tuple[float, ...]
    kernels: dict[str, np.ndarray]
    transmission: dict[str, np.ndarray]

    @property
    def advice(self) -> str:
        """The recommendation in words."""
        limit, width = (_join(v) for v in (self.resolution, self.width))
        text = (
            f"resolution {limit} voxels: the finest periods in the support of the OTF "
            f"(the FWHM is {width})"
        )
        coarse = [a for a, r in zip(self._axes, self.resolution, strict=True) if r <= 2]
        if coarse:
            text += f"; along {', '.join(coarse)} the voxels limit it, not the optics"
        return text

    @property
    def _axes(self) -> str:
        return "zyx"[-len(self.resolution) :]


def compare_back_projectors(
    psf: ArrayLike,
    *,
    kinds: Sequence[str] = KINDS,
    alpha: float = 0.05,
    order: float = 10,
) -> BackProjectorComparison:
    """Make the back projectors of a PSF at the recommended resolution, and compare.

    Args:
        psf: (z, y, x) or (y, x), centred on n // 2.
        kinds: which; all by default. "omw" takes `alpha` 0.005, as its authors do.
        alpha: Wiener constant of the others.
        order: of the Butterworth filter.

    Returns:
        A `BackProjectorComparison`; `jaxdecon.report.back_projector_figure` draws it.

    Raises:
        ValueError: unusable PSF, unknown kind.

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.gaussian((31, 31), 5.0)
        >>> found = jd.deconvolution.compare_back_projectors(psf)
        >>> light = {kind: gain.sum() for kind, gain in found.transmission.items()}
        >>> bool(light["wiener-butterworth"] > light["matched"])
        True
    """
    psf = check_psf("psf", psf)
    for kind in kinds:
        check_choice("kinds", kind, KINDS)
    wide = _with_zeros(np.asarray(psf))
    cutoffs = np.asarray(otf_support(wide).cutoffs, float)
    grid = 1 / np.asarray(wide.shape)  # the least that is known of a cut-off
    resolution = tuple(np.maximum(FINEST, 1 / np.maximum(cutoffs, grid)).tolist())
    kernels = {
        kind: np.asarray(
            back_projector(
                psf,
                kind,
                alpha=OMW_ALPHA if kind == "omw" else alpha,
                order=order,
                resolution=resolution,
            )
        )
        for kind in kinds
    }
    otf = _gain(np.asarray(psf, float))
    return BackProjectorComparison(
        resolution=resolution,
        width=tuple(np.asarray(fwhm(psf), float).tolist()),
        cutoffs=tuple(cutoffs.tolist()),
        kernels=kernels,
        transmission={k: _gain(v.astype(float)) * otf for k, v in kernels.items()},
    )


def _with_zeros(psf: np.ndarray) -> np.ndarray:
    """The PSF in an array whose frequencies are dense, still centred on n // 2."""
    margins = []
    for n in psf.shape:
        size = max(n, LEAST_SIZE)
        before = size // 2 - n // 2
        margins.append((before, size - n - before))
    return np.pad(psf, margins)


def _gain(kernel: np.ndarray) -> np.ndarray:
    """Magnitude of the transfer function, 1 at zero frequency."""
    return abs(np.fft.fftshift(np.fft.fftn(kernel / kernel.sum())))


def _join(numbers: Sequence[float]) -> str:
    return " x ".join(f"{n:.3g}" for n in numbers)
