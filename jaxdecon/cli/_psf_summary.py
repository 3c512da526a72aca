"""What there is to say of a PSF: its size, its widths, what its OTF lets through."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def summary(
    kernel: np.ndarray,
    voxel_size: Sequence[float | None],
    limits: tuple[np.ndarray, str] | None,
) -> Iterator[str]:
    """Lines that describe a PSF; warns if its voxels are too large for it.

    Args:
        kernel: (z, y, x) or (y, x).
        voxel_size: µm, None where unknown.
        limits: cut-offs of the optics, cycles per µm, and whose; None: unknown.
    """
    from ..psf import fwhm, otf_support

    size = None if None in voxel_size else np.asarray(voxel_size, float)
    yield f"shape {' x '.join(map(str, kernel.shape))}{_in_size(size)}"
    if limits is not None:
        yield from _theory(limits[0][-kernel.ndim :], limits[1])
    with np.errstate(divide="ignore"):
        periods = 1 / np.asarray(otf_support(kernel).cutoffs, float)
    yield f"OTF support, measured: periods down to {_lengths(periods, size)}"
    widths = np.asarray(fwhm(kernel), float)
    if limits is None:
        _warn_if_narrow(widths)
    if np.isnan(widths).any():
        yield "the PSF is cut before it falls to half of its maximum: no width (nan)"
    yield f"FWHM {_join(widths)} voxels"
    if size is not None:
        yield f"FWHM {_join(widths * size)} µm"


def _theory(cutoffs: np.ndarray, whose: str) -> Iterator[str]:
    note = f" ({whose})" if whose else ""
    yield f"cut-offs, theoretical: periods of {_join(1 / cutoffs)} µm{note}"
    yield f"Nyquist: voxels of at most {_join(0.5 / cutoffs)} µm"


def _in_size(size: np.ndarray | None) -> str:
    if size is None:
        return ", voxel size unknown"
    return f", voxel {' x '.join(f'{s:.4g}' for s in size)} µm"


def _lengths(periods: np.ndarray, size: np.ndarray | None) -> str:
    if size is None:
        return f"{_join(periods)} voxels"
    return f"{_join(periods)} voxels, {_join(periods * size)} µm"


def _warn_if_narrow(widths: np.ndarray) -> None:
    """Say that voxels are too large, where only the PSF itself can tell."""
    from ..psf import UndersampledWarning

    axes = [
        axis for axis, w in zip("zyx"[-widths.size :], widths, strict=True) if w < 2
    ]
    if axes:
        warnings.warn(
            f"the FWHM along {', '.join(axes)} is below two voxels: they undersample "
            f"the PSF, and its width means little.",
            UndersampledWarning,
            stacklevel=3,
        )


def _join(numbers: Any) -> str:
    return " x ".join(f"{float(n):.3f}" for n in numbers)
