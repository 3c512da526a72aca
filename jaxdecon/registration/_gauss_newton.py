"""Second-order search for the best pose, damped where it must be."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from .._core._pytree import pytree
from ._metrics import Metric
from ._moments import Pair, countable, from_unit
from ._normal import Normal

LEAST_OVERLAP = 0.1
"""Share of the smaller volume; poses with less are not looked at."""
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-7, 1e3
EASE, STIFFEN = 0.1, 10.0
"""Factors on the damping after a step that raised the score, or did not."""

MatrixOf = Callable[[jax.Array], jax.Array]
"""From parameters to the homogeneous matrix between voxels of two volumes."""


@pytree
class Search:
    """Where a search stands.

    Attributes:
        parameters: the best pose so far.
        candidate: the next one to be looked at.
        normal: the normal equations of the best pose that was looked at.
        damping: of the next step, relative to the diagonal.
        count: passes over the volumes.
        history: (most,) score of the best pose after every pass, NaN for none.
        done: whether a step was small enough.
    """

    parameters: jax.Array
    candidate: jax.Array
    normal: Normal
    damping: jax.Array
    count: jax.Array
    history: jax.Array
    done: jax.Array


def look(
    metric: Metric, pair: Pair, matrix_of: MatrixOf, parameters: jax.Array
) -> Normal:
    """The normal equations of a pose."""

    def rows(parameters):
        return rows_of(matrix_of(parameters), pair.fixed.shape)

    into = jax.jacfwd(rows)(parameters).reshape(-1, parameters.size)
    return metric.look(pair, rows(parameters), into)


def rows_of(matrix: jax.Array, fixed_shape: Sequence[int]) -> jax.Array:
    """The rows from unit coordinates of the fixed volume to moving voxels."""
    return (matrix @ from_unit(fixed_shape).astype(matrix.dtype))[:-1]


def search(
    metric: Metric,
    pair: Pair,
    matrix_of: MatrixOf,
    start: jax.Array,
    *,
    tolerance: float,
    most: int,
) -> Search:
    """Climb to the nearest maximum of the score.

    A step is taken if it raises the score, else tried again, shorter. The last one,
    which moves no corner by more than `tolerance` voxels, is taken untried.
    """
    magnification = jnp.abs(jnp.linalg.det(matrix_of(start)[:-1, :-1]))
    least = LEAST_OVERLAP * countable(pair, magnification)
    place = corner_places(pair, matrix_of)

    def advance(state: Search) -> Search:
        found = look(metric, pair, matrix_of, state.candidate)
        better = (found.weight > least) & (found.score > state.normal.score)
        parameters = jnp.where(better, state.candidate, state.parameters)
        normal = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), found, state.normal
        )
        damping = state.damping * jnp.where(better, EASE, STIFFEN)
        damping = jnp.maximum(damping, LEAST_DAMPING)
        candidate = parameters + metric.step(normal, damping)
        small = farthest(place(candidate) - place(parameters)) < tolerance
        return Search(
            parameters=jnp.where(small, candidate, parameters),
            candidate=candidate,
            normal=normal,
            damping=damping,
            count=state.count + 1,
            history=state.history.at[state.count].set(normal.score),
            done=small | (damping > MOST_DAMPING),
        )

    return jax.lax.while_loop(
        lambda state: ~state.done & (state.count < most),
        advance,
        first_search(start, pair.fixed.ndim, most),
    )


def first_search(start: jax.Array, ndim: int, most: int) -> Search:
    """Before any pass."""
    return Search(
        parameters=start,
        candidate=start,
        normal=Normal.nothing(start, ndim),
        damping=jnp.asarray(FIRST_DAMPING / EASE, start.dtype),
        count=jnp.asarray(0),
        history=jnp.full(most, jnp.nan, start.dtype),
        done=jnp.asarray(False),
    )


def corner_places(pair: Pair, matrix_of: MatrixOf) -> MatrixOf:
    """From parameters to where the fixed volume's corners go, (corners, d)."""
    points = jnp.asarray(corners(pair.fixed.shape), pair.fixed.dtype)

    def place(parameters):
        matrix = matrix_of(parameters)
        return points @ matrix[:-1, :-1].T + matrix[:-1, -1]

    return place


def farthest(displacements: jax.Array) -> jax.Array:
    """The longest of several displacements."""
    return jnp.sqrt((displacements**2).sum(-1).max())


def corners(shape: Sequence[int]) -> list[tuple[float, ...]]:
    """Of a volume, in its voxels."""
    return list(itertools.product(*((0.0, n - 1.0) for n in shape)))
