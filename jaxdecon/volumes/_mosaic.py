"""Any region of the mosaic of placed tiles, blended."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._mosaic_shift import MARGINS, ORDERS, shifted, whole_and_part
from ._mosaic_weights import CONTENT_HALO, content, ramp
from ._tile_gains import Gains, check_positions
from ._tiles import Box, Tile

WEIGHTS = ("linear", "cosine", "content", "nearest")
SLAB = 2**18
"""Voxels that are worked on at once: what fits into a core's cache."""


class Piece(NamedTuple):
    """A tile's part in a region.

    Attributes:
        tile: its number.
        start: (3,) of the part, voxels of the region.
        stop: likewise.
        whole: (3,) what to add to voxels of the region for those of the tile, rounded
            down.
        part: (3,) the rest, from 0 to below 1.
    """

    tile: int
    start: np.ndarray
    stop: np.ndarray
    whole: np.ndarray
    part: np.ndarray


def mosaic_box(tiles: Sequence[Tile], positions: ArrayLike) -> Box:
    """(start, stop) along z, y, x, whole voxels, of the mosaic of all tiles."""
    places = check_positions(tiles, positions)
    low = np.floor(places.min(0)).astype(int)
    high = np.ceil((places + [t.shape for t in tiles]).max(0)).astype(int)
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def mosaic_halo(weights: str) -> int:
    """Voxels of a tile beyond a region that the blend of the region depends on."""
    return CONTENT_HALO + 2 if weights == "content" else 2


def mosaic_region(
    tiles: Sequence[Tile],
    positions: ArrayLike,
    start: Sequence[int],
    shape: Sequence[int],
    *,
    weights: str = "linear",
    order: str = "linear",
    gains: Gains | None = None,
    channel: int = 0,
    fill: float = 0.0,
) -> np.ndarray:
    """A region of the mosaic; of the tiles, only what it shows is read.

    The same voxel has the same value, to the last bit, in whatever region it is asked
    for. Tiles shifted by whole voxels, where only one reaches, are copied exactly.

    Args:
        tiles: the tiles.
        positions: (tiles, 3) of their first voxels, voxels of the mosaic.
        start: (z, y, x) of the region, whole voxels; may be negative.
        shape: (z, y, x) of the region.
        weights: "linear" and "cosine" fall from the centre of a tile to its borders;
            "content" also prefers the tile that shows more structure there; "nearest"
            takes the tile whose border is farthest.
        order: between voxels, "linear" or "cubic" (sharper; may overshoot).
        gains: of `measure_gains`; each tile is divided by its gain and the shading,
            about the background, which stays.
        channel: to be shown.
        fill: where no tile reaches.

    Returns:
        float32 (z, y, x).

    Raises:
        ValueError: an unknown kind of weights or order; shapes that do not fit.

    References:
        Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1153 (1981),
        doi:10.1109/TASSP.1981.1163711 (cubic).
    """
    _check(weights, order, start, shape)
    if gains is not None and len(gains.gains) != len(tiles):
        raise ValueError(
            f"`gains` are of {len(gains.gains)} tiles, and there are {len(tiles)}."
        )
    places = check_positions(tiles, positions)
    pieces = _pieces(tiles, places, np.array(start), np.array(shape))
    result = np.zeros(tuple(shape), np.float32)
    total = np.zeros(result.shape, np.float32)
    lines = [_weight_lines(tiles[p.tile], p, weights) for p in pieces]
    maps = [_content_of(tiles, p, channel, weights) for p in pieces]
    if weights != "nearest":
        for piece, line, extra in zip(pieces, lines, maps, strict=True):
            for slab in _slabs(piece):
                total[slab] += _weight(line, extra, piece, slab)
    for piece, line, extra in zip(pieces, lines, maps, strict=True):
        tile = tiles[piece.tile]
        seen = _Seen(tile, piece, order, channel, gains)
        for slab in _slabs(piece):
            values = seen.at(slab)
            weight = _weight(line, extra, piece, slab)
            if weights == "nearest":
                better = weight > total[slab]
                np.copyto(total[slab], weight, where=better)
                np.copyto(result[slab], values, where=better)
            else:
                # A weight over itself is exactly one: a lone tile is copied.
                weight = np.divide(weight, total[slab], out=weight)
                result[slab] += np.multiply(values, weight, out=values)
    if fill:
        result[total == 0] = fill
    return result


def _check(weights: str, order: str, start, shape) -> None:
    for name, value, known in (("weights", weights, WEIGHTS), ("order", order, ORDERS)):
        if value not in known:
            raise ValueError(f"`{name}` is {value!r}; known are {', '.join(known)}.")
    for name, value in (("start", start), ("shape", shape)):
        numbers = np.asarray(value)
        if numbers.shape != (3,) or numbers.dtype.kind not in "iu":
            raise ValueError(f"`{name}` is {value}; whole (z, y, x) are needed.")
    if min(shape) < 1:
        raise ValueError(f"`shape` is {tuple(shape)}; 1 or more are needed.")


def _pieces(tiles, places: np.ndarray, start, shape) -> list[Piece]:
    """What tiles have in a region, in the order of the tiles."""
    sizes = np.array([t.shape for t in tiles])
    places = np.where(sizes == 1, np.rint(places), places)  # a plane stays a plane
    whole, part = whole_and_part(-places)
    # Voxel k of the mosaic is at k + whole + part of the tile.
    low = -whole - start
    high = sizes - whole - start - (part > 0)
    low, high = np.maximum(low, 0), np.minimum(high, shape)
    hit = np.flatnonzero((high > low).all(1))
    return [
        Piece(int(n), low[n], high[n], whole[n] + start, part[n]) for n in hit.tolist()
    ]


def _slabs(piece: Piece):
    """Slices of the region, a few planes each."""
    edges = zip(piece.start.tolist(), piece.stop.tolist(), strict=True)
    z, y, x = (slice(*edge) for edge in edges)
    plane = (y.stop - y.start) * (x.stop - x.start)
    step = max(1, SLAB // plane)
    for begin in range(z.start, z.stop, step):
        yield slice(begin, min(begin + step, z.stop)), y, x


class _Seen:
    """What a tile shows in a region: read once, computed a few planes at a time."""

    def __init__(self, tile: Tile, piece: Piece, order: str, channel: int, gains):
        self._piece, self._order = piece, order
        moved = piece.part > 0
        before, after = (np.where(moved, margin, 0) for margin in MARGINS[order])
        low = piece.start + piece.whole - before
        high = piece.stop + piece.whole + after
        inner = np.maximum(low, 0), np.minimum(high, tile.shape)
        box = tuple(zip(*(edge.tolist() for edge in inner), strict=True))
        raw = tile.read(box, channel=channel)
        padding = list(zip(inner[0] - low, high - inner[1], strict=True))
        if np.any(padding):  # beyond its border a tile goes on as a straight line
            raw = raw.astype(np.float32)
            raw = np.pad(raw, padding, mode="reflect", reflect_type="odd")
        self._raw = raw
        self._thick = int((before + after)[0])
        self._factor = _factor(tile, piece.tile, gains, box[1:], padding[1:])
        if gains is not None:
            self._background = np.float32(gains.background)
            self._dark = self._background + np.float32(gains.offsets[piece.tile])

    def at(self, slab) -> np.ndarray:
        """float32, for a slab of the region."""
        first = slab[0].start - int(self._piece.start[0])
        last = first + slab[0].stop - slab[0].start + self._thick
        values = self._raw[first:last].astype(np.float32)
        if self._factor is not None:
            values -= self._dark
            values *= self._factor
            values += self._background
        return shifted(values, self._piece.part, self._order)


def _factor(tile: Tile, number: int, gains: Gains | None, box, padding):
    """1 / (gain x shading) in a box (y, x); None if there is nothing to do."""
    if gains is None:
        return None
    gain, field = float(gains.gains[number]), gains.flat_field
    if field is None:
        same = gain == 1 and gains.offsets[number] == 0
        return None if same else np.float32(1 / gain)
    y, x = (slice(*edges) for edges in box)
    factor = np.float32(1 / gain) / field.profile(tile.shape[1:])[y, x]
    return np.pad(factor, padding, mode="edge")


def _weight_lines(tile: Tile, piece: Piece, weights: str) -> list[np.ndarray]:
    """Per axis, weights of the voxels of a piece."""
    lines = []
    for axis, n in enumerate(tile.shape):
        k = np.arange(piece.start[axis], piece.stop[axis])
        lines.append(ramp(k + piece.whole[axis] + piece.part[axis], n, weights))
    return lines


def _weight(lines, extra, piece: Piece, slab) -> np.ndarray:
    """The weight of a piece in a slab."""
    z, y, x = lines
    first = int(slab[0].start - piece.start[0])
    planes = slice(first, first + slab[0].stop - slab[0].start)
    weight = z[planes, None, None] * (y[:, None] * x)
    return weight if extra is None else weight * extra[planes]


def _content_of(tiles, piece: Piece, channel: int, weights: str):
    """How much structure a tile shows in a piece; None if that does not matter."""
    if weights != "content":
        return None
    tile = tiles[piece.tile]
    low, high = piece.start + piece.whole, piece.stop + piece.whole
    begin = np.maximum(low - CONTENT_HALO, 0)
    end = np.minimum(high + CONTENT_HALO, tile.shape)
    box = tuple(zip(begin.tolist(), end.tolist(), strict=True))
    found = content(tile.read(box, channel=channel).astype(np.float32))
    z, y, x = (slice(*e) for e in zip(low - begin, high - begin, strict=True))
    return found[z, y, x]
