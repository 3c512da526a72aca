"""Several operators that look at one object."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import as_pytree
from ._base import LinearOperator, Shapes

LEAST_WEIGHT = 1e-6
"""Share of its light below which no view sees a voxel."""


@as_pytree
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
        return _sum(operator.adjoint(view) for operator, view in pairs)

    def sensitivity(self, dtype: Any = float) -> jax.Array:
        """How much light of each object voxel all views record together."""
        return _sum(operator.sensitivity(dtype) for operator in self.operators)

    def lift(self, y: Sequence[jax.Array]) -> jax.Array:
        """The mean of the views' own guesses, by how much of a voxel's light they see.

        Of views on one grid, without a border, their mean.
        """
        weights, guesses = [], []
        for operator, view in zip(self.operators, y, strict=True):
            guesses.append(operator.lift(view))
            weights.append(operator.sensitivity(guesses[-1].dtype))
        weighted = _sum(w * g for w, g in zip(weights, guesses, strict=True))
        return weighted / jnp.maximum(_sum(weights), LEAST_WEIGHT)

    def image_region(self, x: jax.Array) -> jax.Array:
        """The field of view that all views have; all of `domain` if they differ."""
        regions = [
            jax.eval_shape(operator.image_region, x).shape
            for operator in self.operators
        ]
        return self.operators[0].image_region(x) if len(set(regions)) == 1 else x


def _sum(parts: Iterable[jax.Array]) -> jax.Array:
    first, *others = parts
    return sum(others, first)
