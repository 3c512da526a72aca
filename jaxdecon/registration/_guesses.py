"""Starts from a few numbers or pictures of the volumes, not from a search in space."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ._moments import Pair
from ._pyramid import edges, plan_levels, reduce
from ._starts import best_poses, homogeneous

PLANAR_ANGLES = np.radians(np.arange(-30.0, 31.0, 10.0))[:, None]
"""Turns tried on projections."""
PROJECTED = 64
"""Voxels along the longest axis of projections, at most."""
Sizes = tuple[tuple[float, ...], ...]


def by_moments(pair: Pair, sizes: Sizes) -> jax.Array:
    """Centres of mass on each other: unturned, and with the principal axes aligned.

    What is brighter than the mean has mass. Principal axes have no sign: of the turns
    that align them all are given, four in space and two in the plane.

    Returns:
        (k, d + 1, d + 1), from fixed to moving voxels.
    """
    d = pair.fixed.ndim
    scales = [jnp.asarray(size, pair.fixed.dtype) for size in sizes]
    volumes, weights = (pair.fixed, pair.moving), pair.weights()
    (centre_f, axes_f), (centre_m, axes_m) = (
        _mass(v, w, s) for v, w, s in zip(volumes, weights, scales, strict=True)
    )
    hand = jnp.sign(jnp.linalg.det(axes_f) * jnp.linalg.det(axes_m))
    turns = [jnp.eye(d, dtype=axes_f.dtype)]
    for signs in itertools.product((1.0, -1.0), repeat=d - 1):
        last = hand * np.prod(signs)
        flips = jnp.stack([*map(jnp.asarray, signs), last]).astype(axes_f.dtype)
        turns.append((axes_m * flips) @ axes_f.T)
    starts = []
    for turn in turns:
        linear = turn * scales[0][None, :] / scales[1][:, None]
        starts.append(homogeneous(linear, centre_m - linear @ centre_f))
    return jnp.stack(starts)


def _mass(volume, weight, scale) -> tuple[jax.Array, jax.Array]:
    """Centre in voxels, and principal axes in physical space, as columns."""
    mean = (volume * weight).sum() / weight.sum()
    mass = jnp.maximum(volume - mean, 0) * weight
    mass = mass / jnp.maximum(mass.sum(), jnp.finfo(mass.dtype).tiny)
    grid = jnp.stack(
        jnp.meshgrid(
            *(jnp.arange(n, dtype=mass.dtype) for n in mass.shape), indexing="ij"
        )
    ).reshape(mass.ndim, -1)
    centre = grid @ mass.ravel()
    away = (grid - centre[:, None]) * scale[:, None]
    return centre, jnp.linalg.eigh((away * mass.ravel()) @ away.T)[1]


def by_projections(
    pair: Pair, sizes: Sizes, *, turned: bool, outlined: bool
) -> jax.Array:
    """A pose from every maximum projection: the best turn and shift in its plane.

    The place along the line of sight follows from the other projections.

    Args:
        pair: two volumes; of planes there are no projections.
        sizes: of their voxels.
        turned: try turns, and not shifts only.
        outlined: correlate edges, for values that do not correspond.

    Returns:
        (3, 4, 4), from fixed to moving voxels.
    """
    found = [_projected(pair, sizes, axis, turned, outlined) for axis in range(3)]
    ratio = np.asarray(sizes[0]) / np.asarray(sizes[1])
    middle = (jnp.asarray(pair.fixed.shape, pair.fixed.dtype) - 1) / 2
    starts = []
    for axis, flat in enumerate(found):
        kept = np.array([a for a in range(3) if a != axis])
        places = []
        for other in kept:
            seen = np.array([a for a in range(3) if a != other])
            there = found[other] @ jnp.append(middle[seen], 1.0)
            places.append(there[int(np.flatnonzero(seen == axis)[0])])
        offset = (places[0] + places[1]) / 2 - ratio[axis] * middle[axis]
        start = jnp.zeros((4, 4), flat.dtype).at[3, 3].set(1)
        start = start.at[np.ix_(kept, kept)].set(flat[:2, :2])
        start = start.at[kept, 3].set(flat[:2, 2])
        starts.append(start.at[axis, axis].set(ratio[axis]).at[axis, 3].set(offset))
    return jnp.stack(starts)


def _projected(
    pair: Pair, sizes: Sizes, axis: int, turned: bool, outlined: bool
) -> jax.Array:
    """(3, 3): the best pose of one projection in the other, in full voxels."""
    flat_sizes = [tuple(np.delete(s, axis)) for s in sizes]
    flat = [
        jnp.where(w > 0, v, v.min()).max(axis)
        for v, w in zip((pair.fixed, pair.moving), pair.weights(), strict=True)
    ]
    level = plan_levels(flat[0].shape, flat[1].shape, flat_sizes, PROJECTED)[0]
    small = [reduce(v, f) for v, f in zip(flat, level, strict=True)]
    if outlined:
        small = [edges(v) for v in small]
    coarse = [np.multiply(s, f) for s, f in zip(flat_sizes, level, strict=True)]
    angles = PLANAR_ANGLES if turned else np.zeros((1, 1))
    flat_pair = Pair(fixed=small[0], moving=small[1])
    matrices, _ = best_poses(flat_pair, angles, *coarse, count=1)
    into, out = level.between()
    return (
        jnp.asarray(into, matrices.dtype)
        @ matrices[0]
        @ jnp.asarray(out, matrices.dtype)
    )
