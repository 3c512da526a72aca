"""Pairs without ground truth: the photons of one image, split in two."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._check import as_float_array, check_positive
from ._pairs import Pair, PairSource, as_source, check_index


class SplitPairs(PairSource):
    """Two independent images from every image of a source, by its photons.

    Every photon goes to one of two images at random (binomial thinning; parts of a
    Poisson image are Poisson and independent). The first is what goes into the network,
    the second what its output, seen through the operator, is compared with
    (`ReblurLoss`): noise cannot be learned, since it is not the same in both. Both are
    divided by their share, and are as bright as the image::

        images = gain * first / share + offset
        truth = gain * second / (1 - share) + offset        (views, *spatial)

    Values between counts are rounded, what is below `offset` is none: where read noise
    is larger than the background, this is not the method.

    Args:
        source: images, `(views, *spatial)` each; or a source of pairs, whose truths are
            not used.
        gain: units per photon.
        offset: units without light.
        share: of the photons that go into the network.
        key: of `jax.random.key`; pair number i is always split in the same way.

    Raises:
        ValueError: a gain that is not positive; a share outside (0, 1).

    References:
        Batson & Royer, Proc. Mach. Learn. Res. 97, 524 (2019), arXiv:1901.11365
        (self-supervision by independent parts); Rieger et al., Optics Express 32, 21767
        (2024) (splitting of photons).
    """

    def __init__(
        self,
        source: Any,
        *,
        gain: float = 1.0,
        offset: float = 0.0,
        share: float = 0.5,
        key: jax.Array,
    ):
        check_positive("gain", gain)
        if not 0 < share < 1:
            raise ValueError(f"`share` is {share}; between 0 and 1 is needed.")
        self._source = _as_images(source)
        self._gain, self._offset = float(gain), float(offset)
        self._share, self._key = float(share), key

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Pair:
        index = check_index(index, len(self))
        return self._split(self._source[index], jax.random.fold_in(self._key, index))

    def _split(self, pair: Pair, key: jax.Array) -> Pair:
        images = as_float_array("images", pair.images)
        return _split(images, key, self._gain, self._offset, self._share)

    def spatial_shape(self, index: int) -> tuple[int, ...]:
        """As in the source."""
        return self._source.spatial_shape(index)

    def part(self, index: int, corner: Sequence[int], shape: Sequence[int]) -> Pair:
        """A box; always split in the same way, but not as a part of the whole."""
        key = jax.random.fold_in(self._key, check_index(index, len(self)))
        for place in corner:
            key = jax.random.fold_in(key, place)
        return self._split(self._source.part(index, corner, shape), key)

    def sample(self, index: int, pair: Pair | None = None) -> np.ndarray:
        """Of the image before it is split: less noise, and the same range."""
        return self._source.sample(index)

    def describe(self, index: int) -> str:
        """As in the source."""
        return f"{self._source.describe(index)}, split"


@jax.jit
def _split(images, key, gain, offset, share) -> Pair:
    counts = jnp.maximum(jnp.round((images - offset) / gain), 0)
    first = jax.random.binomial(key, counts, share).astype(images.dtype)
    second = counts - first
    return Pair(gain * first / share + offset, gain * second / (1 - share) + offset)


class _Images(PairSource):
    """Images whose truth nobody knows: the image itself stands in its place."""

    def __init__(self, images: Sequence[Any]):
        self._images = [as_float_array("source", image) for image in images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Pair:
        image = self._images[check_index(index, len(self))]
        return Pair(image, image)


def _as_images(source: Any) -> PairSource:
    if isinstance(source, PairSource):
        return source
    if len(source) and all(isinstance(one, tuple) for one in source):
        return as_source(source)
    return _Images(source)
