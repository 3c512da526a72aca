"""Stitching of tiles that deform a little."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..fusion._part import Box, Light, blend_part
from ._blocks import Block, Region, slices
from ._fuse_blocks import box_of
from ._stitch_blocks import Stitch
from ._tile_gains import Gains
from ._tiles import Tile

MARGIN = 2
"""Voxels around what a region maps to, for linear interpolation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StitchAffine(Stitch):
    """Blend tiles in a block, each through a matrix of its own.

    Weights fall to the borders of the tiles as a cosine, whatever `weights` says, but
    for "content"; interpolation is linear.

    Attributes:
        matrices: (tiles, 4, 4) from voxels of a tile to those of the mosaic.
    """

    matrices: np.ndarray

    def read(self, block: Block) -> tuple[Box, ...]:
        """The parts of the tiles that reach the block."""
        channel = block.index[0] if block.index else 0
        first = np.array([a for a, _ in block.read])
        boxes = []
        for number in self.reaching(block):
            tile, pull = self.tiles[number], self._pull(number)
            region = box_of(block.read, pull, tile.shape, MARGIN)
            start = np.array([a for a, _ in region])
            data = tile.read(region, channel=channel).astype(np.float32)
            if self.gains is not None:
                data = evened(data, region, tile, self.gains[channel], number)
            pull[:-1, -1] += pull[:-1, :-1] @ first - start
            boxes.append(
                Box(data=data, matrix=np.float32(pull), start=np.float32(start))
            )
        return tuple(boxes)

    def is_empty(self, block: Block, inputs: tuple[Box, ...]) -> bool:
        """Whether no tile reaches the block, or all are 0 there."""
        return not any(box.data.any() for box in inputs)

    def compute(self, block: Block, inputs: tuple[Box, ...]) -> jax.Array:
        """The blend of the tiles."""
        zero, one = np.float32(0), np.float32(1)
        light = Light(background=zero, exposure=one, noise=zero)
        return blend_part(
            inputs,
            (light,) * len(inputs),
            shape=block.read_shape,
            view_shapes=tuple(self.tiles[n].shape for n in self.reaching(block)),
            on_grid=(False,) * len(inputs),
            method="content" if self.weights == "content" else "blending",
        )

    def reaching(self, block: Block) -> list[int]:
        """Numbers of the tiles that show a part of a block."""
        corners = np.array(
            list(itertools.product(*((a, b - 1) for a, b in block.read)))
        )
        found = []
        for number, tile in enumerate(self.tiles):
            pull = self._pull(number)
            at = corners @ pull[:3, :3].T + pull[:3, 3]
            if ((at.max(0) >= 0) & (at.min(0) <= np.array(tile.shape) - 1)).all():
                found.append(number)
        return found

    def shared(self) -> Mapping[str, Any]:
        """Positions, matrices and gains."""
        return dict(super().shared()) | {"matrices": self.matrices.tolist()}

    def _pull(self, number: int) -> np.ndarray:
        """From voxels of the result to those of a tile."""
        shift = np.eye(4)
        shift[:3, 3] = self.start
        return np.linalg.inv(self.matrices[number]) @ shift


def evened(
    data: np.ndarray, region: Region, tile: Tile, gains: Gains, number: int
) -> np.ndarray:
    """A part of a tile, divided by gain and shading about the background."""
    factor = np.float32(gains.gains[number])
    if gains.flat_field is not None:
        profile = gains.flat_field.profile(tile.shape[1:])
        factor = factor * profile[slices(region[1:])]
    level = np.float32(gains.background)
    return (data - level - np.float32(gains.offsets[number])) / factor + level
