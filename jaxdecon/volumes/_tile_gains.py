"""Brightness of tiles and shading of the field, from what overlapping tiles share."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ._tile_links import neighbours
from ._tile_robust import huber, side_by_side, tile_rows
from ._tile_shading import FlatField, powers, terms
from ._tiles import Tile, check_tiles

PATCH = 16
"""Voxels along y and x, and many along z, over which intensities are summed."""
PLANES, MOST_PATCHES = 64, 16
"""Of an overlap, that are read along z at most; and patches along y and x."""
LEAST_CONTRAST = 0.2
"""Share of the mean patch; darker patches say little of a factor."""
GAIN_SIGMA = 0.3
"""Logarithm that gains may differ by; holds what overlaps do not fix."""
SHADE_SIGMA, SLOPE_SIGMA = 1.0, 0.1
"""Likewise of the terms of the shading, and of those that are slopes: these look like a
trend of the gains, and are believed where a trend would run over many tiles."""
TURNS, LEAST_FACTOR = 4, 0.1
"""Shading and offsets are found in turns; what a gain changes by in one, at least."""
LEAST_SPREAD = 1e-4
"""Of residuals, relative; no patch is more exact."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gains:
    """How bright tiles are: value = background + offset + gain x shading x specimen.

    Attributes:
        gains: (tiles,), the geometric mean of those compared 1.
        offsets: (tiles,), their mean 0.
        flat_field: shading that all tiles share; None for none.
        background: of the camera.
        spread: robust standard deviation of the logarithms' residuals.
        patches: compared.
    """

    gains: np.ndarray
    offsets: np.ndarray
    flat_field: FlatField | None = None
    background: float = 0.0
    spread: float = 0.0
    patches: int = 0

    @classmethod
    def none(cls, count: int, background: float = 0.0) -> "Gains":
        """Tiles that are equally bright."""
        zero = np.zeros(count)
        return cls(gains=zero + 1, offsets=zero, background=background)


@dataclasses.dataclass(frozen=True)
class _Patches:
    """Means over patches that two tiles show, and where they are in the field."""

    pairs: np.ndarray
    first: np.ndarray
    second: np.ndarray
    first_at: np.ndarray
    second_at: np.ndarray

    def chosen(self, which: np.ndarray) -> "_Patches":
        values = (getattr(self, f.name)[which] for f in dataclasses.fields(self))
        return _Patches(*values)


def measure_gains(
    tiles: Sequence[Tile],
    positions: ArrayLike,
    *,
    background: float = 0.0,
    flat_field: bool = True,
    offsets: bool = False,
    degree: int = 2,
    pairs: ArrayLike | None = None,
    channel: int = 0,
) -> Gains:
    """Gains of the tiles, and the shading of the field, from all overlaps at once.

    Where tiles i and j overlap, the logarithms of what they show differ by
    log f(p_i) - log f(p_j) + log g_i - log g_j, whatever the specimen; log f is a
    polynomial of the place in the field. Least squares over patches of all overlaps,
    robust against what moved or bleached in between. A slope of the shading looks like
    a trend of the gains across the mosaic; of the two, the smaller one is taken.

    Args:
        tiles: the tiles.
        positions: (tiles, 3) where they are, voxels.
        background: of the camera, in units of the data.
        flat_field: whether to estimate the shading.
        offsets: whether to estimate an offset per tile, beyond the background.
        degree: of the polynomial.
        pairs: (pairs, 2) numbers of the tiles to compare, e.g. those of used links;
            None: all that overlap. Tiles in no pair have the gain 1.
        channel: the one to measure; brightness and shading differ between channels.

    Returns:
        The gains.

    Raises:
        ValueError: positions or tiles that do not fit.
    """
    tiles = check_tiles(tiles)
    places = check_positions(tiles, positions)
    compared = _overlapping(tiles, places, pairs)
    found = _patches(tiles, places, compared, background, channel)
    zero = Gains.none(len(tiles), background)
    if found is None:
        return zero
    degree = degree if flat_field else 0
    result = _solve(found, zero.offsets, len(tiles), degree)
    for _ in range(TURNS if offsets and result.patches else 0):
        gains, shifts = _with_offsets(found, result, len(tiles))
        result = _solve(found, shifts, len(tiles), degree)
        result = dataclasses.replace(result, gains=gains)
    return dataclasses.replace(result, background=background)


def check_positions(tiles: Sequence[Tile], positions: ArrayLike) -> np.ndarray:
    """(tiles, 3) finite positions."""
    places = np.asarray(positions, float)
    if places.shape != (len(tiles), 3) or not np.isfinite(places).all():
        raise ValueError(
            f"`positions` has shape {places.shape}; {(len(tiles), 3)} finite (z, y, x) "
            f"are needed, one per tile."
        )
    return places


def _overlapping(tiles, places, pairs) -> np.ndarray:
    """Pairs that overlap, of those given."""
    found = neighbours(np.rint(places), [t.shape for t in tiles])
    if pairs is None:
        return found
    wanted = {tuple(pair) for pair in np.sort(np.asarray(pairs, int), 1).tolist()}
    return found[[tuple(pair) in wanted for pair in found.tolist()]]


def _patches(tiles, places, pairs, background: float, channel: int) -> _Patches | None:
    shapes = np.array([t.shape for t in tiles])
    whole = np.rint(places).astype(int)
    parts = []
    for a, b in pairs.tolist():
        low = np.maximum(whole[a], whole[b])
        high = np.minimum(whole[a] + shapes[a], whole[b] + shapes[b])
        seen = [
            _means(tiles[n], low - whole[n], high - whole[n], channel) for n in (a, b)
        ]
        (one, one_at), (other, other_at) = seen
        pair = np.broadcast_to([a, b], (one.size, 2))
        parts.append((pair, one - background, other - background, one_at, other_at))
    if not parts:
        return None
    return _Patches(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _means(tile: Tile, low, high, channel: int):
    """Means over patches of a box, and their places in the field, from -1 to 1."""
    box = tuple(zip(low.tolist(), high.tolist(), strict=True))
    plane = tile.read(box, channel=channel).mean(0, dtype=float)
    y_edges, x_edges = ranges = [_edges(n) for n in plane.shape]
    means = np.add.reduceat(plane, y_edges[:-1], 0) / np.diff(y_edges)[:, None]
    means = np.add.reduceat(means, x_edges[:-1], 1) / np.diff(x_edges)
    centres = [
        2 * (start + (edges[:-1] + edges[1:] - 1) / 2 + 0.5) / n - 1
        for start, edges, n in zip(low[1:], ranges, tile.shape[1:], strict=True)
    ]
    y, x = np.meshgrid(*centres, indexing="ij")
    return means.ravel(), np.stack([y.ravel(), x.ravel()], 1)


def _edges(n: int) -> np.ndarray:
    count = int(np.clip(round(n / PATCH), 1, MOST_PATCHES))
    return np.linspace(0, n, count + 1).astype(int)


def _solve(found: _Patches, shifts, count: int, degree: int) -> Gains:
    """Gains and shading of patches whose offsets are known."""
    a, b = found.pairs.T
    one, other = found.first - shifts[a], found.second - shifts[b]
    bright = np.minimum(one, other)
    typical = float(bright[bright > 0].mean()) if (bright > 0).any() else 0.0
    lit = bright > LEAST_CONTRAST * typical
    if not lit.any():
        return Gains.none(count)
    found, one, other, bright = found.chosen(lit), one[lit], other[lit], bright[lit]
    shade = terms(found.first_at, degree) - terms(found.second_at, degree)
    sigmas = [GAIN_SIGMA] * count
    sigmas += [SLOPE_SIGMA if sum(p) == 1 else SHADE_SIGMA for p in powers(degree)]
    unknowns, spread = huber(
        tile_rows(found.pairs, np.ones_like(one), -np.ones_like(one), count, shade),
        np.log(one) - np.log(other),
        sigmas=np.array(sigmas),
        weights=np.minimum(bright / typical, 1),
        least=LEAST_SPREAD,
    )
    field = FlatField.of(unknowns[count:].tolist(), degree) if degree else None
    return Gains(
        gains=np.exp(unknowns[:count] - unknowns[np.unique(found.pairs)].mean()),
        offsets=shifts,
        flat_field=field,
        spread=spread,
        patches=int(one.size),
    )


def _with_offsets(found: _Patches, gains: Gains, count: int):
    """Gains and offsets that make patches of all brightnesses agree.

    Of v_i / g_i - o_i = v_j / g_j - o_j with g = gain / h, linear in h and o.
    """
    values = []
    sides = ((found.first, found.first_at), (found.second, found.second_at))
    for tiles, (value, at) in zip(found.pairs.T, sides, strict=True):
        field = 1 if gains.flat_field is None else gains.flat_field.at(at)
        values.append(value / (gains.gains[tiles] * field))
    one, other = values
    scale = max(float(np.median(abs(one))), 1e-12)
    ones = np.ones_like(one)
    factors = tile_rows(found.pairs, one, -other, count)
    shifts = tile_rows(found.pairs, -scale * ones, scale * ones, count)
    unknowns, _ = huber(
        side_by_side(factors, shifts),
        other - one,
        sigmas=np.repeat([GAIN_SIGMA, 1.0], count),
        weights=ones,
        least=LEAST_SPREAD * scale,
    )
    changed = gains.gains / np.maximum(1 + unknowns[:count], LEAST_FACTOR)
    offsets = scale * unknowns[count:] * changed
    used = np.unique(found.pairs)
    changed = changed / np.exp(np.log(changed[used]).mean())
    return changed, offsets - offsets[used].mean()
