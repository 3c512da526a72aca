"""Whether a PSF is the one of the training."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ...psf import fwhm

SAME_WIDTH = 0.1
"""Widths that differ by less count as the same: estimates of PSFs differ as much."""
LEAST_AGREEMENT = 0.95
"""NCC of two PSFs, centred, below which they have different shapes."""


@dataclasses.dataclass(frozen=True)
class PSFLikeness:
    """Two PSFs compared.

    Attributes:
        widths: FWHM of the PSF in use over that of the training, by axis; NaN where
            one is cut.
        agreement: NCC of the two, their brightest voxels on one another.
    """

    widths: tuple[float, ...]
    agreement: float

    @property
    def same(self) -> bool:
        """Whether nothing speaks against its being the same."""
        ratios = [w for w in self.widths if np.isfinite(w)]
        off = any(abs(np.log(w)) > np.log(1 + SAME_WIDTH) for w in ratios)
        return not off and self.agreement >= LEAST_AGREEMENT

    def __str__(self) -> str:
        known = [f"{w:.2f}" if np.isfinite(w) else "?" for w in self.widths]
        widths = ", ".join(known)
        return (
            f"the PSF is not that of the training: {widths} times as wide along the "
            f"axes, correlation {self.agreement:.2f}"
        )


def compare_psfs(psf: ArrayLike, trained: ArrayLike) -> PSFLikeness:
    """Compare a PSF with that of the training.

    Raises:
        ValueError: of other dimensionality.
    """
    one, other = np.asarray(psf, float), np.asarray(trained, float)
    if one.ndim != other.ndim:
        raise ValueError(
            f"`psf` has shape {one.shape}, but the network was trained with a PSF of "
            f"shape {other.shape}."
        )
    if one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-7):
        return PSFLikeness((1.0,) * one.ndim, 1.0)
    widths = _widths(one) / _widths(other)
    return PSFLikeness(tuple(float(w) for w in widths), _agreement(one, other))


def _widths(psf: np.ndarray) -> np.ndarray:
    return np.asarray(fwhm(jnp.asarray(psf, jnp.float32)), float)


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation about zero: PSFs have no background."""
    half = [max(n, m) for n, m in zip(one.shape, other.shape, strict=True)]
    a, b = (_around_peak(psf, half) for psf in (one, other))
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def _around_peak(psf: np.ndarray, half: Any) -> np.ndarray:
    peak = np.unravel_index(np.argmax(psf), psf.shape)
    padded = np.pad(psf, [(h, h) for h in half])
    box = tuple(slice(p, p + 2 * h + 1) for p, h in zip(peak, half, strict=True))
    return padded[box]
