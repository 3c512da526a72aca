"""Joint deconvolution of views on grids of their own, as one program."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .._core._sum import total
from ..deconvolution import Problem
from ..operators import Convolution
from ..operators._base import Shape
from ._alternating import joint_scheme
from ._model import View, back_projectors, view_problem


@functools.partial(jax.jit, static_argnames=("shape", "update", "boundary"))
def solve(
    views: tuple[View, ...],
    start: jax.Array,
    *,
    shape: Shape,
    iterations: int | jax.Array,
    update: str,
    boundary: str,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Deconvolve views jointly.

    Args:
        views: with PSFs of one shape.
        start: on the grid.
        shape: of the grid.
        iterations: sweeps over all views; not static: any number is one program.
        update: one of `UPDATES`.
        boundary: as for `Convolution.from_psf`.

    Returns:
        The object on the grid; the deviance of every view from what it predicts; and
        the same before the last sweep.
    """
    problem = view_problem(views, shape, boundary)
    blur = Convolution.from_psf(views[0].psf, shape, boundary=boundary)
    backs = back_projectors(views, shape, boundary)
    scheme = joint_scheme(update, backs, initial=blur.lift(jnp.maximum(start, 0)))

    def sweep(i, carried):
        state, before = carried
        last = i == iterations - 1
        before = jax.lax.cond(
            last, lambda: judged(problem, views, state.estimate)[1], lambda: before
        )
        return scheme.update(problem, state), before

    state = scheme.init(problem)
    unknown = jnp.full(len(views), jnp.inf, state.estimate.dtype)
    state, before = jax.lax.fori_loop(0, iterations, sweep, (state, unknown))
    estimate, after = judged(problem, views, state.estimate)
    return blur.image_region(estimate), after, before


def judged(
    problem: Problem, views: Sequence[View], estimate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """An object scaled to predict as much light as was recorded, and how it fits.

    Matched updates keep the light by themselves, unmatched ones drift.
    """
    light = problem.operator(estimate)
    recorded, predicted = (
        jnp.stack([total(v) for v in part]).sum() for part in (problem.excess, light)
    )
    usable = (recorded > 0) & (predicted > 0)
    scale = jnp.where(usable, recorded / jnp.where(usable, predicted, 1), 1)
    models = [scale * v + b for v, b in zip(light, problem.backgrounds, strict=True)]
    return estimate * scale, deviances(problem, views, models)


def deviances(
    problem: Problem, views: Sequence[View], predicted: Sequence[jax.Array]
) -> jax.Array:
    """Mean deviance of every view over the voxels that it is to explain."""
    found = []
    for view, data, model in zip(views, problem.data, predicted, strict=True):
        used = jnp.broadcast_to(view.weight > 0, data.shape)
        whole = problem.likelihood.deviance(data, model)  # 0 where it is not used
        found.append(whole * (data.size / jnp.maximum(used.sum(), 1)))
    return jnp.stack(found)
