"""Peak signal-to-noise ratio."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_positive
from .._core._sum import mean
from ._pair import as_pair


def psnr(
    image: ArrayLike, truth: ArrayLike, *, peak: ArrayLike | None = None
) -> jax.Array:
    """Peak signal-to-noise ratio in decibels::

        PSNR = 10 log10( peak^2 / mean( (image - truth)^2 ) )

    Nothing is rescaled: an image in other units than the truth scores badly.

    Args:
        image: any shape.
        truth: the reference, of the same shape.
        peak: height of the signal. None: the range of the truth, max - min, which is
            `data_range=truth.max() - truth.min()` in scikit-image. (The default there,
            the range of the dtype, means nothing for microscopes.)

    Returns:
        Decibels; infinity for equal images, -infinity for a constant truth that gives
        no peak. Differentiable where the images differ.

    Raises:
        ValueError: the shapes differ; a peak that is not positive.

    Example:
        >>> round(float(psnr([0.0, 9.0, 1.0], [0.0, 10.0, 0.0])), 2)
        21.76

    References:
        Horé & Ziou, ICPR, 2366 (2010), doi:10.1109/ICPR.2010.579.
    """
    x, t = as_pair(image=image, truth=truth)
    if peak is not None:
        check_positive("peak", peak)
    span = t.max() - t.min() if peak is None else jnp.asarray(peak, t.dtype)
    return 20 * jnp.log10(span) - 10 * jnp.log10(mean((x - t) ** 2))
