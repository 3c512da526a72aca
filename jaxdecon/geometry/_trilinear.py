"""Linear interpolation in space or in the plane, with its spatial derivative."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

Coordinates = Sequence[jax.Array]
"""One array per axis, all of one shape."""
ROUNDING = 1e-3


def sample(volume: jax.Array, at: Coordinates) -> tuple[jax.Array, jax.Array]:
    """Values of a volume between its voxels, and whether they are inside it.

    Args:
        volume: (z, y, x) or (y, x).
        at: voxel coordinates.

    Returns:
        Values, those of the nearest border outside, and a mask.
    """
    values, fractions = _corners(volume, at)
    return _interpolate(values, fractions), is_inside(volume.shape, at)


def sample_with_slope(
    volume: jax.Array, at: Coordinates
) -> tuple[jax.Array, list[jax.Array]]:
    """Values, and their derivatives along every axis, from the same neighbours."""
    values, fractions = _corners(volume, at)
    slopes = []
    for axis in range(len(fractions)):
        rest = [f for a, f in enumerate(fractions) if a != axis]
        steps = {}
        for corner in itertools.product((0, 1), repeat=len(rest)):
            low, high = ((*corner[:axis], side, *corner[axis:]) for side in (0, 1))
            steps[corner] = values[high] - values[low]
        slopes.append(_interpolate(steps, rest))
    return _interpolate(values, fractions), slopes


def is_inside(
    shape: Sequence[int], at: Coordinates, margin: Sequence[int] | None = None
) -> jax.Array:
    """Where coordinates lie between the centres of the outermost voxels.

    To within a thousandth of a voxel, which rounding may take from a border.

    Args:
        shape: of the volume.
        at: coordinates.
        margin: voxels along the borders of every axis that are outside, too.
    """
    inside = jnp.asarray(True)
    margin = (0,) * len(shape) if margin is None else margin
    for c, n, m in zip(at, shape, margin, strict=True):
        inside = inside & (c >= m - ROUNDING) & (c <= n - 1 - m + ROUNDING)
    return inside


def _corners(volume: jax.Array, at: Coordinates):
    """Values at the corners of the cells, and the places inside the cells."""
    base, fractions = [], []
    for c, n in zip(at, volume.shape, strict=True):
        c = jnp.clip(c, 0, n - 1)
        low = jnp.clip(jnp.floor(c), 0, max(n - 2, 0))
        base.append(low.astype(jnp.int32))
        fractions.append(c - low)
    flat, strides = volume.ravel(), _strides(volume.shape)
    start = sum(b * s for b, s in zip(base, strides, strict=True))
    values = {}
    for corner in itertools.product((0, 1), repeat=volume.ndim):
        step = sum(
            k * s * (n > 1)  # a single plane is its own neighbour
            for k, s, n in zip(corner, strides, volume.shape, strict=True)
        )
        values[corner] = flat.at[start + step].get(mode="promise_in_bounds")
    return values, fractions


def _strides(shape: Sequence[int]) -> list[int]:
    strides = [1]
    for n in reversed(shape[1:]):
        strides.insert(0, strides[0] * n)
    return strides


def _interpolate(values: dict, fractions: Sequence[jax.Array]) -> jax.Array:
    """Between the corners, the last axis first."""
    while fractions:
        *fractions, f = fractions
        values = {
            corner: values[*corner, 0] + (values[*corner, 1] - values[*corner, 0]) * f
            for corner in itertools.product((0, 1), repeat=len(fractions))
        }
    return values[()]
