"""Look at pairs before hours are spent on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._core._check import check_count
from ._pairs import Pair, PairSource, as_source, check_shapes

MOST = 16
"""Pairs that are looked at."""
BLANK_SHARE = 0.5
"""Of the pairs looked at; fewer may be blank, as patches of sparse samples are."""


def check_pairs(
    pairs: Any,
    *,
    least: int = 2,
    patch: Sequence[int] | None = None,
    most: int = MOST,
) -> None:
    """Refuse pairs that no network can learn from, before training.

    Reads some pairs, evenly over the source.

    Args:
        pairs: a source, or a list of (images, truth).
        least: pairs that are needed, e.g. the size of a batch.
        patch: spatial shape that is to be cut from them; None: they are used whole.
        most: pairs to look at.

    Raises:
        ValueError: too few pairs; images and truth that are not on one grid; NaN or
            infinite values; another number of views or axes than in the first pair; a
            patch larger than a volume; a constant image, or a constant truth, in half
            of the pairs or more.

    Example:
        >>> import numpy as np
        >>> check_pairs([(np.ones((1, 8, 8)), np.zeros((4, 4)))] * 2)
        Traceback (most recent call last):
        ValueError: pair 0 has images of shape (1, 8, 8) and a truth of shape (4, 4)...
    """
    source = as_source(pairs)
    if len(source) < least:
        raise ValueError(
            f"there are {len(source)} pairs, and {least} or more are needed: add "
            f"pairs, or cut those that there are with `patches`."
        )
    count = min(check_count("most", most, 1), len(source))
    numbers = sorted({round(i) for i in np.linspace(0, len(source) - 1, count)})
    blank: dict[str, list[int]] = {"images": [], "truth": []}
    first = None
    for number in numbers:
        what, pair = source.describe(number), source[number]
        check_shapes(pair, what)
        first = pair if first is None else first
        _check_like(pair, first, what)
        _check_patch(pair, patch, what)
        for name, array in zip(("images", "truth"), pair, strict=True):
            if _is_constant(np.asarray(array), f"{what} ({name})"):
                blank[name].append(number)
    for name, found in blank.items():
        _check_blank(source, name, found, len(numbers))


def _check_like(pair: Pair, first: Pair, what: str) -> None:
    here, there = np.shape(pair.images), np.shape(first.images)
    if len(here) != len(there) or here[0] != there[0]:
        raise ValueError(
            f"{what} has images of shape {here}, and the first pair {there}; as many "
            f"views and axes in all are needed."
        )


def _check_patch(pair: Pair, patch: Sequence[int] | None, what: str) -> None:
    whole = np.shape(pair.images)[1:]
    if patch is None:
        return
    if len(patch) != len(whole) or any(
        p > n for p, n in zip(patch, whole, strict=True)
    ):
        raise ValueError(
            f"`patch` is {tuple(patch)}, and {what} has shape {whole}; a patch of as "
            f"many axes, not larger, is needed."
        )


def _is_constant(values: np.ndarray, what: str) -> bool:
    low, high = values.min(), values.max()  # both NaN if one is
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = ~np.isfinite(values)
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{what} has {int(bad.sum())} NaN or infinite values, the first at index "
            f"{first}; finite values are needed."
        )
    return bool(low == high)


def _check_blank(source: PairSource, name: str, found: list[int], looked: int) -> None:
    if len(found) >= max(BLANK_SHARE * looked, 1):
        raise ValueError(
            f"{len(found)} of {looked} pairs looked at have constant {name}, the first "
            f"{source.describe(found[0])}; images with something in them are needed "
            f"(for patches of sparse samples, `best_of`)."
        )
