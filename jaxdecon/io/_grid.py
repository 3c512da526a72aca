"""Arrays of one shape, each in a place of its own, as one array that is read lazily."""

import itertools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._image import Lazy

Index = tuple[int | slice, ...]


def expand(index: Any, shape: tuple[int, ...]) -> Index:
    """An index as one whole number or slice per axis, both within the array.

    Raises:
        IndexError: too many axes, a place outside the array, or a step below 1.
        TypeError: anything but whole numbers, slices and `...`.
    """
    given = list(index) if isinstance(index, tuple) else [index]
    gaps = [place for place, entry in enumerate(given) if entry is Ellipsis]
    missing = len(shape) - len(given) + len(gaps)
    if missing < 0 or len(gaps) > 1:
        raise IndexError(f"index {index} does not fit an array of shape {shape}.")
    place = gaps[0] if gaps else len(given)
    given[place : place + len(gaps)] = [slice(None)] * missing
    return tuple(_within(i, n) for i, n in zip(given, shape, strict=True))


def _within(entry: Any, length: int) -> int | slice:
    if isinstance(entry, slice):
        start, stop, step = entry.indices(length)
        if step < 1:
            raise IndexError(f"the step of a slice is {step}; 1 or more is needed.")
        return slice(start, max(start, stop), step)
    number = operator.index(entry)
    if not -length <= number < length:
        raise IndexError(f"index {number} is outside an axis of length {length}.")
    return number % length


class Grid(Lazy):
    """Parts of one shape and type, in a grid of leading axes.

    Only the parts that an index touches are read, and of those only what it selects.

    Attributes:
        path: file or folder that holds the parts.
    """

    def __init__(self, parts: Sequence[Any], grid: tuple[int, ...], path: Path):
        """Parts in C order of `grid`."""
        self._parts, self._grid, self.path = parts, grid, path
        self.shape = (*grid, *parts[0].shape)
        self.dtype = parts[0].dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        full = expand(index, self.shape)
        outer, inner = full[: len(self._grid)], full[len(self._grid) :]
        places = np.arange(len(self._parts)).reshape(self._grid)[outer]
        inside = [range(n)[i] for i, n in zip(inner, self._parts[0].shape, strict=True)]
        lengths = [len(i) for i in inside if isinstance(i, range)]
        result = np.empty((*np.shape(places), *lengths), self.dtype)
        for target in itertools.product(*map(range, np.shape(places))):
            result[target] = self._parts[int(places[target])][inner]
        return result


class Zeros(Lazy):
    """A part that was never written."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        lengths = zip(expand(index, self.shape), self.shape, strict=True)
        kept = [len(range(n)[i]) for i, n in lengths if isinstance(i, slice)]
        return np.zeros(kept, self.dtype)
