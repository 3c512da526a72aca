"""Stitching as an operation on blocks: each blends the tiles that reach it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ._blocks import Block, Shape
from ._mosaic import mosaic_region
from ._operation import Operation
from ._tile_gains import Gains
from ._tile_shading import FlatField
from ._tiles import Tile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stitch(Operation):
    """Blend tiles in a block.

    Attributes:
        tiles: the tiles.
        positions: (tiles, 3) of their first voxels, voxels of the mosaic.
        start: (3,) first voxel of the result in the mosaic.
        shape: of the result.
        leading: (channels,), or () if the tiles have no such axis.
        gains: per channel; None: tiles as they are.
        weights: see `mosaic_region`.
        order: see `mosaic_region`.
        fill: where no tile reaches.
        facts: of the links and places, for the file beside the result.
    """

    tiles: tuple[Tile, ...]
    positions: np.ndarray
    start: Shape
    shape: Shape
    leading: Shape
    gains: tuple[Gains, ...] | None
    weights: str
    order: str
    fill: float
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    name = "stitch"
    halo = (0, 0, 0)  # a region of the mosaic does not depend on how it is cut

    def read(self, block: Block) -> np.ndarray:
        """The blended tiles; blending goes on while other blocks are read."""
        channel = block.index[0] if block.index else 0
        starts = [a + s for (a, _), s in zip(block.read, self.start, strict=True)]
        return mosaic_region(
            self.tiles,
            self.positions,
            starts,
            block.read_shape,
            weights=self.weights,
            order=self.order,
            gains=None if self.gains is None else self.gains[channel],
            channel=channel,
            fill=self.fill,
        )

    def is_empty(self, block: Block, inputs: np.ndarray) -> bool:
        """Whether all is 0."""
        return not inputs.any()

    def compute(self, block: Block, inputs: Any) -> jax.Array:
        """What was read."""
        return jax.numpy.asarray(inputs)

    def memory(self, block: Block) -> tuple[int, int]:
        """Bytes on device and host: the region, its weights, and the tiles' parts."""
        voxels = math.prod(block.read_shape)
        return 4 * voxels, 4 * voxels * 4

    def bytes_to_read(self, block: Block) -> int:
        """Bytes of tiles, as if one reached every voxel."""
        return self.tiles[0].dtype.itemsize * math.prod(block.read_shape)

    def shared(self) -> Mapping[str, Any]:
        """Positions, gains and what else was found."""
        return {
            "positions": self.positions.tolist(),
            "gains": None if self.gains is None else [as_json(g) for g in self.gains],
            "facts": dict(self.facts),
        }


def as_json(gains: Gains) -> dict[str, Any]:
    """Gains for a manifest."""
    found = dataclasses.asdict(gains)
    for name in ("gains", "offsets"):
        found[name] = np.asarray(found[name]).tolist()
    return found


def from_json(known: Mapping[str, Any]) -> Gains:
    """Gains from a manifest."""
    field = known["flat_field"]
    return Gains(
        gains=np.array(known["gains"]),
        offsets=np.array(known["offsets"]),
        flat_field=None if field is None else FlatField.of(**field),
        background=float(known["background"]),
        spread=float(known["spread"]),
        patches=int(known["patches"]),
    )
