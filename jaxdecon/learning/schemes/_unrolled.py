"""The estimate after K updates, and three ways to differentiate it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...deconvolution import Problem, Scheme
from ...deconvolution._driver import estimate

GRADIENTS = ("exact", "truncated", "forward")


def seen_after(
    scheme: Scheme, problem: Problem, *, iterations: int, last: int | None = None
) -> jax.Array:
    """The estimate inside the field of view after a number of updates.

    Args:
        scheme: whose updates are done; recomputed in the backward pass.
        problem: to be solved.
        iterations: updates.
        last: let derivatives pass through so many updates only; None: through all.
    """
    if last is None or last >= iterations:
        value = estimate(problem, scheme, iterations=iterations)
    else:
        state = _without_derivative(scheme, problem, iterations - last)
        value = _advance(scheme, problem, state, last).estimate
    return problem.operator.image_region(value)


def _without_derivative(scheme: Any, problem: Problem, count: int) -> Any:
    """The state after some updates, as if what they changed were given.

    What a scheme prepares at its start and its updates leave alone (the back projection
    of ones, floors) keeps its derivative, for the updates that follow use it, too.
    """
    start = scheme.init(problem)
    frozen = jax.lax.stop_gradient((scheme, start))
    state = jax.lax.stop_gradient(_advance(frozen[0], problem, frozen[1], count))
    return jax.tree.map(lambda a, b: jnp.where(a == b, a, b), start, state)


def _advance(scheme: Any, problem: Problem, state: Any, count: int) -> Any:
    @jax.checkpoint
    def step(state, _):
        return scheme.update(problem, state), None

    return jax.lax.scan(step, state, length=count)[0]


def value_and_gradient(
    function: Callable[[jax.Array], jax.Array], *, forward: bool
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Value and gradient of a function of a vector.

    Args:
        function: from a vector to a number.
        forward: push one tangent per parameter through the updates, all side by side:
            memory of P + 1 states however many updates, and time of P + 1 runs.
            Otherwise one backward pass, whatever the number of parameters.
    """
    if not forward:
        return jax.value_and_grad(function)

    def pushed(vector):
        directions = jnp.eye(vector.size, dtype=vector.dtype)
        value, push = jax.linearize(function, vector)
        return value, jax.vmap(push)(directions)

    return pushed
