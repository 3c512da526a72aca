"""Sources of training pairs: an image, and the object that it should become."""

import abc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import as_float_array


class Pair(NamedTuple):
    """What goes into a network, and what should come out.

    Attributes:
        images: `(views, *spatial)`, spatial axes (z, y, x) or (y, x).
        truth: `(*spatial)`; where a loss compares in the image domain,
            `(views, *spatial)`.
    """

    images: Any
    truth: Any


class PairSource(abc.ABC):
    """Pairs by their number; what networks are trained on.

    A new source defines `__len__` and `__getitem__`. The rest follows, and is
    overridden where a part can be had without the whole. Sources are read by several
    threads at once, and give the same pair for the same number.
    """

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Pair: ...

    def __iter__(self) -> Iterator[Pair]:
        return (self[i] for i in range(len(self)))

    def spatial_shape(self, index: int) -> tuple[int, ...]:
        """Spatial shape of a pair."""
        return tuple(np.shape(self[index].images)[1:])

    def part(self, index: int, corner: Sequence[int], shape: Sequence[int]) -> Pair:
        """The box of a pair from `corner` on, in voxels."""
        return crop(self[index], corner, shape)

    def sample(self, index: int, pair: Pair | None = None) -> np.ndarray:
        """Enough values of a pair's images to know their range.

        Args:
            index: of the pair.
            pair: the pair itself, where it is at hand: the same values, not read again.
        """
        return np.asarray((self[index] if pair is None else pair).images)

    def describe(self, index: int) -> str:
        """Which pair this is, in words for people."""
        return f"pair {index}"


class ArrayPairs(PairSource):
    """Pairs in memory.

    Args:
        images: one array for each pair: `(views, *spatial)`, or `(*spatial)` of one
            view.
        truths: `(*spatial)` each.
        views: whether the first axis of every one of `images` counts views.

    Raises:
        ValueError: not as many images as truths, or shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> pairs = ArrayPairs([np.ones((8, 8))] * 3, [np.ones((8, 8))] * 3)
        >>> len(pairs), pairs[0].images.shape
        (3, (1, 8, 8))
    """

    def __init__(
        self,
        images: Sequence[ArrayLike],
        truths: Sequence[ArrayLike],
        *,
        views: bool = False,
    ):
        check_as_many("images", len(images), "truths", len(truths))
        self._pairs = []
        for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
            array = as_float_array("images", image)
            array = array if views else array[None]
            pair = Pair(array, as_float_array("truths", truth))
            check_shapes(pair, f"pair {number}")
            self._pairs.append(pair)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Pair:
        return self._pairs[check_index(index, len(self))]


class _Listed(PairSource):
    """Anything with `len` and pairs by number."""

    def __init__(self, items: Any):
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Pair:
        return Pair(*self._items[check_index(index, len(self))])


class Subset(PairSource):
    """Some of the pairs of a source.

    Args:
        source: of pairs.
        indices: their numbers in it.
    """

    def __init__(self, source: Any, indices: Sequence[int]):
        self._source = as_source(source)
        self.indices = tuple(int(i) for i in indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Pair:
        return self._source[self._at(index)]

    def _at(self, index: int) -> int:
        return self.indices[check_index(index, len(self))]

    def spatial_shape(self, index: int) -> tuple[int, ...]:
        """As in the source."""
        return self._source.spatial_shape(self._at(index))

    def part(self, index: int, corner: Sequence[int], shape: Sequence[int]) -> Pair:
        """As in the source."""
        return self._source.part(self._at(index), corner, shape)

    def sample(self, index: int, pair: Pair | None = None) -> np.ndarray:
        """As in the source."""
        return self._source.sample(self._at(index), pair)

    def describe(self, index: int) -> str:
        """As in the source."""
        return self._source.describe(self._at(index))


def hold_out(
    source: Any, share: float = 0.2, *, key: jax.Array
) -> tuple[Subset, Subset]:
    """Split the pairs of a source: to train on, and to judge by.

    Split volumes, not patches of them: neighbouring patches know of each other.

    Args:
        source: of pairs.
        share: of the pairs that is held out, at least one.
        key: of `jax.random.key`.

    Returns:
        Two sources without a common pair.

    Raises:
        ValueError: fewer than two pairs; a share outside (0, 1).
    """
    source = as_source(source)
    if len(source) < 2:
        raise ValueError(
            f"`source` has {len(source)} pairs; two or more are needed, to train on "
            f"some and to judge by others."
        )
    if not 0 < share < 1:
        raise ValueError(f"`share` is {share}; a number between 0 and 1 is needed.")
    count = min(max(round(share * len(source)), 1), len(source) - 1)
    order = host_generator(key).permutation(len(source))
    return Subset(source, sorted(order[count:])), Subset(source, sorted(order[:count]))


def as_source(pairs: Any) -> PairSource:
    """A source; anything else with `len` and pairs by number is wrapped.

    Raises:
        TypeError: something else.
    """
    if isinstance(pairs, PairSource):
        return pairs
    if isinstance(pairs, Pair) or not _is_sequence(pairs):
        raise TypeError(
            f"`pairs` is a {type(pairs).__name__}; a source of pairs is needed, or a "
            f"list of (images, truth)."
        )
    return _Listed(pairs)


def _is_sequence(thing: Any) -> bool:
    return all(callable(getattr(thing, n, None)) for n in ("__len__", "__getitem__"))


def crop(pair: Pair, corner: Sequence[int], shape: Sequence[int]) -> Pair:
    """The box of a pair from `corner` on."""
    box = tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))
    return Pair(pair.images[(..., *box)], pair.truth[(..., *box)])


def check_shapes(pair: Pair, what: str) -> None:
    """Refuse a pair whose images and truth are not on one grid of 2 or 3 axes."""
    images, truth = np.shape(pair.images), np.shape(pair.truth)
    spatial = images[1:]
    if len(spatial) not in (2, 3):
        raise ValueError(
            f"{what} has images of shape {images}; (views, z, y, x) or (views, y, x) "
            f"is needed."
        )
    if truth not in (spatial, images):
        raise ValueError(
            f"{what} has images of shape {images} and a truth of shape {truth}; they "
            f"must be on one grid: the truth's shape must be {spatial}."
        )
    if 0 in images:
        raise ValueError(f"{what} is empty: its images have shape {images}.")


def check_as_many(first: str, n: int, second: str, m: int) -> None:
    """Refuse lists without partners."""
    if n != m:
        raise ValueError(
            f"there are {n} `{first}` and {m} `{second}`; one for each is needed."
        )


def check_index(index: int, length: int) -> int:
    """A number of a pair, counted from the end if negative."""
    if not -length <= index < length:
        raise IndexError(f"there is no pair {index}: there are {length}.")
    return int(index) % length


def host_generator(key: jax.Array, *numbers: int) -> np.random.Generator:
    """Random numbers of NumPy, always the same for a key and further numbers."""
    words = np.asarray(jax.random.key_data(key)).ravel()
    return np.random.default_rng([*map(int, words), *numbers])
