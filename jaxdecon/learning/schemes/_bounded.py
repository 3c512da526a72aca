"""Parameters inside bounds, as numbers that may be anything."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..._core._pytree import pytree, static

Pair = tuple[float, float]


@pytree
class Bounded:
    """A map between a tree of bounded parameters and one vector of free numbers.

    Lengths and weights, bounded below, go by their logarithm, shares between two
    bounds by their logit. Made by `Bounded.of`.
    """

    pairs: tuple[Pair, ...] = static()
    unravel: Any = static()

    @classmethod
    def of(cls, start: Any, bounds: Any) -> tuple["Bounded", jax.Array]:
        """The map for parameters like `start`, and the vector of `start` itself.

        Args:
            start: tree of real numbers or arrays.
            bounds: (low, high) for all of them, or a tree like `start` of such pairs;
                infinite where there is none.

        Raises:
            TypeError: parameters that are not real.
            ValueError: none at all; a start that is not between its bounds.
        """
        leaves, structure = jax.tree.flatten(start)
        if not leaves:
            raise ValueError("`start` has no parameters; at least one is needed.")
        pairs = _pairs(bounds, structure)
        for leaf, pair in zip(leaves, pairs, strict=True):
            _check(leaf, pair)
        arrays = [jnp.asarray(leaf, float) for leaf in leaves]
        free = [_outward(a, *pair) for a, pair in zip(arrays, pairs, strict=True)]
        vector, unravel = ravel_pytree(jax.tree.unflatten(structure, free))
        return cls(pairs=pairs, unravel=unravel), vector

    def __call__(self, vector: jax.Array) -> Any:
        """The parameters of a vector."""
        leaves, structure = jax.tree.flatten(self.unravel(vector))
        inside = [_inward(v, *p) for v, p in zip(leaves, self.pairs, strict=True)]
        return jax.tree.unflatten(structure, inside)


def _pairs(bounds: Any, structure: Any) -> tuple[Pair, ...]:
    if isinstance(bounds, tuple) and all(isinstance(b, int | float) for b in bounds):
        given = [bounds] * structure.num_leaves
    else:
        try:
            given = structure.flatten_up_to(bounds)
        except ValueError as error:
            raise ValueError(
                f"`bounds` is {bounds}; (low, high), or a tree like `start` of such "
                f"pairs, is needed ({error})."
            ) from None
    pairs = tuple(tuple(map(float, pair)) for pair in given)
    if not all(len(pair) == 2 and pair[0] < pair[1] for pair in pairs):
        raise ValueError(f"`bounds` is {bounds}; low below high is needed.")
    return pairs  # pyright: ignore[reportReturnType]  # two each, as checked


def _check(value: Any, pair: Pair) -> None:
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf":
        raise TypeError(f"`start` has {value!r}; real numbers are needed.")
    if not ((numbers > pair[0]) & (numbers < pair[1])).all():
        raise ValueError(f"`start` has {value}, not between its bounds {pair}.")


def _outward(x: jax.Array, low: float, high: float) -> jax.Array:
    """From between the bounds to a free number."""
    if math.isinf(low) and math.isinf(high):
        return x
    if math.isinf(high):
        return jnp.log(x - low)
    if math.isinf(low):
        return -jnp.log(high - x)
    return jnp.log(x - low) - jnp.log(high - x)


def _inward(u: jax.Array, low: float, high: float) -> jax.Array:
    """The inverse of `_outward`."""
    if math.isinf(low) and math.isinf(high):
        return u
    if math.isinf(high):
        return low + jnp.exp(u)
    if math.isinf(low):
        return high - jnp.exp(-u)
    return low + (high - low) * jax.nn.sigmoid(u)
