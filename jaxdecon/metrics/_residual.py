"""Whether what a model leaves unexplained is noise."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core._check import as_float_array, check_positive, check_values
from .._core._pytree import pytree
from .._core._sum import mean, total
from ._pair import as_image_pair


@pytree
class Whiteness:
    """What is left of an image after a model; from `residual_whiteness`.

    Attributes:
        chi_square: mean squared residual in units of its variance: 1 for the right
            model, larger for a misfit (or a wrong gain), smaller where noise is fitted.
        correlation: of next neighbours, one number per axis: 0 for noise, positive
            where structure is left, negative where noise is fitted. NaN along an axis
            of one voxel, and where the residual is zero.
        score: how many standard errors all neighbours together are from 0. For a right
            model a number of N(0, 1), so that beyond 3 structure is left; it grows
            with the square root of the number of voxels.
    """

    chi_square: jax.Array
    correlation: jax.Array
    score: jax.Array


def residual_whiteness(
    data: ArrayLike,
    predicted: ArrayLike,
    *,
    gain: ArrayLike = 1.0,
    read_noise: ArrayLike = 0.0,
) -> Whiteness:
    """Test whether the residual of a model is white, as the noise of a camera is::

        z = (y - m) / sqrt(gain m + read_noise^2)
        score = S / sqrt(Q),  S = sum z_p z_q,  Q = sum z_p^2 z_q^2

    over all pairs (p, q) of next neighbours. The score needs no right gain, only noise
    that is independent from voxel to voxel; the chi-square needs the gain. The residual
    is not centred: a wrong background shows. Noise that the camera, interpolation or a
    filter has correlated shows as well, although the model may be right.

    Args:
        data: y, camera offset removed, (z, y, x) or (y, x); may be negative.
        predicted: m >= 0, background included, of the same shape; above zero wherever
            the data are not, if there is no read noise.
        gain: units of the data per photon.
        read_noise: standard deviation, in units of the data.

    Returns:
        `chi_square`, `correlation` along each axis and `score`. Differentiable.

    Raises:
        ValueError: shapes that differ, are not 2D or 3D, or have one voxel; NaN; a
            negative prediction or read noise; a gain that is not positive.

    Example:
        >>> import numpy as np
        >>> truth = np.full((64, 64), 50.0)
        >>> data = np.random.default_rng(0).poisson(truth)
        >>> bool(abs(residual_whiteness(data, truth).score) < 3)
        True
        >>> bool(residual_whiteness(data, 0.9 * truth).score > 3)
        True

    References:
        Almeida & Figueiredo, IEEE Transactions on Image Processing 22, 2751 (2013),
        doi:10.1109/TIP.2013.2257810.
    """
    y, m = as_image_pair(data=data, predicted=predicted)
    if y.size < 2:
        raise ValueError(f"`data` has shape {y.shape}; two voxels or more are needed.")
    check_values("predicted", m)
    check_positive("gain", gain)
    noise = as_float_array("read_noise", read_noise).astype(y.dtype)
    check_values("read_noise", noise)
    return _whiteness(y, m, jnp.asarray(gain, y.dtype), noise)


@jax.jit
def _whiteness(
    y: jax.Array, m: jax.Array, gain: jax.Array, read_noise: jax.Array
) -> Whiteness:
    variance = jnp.maximum(gain * m + read_noise**2, jnp.finfo(y.dtype).tiny)
    z = (y - m) / jnp.sqrt(variance)
    chi_square = mean(z**2)
    pairs = [_neighbours(z, axis) for axis in range(z.ndim)]
    sums = jnp.stack([total(p) for p in pairs])
    squares = jnp.stack([total(p**2) for p in pairs])
    counts = jnp.asarray([p.size for p in pairs], y.dtype)
    return Whiteness(
        chi_square=chi_square,
        correlation=sums / counts / chi_square,
        score=sums.sum() / jnp.sqrt(squares.sum()),
    )


def _neighbours(z: jax.Array, axis: int) -> jax.Array:
    """Products of next neighbours along an axis."""
    n = z.shape[axis]
    first, second = (lax.slice_in_dim(z, k, n - 1 + k, axis=axis) for k in (0, 1))
    return first * second
