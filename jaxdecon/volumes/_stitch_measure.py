"""Where tiles are, and how bright: measured, remembered, written down."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._core._check import check_choice
from ..deconvolution import estimate_background
from ..registration._links import Links, Placement, solve_links
from ._stitch_blocks import from_json
from ._tile_gains import Gains, measure_gains
from ._tile_links import measure_links, measure_parts
from ._tiles import Tile

SNAP = 2
"""Decimals of positions, in voxels: far below what links are exact to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stitching:
    """Where tiles were found to be; `report.stitch_figure` shows it.

    Attributes:
        tiles: at their nominal places.
        links: between those that overlap; None if an earlier run has made them.
        placement: of all tiles; None if an earlier run has made it.
        positions: (tiles, 3) of their first voxels, voxels of the mosaic, to 0.01.
        gains: per channel; None: not measured.
    """

    tiles: tuple[Tile, ...]
    links: Links | None
    placement: Placement | None
    positions: np.ndarray
    gains: tuple[Gains, ...] | None

    @property
    def nominal(self) -> np.ndarray:
        """(tiles, 3) places by the stage."""
        return np.array([tile.origin for tile in self.tiles])

    @property
    def shapes(self) -> np.ndarray:
        """(tiles, 3)."""
        return np.array([tile.shape for tile in self.tiles])


def measure(
    tiles: tuple[Tile, ...],
    *,
    channel: int,
    search: Any,
    model: str,
    stage_sigma: float,
    equalise: bool,
    flat_field: bool,
    background: str | float,
) -> Stitching:
    """Links, positions and gains; the arguments are those of `stitch`."""
    links = measure_links(tiles, search=search, channel=channel)
    if model == "affine":
        links = measure_parts(tiles, links, channel=channel)
    origins = np.array([tile.origin for tile in tiles])
    placement = solve_links(
        origins,
        links,
        shapes=np.array([tile.shape for tile in tiles]),
        model=model,
        stage_sigma=stage_sigma,
    )
    # So near a whole voxel tiles are copied, not interpolated, and no plane is lost.
    positions = np.round(placement.positions, SNAP) + 0.0
    gains = None
    if equalise:
        used = links.pairs[links.usable & ~placement.rejected]
        gains = tuple(
            measure_gains(
                tiles,
                positions,
                background=_background(tiles, c, background),
                flat_field=flat_field,
                pairs=np.unique(used, axis=0),
                channel=c,
            )
            for c in range(tiles[0].channels)
        )
    return Stitching(
        tiles=tiles,
        links=links,
        placement=placement,
        positions=positions,
        gains=gains,
    )


def _background(tiles: Sequence[Tile], channel: int, given: str | float) -> float:
    """As given, or the least of the darkest parts of some tiles' middle planes."""
    if not isinstance(given, str):
        return float(given)
    check_choice("background", given, ("auto",))
    some = tiles[:: max(1, len(tiles) // 16)]
    levels = []
    for tile in some:
        z, y, x = tile.shape
        plane = tile.read(((z // 2, z // 2 + 1), (0, y), (0, x)), channel=channel)
        if np.ptp(plane) > 0:
            levels.append(estimate_background(plane))
    return min(levels, default=0.0)


def remembered(tiles: tuple[Tile, ...], known: Any) -> Stitching:
    """What an earlier run has measured."""
    gains = known["gains"]
    return Stitching(
        tiles=tiles,
        links=None,
        placement=None,
        positions=np.array(known["positions"]),
        gains=None if gains is None else tuple(from_json(g) for g in gains),
    )


def doubtful(placement: Placement) -> bool:
    """Whether links contradict each other, or tiles hang together by nothing."""
    return bool(placement.rejected.any()) or len(placement.components) > 1


def as_facts(found: Stitching) -> dict[str, Any]:
    """Positions and links, for the file beside the result."""
    facts: dict[str, Any] = {
        "convention": "positions are of the first voxel of every tile, (z, y, x) voxels"
        " of the mosaic, whose own first voxel is at `start`",
        "tiles": [tile.name for tile in found.tiles],
        "nominal": found.nominal.tolist(),
        "positions": found.positions.tolist(),
        "gains": [g.gains.tolist() for g in found.gains or ()],
    }
    if found.placement is not None and found.links is not None:
        facts["matrices"] = found.placement.matrices.tolist()
        facts["components"] = [list(c) for c in found.placement.components]
        facts["notes"] = list(found.placement.notes)
        facts["links"] = [
            {
                "tiles": pair.tolist(),
                "offset": offset.tolist(),
                "ncc": float(ncc),
                "usable": bool(usable),
                "rejected": bool(rejected),
                "residual": residual.tolist(),
            }
            for pair, offset, ncc, usable, rejected, residual in zip(
                found.links.pairs,
                found.links.offset,
                found.links.ncc,
                found.links.usable,
                found.placement.rejected,
                found.placement.residual,
                strict=True,
            )
        ]
    return facts
