"""Whether a PSF can be that of an image."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ..metrics import Whiteness, image_resolution, residual_whiteness

LEAST_GAIN, FINER = 1e-3, 0.8
"""Detail is beyond a PSF if that transmits less than this, and if it is finer by this
factor than that of a simulation."""
MOST_SCORE, MOST_CORRELATION = 10.0, 0.02
"""Excess over a simulation's, in standard errors and of next neighbours, that a
residual may have. With right PSFs at most 6 was seen (`tests/benchmarks/auto.py`)."""

ROUNDING = 12**-0.5
"""Standard deviation of what rounding to whole photons adds."""


def sampling_faults(
    psf: np.ndarray,
    image_shape: Sequence[int],
    widths: Sequence[float],
    cutoffs: Sequence[float],
) -> Iterator[str]:
    """What is wrong with a PSF's array: coarse, cut, or larger than the image."""
    axes = "zyx"[-psf.ndim :]
    coarse = [a for a, c in zip(axes, cutoffs, strict=True) if c > 0.49]
    if coarse:
        yield (
            f"the voxels undersample the PSF along {', '.join(coarse)}: its OTF "
            f"reaches the grid's limit; detail finer than two voxels folds back"
        )
    cut = [a for a, w in zip(axes, widths, strict=True) if np.isnan(w)]
    if cut:
        yield (
            f"the PSF is cut along {', '.join(cut)} before it falls to half of its "
            f"maximum; use a larger array"
        )
    large = [
        a for a, m, n in zip(axes, psf.shape, image_shape, strict=True) if m > 2 * n - 1
    ]
    if large:
        yield (
            f"the PSF is more than twice as large as the image along "
            f"{', '.join(large)}; blur from so far away cannot be told from background"
        )


def finest_periods(counts: jax.Array, key: jax.Array) -> tuple[float, ...]:
    """Voxels, along each axis, down to which halves of the photons correlate by 1/7."""
    return tuple(
        float(image_resolution(counts, key=key, axis=axis).resolution())
        for axis in range(counts.ndim)
    )


def spectral_fault(
    psf: np.ndarray, periods: Sequence[float], expected: Sequence[float]
) -> Iterator[str]:
    """What is wrong with detail of an image that its PSF does not transmit.

    Args:
        psf: the PSF.
        periods: finest ones of the image.
        expected: finest ones of a simulation with this PSF.
    """
    axes = "zyx"[-psf.ndim :]
    beyond = [
        f"{found:.3g} voxels along {axes[axis]} ({expected[axis]:.3g} are expected)"
        for axis, found in enumerate(periods)
        if found < FINER * expected[axis] and _gain(psf, axis, 1 / found) < LEAST_GAIN
    ]
    if beyond:
        yield (
            f"the image holds detail with periods down to {' and '.join(beyond)}, "
            f"which the PSF does not transmit: it is too wide, its voxel size is "
            f"wrong, or the noise of voxels is correlated"
        )


def _gain(psf: np.ndarray, axis: int, frequency: float) -> float:
    """|OTF| on an axis, at any frequency in cycles per voxel."""
    others = tuple(a for a in range(psf.ndim) if a != axis)
    line = psf.sum(others, dtype=float)
    wave = np.exp(-2j * np.pi * frequency * np.arange(line.size))
    return float(abs(line @ wave) / line.sum())


def residual_fault(found: Whiteness, expected: Whiteness) -> Iterator[str]:
    """What is wrong with a residual that is less white than a simulation's.

    Both are left by the same steps, so that the simulation tells how white that of the
    right PSF is (a parametric bootstrap). No PSF that is too narrow shows: a smoother
    object explains the data as well.
    """
    excess = float(found.score - expected.score)
    correlation = float((found.correlation - expected.correlation).mean())
    if excess > MOST_SCORE and correlation > MOST_CORRELATION:
        yield (
            f"neighbours in the residual correlate by {correlation:.2g} more than they "
            f"would if the PSF were right ({excess:.0f} standard errors): the PSF is "
            f"wider than the image's, or of another shape, or the noise of voxels is "
            f"correlated (interpolated, deskewed or filtered images)"
        )


def whiteness(problem: Any, estimate: jax.Array) -> Whiteness:
    """Of the residual that an object leaves of photon counts."""
    predicted = problem.predict(estimate)
    return residual_whiteness(problem.data, predicted, read_noise=ROUNDING)
