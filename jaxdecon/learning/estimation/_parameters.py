"""Parameters of a model: a tree for people, a vector for solvers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

UNKNOWN_SPREAD, RELATIVE_SPREAD = 0.3, 0.1
"""How far starts without bounds are thrown: radians if 0, else a share."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """Names, start and limits of all numbers of a tree.

    Attributes:
        names: e.g. "na", "aberrations[5]".
        start: (size,).
        low: (size,), minus infinity where there is no bound.
        high: (size,).
        spread: (size,), how far from the start a number may be expected.
        unravel: from a vector (size,) to the tree.
    """

    names: tuple[str, ...]
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spread: np.ndarray
    unravel: Callable[[Any], Any]

    @classmethod
    def parse(
        cls,
        start: Mapping[str, Any],
        bounds: Mapping[str, Any] | None,
        spread: Mapping[str, Any] | None,
    ) -> "Parameters":
        """From what a user gives.

        Args:
            start: by name of the model's keyword: numbers, arrays, or trees of them.
            bounds: by name, (low, high): numbers for all below the name, or trees like
                it. Names left out have none.
            spread: by name, alike. Names left out: a quarter of the bounds' range, or
                else a tenth of the start, 0.3 where that is 0.

        Raises:
            ValueError: nothing to fit, numbers that are not finite, names that are not
                in `start`, bounds that are empty or do not hold the start.
        """
        tree = _floats(start)
        vector, unravel = ravel_pytree(tree)
        paths = jax.tree_util.tree_flatten_with_path(tree)[0]
        names = [n for path, leaf in paths for n in _names(path, leaf)]
        low, high = (_side(tree, bounds, which) for which in (0, 1))
        first = np.array(vector, float)  # a copy: what JAX gives cannot be written
        outside = ~((low <= first) & (first <= high))
        if outside.any():
            at = int(np.argmax(outside))
            raise ValueError(
                f"`start` has {names[at]} = {first[at]:.6g}, outside its bounds "
                f"[{low[at]:.6g}, {high[at]:.6g}]."
            )
        guess = np.where(first == 0, UNKNOWN_SPREAD, RELATIVE_SPREAD * abs(first))
        bounded = np.isfinite(low) & np.isfinite(high)
        guess[bounded] = (high - low)[bounded] / 4
        wide = _filled(tree, spread, "spread", guess)
        if spread is not None and not (wide > 0).all():
            at = int(np.argmin(wide))
            raise ValueError(
                f"`spread` of {names[at]} is {wide[at]:.6g}; more than 0 is needed."
            )
        return cls(
            names=tuple(names),
            start=first,
            low=low,
            high=high,
            spread=wide,
            unravel=unravel,
        )

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.names)

    def random(self, count: int, key: jax.Array) -> np.ndarray:
        """Starts (count, size): the given one first, then some about it."""
        noise = np.asarray(jax.random.normal(key, (count, self.size)), float)
        noise[0] = 0
        return np.clip(self.start + self.spread * noise, self.low, self.high)


def _floats(start: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(start, Mapping) or not start:
        raise ValueError(
            f"`start` is {start!r}; a mapping from the model's keywords to numbers, "
            f'e.g. {{"aberrations": {{5: 0.0, 6: 0.0}}}}, is needed.'
        )
    try:
        tree = jax.tree.map(lambda v: jnp.asarray(v, float), dict(start))
    except ValueError as error:  # keys of several types cannot be put in order
        raise ValueError(
            f"`start` is {start!r}; use names or numbers as keys, not both ({error})."
        ) from None
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"`start` has {_pretty(path)} = {leaf}; not finite.")
    return tree


def _side(tree, bounds: Mapping[str, Any] | None, which: int) -> np.ndarray:
    """Lower (0) or upper (1) bounds of all numbers."""
    given = {}
    for name, pair in (bounds or {}).items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"`bounds[{name!r}]` is {pair!r}; (low, high) is needed.")
        given[name] = pair[which]
    none = np.full(ravel_pytree(tree)[0].size, (-np.inf, np.inf)[which])
    return _filled(tree, given, "bounds", none)


def _filled(tree, given: Mapping[str, Any] | None, what: str, default) -> np.ndarray:
    """The numbers of `default`, with those of `given` in their places."""
    given = given or {}
    unknown = set(given) - set(tree)
    if unknown:
        raise ValueError(
            f"`{what}` names {sorted(unknown)}, and `start` has {sorted(tree)}."
        )
    parts = ravel_pytree(tree)[1](jnp.asarray(default, float))
    for name, value in given.items():
        if jax.tree.structure(value) == jax.tree.structure(tree[name]):
            like = jax.tree.map(
                lambda v, t: jnp.broadcast_to(jnp.asarray(v, t.dtype), t.shape),
                value,
                tree[name],
            )
        else:
            like = jax.tree.map(lambda t, v=value: jnp.full_like(t, v), tree[name])
        parts[name] = like
    return np.array(ravel_pytree(parts)[0], float)


def _names(path, leaf) -> list[str]:
    name = _pretty(path)
    if not leaf.ndim:
        return [name]
    return [f"{name}[{', '.join(map(str, i))}]" for i in np.ndindex(leaf.shape)]


def _pretty(path) -> str:
    """aberrations[5] for what JAX writes ['aberrations'][5]."""
    first, *rest = path
    return str(getattr(first, "key", first)) + jax.tree_util.keystr(tuple(rest))
