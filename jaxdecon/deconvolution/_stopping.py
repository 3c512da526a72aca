"""Rules that end a deconvolution before its last allowed iteration."""

from typing import Any, Protocol

import jax

from .._core._pytree import pytree
from .._core._sum import total
from ._problem import Problem


class StoppingRule(Protocol):
    """Decides after every update whether to stop; carries its own memory."""

    def init(self, problem: Problem, state: Any) -> Any:
        """The rule's memory before the first update."""
        ...

    def update(self, problem: Problem, before: Any, after: Any, memory: Any) -> Any:
        """(whether to stop, new memory), from the states before and after an update."""
        ...


@pytree
class RelativeChange:
    """Stop once an update changes the estimate by less than a share of it::

        |x_new - x_old| < tolerance |x_new|

    A small step says that the scheme has slowed down, not that the result is good:
    Richardson-Lucy slows down long after noise began to grow.
    """

    tolerance: float | jax.Array = 1e-3

    def init(self, problem: Problem, state: Any) -> None:
        """Nothing to remember."""

    def update(self, problem: Problem, before: Any, after: Any, memory: None):
        """Compare the two estimates."""
        change = total((after.estimate - before.estimate) ** 2)
        size = total(after.estimate**2)
        return change <= self.tolerance**2 * size, memory
