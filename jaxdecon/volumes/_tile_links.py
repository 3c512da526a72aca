"""How overlapping tiles lie to each other: pairs, their common parts, their shifts."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..registration._links import Links
from ..registration._pairs import LEAST_NCC
from ._tile_jobs import Job, register_jobs
from ._tiles import Box, Tile, check_tiles

SEARCH, LEAST_SEARCH = 0.1, 8
"""Share of a tile that it may be away from where the stage says, and voxels that are
allowed anyway, up to half the tile."""
PART_SEARCH = 4
"""Voxels that a part of an overlap may be away from the whole."""
LEAST_PART = 32
"""Voxels of a part of an overlap along the axes that are split."""


def neighbours(
    positions: ArrayLike, shapes: ArrayLike, *, least: int = 1
) -> np.ndarray:
    """Pairs of tiles that overlap.

    Args:
        positions: (tiles, d) voxels.
        shapes: (tiles, d).
        least: voxels that they must have in common along every axis.

    Returns:
        (pairs, 2) numbers of tiles, the lower one first, in order.
    """
    from scipy.spatial import KDTree

    start, size = np.asarray(positions, float), np.asarray(shapes, float)
    centre, largest = start + size / 2, size.max(0)
    close = KDTree(centre / largest).query_pairs(1.0, p=np.inf, output_type="ndarray")
    a, b = np.sort(close, 1).T
    stop = np.minimum(start[a] + size[a], start[b] + size[b])
    common = stop - np.maximum(start[a], start[b])
    found = np.stack([a, b], 1)[(common >= least).all(1)]
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def default_search(shape: Sequence[int]) -> tuple[int, ...]:
    """Voxels per axis that a tile of a shape may be away from its nominal place."""
    return tuple(
        0 if n == 1 else max(int(np.ceil(SEARCH * n)), min(LEAST_SEARCH, n // 2))
        for n in shape
    )


def measure_links(
    tiles: Sequence[Tile],
    *,
    search: int | Sequence[int] | None = None,
    channel: int = 0,
    binning: int | Sequence[int] | None = None,
    least_ncc: float = LEAST_NCC,
    progress: Callable[[int, int], Any] | None = None,
) -> Links:
    """The offsets of all pairs of tiles that overlap by their nominal positions.

    Of every pair only the common part is read, widened by the search radius.

    Args:
        tiles: at their nominal positions.
        search: voxels, in all or along z, y, x, that the offset of two tiles may differ
            from the nominal one; None: a tenth of a tile, at least 8.
        channel: the one to go by.
        binning: voxels, in all or along z, y, x, that are averaged first; None: as many
            as large overlaps need to be fast.
        least_ncc: correlation below which a pair is not used.
        progress: called with the pairs done and their number.

    Returns:
        A link per pair; those without common texture are not `usable`.

    Raises:
        ValueError: tiles that do not go together; a tile with NaN.
    """
    tiles = check_tiles(tiles)
    origins = np.array([t.origin for t in tiles])
    shapes = np.array([t.shape for t in tiles])
    reach = _per_axis("search", search, default_search(shapes.min(0)), 0)
    whole = np.rint(origins).astype(int)
    jobs = []
    for a, b in neighbours(origins, shapes).tolist():
        boxes = common_boxes(whole[[a, b]], shapes[[a, b]], reach)
        starts = np.array(boxes)[:, :, 0]
        expected = whole[a] + starts[0] - whole[b] - starts[1]
        jobs.append(Job(a, b, *boxes, tuple(expected.tolist())))
    return register_jobs(
        tiles,
        jobs,
        search=reach,
        channel=channel,
        binning=None if binning is None else _per_axis("binning", binning, (), 1),
        least_ncc=least_ncc,
        progress=progress,
    )


def _per_axis(name: str, value, default, least: int) -> tuple[int, int, int]:
    numbers = np.asarray(default if value is None else value)
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (3,)):
        raise ValueError(
            f"`{name}` is {value}; whole voxels, one or three, are needed."
        )
    if numbers.min() < least:
        raise ValueError(f"`{name}` is {value}; {least} or more is needed.")
    z, y, x = np.broadcast_to(numbers, 3).tolist()
    return z, y, x


def common_boxes(starts, sizes, reach) -> tuple[Box, Box]:
    """Of two tiles, the parts that may show what the other one shows.

    Args:
        starts: (2, 3) whole positions.
        sizes: (2, 3).
        reach: voxels that the positions may be wrong by.
    """
    boxes = []
    for own, other in ((0, 1), (1, 0)):
        low = starts[other] - starts[own] - reach
        high = low + sizes[other] + 2 * np.array(reach)
        low, high = np.maximum(low, 0), np.minimum(high, sizes[own])
        boxes.append(tuple(zip(low.tolist(), high.tolist(), strict=True)))
    first, second = boxes
    return first, second


def measure_parts(
    tiles: Sequence[Tile],
    links: Links,
    *,
    parts: int = 3,
    channel: int = 0,
    progress: Callable[[int, int], Any] | None = None,
) -> Links:
    """Links of parts of every overlap, for tiles that deform.

    Args:
        tiles: those of the links.
        links: of `measure_links`.
        parts: along every axis, where each is at least 32 voxels long.
        channel: the one to go by.
        progress: called with the parts done and their number.

    Returns:
        A link per part; pairs that are not usable are kept as they are.
    """
    tiles = check_tiles(tiles)
    jobs = []
    for (a, b), offset in zip(
        links.pairs[links.usable].tolist(), links.offset[links.usable], strict=True
    ):
        whole = np.rint(offset).astype(int)
        low = np.maximum(whole, 0)
        high = np.minimum(whole + tiles[b].shape, tiles[a].shape)
        for box in _split(low, high, parts):
            inner = np.array(box).T
            near = inner - whole + [[-PART_SEARCH], [PART_SEARCH]]
            near = np.clip(near, 0, tiles[b].shape)
            expected = inner[0] - whole - near[0]
            other = tuple(map(tuple, near.T.tolist()))
            jobs.append(Job(a, b, box, other, tuple(expected.tolist())))
    found = register_jobs(
        tiles,
        jobs,
        search=(PART_SEARCH,) * 3,
        channel=channel,
        binning=(1, 1, 1),
        progress=progress,
    )
    return _joined(found, _chosen(links, ~links.usable))


def _split(low, high, parts: int):
    """Boxes that fill one, as many along an axis as are long enough."""
    edges = []
    for start, stop in zip(low, high, strict=True):
        count = int(np.clip((stop - start) // LEAST_PART, 1, parts))
        cuts = np.linspace(start, stop, count + 1).astype(int).tolist()
        edges.append(list(itertools.pairwise(cuts)))
    return [box for box in itertools.product(*edges) if all(b > a for a, b in box)]


def _chosen(links: Links, which: np.ndarray) -> Links:
    fields = dataclasses.fields(links)
    return Links(**{f.name: getattr(links, f.name)[which] for f in fields})


def _joined(one: Links, other: Links) -> Links:
    fields = [f.name for f in dataclasses.fields(one)]
    return Links(
        **{f: np.concatenate([getattr(one, f), getattr(other, f)]) for f in fields}
    )
