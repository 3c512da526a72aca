"""Pairs on the scale that networks expect."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._normalise import HIGH, LOW, Normaliser
from ._pairs import Pair, PairSource, as_source, check_index

MOST_KNOWN = 4096
"""Normalisers of pairs that are remembered."""


class NormalisedPairs(PairSource):
    """The pairs of a source, with images and truths normalised.

    Images by `Normaliser.apply`, truths by `Normaliser.apply_object`: both by one scale
    for all views, so that what is learned is quantitative. Every pair has its own
    normaliser, measured once on the whole of it: `patches(normalised)` treats all
    patches of a volume alike.

    Args:
        source: of pairs.
        normaliser: for all pairs; None: measured for each.
        low: percentile that becomes 0, if measured.
        high: percentile that becomes 1.
        background: what becomes 0, where it is known; see `Normaliser.fit`.
        truths_have_offset: truths are images, too, with the same background; they get
            the offset subtracted.

    Attributes:
        fixed: the normaliser of all pairs, or None.
        options: of `Normaliser.fit`, for those that are measured.

    Raises:
        ValueError: constant images, or NaN, when they are met.

    Example:
        >>> import jax, jaxdecon as jd
        >>> image = 100 + jax.random.uniform(jax.random.key(0), (16, 16))
        >>> pairs = [(image[None], image - 100)]
        >>> scaled = jd.learning.NormalisedPairs(pairs, low=0, high=100)
        >>> float(scaled[0].images.min()), float(scaled[0].images.max())
        (0.0, 1.0)
    """

    def __init__(
        self,
        source: Any,
        normaliser: Normaliser | None = None,
        *,
        low: float = LOW,
        high: float = HIGH,
        background: float | None = None,
        truths_have_offset: bool = False,
    ):
        self._source = as_source(source)
        self.fixed = normaliser
        self.options = {"low": low, "high": high, "background": background}
        self._truths_have_offset = truths_have_offset
        self._lock = threading.Lock()
        self._known: dict[int, Normaliser] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Pair:
        index = check_index(index, len(self))
        pair = self._source[index]
        rule = self.fixed
        if rule is None:
            rule = self._measured(index, self._source.sample(index, pair))
        return self._applied(pair, rule)

    def normaliser(self, index: int) -> Normaliser:
        """The normaliser of a pair."""
        if self.fixed is not None:
            return self.fixed
        index = check_index(index, len(self))
        with self._lock:  # measured by the first of several threads that ask
            if index not in self._known:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                sample = self._source.sample(index)
                self._known[index] = self._measured(index, sample)
            return self._known[index]

    def _measured(self, index: int, values: np.ndarray) -> Normaliser:
        try:
            return Normaliser.fit(values, **self.options)
        except ValueError as error:
            what = self._source.describe(index)
            raise ValueError(f"{what} cannot be normalised: {error}") from error

    def _applied(self, pair: Pair, rule: Normaliser) -> Pair:
        to_truth = rule.apply if self._truths_have_offset else rule.apply_object
        return Pair(rule.apply(pair.images), to_truth(pair.truth))

    def spatial_shape(self, index: int) -> tuple[int, ...]:
        """As in the source."""
        return self._source.spatial_shape(index)

    def part(self, index: int, corner: Sequence[int], shape: Sequence[int]) -> Pair:
        """A box, normalised as the whole pair."""
        box = self._source.part(index, corner, shape)
        return self._applied(box, self.normaliser(index))

    def sample(self, index: int, pair: Pair | None = None) -> np.ndarray:
        """Normalised values."""
        if pair is not None:
            return self._source.sample(index, pair)
        return np.asarray(self.normaliser(index).apply(self._source.sample(index)))

    def describe(self, index: int) -> str:
        """As in the source."""
        return self._source.describe(index)
