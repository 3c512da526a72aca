"""Cubic B-spline interpolation: the prefilter, and sampling."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

POLE = 3**0.5 - 2
"""Of the inverse filter of the cubic B-spline."""
REACH = 24
"""Terms of the exponential |POLE|^k that matter: 2e-14."""


def spline_coefficients(volume: jax.Array) -> jax.Array:
    """Coefficients whose cubic spline goes through the voxels; mirror boundaries.

    The two recursions of the inverse filter are one symmetric exponential,
    sqrt(3) POLE^|k|, which is applied as a matrix along every axis.
    """
    for axis in range(volume.ndim):
        if volume.shape[axis] > 1:
            inverse = jnp.asarray(inverse_filter(volume.shape[axis]), volume.dtype)
            moved = jnp.moveaxis(volume, axis, -1)
            moved = jnp.matmul(moved, inverse.T, precision="highest")
            volume = jnp.moveaxis(moved, -1, axis)
    return volume


def inverse_filter(n: int) -> np.ndarray:
    """The (n, n) matrix from samples to coefficients, mirrored about end voxels."""
    steps = np.arange(-REACH, REACH + 1)
    gain = -6 * POLE / (1 - POLE**2) * POLE ** abs(steps)
    voxels = np.arange(n)
    period = 2 * (n - 1)
    source = abs(voxels[:, None] + steps) % period
    source = np.where(source > n - 1, period - source, source)
    matrix = np.zeros((n, n))
    np.add.at(matrix, (voxels[:, None], source), np.broadcast_to(gain, source.shape))
    return matrix


def sample_cubic(coefficients: jax.Array, at: Sequence[jax.Array]) -> jax.Array:
    """Values of a cubic spline at coordinates, one array per axis."""
    index, weights = [], []
    for c, n in zip(at, coefficients.shape, strict=True):
        c = jnp.clip(c, 0, n - 1)
        low = jnp.clip(jnp.floor(c), 0, max(n - 2, 0))
        near = low.astype(jnp.int32)
        index.append([_mirror(near + k, n) for k in (-1, 0, 1, 2)])
        weights.append(spline_weights(c - low) if n > 1 else None)
    return _sum_over(coefficients.ravel(), coefficients.shape, index, weights)


def _mirror(i: jax.Array, n: int) -> jax.Array:
    i = jnp.abs(i)
    return jnp.clip(jnp.where(i > n - 1, 2 * (n - 1) - i, i), 0, n - 1)


def spline_weights(t: jax.Array) -> list[jax.Array]:
    """Of the four neighbours, at t between the second and the third."""
    u = 1 - t
    return [
        u**3 / 6,
        2 / 3 - t**2 * (2 - t) / 2,
        2 / 3 - u**2 * (2 - u) / 2,
        t**3 / 6,
    ]


def _sum_over(flat, shape, index, weights, start=0) -> jax.Array:
    """The weighted sum over all neighbours, one axis after the other."""
    if not shape:
        return flat.at[start].get(mode="promise_in_bounds")
    inner = (flat, shape[1:], index[1:], weights[1:])
    if weights[0] is None:
        return _sum_over(*inner, start * shape[0])
    terms = [
        w * _sum_over(*inner, start * shape[0] + i)
        for i, w in zip(index[0], weights[0], strict=True)
    ]
    return sum(terms[1:], terms[0])
