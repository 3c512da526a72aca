"""How well a model explains counted photons."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jax.typing import ArrayLike

from .._core._check import as_float_array
from .._core._sum import mean


def poisson_deviance(data: ArrayLike, predicted: ArrayLike) -> jax.Array:
    """Mean Poisson deviance per voxel, zero for a perfect prediction::

        D = 2 mean( y ln(y / m) - (y - m) )

    Twice the log-likelihood that the prediction m falls short of the best one for the
    data y. For photon counts and a true model it is close to 1; it scales with the
    data.

    Args:
        data: y >= 0, any shape.
        predicted: m > 0, of the same shape.

    Example:
        >>> float(poisson_deviance([2.0, 5.0], [2.0, 5.0]))
        0.0
    """
    y, m = as_float_array("data", data), as_float_array("predicted", predicted)
    m = jnp.maximum(m, jnp.finfo(m.dtype).tiny)
    ratio = jnp.where(y > 0, y / m, 1)  # at y = 0 the logarithm has no derivative
    return 2 * mean(xlogy(y, ratio) - (y - m))
