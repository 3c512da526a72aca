"""Two images that are compared voxel by voxel."""

import jax
import numpy as np
from jax.typing import ArrayLike

from .._core._check import as_float_array, check_image


def as_pair(**values: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Two named arrays of one shape as floats of one type, the wider of theirs."""
    (first, a), (second, b) = (
        (name, as_float_array(name, value)) for name, value in values.items()
    )
    if a.shape != b.shape:
        raise ValueError(
            f"`{first}` has shape {a.shape} and `{second}` {b.shape}; they must agree."
        )
    dtype = np.promote_types(a.dtype, b.dtype)
    return a.astype(dtype), b.astype(dtype)


def as_image_pair(**values: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """`as_pair` of finite 2D or 3D images."""
    return as_pair(**{n: check_image(n, v, least=None) for n, v in values.items()})
