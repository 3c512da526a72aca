"""Random patches of pairs, flipped and turned where the blur allows it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_count, check_psf, check_shape
from ._pairs import Pair, PairSource, as_source, check_index, host_generator

COVER = 16
"""By default, how often patches would tile all volumes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Mirror images and turns under which the blur stays the same.

    Attributes:
        flips: spatial axes that may be flipped, each by chance; 0 is z in 3D.
        turns: whether the yx plane may be turned by 90, 180 and 270 degrees.
    """

    flips: tuple[int, ...] = ()
    turns: bool = False

    @classmethod
    def allowed_by(cls, psf: ArrayLike, *, tolerance: float = 0.01) -> "Augmentation":
        """What leaves a PSF as it is.

        Args:
            psf: (z, y, x) or (y, x), centred on n // 2.
            tolerance: greatest change, as a share of the PSF's Euclidean norm.

        Example:
            >>> import jaxdecon as jd
            >>> psf = jd.psf.gaussian((9, 9, 9), (4.0, 3.0, 2.0))
            >>> Augmentation.allowed_by(psf)
            Augmentation(flips=(0, 1, 2), turns=False)
        """
        array = np.asarray(check_psf("psf", psf), float)
        # Odd sizes: then the centre is where flips leave it.
        wide = [(0, 1 - n % 2) for n in array.shape]
        array = np.pad(array, wide)
        limit = tolerance * np.linalg.norm(array)
        flips = tuple(
            axis
            for axis in range(array.ndim)
            if np.linalg.norm(np.flip(array, axis) - array) <= limit
        )
        square = array.shape[-1] == array.shape[-2]
        turned = np.rot90(array, axes=(-2, -1)) if square else np.inf
        turns = square and bool(np.linalg.norm(turned - array) <= limit)
        return cls(flips=flips, turns=turns)

    def applied(self, pair: Pair, numbers: np.random.Generator) -> Pair:
        """A pair, flipped and turned at random: images and truth alike."""
        ndim = np.ndim(pair.images) - 1
        chosen = [axis - ndim for axis in self.flips if numbers.integers(2)]
        quarter = int(numbers.integers(4)) if self.turns else 0
        return Pair(*(_moved(array, chosen, quarter) for array in pair))


def _moved(array: Any, flips: list[int], quarter: int) -> Any:
    """Flipped along axes, then turned as `numpy.rot90` does."""
    array = array[_backwards(array.ndim, flips)]
    if quarter % 2:
        array = array.swapaxes(-2, -1)
    after: list[list[int]] = [[], [-2], [-2, -1], [-1]]
    return array[_backwards(array.ndim, after[quarter])]


def _backwards(ndim: int, axes: list[int]) -> tuple[slice, ...]:
    chosen = {axis % ndim for axis in axes}
    return tuple(slice(None, None, -1 if a in chosen else None) for a in range(ndim))


class Patches(PairSource):
    """Random boxes of the pairs of a source; made by `patches`."""

    def __init__(
        self,
        source: PairSource,
        shape: tuple[int, ...],
        *,
        augment: Augmentation,
        count: int,
        best_of: int,
        key: jax.Array,
    ):
        self._source, self._patch, self._augment = source, shape, augment
        self._count, self._best_of, self._key = count, best_of, key

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Pair:
        number, corners, numbers = self._drawn(index)
        boxes = (self._source.part(number, c, self._patch) for c in corners)
        pair = max(boxes, key=_light) if self._best_of > 1 else next(boxes)
        return self._augment.applied(pair, numbers)

    def _drawn(self, index: int) -> tuple[int, list[tuple[int, ...]], Any]:
        """The pair's number, corners to choose from, and further random numbers."""
        index = check_index(index, len(self))
        numbers = host_generator(self._key, index)
        number = index % len(self._source)
        whole = self._source.spatial_shape(number)
        rooms = [n - p + 1 for n, p in zip(whole, self._patch, strict=True)]
        corners = numbers.integers(rooms, size=(self._best_of, len(rooms)))
        return number, [tuple(map(int, c)) for c in corners], numbers

    def spatial_shape(self, index: int) -> tuple[int, ...]:
        """The patch's."""
        return self._patch

    def describe(self, index: int) -> str:
        """Of which pair, and where."""
        number, corners, _ = self._drawn(index)
        where = str(corners[0])
        if len(corners) > 1:
            where = f"one of {', '.join(map(str, corners))}"
        return f"patch {index} of {self._source.describe(number)}, corner at {where}"


def patches(
    source: Any,
    shape: Sequence[int],
    *,
    augment: Augmentation | None = None,
    count: int | None = None,
    best_of: int = 1,
    key: jax.Array,
) -> Patches:
    """Random patches of the pairs of a source; of files, only the patch is read.

    Patch number i is always the same for a key; with a large `count` no patch is seen
    twice. Pairs take turns, whatever their size.

    Args:
        source: of pairs, e.g. `DiskPairs`, or `NormalisedPairs` of it.
        shape: of a patch, (z, y, x) or (y, x).
        augment: flips and turns, e.g. `Augmentation.allowed_by(psf)`; None: none.
        count: number of patches; None: as many as would tile all volumes 16 times.
        best_of: so many places are tried, and that with the most light in its truth is
            taken: for sparse samples. All are read.
        key: of `jax.random.key`.

    Raises:
        ValueError: a patch larger than a volume, or of other dimensionality; an
            augmentation that does not fit.

    Example:
        >>> import jax, jaxdecon as jd
        >>> pairs = jd.learning.ArrayPairs([jax.numpy.ones((32, 32))] * 2,
        ...                                [jax.numpy.ones((32, 32))] * 2)
        >>> found = jd.learning.patches(pairs, (16, 16), key=jax.random.key(0))
        >>> len(found), found[5].truth.shape
        (128, (16, 16))
    """
    source, patch = as_source(source), check_shape("shape", shape)
    augment = Augmentation() if augment is None else augment
    _check_augmentation(augment, patch)
    volumes = 0.0
    for number in range(len(source)):
        whole = source.spatial_shape(number)
        _check_fits(patch, whole, source, number)
        volumes += math.prod(whole)
    if not len(source):
        raise ValueError("`source` has no pairs; at least one is needed.")
    if count is None:
        count = math.ceil(COVER * volumes / math.prod(patch))
    return Patches(
        source,
        patch,
        augment=augment,
        count=check_count("count", count, 1),
        best_of=check_count("best_of", best_of, 1),
        key=key,
    )


def _check_fits(patch: Any, whole: Any, source: PairSource, number: int) -> None:
    if len(patch) != len(whole):
        raise ValueError(
            f"`shape` is {patch}, and {source.describe(number)} is {len(whole)}D, of "
            f"shape {whole}; a patch of as many axes is needed."
        )
    if any(p > n for p, n in zip(patch, whole, strict=True)):
        raise ValueError(
            f"`shape` is {patch}, larger than {source.describe(number)}, of shape "
            f"{whole}; a smaller patch is needed."
        )


def _check_augmentation(augment: Augmentation, patch: tuple[int, ...]) -> None:
    if augment.turns and patch[-1] != patch[-2]:
        raise ValueError(
            f"`augment` turns the yx plane, and `shape` is {patch}; patches that are "
            f"square in yx are needed, or `turns=False`."
        )
    wrong = [a for a in augment.flips if not 0 <= a < len(patch)]
    if wrong:
        raise ValueError(f"`augment` flips axes {wrong}; `shape` has {len(patch)}.")


def _light(pair: Pair) -> float:
    return float(pair.truth.sum())
