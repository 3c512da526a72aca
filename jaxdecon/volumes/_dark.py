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
        region = tuple(  # a voxel wider, wherever a level has its centres
            (max(a // s - 1, 0), -(-b // s) + 1)
            for (a, b), s in zip(block.read, step, strict=True)
        )
        seen = known[slices(region)]  # pyright: ignore[reportOptionalSubscript]
        if seen.size and np.max(seen) < below:
            dark.append(block.number)
    return tuple(dark)
