"""Draw small bodies into a field, each voxel by the share of it that they cover."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._check import check_positive, check_shape

Offsets = list[jax.Array]
"""Per axis, the distance of voxels from a centre, in voxels."""
Draw = Callable[[Offsets, Any], jax.Array]
LEAST = 3
"""Bodies, however small the field."""
TINY = 1e-6


@dataclasses.dataclass(frozen=True)
class Field:
    """A grid in a sample that goes on beyond it.

    Lengths are in units in which `spacing` is the size of a voxel, so that bodies keep
    their form where planes are further apart: by default, in voxels.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    @classmethod
    def of(cls, shape: Sequence[int], spacing: float | Sequence[float]) -> "Field":
        """Checked.

        Raises:
            ValueError: not 2 or 3 axes; a spacing that is not positive, or of other
                length.
        """
        shape = check_shape("shape", shape)
        if len(shape) not in (2, 3):
            raise ValueError(f"`shape` is {shape}; (z, y, x) or (y, x) is needed.")
        check_positive("spacing", spacing)
        sizes = np.asarray(spacing, float)
        if sizes.ndim and sizes.shape != (len(shape),):
            raise ValueError(
                f"`spacing` is {spacing}; one number or {len(shape)} are needed."
            )
        return cls(shape, tuple(map(float, np.broadcast_to(sizes, (len(shape),)))))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def lengths(self) -> np.ndarray:
        """Of the field along each axis."""
        return np.array(self.shape) * np.array(self.spacing)

    def count(self, density: float, reach: float) -> int:
        """Bodies for a density per unit volume, with those around the field."""
        volume = math.prod(float(n) for n in self.lengths + 2 * reach)
        return max(LEAST, round(density * volume))

    def places(self, key: jax.Array, count: int, reach: float) -> jax.Array:
        """Random places in the field and around it, (count, ndim), in voxels.

        The first is inside, so that no field is dark for want of luck.
        """
        margin = np.repeat(reach / np.array(self.spacing)[None], count, axis=0)
        margin[0] = 0
        span = np.array(self.shape) - 1 + 2 * margin
        where = jax.random.uniform(key, (count, self.ndim))
        return where * jnp.asarray(span, where.dtype) - jnp.asarray(margin, where.dtype)

    def voxels(self, length: Any) -> jax.Array:
        """Lengths along the axes, (..., ndim) or (..., 1), in voxels."""
        return jnp.asarray(length) / jnp.asarray(self.spacing)

    def larger(self, reach: float) -> tuple[int, ...]:
        """Shape with a margin all around."""
        margins = [math.ceil(reach / size) for size in self.spacing]
        return tuple(n + 2 * m for n, m in zip(self.shape, margins, strict=True))


def stamp(
    field: Field,
    centres: jax.Array,
    bodies: Any,
    draw: Draw,
    *,
    reach: float,
    most: int = 2**22,
) -> jax.Array:
    """The sum of bodies in a field.

    Every body is drawn in a small box of its own, so that the price does not grow with
    the field.

    Args:
        field: to draw in.
        centres: (count, ndim), in voxels; what reaches beyond the field is cut off.
        bodies: a tree of arrays (count, ...), for `draw`.
        draw: light of one body from the offsets to its centre and its part of `bodies`.
        reach: of the largest body from its centre.
        most: voxels of boxes that are drawn at once.
    """
    margins = [math.ceil(reach / size) + 1 for size in field.spacing]
    steps = np.meshgrid(*(np.arange(-m, m + 1) for m in margins), indexing="ij")
    one = functools.partial(_box, steps, draw)

    def add(light: jax.Array, some: Any) -> tuple[jax.Array, None]:
        middle = jnp.round(some[0])
        boxes = jax.vmap(one)(some[0], middle, some[1])
        index = _places(field.shape, middle.astype(jnp.int32), steps)
        return light.at[index.ravel()].add(boxes.ravel(), mode="drop"), None

    dark = jnp.zeros(math.prod(field.shape))
    group = min(len(centres), max(1, most // steps[0].size))
    groups = math.ceil(len(centres) / group)
    lacking = groups * group - len(centres)
    far = -2.0 * max(margins) - 2  # where those land that only fill the last group
    centres = jnp.pad(centres, [(0, lacking), (0, 0)], constant_values=far)

    def grouped(array: jax.Array) -> jax.Array:
        wide = [(0, groups * group - len(array))] + [(0, 0)] * (array.ndim - 1)
        array = jnp.pad(array, wide, mode="edge")
        return array.reshape(groups, group, *array.shape[1:])

    light, _ = jax.lax.scan(add, dark, jax.tree.map(grouped, (centres, bodies)))
    return light.reshape(field.shape)


def _box(steps: Any, draw: Draw, centre: jax.Array, middle: jax.Array, body: Any):
    """One body in its box."""
    pairs = zip(steps, middle - centre, strict=True)
    return draw([step + shift for step, shift in pairs], body)


def _places(shape: tuple[int, ...], middle: jax.Array, steps: Any) -> jax.Array:
    """Flat index of every voxel of every box; beyond the end if outside the field."""
    boxes = (len(middle), *steps[0].shape)
    index, inside = jnp.zeros(boxes, jnp.int32), jnp.ones(boxes, bool)
    for axis, (step, n) in enumerate(zip(steps, shape, strict=True)):
        start = middle[:, axis].reshape(-1, *(1,) * step.ndim)
        at = start + jnp.asarray(step, jnp.int32)
        inside &= (at >= 0) & (at < n)
        index = index * n + at
    return jnp.where(inside, index, math.prod(shape))


def in_ellipsoid(offsets: Offsets, radii: jax.Array) -> jax.Array:
    """Share of a voxel inside an ellipsoid of these half-axes in voxels.

    The surface is taken as flat within a voxel: its distance is that of the level
    |u / r| = 1 by its slope, where the level is the mean over the voxel, to the second
    order. Without that, balls would be larger by 1 / (4 r^2).
    """
    parts = [(u, r) for u, r in zip(offsets, radii, strict=True)]
    level = jnp.sqrt(sum((u / r) ** 2 for u, r in parts) + TINY**2)
    slope = jnp.sqrt(sum((u / r**2) ** 2 for u, r in parts) + TINY**2) / level
    bend = jnp.sum(1 / radii**2) - slope**2  # Laplacian of the level, where that is 1
    return jnp.clip(0.5 - (level + bend / 24 - 1) / slope, 0, 1)


def in_box(offsets: Offsets, sides: jax.Array) -> jax.Array:
    """Share of a voxel inside a box along the axes, exactly."""
    share = jnp.ones(())
    for u, side in zip(offsets, sides, strict=True):
        share = share * jnp.clip(side / 2 + 0.5 - abs(u), 0, jnp.minimum(side, 1))
    return share


def in_gaussian(offsets: Offsets, sigmas: jax.Array) -> jax.Array:
    """Share of a Gaussian's light that falls into a voxel, exactly; all of it is 1."""
    share = jnp.ones(())
    for u, sigma in zip(offsets, sigmas, strict=True):
        width = math.sqrt(2) * sigma
        upper = jax.scipy.special.erf((u + 0.5) / width)
        lower = jax.scipy.special.erf((u - 0.5) / width)
        share = share * jnp.maximum(upper - lower, 0) / 2
    return share


def between(key: jax.Array, limits: Sequence[float], shape: Sequence[int] = ()) -> Any:
    """Uniform random numbers between two limits."""
    low, high = limits
    return jax.random.uniform(key, tuple(shape), minval=low, maxval=high)


def ball_volume(ndim: int, radius: Sequence[float]) -> float:
    """Mean volume of balls (discs) with radii uniform in a range."""
    low, high = radius
    power = ndim + 1
    mean = (
        low**ndim if high == low else (high**power - low**power) / power / (high - low)
    )
    return (4 / 3 if ndim == 3 else 1) * math.pi * mean


def softened(light: jax.Array, field: Field, sigma: float) -> jax.Array:
    """Under a Gaussian; what lies beyond the field is taken as its border."""
    for axis, size in enumerate(field.spacing):
        radius = math.ceil(3.5 * sigma / size)
        steps = np.arange(-radius, radius + 1)
        weights = np.exp(-0.5 * (steps * size / sigma) ** 2)
        wide = [(radius, radius) if a == axis else (0, 0) for a in range(light.ndim)]
        padded, n = jnp.pad(light, wide, mode="edge"), light.shape[axis]
        shifted = [
            w * jax.lax.slice_in_dim(padded, k, k + n, axis=axis)
            for k, w in enumerate((weights / weights.sum()).tolist())
        ]
        light = functools.reduce(jnp.add, shifted)
    return light
