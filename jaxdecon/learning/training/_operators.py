"""Operators for networks with physics in their wiring."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...operators import LinearOperator
from ..networks._network import Network
from ..pairs._pairs import Pair
from ._devices import Placement
from ._step import Batch


@dataclasses.dataclass(frozen=True)
class Operators:
    """The operators of pairs.

    Attributes:
        common: one for all pairs; None: see `of_pair`.
        of_pair: gives that of a pair by its number; None: none is needed.
    """

    common: LinearOperator | None = None
    of_pair: Callable[[int], LinearOperator] | None = None

    @classmethod
    def of(cls, operator: Any, network: Network, name: str) -> "Operators":
        """As given, if the network wants any.

        Raises:
            ValueError: none, and one is needed.
            TypeError: no operator and no function.
        """
        if not network.needs_operator:
            return cls()
        if operator is None:
            raise ValueError(
                f"`{name}` is missing: the network has the physics in its wiring and "
                f"needs the operator of the pairs, or a function that gives it by a "
                f"pair's number, e.g. `SimulatedPairs.operator_of`."
            )
        if isinstance(operator, LinearOperator):
            return cls(common=operator)
        if not callable(operator):
            raise TypeError(
                f"`{name}` is {operator!r}; a linear operator is needed, or a function "
                f"of a pair's number."
            )
        return cls(of_pair=operator)  # pyright: ignore[reportArgumentType]

    def batch(
        self, pair: Pair, numbers: Sequence[int] | np.ndarray, placement: Placement
    ) -> Batch:
        """A batch of these pairs, where it is to be."""
        images, truth = placement.shared((pair.images, pair.truth))
        if self.of_pair is None:
            common = placement.everywhere(self.common)
            return Batch(images=images, truth=truth, operator=common)
        found = [self.of_pair(int(number)) for number in numbers]
        operator = placement.shared(stacked(found, numbers))
        return Batch(images=images, truth=truth, operator=operator, stacked=True)


def stacked(operators: Sequence[Any], numbers: Sequence[int] | np.ndarray) -> Any:
    """Operators of one form as one, with a further first axis of all arrays."""
    first = _form(operators[0])
    for number, operator in zip(numbers, operators, strict=True):
        if _form(operator) != first:
            raise ValueError(
                f"the operators of pairs {numbers[0]} and {number} differ in kind or "
                f"shape; in a batch they must be alike."
            )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *operators)


def _form(operator: Any) -> Any:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(operator)]
    return jax.tree.structure(operator), shapes
