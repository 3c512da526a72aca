"""Batches of pairs, made ahead of time by threads."""

import collections
import concurrent.futures
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._check import check_count
from ._pairs import Pair, PairSource, as_source, check_shapes

WORKERS = 4
"""Threads that read the pairs of a batch."""


def batches(
    source: Any,
    size: int,
    *,
    key: jax.Array,
    prefetch: int = 2,
    start: int = 0,
    count: int | None = None,
    workers: int = WORKERS,
) -> Iterator[Pair]:
    """Batches of pairs without end, in random order.

    Every pair is seen once before any is seen again, but for those that are left over
    when the last batch is full. Batch number k is always the same for a key, so that a
    run that stopped goes on where it was with `start=k`. While one batch is used,
    threads make the next ones; never are more than `prefetch` and the one in use in
    memory. Close the iterator, or let it go, to stop them.

    Args:
        source: of pairs.
        size: pairs in a batch.
        key: of `jax.random.key`.
        prefetch: batches made ahead; 0: none, and no threads for it.
        start: number of the first batch.
        count: number of batches; None: no end.
        workers: threads that read the pairs of one batch, e.g. from files.

    Returns:
        An iterator of pairs: images `(size, views, *spatial)`, truth
        `(size, *spatial)`.

    Raises:
        ValueError: fewer pairs than a batch holds. Later, from the pair that causes it:
            shapes that differ from the others', and what the source raises.

    Example:
        >>> import jax, numpy as np, jaxdecon as jd
        >>> things = list(np.ones((5, 8, 8)))
        >>> pairs = jd.learning.ArrayPairs(things, things)
        >>> for images, truth in batches(pairs, 2, key=jax.random.key(0), count=3):
        ...     print(images.shape, truth.shape)
        (2, 1, 8, 8) (2, 8, 8)
        (2, 1, 8, 8) (2, 8, 8)
        (2, 1, 8, 8) (2, 8, 8)
    """
    source = as_source(source)
    check_enough(source, check_count("size", size, 1))
    check_count("prefetch", prefetch)
    check_count("start", start)
    check_count("workers", workers, 1)
    order = functools.partial(batch_indices, len(source), size, key=key)
    stop = None if count is None else start + check_count("count", count)
    return _streamed(source, order, start, stop, prefetch, workers)


def batch_indices(length: int, size: int, number: int, *, key: jax.Array) -> np.ndarray:
    """Numbers of the pairs in a batch of `batches`.

    Args:
        length: pairs in all.
        size: of a batch.
        number: of the batch.
        key: as given to `batches`.
    """
    per_round = length // size
    turn, place = divmod(number, per_round)
    order = _order(length, turn, tuple(np.asarray(jax.random.key_data(key)).ravel()))
    return order[place * size : (place + 1) * size]


@functools.lru_cache(maxsize=8)
def _order(length: int, turn: int, words: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([*map(int, words), turn]).permutation(length)


def check_enough(source: PairSource, size: int) -> None:
    """Refuse sources with fewer pairs than a batch holds."""
    if len(source) < size:
        raise ValueError(
            f"there are {len(source)} pairs, too few for batches of {size}; more "
            f"pairs, smaller batches, or `patches` of the pairs are needed."
        )


def load_batch(source: Any, indices: Any, *, pool: Any = None) -> Pair:
    """Pairs by their numbers, as one batch.

    Args:
        source: of pairs.
        indices: their numbers.
        pool: executor whose threads read them; None: one after the other.

    Raises:
        ValueError: shapes that differ, with the pair's name.
    """
    source = as_source(source)
    numbers = [int(i) for i in indices]
    read = functools.partial(_read, source)
    pairs = list(map(read, numbers) if pool is None else pool.map(read, numbers))
    first = _shapes(pairs[0])
    for number, pair in zip(numbers, pairs, strict=True):
        if _shapes(pair) != first:
            raise ValueError(
                f"{source.describe(number)} has shapes {_shapes(pair)}, and "
                f"{source.describe(numbers[0])} {first}; one for all is needed: cut "
                f"them with `patches`."
            )
    return Pair(*(_stack(parts) for parts in zip(*pairs, strict=True)))


def _read(source: PairSource, number: int) -> Pair:
    try:
        pair = source[number]
        check_shapes(pair, f"pair {number}")
    except Exception as error:
        error.add_note(f"while reading {source.describe(number)}")
        raise
    return pair


def _shapes(pair: Pair) -> tuple[tuple[int, ...], ...]:
    return tuple(np.shape(part) for part in pair)


def _stack(parts: Any) -> jax.Array:
    """On the device where arrays are on one; of NumPy arrays, in one transfer."""
    if all(isinstance(part, jax.Array) for part in parts):
        return jnp.stack(parts)
    return jnp.asarray(np.stack([np.asarray(part) for part in parts]))


def _streamed(source, order, start, stop, prefetch, workers) -> Iterator[Pair]:
    readers = concurrent.futures.ThreadPoolExecutor(workers, "pairs")
    ahead = concurrent.futures.ThreadPoolExecutor(max(prefetch, 1), "batches")
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    numbers = itertools.count(start) if stop is None else iter(range(start, stop))

    def make(number: int, pool: Any = readers) -> Pair:
        return load_batch(source, order(number), pool=pool)

    try:
        first = next(numbers, None)
        # The first one alone, pair by pair: it compiles what all others use.
        made = None if first is None else make(first, None)
        while made is not None:
            room = prefetch - len(waiting)
            waiting.extend(
                ahead.submit(make, number) for number in itertools.islice(numbers, room)
            )
            yield made
            made = waiting.popleft().result() if waiting else None
            if made is None and (number := next(numbers, None)) is not None:
                made = make(number)
    finally:
        ahead.shutdown(wait=False, cancel_futures=True)
        readers.shutdown(wait=False, cancel_futures=True)
