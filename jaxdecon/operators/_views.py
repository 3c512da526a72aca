"""Several operators that look at one object."""

import dataclasses
from collections.abc import Sequence

import jax
from jax.typing import ArrayLike

from ._base import LinearOperator, Shapes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Views(LinearOperator):
    """Several views of one object: `Views([A, B])(x)` is `(A(x), B(x))`.

    Args:
        operators: at least one, all with the same `domain`.

    Raises:
        ValueError: none given, or domains that differ.
    """

    operators: tuple[LinearOperator, ...]

    def __init__(self, operators: Sequence[LinearOperator]):
        # Runs again when JAX rebuilds the object, perhaps with other things inside.
        real = [op for op in operators if isinstance(op, LinearOperator)]
        domains = {operator.domain for operator in real}
        if len(domains) != 1 and len(real) == len(operators):
            raise ValueError(f"`operators` need one common domain, and have {domains}.")
        object.__setattr__(self, "operators", tuple(operators))

    @property
    def domain(self) -> Shapes:
        """Shape of the object that all views see."""
        return self.operators[0].domain

    @property
    def range(self) -> Shapes:
        """Shapes of the views, as a tuple."""
        return tuple(operator.range for operator in self.operators)

    def __call__(self, x: ArrayLike) -> tuple[jax.Array, ...]:
        """All views of `x`."""
        return tuple(operator(x) for operator in self.operators)

    def adjoint(self, y: Sequence[jax.Array]) -> jax.Array:
        """The sum of all views' adjoints."""
        pairs = zip(self.operators, y, strict=True)
        first, *others = (operator.adjoint(view) for operator, view in pairs)
        return sum(others, first)
