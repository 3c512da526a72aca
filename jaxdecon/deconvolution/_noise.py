"""How large the noise of an image is, and whether its numbers are photon counts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import as_float_array, check_finite, check_positive, is_traced

BLOCK = 8
"""Side, in voxels, of the patches in whose means and variances noise is sought."""
BINS = 16
LEAST_BLOCKS = 64
SIGNIFICANT = 4.0
"""Standard errors that the growth of the noise with intensity must be above zero."""
LEAST_MEAN = 0.5
"""Patches that are darker than this say little of variance over mean."""
COUNTS = (0.5, 2.0)
"""Noise variance over mean that photon counts may have, as measured."""


@dataclasses.dataclass(frozen=True)
class NoiseEstimate:
    """What an image alone tells of its noise.

    Attributes:
        gain: units of the image per photon; NaN if the image is too small or too even.
        offset: intensity at which the noise would vanish, if there were no read noise.
        level: standard deviation of the noise at the median intensity.
        means: intensity of patches, dim to bright.
        variances: of the noise in these patches.
    """

    gain: float
    offset: float
    level: float
    means: np.ndarray
    variances: np.ndarray


def estimate_noise(image: ArrayLike) -> NoiseEstimate:
    """Measure the noise of an image, and its growth with intensity.

    In patches of 8 x 8 voxels of every plane, the variance of second differences along
    both axes (Immerkaer 1996), which blurred structure hardly has, against the mean;
    a line through the medians of 16 groups of patches gives gain and offset.
    Denoised, interpolated or undersampled images mislead it.

    Args:
        image: (z, y, x) or (y, x).

    Returns:
        A `NoiseEstimate`.

    Raises:
        ValueError: NaN or infinite values.

    Example:
        >>> import numpy as np
        >>> light = np.linspace(20, 200, 128)[:, None] * np.ones(128)
        >>> image = 100 + 2.0 * np.random.default_rng(0).poisson(light)
        >>> noise = estimate_noise(image)
        >>> bool(abs(noise.gain - 2) < 0.2), bool(abs(noise.offset - 100) < 10)
        (True, True)

    References:
        Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996),
        doi:10.1006/cviu.1996.0060.
    """
    array = as_float_array("image", image)
    check_finite("image", array)
    means, variances = _patches(np.asarray(array, float))
    unknown = NoiseEstimate(np.nan, np.nan, np.nan, means, variances)
    if means.size < LEAST_BLOCKS:
        return unknown
    groups = np.array_split(np.argsort(means), BINS)
    means = np.array([means[g].mean() for g in groups])
    variances = np.array([np.median(variances[g]) for g in groups])
    level = float(np.sqrt(np.median(variances)))
    gain = offset = np.nan
    if np.ptp(means) > 0 and variances.min() > 0:
        fit, errors = np.polyfit(means, variances, 1, w=1 / variances, cov=True)
        if fit[0] > SIGNIFICANT * np.sqrt(errors[0, 0]):
            gain, offset = fit[0], -fit[1] / fit[0]
    return NoiseEstimate(float(gain), float(offset), level, means, variances)


def _patches(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and noise variance, of every patch."""
    volume = image.reshape(-1, *image.shape[-2:])
    if min(volume.shape[1:]) < BLOCK + 2:
        return np.zeros(0), np.zeros(0)
    rough = np.diff(np.diff(volume, n=2, axis=1), n=2, axis=2) / 6
    inside = volume[:, 1:-1, 1:-1]
    return _block_means(inside).ravel(), _block_means(rough**2).ravel()


def _block_means(volume: np.ndarray) -> np.ndarray:
    rows, columns = (n // BLOCK for n in volume.shape[1:])
    cut = volume[:, : rows * BLOCK, : columns * BLOCK]
    return cut.reshape(-1, rows, BLOCK, columns, BLOCK).mean((2, 4))


def to_counts(
    image: ArrayLike, *, gain: ArrayLike, offset: ArrayLike = 0.0
) -> jax.Array:
    """Photon counts of a camera's image: (image - offset) / gain, rounded.

    Rules and schemes that split photons need whole ones. Rounding adds a variance of
    1/12 photon. Counts below zero, which read noise makes where it is dark, become
    zero: where that is frequent, use the likelihood `MixedPoisson` instead.

    Args:
        image: any shape, in the camera's units.
        gain: units per photon (electron).
        offset: units without light.

    Returns:
        Whole, non-negative numbers as floats.

    Raises:
        ValueError: a gain that is not positive.

    Example:
        >>> import numpy as np
        >>> to_counts(np.array([100.0, 102.2, 109.8]), gain=2.0, offset=100.0)
        Array([0., 1., 5.], dtype=float32)
    """
    check_positive("gain", gain)
    image = as_float_array("image", image)
    return jnp.maximum(jnp.round((image - offset) / gain), 0).astype(image.dtype)


def check_counts(name: str, image: jax.Array, needed_for: str) -> None:
    """Refuse images whose numbers cannot be photon counts (skipped while tracing)."""
    if is_traced(image):
        return
    values = np.asarray(image)
    ask = (
        f"{needed_for} needs photon counts: convert with "
        f"`jaxdecon.deconvolution.to_counts({name}, gain=..., offset=...)`, the "
        f"camera's units per photon and its value without light"
    )
    if not np.array_equal(values, np.round(values)):
        raise ValueError(f"`{name}` has values that are not whole numbers; {ask}.")
    noise = estimate_noise(values)
    lit = noise.means > LEAST_MEAN
    if not noise.level > 0 or not lit.any():
        return
    ratios = noise.variances[lit] / noise.means[lit]
    # Bright structure adds to the ratio, nothing takes away from it: counts have at
    # least 1 everywhere, and about 1 somewhere.
    low, least = ratios[0], ratios.min()
    if low < COUNTS[0] or least > COUNTS[1]:
        ratio = low if low < COUNTS[0] else least
        guess = (
            f" (the noise suggests a gain of about {noise.gain:.3g} and an offset of "
            f"about {noise.offset:.3g})"
        )
        raise ValueError(
            f"`{name}` has a noise variance of {ratio:.3g} times its mean, where "
            f"counts have 1; {ask}{guess if noise.gain > 0 else ''}."
        )
