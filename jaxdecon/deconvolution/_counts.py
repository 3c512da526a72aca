"""Photon counts: made from a camera's units, and told from them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import as_float_array, check_positive, is_traced
from ._noise import NoiseEstimate, estimate_noise

LEAST_MEAN = 0.5
"""Patches that are darker than this say little of variance over mean."""
COUNTS = (0.5, 2.0)
"""Noise variance over mean that photon counts may have, as measured."""
DIM, MEDIAN, STEEP = 0.5, 0.1, 1.7
"""Noise of counts vanishes at 0. Where it does at more than half of the dimmest
intensity, or at a tenth of the median with a gain above 1.7, there are no counts. (Of
480 simulated images of photons, bright structure included, one was refused.)"""


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
    noise = estimate_noise(values)
    fault = counts_fault(values, noise)
    if fault is None:
        return
    guess = (
        f" (the noise suggests a gain of about {noise.gain:.3g} and an offset of "
        f"about {noise.offset:.3g})"
    )
    raise ValueError(
        f"`{name}` has {fault}; {needed_for} needs photon counts: convert with "
        f"`jaxdecon.deconvolution.to_counts({name}, gain=..., offset=...)`, the "
        f"camera's units per photon and its value without light"
        f"{guess if noise.gain > 0 else ''}."
    )


def counts_fault(values: np.ndarray, noise: NoiseEstimate) -> str | None:
    """What shows that numbers are no photon counts; None if nothing does."""
    if not np.array_equal(values, np.round(values)):
        return "values that are not whole numbers"
    lit = noise.means > LEAST_MEAN
    if not noise.level > 0 or not lit.any():
        return None
    ratios = noise.variances[lit] / noise.means[lit]
    # Bright structure adds to the ratio, nothing takes away from it: counts have at
    # least 1 everywhere, and about 1 somewhere.
    low, least = ratios[0], ratios.min()
    if low < COUNTS[0] or least > COUNTS[1]:
        ratio = low if low < COUNTS[0] else least
        return f"a noise variance of {ratio:.3g} times its mean, where counts have 1"
    steep = noise.gain > STEEP and noise.offset > MEDIAN * np.median(noise.means)
    if steep or noise.offset > DIM * noise.means[lit][0]:
        return f"noise that vanishes at {noise.offset:.3g}, where counts' does at 0"
    return None
