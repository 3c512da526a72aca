"""A published phantom."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ._structures_draw import (
    Field,
    between,
    in_box,
    in_ellipsoid,
    softened,
    stamp,
)

LIGHT = (50.0, 850.0)
"""Least and greatest intensity."""


def phantom(
    key: jax.Array,
    shape: Sequence[int],
    spacing: float | Sequence[float] = 1.0,
    *,
    crowd: float = 1.0,
    background: float = 0.0,
) -> jax.Array:
    """The mixture of Li et al. (2022): a training class of many forms.

    In 128^3 voxels (as many per volume elsewhere; in 2D, per area of 128^2, a tenth):
    100 solid spheres of radius 4 to 7, 100 ellipsoid shells, whose (u / r)^2 is between
    0.8 and 1.3, and 8 x 50 boxes: along every axis either one voxel thin, or up to 9
    long, which makes dots, rods and sheets. Intensities are uniform in 50 to 850, and a
    Gaussian of sigma 0.7 goes over all.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x).
        spacing: size of a voxel, one number or one per axis.
        crowd: factor on the number of things.
        background: added to all; 30 in the publication. What reaches the camera beside
            the object's light is better given to `SimulatedPairs`.

    Returns:
        Of `shape`.

    References:
        Li et al., Nature Methods 19, 1427 (2022), doi:10.1038/s41592-022-01652-7.
    """
    field = Field.of(shape, spacing)
    parts = jax.random.split(key, 3)
    one = crowd * (128.0**-3 if field.ndim == 3 else 0.1 * 128.0**-2)
    solid = _spheres(parts[0], field, 100 * one)
    hollow = _shells(parts[1], field, 100 * one)
    flat = _boxes(parts[2], field, 400 * one)
    return softened(solid + hollow + flat, field, 0.7) + background


def _spheres(key: jax.Array, field: Field, density: float) -> jax.Array:
    count = field.count(density, 7)
    place, size, light = jax.random.split(key, 3)
    radii = field.voxels(between(size, (4, 7), (count, 1)))

    def draw(offsets, body):
        radii, light = body
        return light * in_ellipsoid(offsets, radii)

    bodies = radii, between(light, LIGHT, (count,))
    return stamp(field, field.places(place, count, 7), bodies, draw, reach=7)


def _shells(key: jax.Array, field: Field, density: float) -> jax.Array:
    inner, outer = math.sqrt(0.8), math.sqrt(1.3)
    reach = 7 * outer
    count = field.count(density, reach)
    place, size, light = jax.random.split(key, 3)
    radii = field.voxels(between(size, (4, 7), (count, field.ndim)))

    def draw(offsets, body):
        radii, light = body
        whole = in_ellipsoid(offsets, outer * radii)
        return light * jnp.maximum(whole - in_ellipsoid(offsets, inner * radii), 0)

    bodies = radii, between(light, LIGHT, (count,))
    return stamp(field, field.places(place, count, reach), bodies, draw, reach=reach)


def _boxes(key: jax.Array, field: Field, density: float) -> jax.Array:
    count = field.count(density, 4.5)
    place, size, form, light = jax.random.split(key, 4)
    long = jax.random.bernoulli(form, 0.5, (count, field.ndim))
    sides = jnp.where(long, between(size, (2, 9), (count, field.ndim)), 1)
    bodies = field.voxels(sides), between(light, LIGHT, (count,))

    def draw(offsets, body):
        sides, light = body
        return light * in_box(offsets, sides)

    return stamp(field, field.places(place, count, 4.5), bodies, draw, reach=4.5)
