"""Sums that survive a billion float32 voxels."""

import jax
import jax.numpy as jnp


def total(x: jax.Array) -> jax.Array:
    """Sum of all elements, one axis after the other.

    One running float32 sum over 10^9 voxels would lose four of its seven digits. The
    steps after the first are products with ones, which compilers do not merge with it.
    """
    sums = x.sum(-1) if x.ndim else x
    while sums.ndim:
        sums = sums @ jnp.ones(sums.shape[-1], sums.dtype)
    return sums


def mean(x: jax.Array) -> jax.Array:
    """Mean of all elements by `total`."""
    return total(x) / x.size
