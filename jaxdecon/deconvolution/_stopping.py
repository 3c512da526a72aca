"""Rules that end a deconvolution before its last allowed iteration."""

from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree
from .._core._sum import total
from ._likelihood import chi_square
from ._problem import Problem


class Verdict(NamedTuple):
    """What a rule says after an update.

    Attributes:
        stop: whether to stop.
        score: how bad the estimate *before* the update was, in the rule's own measure
            (any number, if the rule does not rank).
        memory: the rule's memory.
    """

    stop: jax.Array
    score: jax.Array
    memory: Any


@pytree
class Streak:
    """How long ago a score was least.

    Attributes:
        least: least score so far.
        since: scores since then.
    """

    least: jax.Array
    since: jax.Array

    @classmethod
    def start(cls, dtype: Any) -> "Streak":
        """Before the first score."""
        return cls(least=jnp.asarray(jnp.inf, dtype), since=jnp.asarray(0))

    def add(self, score: jax.Array) -> "Streak":
        """With one more score."""
        better = score < self.least
        return Streak(
            least=jnp.minimum(score, self.least).astype(self.least.dtype),
            since=jnp.where(better, 0, self.since + 1),
        )


class StoppingRule(Protocol):
    """Decides after every update whether to stop; carries its own memory.

    All built-in rules look at means over voxels, and so mean the same for a block and
    for the whole it was cut from.

    Attributes:
        ranks: whether the estimate with the least score is kept, instead of the last.
    """

    ranks: ClassVar[bool]

    def init(self, problem: Problem, state: Any) -> Any:
        """The rule's memory before the first update."""
        ...

    def update(self, problem: Problem, before: Any, after: Any, memory: Any) -> Verdict:
        """Judge the states before and after an update."""
        ...


@pytree
class RelativeChange:
    """Stop once an update changes the estimate by less than a share of it::

        |x_new - x_old| < tolerance |x_new|

    A small step says that the scheme has slowed down, not that the result is good:
    Richardson-Lucy slows down long after noise began to grow.

    Attributes:
        tolerance: the share.
    """

    ranks: ClassVar[bool] = False
    tolerance: ArrayLike = 1e-3

    def init(self, problem: Problem, state: Any) -> None:
        """Nothing to remember."""

    def update(
        self, problem: Problem, before: Any, after: Any, memory: None
    ) -> Verdict:
        """Compare the two estimates."""
        change = total((after.estimate - before.estimate) ** 2)
        size = total(after.estimate**2)
        stop = change <= jnp.asarray(self.tolerance) ** 2 * size
        return Verdict(stop, change, memory)


@pytree
class Discrepancy:
    """Stop once the data are explained as well as their noise allows (Morozov)::

        mean of (y - m)^2 / variance(m)  <=  target

    The variance is that of the problem's likelihood, so the data must be photon counts
    or the likelihood must know their gain and read noise. Reached early if the PSF or
    the noise is overestimated, never if it is underestimated.

    Attributes:
        target: 1 for a right model; larger to stop before.

    References:
        Bertero et al., Inverse Problems 26, 105004 (2010),
        doi:10.1088/0266-5611/26/10/105004.
    """

    ranks: ClassVar[bool] = True
    target: ArrayLike = 1.0

    def init(self, problem: Problem, state: Any) -> None:
        """Nothing to remember."""

    def update(
        self, problem: Problem, before: Any, after: Any, memory: None
    ) -> Verdict:
        """Judge the estimate before the update, whose prediction is at hand."""
        predicted = problem.predict(before.estimate)
        found = chi_square(problem.likelihood, problem.data, predicted)
        excess = jnp.maximum(found - self.target, 0)
        return Verdict(excess <= 0, excess, memory)
