"""First-order search, by Optax, for the best pose under any differentiable metric."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ._gauss_newton import (
    MatrixOf,
    Search,
    corner_places,
    farthest,
    first_search,
    look,
    rows_of,
)
from ._metrics import Metric, score_at
from ._moments import Pair

TRIES = 12
"""Lengths of a step that a line search looks at, at most."""
SHORT = 0.2
"""Of the tolerance, the length of the last step: this search closes in less fast."""


def ascend(
    metric: Metric,
    pair: Pair,
    matrix_of: MatrixOf,
    start: jax.Array,
    *,
    tolerance: float,
    most: int,
) -> Search:
    """Climb to the nearest maximum of the score by L-BFGS; as `search` does.

    In coordinates in which a unit moves the corners by a voxel, root mean square. Stops
    where a step moves no corner by more than `tolerance` voxels.
    """
    import optax

    place = corner_places(pair, matrix_of)
    scale = _voxel_steps(place, start)

    def score(x):
        matrix = matrix_of(start + scale @ x)
        return score_at(metric, pair, rows_of(matrix, pair.fixed.shape))

    zero = jnp.zeros_like(start)
    steep = jnp.maximum(jnp.linalg.norm(jax.grad(score)(zero)), 1e-30)

    def loss(x):  # The first step is one of a voxel.
        return -score(x) / steep

    solver = optax.lbfgs(
        linesearch=optax.scale_by_zoom_linesearch(
            max_linesearch_steps=TRIES, initial_guess_strategy="one"
        )
    )
    value_and_grad: Any = optax.value_and_grad_from_state(loss)

    def advance(carry):
        x, state, search = carry
        value, slope = value_and_grad(x, state=state)
        update, state = solver.update(
            slope, state, x, value=value, grad=slope, value_fn=loss
        )
        new = jnp.asarray(x + update)
        before, after = (start + scale @ v for v in (x, new))
        moved = farthest(place(after) - place(before))
        search = dataclasses.replace(
            search,
            parameters=after,
            candidate=after,
            count=search.count + 1,
            history=search.history.at[search.count].set(-value * steep),
            done=moved < SHORT * tolerance,
        )
        return new, state, search

    carry = (zero, solver.init(zero), first_search(start, pair.fixed.ndim, most))
    found = jax.lax.while_loop(
        lambda carry: ~carry[2].done & (carry[2].count < most), advance, carry
    )[2]
    normal = look(metric, pair, matrix_of, found.parameters)
    return dataclasses.replace(found, normal=normal)


def _voxel_steps(place: MatrixOf, start: jax.Array) -> jax.Array:
    """(n, n): parameters of unit steps, each of which moves the corners by a voxel."""
    slopes = jax.jacfwd(place)(start).reshape(-1, start.size)
    values, vectors = jnp.linalg.eigh(slopes.T @ slopes / len(slopes))
    return vectors / jnp.sqrt(jnp.maximum(values, 1e-12 * values[-1]))
