"""Joint deconvolution of views on grids of their own, as one program."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..deconvolution import FluxPreserving, MixedPoisson
from ..operators import Convolution
from ..operators._base import Shape
from ._alternating import joint_scheme
from ._dark_noise import with_dark_noise
from ._model import View, back_projectors, view_problem


@functools.partial(
    jax.jit, static_argnames=("shape", "iterations", "update", "boundary")
)
def solve(
    views: tuple[View, ...],
    start: jax.Array,
    *,
    shape: Shape,
    iterations: int,
    update: str,
    boundary: str,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Deconvolve views jointly.

    Args:
        views: with PSFs of one shape.
        start: on the grid.
        shape: of the grid.
        iterations: sweeps over all views.
        update: one of `UPDATES`.
        boundary: as for `Convolution.from_psf`.

    Returns:
        The object on the grid; the deviance of every view from what it predicts; and
        the same before the last sweep.
    """
    nothing = jnp.zeros(())
    _, likelihood = with_dark_noise([v.data for v in views], [nothing] * len(views))
    problem = view_problem(views, shape, boundary, likelihood)
    blur = Convolution.from_psf(views[0].psf, shape, boundary=boundary)
    backs = back_projectors(views, shape, boundary)
    scheme = joint_scheme(update, backs, initial=blur.lift(jnp.maximum(start, 0)))
    if backs is not None:
        scheme = FluxPreserving(scheme=scheme)

    @jax.checkpoint
    def step(state, _):
        return scheme.update(problem, state), None

    state = scheme.init(problem)
    state, _ = jax.lax.scan(step, state, length=max(iterations - 1, 0))
    before = deviances(problem, views, state.estimate)
    if iterations:
        state = scheme.update(problem, state)
    after = deviances(problem, views, state.estimate)
    return blur.image_region(state.estimate), after, before


def deviances(problem, views: Sequence[View], estimate: jax.Array) -> jax.Array:
    """Mean deviance of every view over the voxels that it is to explain."""
    likelihood: MixedPoisson = problem.likelihood
    predicted = problem.operator(estimate)
    found = []
    for view, data, model in zip(views, problem.data, predicted, strict=True):
        used = jnp.broadcast_to(view.weight > 0, data.shape)
        whole = likelihood.deviance(data, jnp.where(used, model, 0))
        found.append(whole * (data.size / jnp.maximum(used.sum(), 1)))
    return jnp.stack(found)
