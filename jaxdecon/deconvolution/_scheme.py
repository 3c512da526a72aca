"""What a deconvolution scheme is."""

from typing import Any, Protocol

from ._problem import Problem


class Scheme(Protocol):
    """One update of an estimate; a pytree, so that its parameters can be learned.

    The state is any pytree with the attribute `estimate`, the object so far.
    """

    def init(self, problem: Problem) -> Any:
        """The state before the first update."""
        ...

    def update(self, problem: Problem, state: Any) -> Any:
        """The state after one more update."""
        ...
