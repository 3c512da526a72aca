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
    """A volume made coarser, after a filter that keeps its detail from folding back.

    By halves of all axes, which levels have in common.
    """
    for step in range(int(math.log2(max(factors)))):
        for axis, factor in enumerate(factors):
            if factor > 2**step:
                volume = _halve(volume, axis)
    return volume


def soften(volume: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """A volume under the filter (1, 4, 6, 4, 1) / 16, and margins that it spoils.

    Linear interpolation averages noise between voxels and not on them, so that noisy
    volumes correlate best half a voxel off; of softened ones hardly. Axes of few voxels
    are left as they are.
    """
    margins = tuple(2 if n >= LEAST_SOFT else 0 for n in volume.shape)
    for axis, margin in enumerate(margins):
        if margin:
            volume = _binomial(volume, axis)
    return jnp.pad(volume, [(m, m) for m in margins], mode="edge"), margins


def _binomial(volume: jax.Array, axis: int) -> jax.Array:
    """The filter (1, 4, 6, 4, 1) / 16, where all of it is inside."""
    n = volume.shape[axis]
    a, b, c, d, e = (_part(volume, axis, k, n - 4 + k) for k in range(5))
    return (a + e + 4 * (b + d) + 6 * c) / 16


def _part(volume: jax.Array, axis: int, start: int, stop: int, step: int = 1):
    """A slice; XLA makes fast code of these, and not of padded volumes."""
    return jax.lax.slice_in_dim(volume, start, stop, step, axis=axis)


def edges(volume: jax.Array) -> jax.Array:
    """Lengths of the gradient, in units of a voxel."""
    axes = [axis for axis, n in enumerate(volume.shape) if n > 1]
    slopes = jnp.stack([jnp.asarray(jnp.gradient(volume, axis=a)) for a in axes])
    return jnp.sqrt((slopes**2).sum(0) + jnp.finfo(volume.dtype).tiny)


def _halve(volume: jax.Array, axis: int) -> jax.Array:
    """Means of pairs under the binomial filter (1, 3, 3, 1) / 8; ends are repeated."""
    n = volume.shape[axis] // 2 * 2

    def part(start, stop, step=1):
        return _part(volume, axis, start, stop, step)

    first = (4 * part(0, 1) + 3 * part(1, 2) + part(2, 3)) / 8
    last = (part(n - 3, n - 2) + 3 * part(n - 2, n - 1) + 4 * part(n - 1, n)) / 8
    inner = part(1, n - 3, 2) + part(4, n, 2)
    inner = (inner + 3 * (part(2, n - 2, 2) + part(3, n - 1, 2))) / 8
    return jnp.concatenate([first, inner, last], axis=axis)


def from_level(factors: Factors) -> np.ndarray:
    """The matrix from voxels of a coarse copy to those of the original."""
    matrix = np.diag([*map(float, factors), 1.0])
    matrix[:-1, -1] = (np.asarray(factors) - 1) / 2
    return matrix
