"""What a deconvolution scheme is."""

import dataclasses
from typing import Any, Protocol

import jax

from ._problem import Problem


class Scheme(Protocol):
    """One update of an estimate; a pytree, so that its parameters can be learned.

    The state is any pytree with the attribute `estimate`, the object so far. To be
    wrapped (`Accelerated`, `FluxPreserving`) it must be a dataclass that holds the
    estimate in the field `estimate`, or another such state in the field `inner`.
    """

    def init(self, problem: Problem) -> Any:
        """The state before the first update."""
        ...

    def update(self, problem: Problem, state: Any) -> Any:
        """The state after one more update."""
        ...


def with_estimate(state: Any, estimate: jax.Array) -> Any:
    """A scheme's state with another estimate, also where wrappers hold it inside."""
    names = {field.name for field in dataclasses.fields(state)}
    if "estimate" in names:
        return dataclasses.replace(state, estimate=estimate)
    return dataclasses.replace(state, inner=with_estimate(state.inner, estimate))
