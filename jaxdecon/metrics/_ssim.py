"""Structural similarity."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_positive
from .._core._sum import mean
from ._pair import as_image_pair
from ._window import gaussian_weights, slide


def ssim(
    a: ArrayLike,
    b: ArrayLike,
    *,
    sigma: float = 1.5,
    data_range: ArrayLike | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
) -> jax.Array:
    """Mean structural similarity (SSIM) of an image and a reference.

    Means m, variances v and the covariance c under a sliding Gaussian window, with
    C1 = (k1 L)^2, C2 = (k2 L)^2 and data range L::

        SSIM = mean( (2 m_a m_b + C1) (2 c + C2)
                     / ((m_a^2 + m_b^2 + C1) (v_a + v_b + C2)) )

    Equal to scikit-image with `gaussian_weights=True, use_sample_covariance=False`.
    Symmetric in `a` and `b` once `data_range` is given. In 3D the window is a ball in
    voxels, also where voxels are not cubes.

    Args:
        a: (z, y, x) or (y, x).
        b: the reference, of the same shape.
        sigma: standard deviation of the window in voxels, cut at 3.5 sigma; static
            under `jit`. Places where the window would leave the image do not count.
        data_range: L. None: the range of `b`, max - min. Give it to compare figures
            between images. An image with a camera offset or a few bright spots scores
            high whatever the rest looks like.
        k1: constant for the means.
        k2: constant for the variances.

    Returns:
        A number of at most 1, reached by equal images; differentiable. NaN where `b`
        is constant and `data_range` None.

    Raises:
        ValueError: the shapes differ, are not 2D or 3D, or are smaller than the
            window; a sigma or range that is not positive; NaN in an image.

    Example:
        >>> import jax
        >>> image = jax.random.uniform(jax.random.key(0), (32, 32))
        >>> float(ssim(image, image).round(4)), float(ssim(0 * image, image)) < 0.1
        (1.0, True)

    References:
        Wang et al., IEEE Transactions on Image Processing 13, 600 (2004),
        doi:10.1109/TIP.2003.819861.
    """
    a, b = as_image_pair(a=a, b=b)
    check_positive("sigma", sigma)
    if data_range is not None:
        check_positive("data_range", data_range)
    size = gaussian_weights(sigma).size
    if min(b.shape) < size:
        raise ValueError(
            f"`b` has shape {b.shape}, and the window {size} voxels along each axis; "
            f"a larger image or a smaller `sigma` is needed."
        )
    span = b.max() - b.min() if data_range is None else jnp.asarray(data_range, b.dtype)
    return _ssim(a, b, (k1 * span) ** 2, (k2 * span) ** 2, sigma=float(sigma))


@partial(jax.jit, static_argnames="sigma")
def _ssim(
    a: jax.Array, b: jax.Array, c1: jax.Array, c2: jax.Array, *, sigma: float
) -> jax.Array:
    # Around a common level: the variances would drown in an offset's square.
    level = mean(b)
    a, b = a - level, b - level
    m_a, m_b, aa, bb, ab = (_smooth(x, sigma) for x in (a, b, a * a, b * b, a * b))
    v_a, v_b, c = aa - m_a**2, bb - m_b**2, ab - m_a * m_b
    m_a, m_b = m_a + level, m_b + level
    means = (2 * m_a * m_b + c1) / (m_a**2 + m_b**2 + c1)
    return mean(means * (2 * c + c2) / (v_a + v_b + c2))


def _smooth(image: jax.Array, sigma: float) -> jax.Array:
    for axis in range(image.ndim):
        image = slide(image, gaussian_weights(sigma), axis)
    return image
