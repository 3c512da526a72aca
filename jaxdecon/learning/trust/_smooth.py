"""Gaussian filters of images that are mirrored at their border."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ...fourier import filter_real, frequency_grid, next_fast_len

REACH = 3.5
"""Standard deviations after which a Gaussian counts as over."""


def mirrored(x: jax.Array, reach: int) -> tuple[jax.Array, tuple[slice, ...]]:
    """An image continued by its mirror image to a fast grid, and its place there."""
    before = [min(reach, n) for n in x.shape]
    sizes = [next_fast_len(n + 2 * b) for n, b in zip(x.shape, before, strict=True)]
    margins = [
        (b, size - n - b) for n, b, size in zip(x.shape, before, sizes, strict=True)
    ]
    inside = tuple(slice(b, b + n) for n, b in zip(x.shape, before, strict=True))
    return jnp.pad(x, margins, mode="symmetric"), inside


def gaussian_gain(shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """The transfer function of a Gaussian on a periodic grid (its real-FFT half)."""
    squared = sum(k**2 for k in frequency_grid(shape))
    return np.exp(-2 * (np.pi * sigma) ** 2 * np.asarray(squared)).astype(np.float32)


def smooth(x: jax.Array, sigma: float) -> jax.Array:
    """An image averaged over a Gaussian neighbourhood, in voxels."""
    wide, inside = mirrored(x, int(np.ceil(REACH * sigma)))
    return filter_real(wide, jnp.asarray(gaussian_gain(wide.shape, sigma)))[inside]


def averaged(x: jax.Array, sigma: float) -> jax.Array:
    """As `smooth`, by sums in place of transforms: exact in the dark, too.

    Rounding of transforms is some 1e-7 of the brightest voxel everywhere, which is more
    than there is of a fourth power a thousand times darker. Sums of positive numbers
    keep their digits.
    """
    for axis in range(x.ndim):
        x = _along(x, sigma, axis)
    return x


def _along(x: jax.Array, sigma: float, axis: int) -> jax.Array:
    n = x.shape[axis]
    reach = min(math.ceil(REACH * sigma), n)
    margins = [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)]
    rows = jnp.moveaxis(jnp.pad(x, margins, mode="symmetric"), axis, -1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = jnp.asarray(weights / weights.sum(), x.dtype)[None, None]
    found = jax.lax.conv_general_dilated(
        rows.reshape(-1, 1, rows.shape[-1]),
        kernel,
        (1,),
        "VALID",
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.moveaxis(found.reshape(*rows.shape[:-1], n), -1, axis)
