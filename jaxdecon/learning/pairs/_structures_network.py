"""Membranes and tubules: faces and edges of random cells."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ._structures_draw import Field

WAVES = 6
"""Plane waves that bend what would be flat."""
MOST = 2**19
"""Distances that are looked at together."""


def membranes(
    key: jax.Array,
    shape: Sequence[int],
    spacing: float | Sequence[float] = 1.0,
    *,
    cell: float = 20.0,
    thickness: float = 1.5,
    bend: float = 2.0,
) -> jax.Array:
    """Walls between cells, as of a tissue or a foam; lines in 2D.

    Faces of the Voronoi cells of random points, bent by long waves, of slowly changing
    brightness.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x); the cells go on beyond it.
        spacing: size of a voxel, one number or one per axis.
        cell: about the diameter of a cell, in units of `spacing`.
        thickness: of the walls.
        bend: by how much walls are displaced.

    Returns:
        Of `shape`, in [0, 1].
    """
    field = Field.of(shape, spacing)
    seeds, wave, shade = jax.random.split(key, 3)
    points = _seeds(seeds, field, cell)

    def draw(place: jax.Array) -> jax.Array:
        (d1, s1), (d2, s2) = _nearest(
            place + _waves(wave, place, bend, cell), points, 2
        )
        distance, normal = _bisector(d1, s1, d2, s2)
        step = _step(normal, field)
        cover = (thickness / 2 + step / 2 - distance) / step
        return jnp.clip(cover, 0, jnp.minimum(thickness / step, 1)) * _shade(
            shade, place
        )

    return _by_groups(field, draw, points)


def tubules(
    key: jax.Array,
    shape: Sequence[int],
    spacing: float | Sequence[float] = 1.0,
    *,
    cell: float = 20.0,
    radius: float = 1.5,
    bend: float = 3.0,
) -> jax.Array:
    """A network of bent tubes that branch, as of the endoplasmic reticulum.

    Edges of the Voronoi cells of random points; in 2D, where these are the faces, too,
    a network of lines.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x); the network goes on beyond it.
        spacing: size of a voxel, one number or one per axis.
        cell: about the width of a mesh, in units of `spacing`.
        radius: of the tubes.
        bend: by how much tubes are displaced.

    Returns:
        Of `shape`, in [0, 1].
    """
    field = Field.of(shape, spacing)
    if field.ndim == 2:
        look = {"cell": cell, "thickness": 2 * radius, "bend": bend}
        return membranes(key, shape, spacing, **look)
    seeds, wave, shade = jax.random.split(key, 3)
    points = _seeds(seeds, field, cell)

    def draw(place: jax.Array) -> jax.Array:
        moved = place + _waves(wave, place, bend, cell)
        (d1, s1), second, third = _nearest(moved, points, 3)
        a, normal_a = _bisector(d1, s1, *second)
        b, normal_b = _bisector(d1, s1, *third)
        # The line in which two planes meet, at distances a and b, and at the angle
        # whose cosine is c.
        c = jnp.sum(normal_a * normal_b, -1)
        distance = jnp.sqrt(
            jnp.maximum(a**2 + b**2 - 2 * a * b * c, 0) / jnp.maximum(1 - c**2, 1e-3)
        )
        step = jnp.maximum(_step(normal_a, field), _step(normal_b, field))
        cover = (radius + step / 2 - distance) / step
        most = jnp.minimum(math.pi * radius**2 / step**2, 1)
        return jnp.clip(cover, 0, most) * _shade(shade, place)

    return _by_groups(field, draw, points)


def _by_groups(field: Field, draw: Any, seeds: jax.Array) -> jax.Array:
    """Draw some voxels at a time: distances of all to all seeds are a large table."""
    total = math.prod(field.shape)
    size = min(total, max(1, MOST // len(seeds)))

    def group(start: jax.Array) -> jax.Array:
        index = jnp.minimum(start + jnp.arange(size), total - 1)
        place = jnp.stack(jnp.unravel_index(index, field.shape), -1)
        return draw(place * jnp.asarray(field.spacing))

    starts = size * jnp.arange(math.ceil(total / size))
    return jax.lax.map(group, starts).ravel()[:total].reshape(field.shape)


def _seeds(key: jax.Array, field: Field, cell: float) -> jax.Array:
    """Centres of cells in and around the field, (count, ndim), in units of length."""
    count = max(8, field.count(cell**-field.ndim, cell))
    return field.places(key, count, cell) * jnp.asarray(field.spacing)


def _nearest(
    place: jax.Array, seeds: jax.Array, count: int
) -> list[tuple[jax.Array, jax.Array]]:
    """Squared distances and positions of the nearest seeds."""
    table = jnp.zeros((len(place), len(seeds)), place.dtype)
    for axis in range(seeds.shape[-1]):
        table += (place[:, None, axis] - seeds[None, :, axis]) ** 2
    found = []
    for _ in range(count):
        least = table.min(-1)
        hit = table == least[:, None]  # on CPUs `argmin` takes several times as long
        chosen = hit / hit.sum(-1, keepdims=True)
        found.append((least, jnp.matmul(chosen, seeds, precision="highest")))
        table = jnp.where(hit, jnp.inf, table)
    return found


def _bisector(d1, s1, d2, s2) -> tuple[jax.Array, jax.Array]:
    """Distance to the plane between two seeds, and its normal."""
    between = s2 - s1
    length = jnp.maximum(jnp.linalg.norm(between, axis=-1), 1e-3)
    return (d2 - d1) / (2 * length), between / length[:, None]


def _step(normal: jax.Array, field: Field) -> jax.Array:
    """Size of a voxel in a direction."""
    return jnp.linalg.norm(normal * jnp.asarray(field.spacing), axis=-1)


def _waves(key: jax.Array, place: jax.Array, height: float, cell: float) -> jax.Array:
    """Smooth displacements, with wavelengths of one to four cells."""
    ndim = place.shape[-1]
    keys = jax.random.split(key, 4)
    direction = jax.random.normal(keys[0], (WAVES, ndim))
    direction /= jnp.linalg.norm(direction, axis=-1, keepdims=True)
    length = jax.random.uniform(keys[1], (WAVES, 1), minval=1.5, maxval=4) * cell
    phase = jax.random.uniform(keys[2], (WAVES,)) * 2 * math.pi
    move = jax.random.normal(keys[3], (WAVES, ndim)) * height / math.sqrt(WAVES)
    turn = place @ (2 * math.pi * direction / length).T + phase
    return jnp.cos(turn) @ move


def _shade(key: jax.Array, place: jax.Array) -> jax.Array:
    """Brightness that changes slowly, between 0.4 and 1."""
    wave = _waves(key, place, 1.0, 30.0)[:, 0]
    return 0.7 + 0.3 * jnp.tanh(wave)
