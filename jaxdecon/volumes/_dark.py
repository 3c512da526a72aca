"""Which blocks have no signal, by a coarse level of the source's pyramid."""

import numpy as np

from ._blocks import BlockGrid, slices
from ._operation import Operation


def dark_blocks(
    operation: Operation, grid: BlockGrid, below: float | None
) -> tuple[int, ...]:
    """Numbers of the blocks that nowhere reach a level, halo included.

    A coarse voxel is the mean of many: what is small and bright is dimmer there. Choose
    the level accordingly, a little above the background.

    Args:
        operation: whose source has a pyramid; without one no block is skipped here,
            and every block is looked at when it is read.
        grid: the blocks.
        below: the level; None: no block.
    """
    found = operation.dark_level()
    if below is None or found is None:
        return ()
    image, step = found
    dark, known, index = [], None, None
    for block in grid:
        if index != block.index:
            index, known = block.index, image.volume(block.index)
        region = tuple(
            (a // s, -(-b // s)) for (a, b), s in zip(block.read, step, strict=True)
        )
        if np.max(known[slices(region)]) < below:  # pyright: ignore[reportOptionalSubscript]
            dark.append(block.number)
    return tuple(dark)
