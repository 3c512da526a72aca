"""How long a plan will take, by doing a little of it."""

import dataclasses
import math
import time

import jax

from ._blocks import BlockGrid
from ._operation import Operation
from ._plan import Plan

EDGE = 96
"""Voxels, of the block that is tried."""
READ_RATE = 500e6
"""Bytes per second that are read and written, where that was not measured."""


def with_estimate(plan: Plan, operation: Operation) -> Plan:
    """The plan with the time that is left, from that of a small block, computed twice.

    Reading counts where it takes longer than computing, since both go on at a time.
    """
    if not plan.todo:
        return dataclasses.replace(plan, seconds=0.0)
    core = tuple(min(n, EDGE) for n in plan.grid.core)
    small = dataclasses.replace(plan.grid, core=core)
    block = small[len(small) // 2]
    try:
        inputs = operation.read(block)
        jax.block_until_ready(operation.compute(block, inputs))
        began = time.perf_counter()
        jax.block_until_ready(operation.compute(block, inputs))
    except Exception:  # the run itself will say what is wrong with that block
        return plan
    rate = (time.perf_counter() - began) / _work(small)
    computing = rate * _work(plan.grid) * plan.todo
    moving = (plan.bytes_to_read + plan.bytes_to_write) / READ_RATE
    share = plan.todo / max(len(plan.grid) - len(plan.skipped), 1)
    return dataclasses.replace(plan, seconds=max(computing, moving * share))


def _work(grid: BlockGrid) -> float:
    """Of a block, in terms of transforms: n log n."""
    voxels = math.prod(grid.read_shape)
    return voxels * math.log(voxels + 1)
