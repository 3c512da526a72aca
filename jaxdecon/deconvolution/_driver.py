"""The one loop that runs any deconvolution scheme."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
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
from ..operators._sharded import images_on_mesh, mesh_of
from ._likelihood import Likelihood, Poisson
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
    background: ArrayLike | tuple[ArrayLike, ...] = 0.0,
    likelihood: Likelihood | None = None,
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
        background: added to the prediction; a number or of the image's shape, or a
            tuple of them, one per view.
        likelihood: of the noise; None: `Poisson()`. With `MixedPoisson` or `Gaussian`
            the image may have negative values.
        keep: "last", or "best": the estimate with the least data residual. A stopping
            rule that ranks estimates (`Discrepancy`, `HeldOut`) decides instead.
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
    if (mesh := mesh_of(operator)) is not None:
        image, background = images_on_mesh(mesh, image, background)
    image = jax.tree.map(lambda leaf: as_float_array("image", leaf), image)
    likelihood = Poisson() if likelihood is None else likelihood
    _check_image(image, operator, likelihood)
    check_count("iterations", iterations)
    check_choice("keep", keep, KEEP)
    dtype = jnp.result_type(*jax.tree.leaves(image))
    background = _checked_background(background, image, dtype)
    problem = Problem(
        data=image, operator=operator, background=background, likelihood=likelihood
    )
    if progress is None or is_traced(problem, scheme):
        return run(problem, scheme, stop, iterations=iterations, keep=keep)
    return _run_on_host(problem, scheme, stop, iterations, keep, progress)


def _check_image(image: Any, operator: LinearOperator, likelihood: Any) -> None:
    least = 0.0 if isinstance(likelihood, Poisson) else -np.inf
    for leaf in jax.tree.leaves(image):
        check_values("image", leaf, least=least)
    shapes = jax.tree.map(jnp.shape, image)
    if shapes != operator.range:
        raise ValueError(
            f"`image` has shape {shapes}, but `operator` gives {operator.range}."
        )


def _checked_background(background: Any, image: Any, dtype: Any) -> Any:
    if isinstance(background, tuple):
        if not isinstance(image, tuple) or len(image) != len(background):
            raise ValueError(
                f"`background` has {len(background)} parts; one per view is needed."
            )
        return tuple(_checked_background(b, None, dtype) for b in background)
    array = as_float_array("background", background).astype(dtype)
    check_values("background", array)
    return array


@pytree
class _Carry:
    """What the loop hands from one step to the next.

    `best` is None where the last estimate is kept. Where one is, `least` is its score:
    its data residual, or what a rule that ranks estimates gave it.
    """

    state: Any
    memory: Any
    done: jax.Array
    count: jax.Array
    history: jax.Array
    scores: jax.Array | None
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
    unknown = jnp.full(iterations + 1, jnp.nan, dtype)
    ranked = stop is not None and stop.ranks
    return _Carry(
        state=state,
        memory=None if stop is None else stop.init(problem, state),
        done=jnp.asarray(False),
        count=jnp.asarray(0),
        history=unknown,
        scores=unknown if ranked else None,
        best=state.estimate if ranked or keep == "best" else None,
        least=jnp.asarray(jnp.inf, dtype),
        best_iteration=jnp.asarray(0),
    )


def _step(problem, scheme, stop, carry: _Carry) -> _Carry:
    """Record the residual of the estimate at hand, then update it.

    The scheme predicts the data from the same estimate; the compiler merges the two.
    """
    residual = problem.residual(problem.predict(carry.state.estimate))
    history, score = carry.history.at[carry.count].set(residual), residual
    state = scheme.update(problem, carry.state)
    done, memory, scores = carry.done, carry.memory, carry.scores
    if stop is not None:
        done, judged, memory = stop.update(problem, carry.state, state, memory)
        if scores is not None:
            score = judged.astype(scores.dtype)
            scores = scores.at[carry.count].set(score)
    best, least, best_iteration = _keep_better(carry, score)
    return _Carry(
        state=state,
        memory=memory,
        done=done,
        count=carry.count + 1,
        history=history,
        scores=scores,
        best=best,
        least=least,
        best_iteration=best_iteration,
    )


def _keep_better(carry: _Carry, score: jax.Array):
    better = (score < carry.least) & (carry.count > 0)  # the start is no result
    estimate = carry.state.estimate
    return (
        None if carry.best is None else jnp.where(better, estimate, carry.best),
        jnp.where(better, score, carry.least),
        jnp.where(better, carry.count, carry.best_iteration),
    )


def _finish(problem: Problem, carry: _Carry) -> Result:
    residual = problem.residual(problem.predict(carry.state.estimate))
    history = carry.history.at[carry.count].set(residual)
    # A rule has not judged the last estimate. It is taken where all went well so far.
    rising = ~carry.done & (carry.best_iteration == carry.count - 1)
    score = residual if carry.scores is None else jnp.where(rising, -jnp.inf, jnp.inf)
    best, _, best_iteration = _keep_better(carry, score)
    estimate = carry.state.estimate if best is None else best
    kept = best_iteration if carry.scores is not None else carry.count
    finite = jnp.isfinite(estimate).all()
    status = jnp.where(carry.done, Status.STOPPED, Status.ITERATIONS)
    status = jnp.where(_grew(problem, history, kept), Status.RESIDUAL_GREW, status)
    return Result(
        value=problem.operator.image_region(estimate),
        iterations=carry.count,
        best_iteration=best_iteration,
        history=history,
        scores=carry.scores,
        status=jnp.where(finite, status, Status.NOT_FINITE),
        keep="last" if best is None else "best",
    )


def _grew(problem: Problem, history: jax.Array, kept: jax.Array) -> jax.Array:
    """Whether the data residual had passed its minimum when the estimate was made."""
    seen = jnp.arange(history.size) <= kept
    least = jnp.where(seen, history, jnp.inf).min()
    data = [mean(abs(leaf)) for leaf in jax.tree.leaves(problem.data)]
    level = jnp.stack(data).mean()
    return history[kept] > least * (1 + GROWTH) + ROUNDING * level


_begin_jit = jax.jit(_begin, static_argnames=("iterations", "keep"))
_step_jit = jax.jit(_step, donate_argnums=3)
_finish_jit = jax.jit(_finish)
