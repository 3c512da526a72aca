"""What has to be the same for all blocks, or their faces show: measured on a few."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._sum import total
from ..deconvolution import estimate_background
from ..deconvolution._scheme import with_estimate
from ._blocks import Block, BlockGrid, Shape
from ._deconvolve_blocks import Deconvolve, Method, block_problem
from ._deconvolve_optics import Optics
from ._programs import program
from ._source import Source

LOOKS, EDGE = 27, 64
"""Places per volume that are looked at, spread evenly, and the edge of each."""
SAMPLED = 3
"""Blocks, the brightest of those, on which scales and momenta are measured."""


def sample_backgrounds(source: Source) -> tuple[float, ...]:
    """The level of the darkest parts of every channel, in its first volume."""
    found = []
    for channel in range(source.image.sizes.get("c", 1)):
        index = first_index(source, channel)
        parts = [source.read(index, region) for region in looks(source.shape)]
        parts = [part for part in parts if np.ptp(part) > 0]
        found.append(estimate_background(np.stack(parts)) if parts else 0.0)
    return tuple(found)


def agreed(operation: Deconvolve, grid: BlockGrid, *, restore_flux: bool) -> Deconvolve:
    """The operation with scales and momenta that all its blocks share.

    An unmatched back projector gains or loses some per cent of the light, and how far
    acceleration extrapolates depends on all voxels of a volume. Measured in each block
    alone, either would differ from that of its neighbours.

    Args:
        operation: without them.
        grid: its blocks.
        restore_flux: whether to measure scales.
    """
    optics = []
    for channel, one in enumerate(operation.optics):
        if operation.method.start == "constant" or one.prior is not None:
            level = mean_signal(operation.source, channel, float(one.background))
            one = dataclasses.replace(one, mean=np.float32(level))
        if (restore_flux and one.kernel is not None) or operation.method.accelerated:
            blocks = _bright(operation, grid, channel)
            images = [operation.read(block) for block in blocks]
            if restore_flux and one.kernel is not None:
                one = with_scales(one, blocks, images, operation.method)
            if operation.method.accelerated:
                one = with_momenta(one, blocks, images, operation.method)
        optics.append(one)
    return dataclasses.replace(operation, optics=tuple(optics))


def mean_signal(source: Source, channel: int, background: float) -> float:
    """The mean of what exceeds the background, in parts of a channel's first volume."""
    index = first_index(source, channel)
    parts = [source.read(index, region) for region in looks(source.shape)]
    return float(np.mean([np.maximum(p - background, 0.0).mean() for p in parts]))


def with_scales(
    optics: Optics, blocks: Sequence[Block], images: Sequence[Any], method: Method
) -> Optics:
    """Optics with the scales that keep the light of some blocks taken together."""
    plain = dataclasses.replace(method, accelerated=False)
    parts = [(i, optics.at(b)) for i, b in zip(images, blocks, strict=True)]
    states = [program(begin, *part, method=plain)(*part) for part in parts]
    scales: list[float] = []
    for _ in range(method.iterations):
        found = [
            program(advance, *part, state, method=plain)(*part, state)
            for part, state in zip(parts, states, strict=True)
        ]
        recorded, predicted = np.sum([light for _, light in found], 0)
        usable = recorded > 0 and predicted > 0
        scales.append(float(recorded / predicted) if usable else 1.0)
        factor = np.float32(scales[-1])
        states = [with_estimate(s, s.estimate * factor) for s, _ in found]
    return dataclasses.replace(optics, scales=np.array(scales, np.float32))


def with_momenta(
    optics: Optics, blocks: Sequence[Block], images: Sequence[Any], method: Method
) -> Optics:
    """Optics with the mean of the momenta that some blocks find for themselves."""
    parts = [(i, optics.at(b)) for i, b in zip(images, blocks, strict=True)]
    found = [program(momenta, *part, method=method)(*part) for part in parts]
    return dataclasses.replace(optics, momenta=np.mean(found, 0, dtype=np.float32))


def begin(image: jax.Array, optics: Optics, *, method: Method) -> Any:
    """The state of a scheme before its first update."""
    problem, scheme = block_problem(image, optics, method)
    return scheme.init(problem)


def advance(image: jax.Array, optics: Optics, state: Any, *, method: Method) -> Any:
    """The state after an update; the light recorded, and that the estimate predicts."""
    problem, scheme = block_problem(image, optics, method)
    state = scheme.update(problem, state)
    predicted = problem.operator(state.estimate)
    return state, jnp.stack([total(problem.excess), total(predicted)])


def momenta(image: jax.Array, optics: Optics, *, method: Method) -> jax.Array:
    """How far an image's own acceleration extrapolates, after every update."""
    problem, scheme = block_problem(image, optics, method)

    def step(state, _):
        state = scheme.update(problem, state)
        return state, state.momentum

    return jax.lax.scan(step, scheme.init(problem), length=method.iterations)[1]


def _bright(operation: Deconvolve, grid: BlockGrid, channel: int) -> list[Block]:
    """The brightest blocks of a channel, among some."""
    blocks = spread_blocks(grid, first_index(operation.source, channel))
    blocks.sort(key=lambda b: -float(_centre(operation.source, b).mean()))
    return blocks[:SAMPLED]


def spread_blocks(grid: BlockGrid, index: Shape) -> list[Block]:
    """Some blocks of the volume at an index of the leading axes, evenly spread."""
    first = int(np.ravel_multi_index(index, grid.leading)) if index else 0
    per_volume = int(np.prod(grid.counts))
    chosen = np.unique(np.linspace(0, per_volume - 1, LOOKS).astype(int))
    return [grid[first * per_volume + int(i)] for i in chosen]


def _centre(source: Source, block: Block) -> np.ndarray:
    middles = [(a + b) // 2 for a, b in block.core]
    sizes = [min(EDGE, b - a) for a, b in block.core]
    region = tuple(
        (m - s // 2, m - s // 2 + s) for m, s in zip(middles, sizes, strict=True)
    )
    return source.read(block.index, region)


def first_index(source: Source, channel: int) -> Shape:
    """The leading index of a channel's first volume."""
    axes = source.image.axes[: len(source.leading)]
    return tuple(channel if axis == "c" else 0 for axis in axes)


def looks(shape: Shape) -> list[tuple[tuple[int, int], ...]]:
    """Regions of `EDGE` voxels, evenly spread over a volume."""
    per_axis = [
        sorted({round(s) for s in np.linspace(0, max(n - EDGE, 0), 3)}) for n in shape
    ]
    grids = np.stack(np.meshgrid(*per_axis, indexing="ij"), -1).reshape(-1, len(shape))
    return [
        tuple(
            (int(a), min(int(a) + EDGE, n)) for a, n in zip(start, shape, strict=True)
        )
        for start in grids
    ]
