"""Similarity of two images."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import as_float_array
from .._core._sum import mean


def ncc(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """Normalised cross-correlation (Pearson) of two images of one shape.

    Args:
        a: image of any shape.
        b: image of the same shape.

    Returns:
        A number in [-1, 1]; NaN if either image is constant.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> float(ncc([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]))
        1.0
    """
    a, b = as_float_array("a", a), as_float_array("b", b)
    if a.shape != b.shape:
        raise ValueError(f"`a` has shape {a.shape} and `b` {b.shape}; they must agree.")
    a, b = a - mean(a), b - mean(b)
    return mean(a * b) / jnp.sqrt(mean(a * a) * mean(b * b))
