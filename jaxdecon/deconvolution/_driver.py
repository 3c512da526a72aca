"""The one loop that runs any deconvolution scheme."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import (
    as_float_array,
    check_choice,
    check_count,
    check_values,
    is_traced,
)
from .._core._pytree import pytree
from .._core._sum import mean
from ..operators import LinearOperator
from ._problem import Problem
from ._result import Result, Status
from ._scheme import Scheme
from ._stopping import StoppingRule

KEEP = ("last", "best")

GROWTH = 1e-3
ROUNDING = 1e-6
"""Growth of the data residual that does not count: a share of the least residual, and
of the mean of the data."""


def deconvolve(
    image: Any,
    operator: LinearOperator,
    scheme: Scheme,
    *,
    iterations: int,
    stop: StoppingRule | None = None,
    background: ArrayLike = 0.0,
    keep: Literal["last", "best"] = "last",
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Run a deconvolution scheme and say how it went.

    Without `stop` and `progress` the loop is a `scan` whose steps are recomputed in
    the backward pass: differentiable in everything, at little memory. With `stop` it
    is a `while_loop`. With `progress` the host drives it, one compiled step at a time.

    Args:
        image: data of shape `operator.range`, or a tuple of images for `Views`.
        operator: the forward operator.
        scheme: e.g. `RichardsonLucy()`, or any object with its two methods.
        iterations: updates to do, or the most to do if `stop` is given.
        stop: rule that may end the loop before, e.g. `RelativeChange(tolerance=1e-3)`.
        background: added to the prediction; a number or of the image's shape.
        keep: "last", or "best": the estimate with the least data residual.
        progress: called with the number of updates done, after each; not while
            tracing.

    Returns:
        A `Result`; `result.raise_for_status()` warns when the data residual has begun
        to grow. Its `value` has the image's shape where the operator is a
        `Convolution`, that of the innermost operator's field for a composition, else
        that of `operator.domain`.

    Raises:
        ValueError: shapes that do not match, NaN or negative values, unknown `keep`.

    Example:
        >>> import jax.numpy as jnp, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (32, 32))
        >>> image = jnp.ones((32, 32)).at[16, 16].set(50)
        >>> scheme = jd.deconvolution.RichardsonLucy()
        >>> result = jd.deconvolve(image, blur, scheme, iterations=3)
        >>> result.value.shape, int(result.iterations)
        ((32, 32), 3)
    """
    image = tuple(image) if isinstance(image, list) else image
    image = jax.tree.map(lambda leaf: as_float_array("image", leaf), image)
    _check_image(image, operator)
    check_count("iterations", iterations)
    check_choice("keep", keep, KEEP)
    dtype = jnp.result_type(*jax.tree.leaves(image))
    background = as_float_array("background", background).astype(dtype)
    check_values("background", background)
    problem = Problem(data=image, operator=operator, background=background)
    if progress is None or is_traced(problem, scheme):
        return run(problem, scheme, stop, iterations=iterations, keep=keep)
    return _run_on_host(problem, scheme, stop, iterations, keep, progress)


def _check_image(image: Any, operator: LinearOperator) -> None:
    for leaf in jax.tree.leaves(image):
        check_values("image", leaf)
    shapes = jax.tree.map(jnp.shape, image)
    if shapes != operator.range:
        raise ValueError(
            f"`image` has shape {shapes}, but `operator` gives {operator.range}."
        )


@pytree
class _Carry:
    """What the loop hands from one step to the next."""

    state: Any
    memory: Any
    done: jax.Array
    count: jax.Array
    history: jax.Array
    best: jax.Array | None
    least: jax.Array
    best_iteration: jax.Array


@functools.partial(jax.jit, static_argnames=("iterations", "keep"))
def run(
    problem: Problem,
    scheme: Scheme,
    stop: StoppingRule | None = None,
    *,
    iterations: int,
    keep: str = "last",
) -> Result:
    """Run a scheme inside one compiled program."""
    carry = _begin(problem, scheme, stop, iterations=iterations, keep=keep)
    if stop is None:

        @jax.checkpoint
        def step(carry, _):
            return _step(problem, scheme, stop, carry), None

        carry, _ = jax.lax.scan(step, carry, length=iterations)
    else:
        carry = jax.lax.while_loop(
            lambda carry: ~carry.done & (carry.count < iterations),
            lambda carry: _step(problem, scheme, stop, carry),
            carry,
        )
    return _finish(problem, carry)


@functools.partial(jax.jit, static_argnames="iterations")
def estimate(problem: Problem, scheme: Scheme, *, iterations: int) -> jax.Array:
    """The estimate after a fixed count of updates, and nothing about how it went.

    Leaves out the data residuals, which cost a pass over the data per update and one
    forward projection.
    """

    @jax.checkpoint
    def step(state, _):
        return scheme.update(problem, state), None

    state, _ = jax.lax.scan(step, scheme.init(problem), length=iterations)
    return state.estimate


def _run_on_host(problem, scheme, stop, iterations, keep, progress) -> Result:
    carry = _begin_jit(problem, scheme, stop, iterations=iterations, keep=keep)
    for count in range(1, iterations + 1):
        carry = _step_jit(problem, scheme, stop, carry)
        jax.block_until_ready(carry)
        progress(count)
        if stop is not None and carry.done:
            break
    return _finish_jit(problem, carry)


def _begin(problem, scheme, stop, *, iterations, keep) -> _Carry:
    state = scheme.init(problem)
    dtype = jnp.result_type(state.estimate)
    return _Carry(
        state=state,
        memory=None if stop is None else stop.init(problem, state),
        done=jnp.asarray(False),
        count=jnp.asarray(0),
        history=jnp.full(iterations + 1, jnp.nan, dtype),
        best=state.estimate if keep == "best" else None,
        least=jnp.asarray(jnp.inf, dtype),
        best_iteration=jnp.asarray(0),
    )


def _step(problem, scheme, stop, carry: _Carry) -> _Carry:
    """Record the residual of the estimate at hand, then update it.

    The scheme predicts the data from the same estimate; the compiler merges the two.
    """
    history, best, least, best_iteration = _record(problem, carry)
    state = scheme.update(problem, carry.state)
    done, memory = carry.done, carry.memory
    if stop is not None:
        done, memory = stop.update(problem, carry.state, state, memory)
    return _Carry(
        state=state,
        memory=memory,
        done=done,
        count=carry.count + 1,
        history=history,
        best=best,
        least=least,
        best_iteration=best_iteration,
    )


def _record(problem: Problem, carry: _Carry):
    estimate = carry.state.estimate
    residual = problem.residual(problem.predict(estimate))
    better = residual < carry.least
    best = None if carry.best is None else jnp.where(better, estimate, carry.best)
    return (
        carry.history.at[carry.count].set(residual),
        best,
        jnp.where(better, residual, carry.least),
        jnp.where(better, carry.count, carry.best_iteration),
    )


def _finish(problem: Problem, carry: _Carry) -> Result:
    history, best, least, best_iteration = _record(problem, carry)
    estimate = carry.state.estimate if best is None else best
    status = jnp.where(carry.done, Status.STOPPED, Status.ITERATIONS)
    data = jnp.stack([mean(leaf) for leaf in jax.tree.leaves(problem.data)]).mean()
    grew = history[carry.count] > least * (1 + GROWTH) + ROUNDING * data
    status = jnp.where(grew, Status.RESIDUAL_GREW, status)
    finite = jnp.isfinite(estimate).all()
    return Result(
        value=problem.operator.image_region(estimate),
        iterations=carry.count,
        best_iteration=best_iteration,
        history=history,
        status=jnp.where(finite, status, Status.NOT_FINITE),
        keep="last" if best is None else "best",
    )


_begin_jit = jax.jit(_begin, static_argnames=("iterations", "keep"))
_step_jit = jax.jit(_step, donate_argnums=3)
_finish_jit = jax.jit(_finish)
