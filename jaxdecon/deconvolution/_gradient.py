"""Deconvolution by any optimiser of Optax, kept positive by a map."""

from typing import Any

import jax
import jax.numpy as jnp

from .._core._check import check_choice
from .._core._pytree import pytree, static
from .._core._sum import mean
from ._priors import Prior
from ._problem import Problem

POSITIVITY = ("softplus", "exp", "square", "projection")
SMALLEST = 1e-4
"""Least estimate, as a share of the mean, that a map is inverted at."""


@pytree
class GradientState:
    """State of `GradientScheme`.

    Attributes:
        estimate: the object so far, on the operator's domain.
        optimiser: state of the optimiser.
        level: mean of the start, the unit of the parameters; 1 if that is zero.
    """

    estimate: jax.Array
    optimiser: Any
    level: jax.Array


@pytree
class GradientScheme:
    """One step of an Optax optimiser on the likelihood, in parameters of the object::

        x = level f(parameters),  loss = D(y, A x + b) / 2 + weight U(x) / N

    with D the mean deviance of the problem's likelihood over the N voxels of the data,
    divided by `level`, the mean of the start. Measured in `level` the parameters are
    of order 1, and so a learning rate means the same for any data.

    For second-order convergence use `optax.lbfgs()`; optimisers that need the value or
    the function get them.

    Attributes:
        optimiser: e.g. `optax.adam(0.1)` or `optax.lbfgs()`.
        positivity: f: "softplus", "exp", "square", or "projection" (x itself, set to
            zero where it is negative after a step).
        prior: penalty U with its weight.
        start: "image" or "constant", as for `RichardsonLucy`.

    Example:
        >>> import jax.numpy as jnp, optax, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (32, 32))
        >>> image = jnp.ones((32, 32)).at[16, 16].set(50)
        >>> scheme = jd.deconvolution.GradientScheme(optimiser=optax.adam(0.1))
        >>> result = jd.deconvolve(image, blur, scheme, iterations=20)
        >>> bool(result.history[-1] < result.history[0])
        True
    """

    optimiser: Any = static()
    positivity: str = static(default="softplus")
    prior: Prior | None = None
    start: str = static(default="image")

    def init(self, problem: Problem) -> GradientState:
        """The start, and the optimiser's.

        Raises:
            ValueError: unknown `positivity` or `start`.
        """
        check_choice("positivity", self.positivity, POSITIVITY)
        check_choice("start", self.start, ("image", "constant"))
        signal = jax.tree.map(lambda y: jnp.maximum(y, 0), problem.excess)
        estimate = problem.operator.lift(signal)
        level = mean(estimate)
        level = jnp.where(level > 0, level, 1)  # nothing above the background
        if self.start == "constant":
            estimate = jnp.full_like(estimate, level)
        parameters = self._parameters(estimate / level)
        return GradientState(
            estimate=level * self._positive(parameters),
            optimiser=self._optimiser().init(parameters),
            level=level,
        )

    def update(self, problem: Problem, state: GradientState) -> GradientState:
        """One step."""
        parameters = self._parameters(state.estimate / state.level)

        def loss(parameters):
            return self._loss(problem, state.level * self._positive(parameters), state)

        value, slope = jax.value_and_grad(loss)(parameters)
        step, optimiser = self._optimiser().update(
            slope, state.optimiser, parameters, value=value, grad=slope, value_fn=loss
        )
        return GradientState(
            estimate=state.level * self._positive(parameters + step),
            optimiser=optimiser,
            level=state.level,
        )

    def _loss(self, problem: Problem, estimate, state: GradientState) -> jax.Array:
        guard = SMALLEST * state.level  # rounding must not make a prediction zero
        predicted = jax.tree.map(
            lambda m: jnp.maximum(m, guard), problem.predict(estimate)
        )
        value = problem.residual(predicted) / 2
        if self.prior is not None:
            voxels = sum(leaf.size for leaf in jax.tree.leaves(problem.data))
            value = value + self.prior.weight * self.prior.penalty(estimate) / voxels
        return value / state.level

    def _optimiser(self) -> Any:
        import optax  # not before it is needed: importing costs a second

        return optax.with_extra_args_support(self.optimiser)

    def _positive(self, parameters: jax.Array) -> jax.Array:
        match self.positivity:
            case "softplus":
                return jax.nn.softplus(parameters)
            case "exp":
                return jnp.exp(parameters)
            case "square":
                return parameters**2
            case _:
                return jnp.maximum(parameters, 0)

    def _parameters(self, relative: jax.Array) -> jax.Array:
        """The inverse of `_positive`, away from where it is infinite."""
        if self.positivity == "projection":
            return relative
        relative = jnp.maximum(relative, SMALLEST)
        match self.positivity:
            case "softplus":
                return relative + jnp.log(-jnp.expm1(-relative))
            case "exp":
                return jnp.log(relative)
            case _:
                return jnp.sqrt(relative)
