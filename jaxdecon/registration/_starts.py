"""Where a search may begin: many poses tried on coarse copies, the best refined."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..geometry._rotation import rotation, rotation_vector
from ..geometry._trilinear import sample
from ..geometry._warp import coordinates
from ._correlation import correlate_shifts, shift_of, significance
from ._moments import Pair

ANGLE = 22.0
"""Degrees between the poses tried."""
SAME_SHIFT = 2
"""Voxels, along every axis, between shifts that are one."""
LEAST_SHARE = 0.1
"""Of the smaller volume that must overlap."""


def turns(ndim: int) -> np.ndarray:
    """Rotation vectors, in radians: none, and one about every direction of a cube."""
    if ndim == 2:
        return np.radians(ANGLE) * np.array([[0.0], [1.0], [-1.0]])
    directions = np.array(list(itertools.product((0, 1, -1), repeat=3)), float)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return np.radians(ANGLE) * directions / np.where(lengths > 0, lengths, 1)


def right_angles(ndim: int) -> np.ndarray:
    """Rotation vectors of the 24 turns (four in the plane) that map axes to axes."""
    if ndim == 2:
        return np.pi / 2 * np.array([[0.0], [1.0], [2.0], [-1.0]])
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.eye(3)[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(matrix) > 0:
                found.append(rotation_vector(matrix))
    return np.array(found)


def best_poses(
    pair: Pair,
    vectors: ArrayLike,
    fixed_size: np.ndarray,
    moving_size: np.ndarray,
    *,
    count: int,
    shifts: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """The most significant of many poses: every turn with its best shift, or shifts.

    Args:
        pair: coarse volumes.
        vectors: rotation vectors to try, in physical space.
        fixed_size: (d,) of the fixed volume's voxels.
        moving_size: (d,) of the other's.
        count: poses to return.
        shifts: of every turn, apart from each other.

    Returns:
        Matrices (count, d + 1, d + 1) from fixed to moving voxels, and their
        significance; that of poses with too little overlap is -infinity.
    """
    fixed, moving, d = pair.fixed, pair.moving, pair.fixed.ndim
    weights = pair.weights()
    magnification = float(np.prod(fixed_size / moving_size))
    sizes = weights[0].sum(), weights[1].sum() / magnification
    enough = LEAST_SHARE * jnp.minimum(*sizes)
    extent = np.array(moving.shape) * moving_size / fixed_size
    grid = tuple(int(n) for n in np.ceil(extent - 1e-6))
    middle = jnp.asarray((np.array(grid) - 1) / 2, fixed.dtype)
    centre = jnp.asarray((np.array(moving.shape) - 1) / 2, fixed.dtype)
    scale = jnp.asarray(fixed_size[None, :] / moving_size[:, None], fixed.dtype)

    def turned(vector):
        """Poses of a turn about the moving centre, and their significance."""
        linear = rotation(vector) * scale
        matrix = homogeneous(linear, centre - linear @ middle)
        at = coordinates(matrix, grid)
        seen, inside = sample(moving, at)
        weight = sample(weights[1], at)[0] * inside
        found = correlate_shifts(fixed, seen, weights[0], weight)
        score = significance(found.ncc, found.weight)
        score = jnp.where(found.weight > enough, score, -jnp.inf)
        poses, scores = [], []
        for _ in range(shifts):
            best = score.argmax()
            shift = shift_of(best, score.shape, fixed.shape).astype(matrix.dtype)
            poses.append(matrix.at[:d, -1].add(linear @ shift))
            scores.append(score.ravel()[best])
            score = jnp.where(_near(best, score.shape), -jnp.inf, score)
        return jnp.stack(poses), jnp.stack(scores)

    matrices, scores = jax.lax.map(turned, jnp.asarray(vectors, fixed.dtype))
    scores = scores.ravel()
    order = jnp.argsort(-scores)[:count]
    return matrices.reshape(-1, d + 1, d + 1)[order], scores[order]


def _near(index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Which shifts of a map are within a few voxels of one, all around its ends."""
    near = jnp.asarray(True)
    for axis, (at, n) in enumerate(
        zip(jnp.unravel_index(index, shape), shape, strict=True)
    ):
        away = jnp.abs(jnp.arange(n) - at)
        close = jnp.minimum(away, n - away) <= SAME_SHIFT
        near = near & close.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return near


def homogeneous(linear: jax.Array, offset: jax.Array) -> jax.Array:
    """The matrix of x -> linear @ x + offset."""
    d = offset.size
    top = jnp.concatenate([linear, offset[:, None]], 1)
    return jnp.concatenate([top, jnp.zeros((1, d + 1), top.dtype).at[0, -1].set(1)])
