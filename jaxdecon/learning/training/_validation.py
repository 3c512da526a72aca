"""The loss of pairs that were held out."""

import concurrent.futures
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ..pairs._batches import WORKERS, load_batch
from ..pairs._pairs import PairSource
from ._devices import Placement
from ._operators import Operators
from ._step import Batch, TrainState, sample_losses

MOST_BYTES = 2**28
"""Of validation pairs that are kept in memory, and not made again every time."""


class Validation:
    """The mean loss of a source of pairs, all of them.

    Args:
        source: of pairs of one shape.
        size: of the batches in which they are looked at.
        operators: of the pairs.
        placement: of arrays.
    """

    def __init__(
        self, source: PairSource, size: int, operators: Operators, placement: Placement
    ):
        self._source, self._operators = source, operators
        self._placement = placement
        whole = np.arange(len(source))
        self._parts = [
            _filled(whole[i : i + size], size) for i in range(0, len(whole), size)
        ]
        self._kept: list[Batch] | None = None

    def losses(self, state: TrainState, loss: Any, graphdef: Any) -> np.ndarray:
        """Of every pair, as the network now is."""
        waiting = [
            sample_losses(
                state.parameters,
                state.rest,
                batch,
                loss,
                graphdef=graphdef,
                placement=self._placement,
            )
            for batch in self._batches()
        ]
        losses = np.concatenate([np.asarray(part) for part in waiting])
        return losses[: len(self._source)]

    def describe(self, numbers: Sequence[int] | np.ndarray) -> str:
        """The losses of pairs, in words."""
        first = self._source.describe(int(numbers[0]))
        more = f" and {len(numbers) - 1} others" if len(numbers) > 1 else ""
        return f"the loss on held-out {first}{more}"

    def _batches(self) -> Iterator[Batch]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Batch] | None = []
        for batch in self._read():
            yield batch
            if kept is not None:
                kept.append(batch)
                size = sum(leaf.nbytes for leaf in jax.tree.leaves(kept))
                kept = kept if size <= MOST_BYTES else None
        self._kept = kept

    def _read(self) -> Iterator[Batch]:
        """One ahead of the one in use."""
        with (
            concurrent.futures.ThreadPoolExecutor(WORKERS, "validation") as readers,
            concurrent.futures.ThreadPoolExecutor(1, "validation batch") as ahead,
        ):
            made = self._made(self._parts[0], None)
            for part in self._parts[1:]:
                following = ahead.submit(self._made, part, readers)
                yield made
                made = following.result()
            yield made

    def _made(self, numbers: np.ndarray, pool: Any) -> Batch:
        pair = load_batch(self._source, numbers, pool=pool)
        return self._operators.batch(pair, numbers, self._placement)


def _filled(numbers: np.ndarray, size: int) -> np.ndarray:
    """So many, the last one repeated: all batches are of one shape."""
    return np.pad(numbers, (0, size - len(numbers)), mode="edge")
