"""Whether a PSF can be that of an image."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..metrics import Whiteness, image_resolution, residual_whiteness
from ._pilot import PILOT_ITERATIONS

LEAST_GAIN, FINER = 1e-3, 0.75
"""Detail is beyond a PSF if that transmits less than this, and if it is finer by this
factor than that of a simulation."""
LEAST_SCORE, MOST_SCORE, MOST_CORRELATION = 5.0, 10.0, 0.02
"""Whiteness beyond which structure is left in a residual, and excess over that of a
simulation's, in standard errors and of next neighbours."""
MOST_CHI_SQUARE = 1.6
"""Factor to either side between the chi-squares of an image and of its simulation."""
BRIGHT_PEAK = 5e3
"""Photons in the brightest voxels from which on right PSFs allow that many iterations
(seen from 10^4 on)."""
LEAST_AXIS = 16
"""Voxels along an axis that a Fourier shell correlation needs."""

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
    flat = [n == m == 1 for n, m in zip(image_shape, psf.shape, strict=True)]
    coarse = [
        a for a, c, f in zip(axes, cutoffs, flat, strict=True) if c > 0.49 and not f
    ]
    if coarse:
        yield (
            f"the voxels undersample the PSF along {', '.join(coarse)}: its OTF "
            f"reaches the grid's limit; detail finer than two voxels folds back"
        )
    cut = [
        a for a, w, f in zip(axes, widths, flat, strict=True) if np.isnan(w) and not f
    ]
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
    """Voxels, along each axis, down to which halves of the photons correlate by 1/7.

    2 where they do to the end, infinity where they never do, NaN along an axis that is
    too short to tell.
    """
    thick = counts.squeeze()
    if thick.ndim < 2 or min(thick.shape) < LEAST_AXIS:
        return (math.nan,) * counts.ndim
    found = iter(
        float(image_resolution(thick, key=key, axis=axis).resolution())
        for axis in range(thick.ndim)
    )
    periods = [math.nan if n == 1 else next(found) for n in counts.shape]
    return tuple(
        2.0 if math.isnan(p) and n > 1 else p
        for p, n in zip(periods, counts.shape, strict=True)
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
        if found < FINER * expected[axis] < math.inf
        and _gain(psf, axis, 1 / found) < LEAST_GAIN
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
    correlation = float(np.nanmean(found.correlation - expected.correlation))
    # Of the right PSF the residual of a fit that went on into the noise correlates
    # negatively, in large images by many standard errors.
    left = found.score > LEAST_SCORE
    if left and excess > MOST_SCORE and correlation > MOST_CORRELATION:
        yield (
            f"neighbours in the residual correlate by {correlation:.2g} more than they "
            f"would if the PSF were right ({excess:.0f} standard errors): the PSF is "
            f"wider than the image's, or of another shape, or the background is too "
            f"high, or the noise of voxels is correlated (interpolated, deskewed or "
            f"filtered images)"
        )


def endless_fault(endless: bool, peak: float) -> Iterator[str]:
    """What is wrong if a fit with few photons would never stop improving."""
    if endless and peak < BRIGHT_PEAK:
        yield (
            f"photons kept aside were predicted better up to the last of "
            f"{PILOT_ITERATIONS} iterations; at {peak:.3g} photons that happens if the "
            f"PSF is wider than the image's, or if the noise was filtered"
        )


def noise_fault(found: Whiteness, expected: Whiteness) -> Iterator[str]:
    """What is wrong with a residual that is larger or smaller than a simulation's."""
    ratio = float(found.chi_square / expected.chi_square)
    if ratio > MOST_CHI_SQUARE or ratio < 1 / MOST_CHI_SQUARE:
        what = "larger" if ratio > 1 else "smaller"
        yield (
            f"the residual is {max(ratio, 1 / ratio):.3g} times {what} (in the square) "
            f"than photon noise of this gain and offset: they are wrong, or the image "
            f"was filtered, or has hot pixels, or the PSF or background is wrong"
        )


def whiteness(problem: Any, estimate: jax.Array) -> Whiteness:
    """Of the residual that an object leaves of photon counts."""
    predicted = jnp.maximum(problem.predict(estimate), 0)  # rounding of transforms
    return residual_whiteness(problem.data, predicted, read_noise=ROUNDING)
