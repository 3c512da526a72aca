"""Coarse copies of volumes, and where their voxels are in the originals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LEAST_SIZE = 8
"""No axis is made shorter than this."""
OVERVIEW = 3
"""A large volume may have so many times more voxels along an axis than a small one."""
LEAST_SOFT = 12
"""Voxels along an axis that may be softened."""
Factors = tuple[int, ...]


class Level(NamedTuple):
    """Reductions of two volumes along every axis; powers of two."""

    fixed: Factors
    moving: Factors

    def between(self) -> tuple[np.ndarray, np.ndarray]:
        """Coarse to full moving voxels, and full to coarse fixed voxels."""
        return from_level(self.moving), np.linalg.inv(from_level(self.fixed))


def plan_levels(
    fixed_shape: Sequence[int],
    moving_shape: Sequence[int],
    sizes: Sequence[Sequence[float]],
    coarsest: int,
) -> list[Level]:
    """Coarse to fine. Long before short voxels' axes: levels have voxels like cubes.

    Args:
        fixed_shape: of the fixed volume.
        moving_shape: of the other.
        sizes: of the voxels of both.
        coarsest: voxels along the longest axis of the smaller volume on the coarsest
            level, at most; the other may have three times as many.
    """
    fixed_size, moving_size = sizes
    levels, step = [], min(*fixed_size, *moving_size)
    while True:
        level = Level(
            _factors(fixed_shape, fixed_size, step),
            _factors(moving_shape, moving_size, step),
        )
        if not levels or level != levels[-1]:
            levels.append(level)
        longest = [
            max(n // f for n, f in zip(shape, factors, strict=True))
            for shape, factors in zip((fixed_shape, moving_shape), level, strict=True)
        ]
        small = min(longest) <= coarsest and max(longest) <= OVERVIEW * coarsest
        step *= 2
        if small or step > 1e6 * min(*fixed_size, *moving_size):
            return levels[::-1]


def _factors(shape, size, step: float) -> Factors:
    """Powers of two that bring voxels nearest to a size, where axes are long enough."""
    found = []
    for n, s in zip(shape, size, strict=True):
        wanted = max(0, round(math.log2(step / s)))
        room = int(math.log2(n / LEAST_SIZE)) if n > LEAST_SIZE else 0
        found.append(2 ** min(wanted, room))
    return tuple(found)


def reduce(volume: jax.Array, factors: Factors) -> jax.Array:
    """A volume made coarser, after a filter that keeps its detail from folding back."""
    for axis, factor in enumerate(factors):
        for _ in range(int(math.log2(factor))):
            volume = _halve(volume, axis)
    return volume


def soften(volume: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """A volume under the filter (1, 4, 6, 4, 1) / 16, and margins that it spoils.

    Linear interpolation averages noise between voxels and not on them, so that noisy
    volumes correlate best half a voxel off; of softened ones hardly. Axes of few voxels
    are left as they are.
    """
    margins = []
    for axis, n in enumerate(volume.shape):
        margins.append(2 if n >= LEAST_SOFT else 0)
        if margins[-1]:
            volume = _binomial(volume, axis)
    return volume, tuple(margins)


def _binomial(volume: jax.Array, axis: int) -> jax.Array:
    """The filter (1, 4, 6, 4, 1) / 16; border values are repeated."""
    n = volume.shape[axis]
    wide = [(2, 2) if a == axis else (0, 0) for a in range(volume.ndim)]
    line = jnp.pad(volume, wide, mode="edge")
    a, b, c, d, e = (jax.lax.slice_in_dim(line, k, k + n, axis=axis) for k in range(5))
    return (a + e + 4 * (b + d) + 6 * c) / 16


def edges(volume: jax.Array) -> jax.Array:
    """Lengths of the gradient, in units of a voxel."""
    squares = jnp.zeros_like(volume)
    for axis, n in enumerate(volume.shape):
        if n > 1:
            ends = [(1, 1) if a == axis else (0, 0) for a in range(volume.ndim)]
            wide = jnp.pad(volume, ends, mode="edge")
            after, before = (
                jax.lax.slice_in_dim(wide, k, k + n, axis=axis) for k in (2, 0)
            )
            squares = squares + ((after - before) / 2) ** 2
    return jnp.sqrt(squares + jnp.finfo(volume.dtype).tiny)


def _halve(volume: jax.Array, axis: int) -> jax.Array:
    """Means of pairs under the binomial filter (1, 3, 3, 1) / 8; ends are repeated."""
    n = volume.shape[axis] // 2 * 2
    line = jnp.moveaxis(volume, axis, 0)[:n]
    line = jnp.concatenate([line[:1], line, line[-1:]])
    coarse = (line[0:n:2] + 3 * line[1 : n + 1 : 2] + 3 * line[2 : n + 2 : 2]) / 8
    coarse = coarse + line[3 : n + 3 : 2] / 8
    return jnp.moveaxis(coarse, 0, axis)


def from_level(factors: Factors) -> np.ndarray:
    """The matrix from voxels of a coarse copy to those of the original."""
    matrix = np.diag([*map(float, factors), 1.0])
    matrix[:-1, -1] = (np.asarray(factors) - 1) / 2
    return matrix
