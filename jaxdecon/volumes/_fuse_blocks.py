"""Fusion as an operation on blocks: each reads what the views show of it."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..deconvolution import memory_needed as model_of_memory
from ..fusion._model import Blurs
from ..fusion._part import Box, Light, blend_part, solve_part
from ..fusion._scene import is_same_grid
from ..geometry import Grid
from ..geometry._displacement import Displacement
from ..registration._field import Field
from ._blocks import Block, Region, Shape
from ._operation import Operation
from ._programs import program, program_bytes
from ._source import Source

NODES = 16
"""Voxels between the places at which a block knows a displacement field."""
MARGIN = 8
"""Voxels around what a region maps to: from there cubic splines notice a border by less
than 1e-4."""
SCATTER = 260
"""Copies of a view's box that the exact adjoint of spline sampling takes (measured)."""
SOLVE_GRIDS = 6
"""Transform grids that joint deconvolution holds for every view, besides one solve."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fuse(Operation):
    """Fuse views in a block.

    Attributes:
        views: of the specimen.
        poses: from voxels of the first view to those of each.
        matrices: from voxels of `grid` to those of every view.
        grid: where the result lies.
        lights: per channel, or for all: of every view.
        blurs: per channel, or for all; None: no deconvolution.
        method: "deconvolve" or a blend.
        iterations: sweeps over all views.
        update: see `joint_richardson_lucy`.
        boundary: beyond what a block reads.
        halo: voxels around a block.
        fields: of every view, displacements of the grid's voxels before they are
            mapped; None: none.
        scales: per channel, factor on the result; None: none.
    """

    views: tuple[Source, ...]
    poses: np.ndarray
    matrices: np.ndarray
    grid: Grid
    lights: tuple[tuple[Light, ...], ...]
    blurs: tuple[Blurs, ...] | None
    method: str
    iterations: int
    update: str
    boundary: str
    halo: Shape
    fields: tuple[Field | None, ...] | None = None
    scales: tuple[float, ...] | None = None

    name = "fuse"

    @property
    def leading(self) -> Shape:
        """Sizes of the views' leading axes."""
        return self.views[0].leading

    @property
    def shape(self) -> Shape:
        """Of the grid."""
        return self.grid.shape

    @property
    def on_grid(self) -> tuple[bool, ...]:
        """Of every view, whether its voxels are those of the grid."""
        fields = self.fields or (None,) * len(self.views)
        return tuple(
            field is None and is_same_grid(matrix, view.shape, self.shape)
            for view, matrix, field in zip(
                self.views, self.matrices, fields, strict=True
            )
        )

    def read(self, block: Block) -> tuple[Box, ...]:
        """Of every view, the box that shows the block and its halo."""
        boxes = []
        fields = self.fields or (None,) * len(self.views)
        for view, matrix, same, field in zip(
            self.views, self.matrices, self.on_grid, fields, strict=True
        ):
            region = block.read
            if not same:
                region = box_of(block.read, matrix, view.shape, margin(field, matrix))
            start = np.array([a for a, _ in region])
            moved = matrix.copy()
            first = np.array([a for a, _ in block.read])
            moved[:-1, -1] += matrix[:-1, :-1] @ first - start
            data = view.read(block.index, region)
            if data.dtype.kind == "f" and not np.isfinite(data).all():
                raise ValueError(
                    f"{view.path or 'a view'} has NaN or infinite values where block "
                    f"{block.name} shows it; finite values are needed."
                )
            boxes.append(
                Box(
                    data=data,
                    matrix=np.float32(moved),
                    start=np.float32(start),
                    displacement=displacement(field, block),
                )
            )
        return tuple(boxes)

    def is_empty(self, block: Block, inputs: tuple[Box, ...]) -> bool:
        """Whether no view shows more than its background, where that has no part."""
        if self.blurs is None:
            return False
        lights = _of(self.lights, self.channel(block.index))
        pairs = zip(inputs, lights, strict=True)
        return all(bool(box.data.max() <= light.background) for box, light in pairs)

    def compute(self, block: Block, inputs: tuple[Box, ...]) -> jax.Array:
        """The fused block with its halo."""
        channel = self.channel(block.index)
        if self.blurs is None:
            return self.start(block, inputs, self.method)
        fused, _ = self.solve(block, inputs)
        return fused if self.scales is None else fused * self.scales[channel]

    def start(self, block: Block, inputs: tuple[Box, ...], method: str) -> jax.Array:
        """The average of the views in a block."""
        return blend_part(
            inputs,
            _of(self.lights, self.channel(block.index)),
            shape=block.read_shape,
            view_shapes=tuple(view.shape for view in self.views),
            on_grid=self.on_grid,
            method=method,
        )

    def solve(self, block: Block, inputs: tuple[Box, ...]) -> tuple[Any, Any]:
        """The deconvolved block, unscaled, and the light recorded and predicted."""
        start = self.start(block, inputs, "blending")
        compiled, arguments = self._solver(block, inputs, start)
        return compiled(*arguments)

    def measured_memory(self, block: Block) -> int | None:
        """Bytes on the device that the compiled program of a block takes."""
        if self.blurs is None:
            return None
        start = jax.ShapeDtypeStruct(block.read_shape, np.float32)
        return program_bytes(self._solver(block, self.read(block), start)[0])

    def _solver(self, block: Block, inputs: tuple[Box, ...], start: Any):
        """The program for a block, and its arguments."""
        channel = self.channel(block.index)
        blurs = _of(self.blurs, channel)
        lights = _of(self.lights, channel)
        arguments = (inputs, lights, blurs.psfs, blurs.kernels, start, self.iterations)
        choices = {
            "on_grid": self.on_grid,
            "update": self.update,
            "boundary": self.boundary,
        }
        return program(solve_part, *arguments, **choices), arguments

    def channel(self, index: Shape) -> int:
        """The channel of an index of the leading axes."""
        return dict(zip(self.views[0].image.axes, index, strict=False)).get("c", 0)

    def memory(self, block: Block) -> tuple[int, int]:
        """Bytes on device and host that a block takes, by a model."""
        boxes = [
            math.prod(box_shape(block.read_shape, m, view.shape, MARGIN))
            for view, m in zip(self.views, self.matrices, strict=True)
        ]
        host = sum(
            n * view.image.dtype.itemsize
            for n, view in zip(boxes, self.views, strict=True)
        ) + 4 * math.prod(block.read_shape)
        if self.blurs is None:
            return 4 * (6 * math.prod(block.read_shape) + 2 * sum(boxes)), host
        psf = self.blurs[0].psfs[0].shape
        one = model_of_memory(
            block.read_shape, psf, boundary=self.boundary, matched=False
        )
        spectra = model_of_memory(block.read_shape, psf, boundary="periodic")
        scattered = 0
        if self.blurs[0].kernels is None:  # adjoints of splines hand out values
            pairs = zip(boxes, self.on_grid, strict=True)
            scattered = SCATTER * 4 * sum(n for n, same in pairs if not same)
        more = (len(boxes) - 1) * spectra // 2 + SOLVE_GRIDS * 4 * sum(boxes)
        return one + more + scattered, host

    def bytes_to_read(self, block: Block) -> int:
        """Bytes of the views' boxes."""
        return sum(
            view.image.dtype.itemsize
            * math.prod(box_shape(block.read_shape, m, view.shape, MARGIN))
            for view, m in zip(self.views, self.matrices, strict=True)
        )

    def shared(self) -> Mapping[str, Any]:
        """Poses, light and scales."""
        return {
            "poses": self.poses.tolist(),
            "lights": [
                [
                    [float(v) for v in (one.background, one.exposure, one.noise)]
                    for one in lights
                ]
                for lights in self.lights
            ],
            "scales": None if self.scales is None else list(self.scales),
            "fields": None
            if self.fields is None
            else [as_json(f) for f in self.fields],
        }

    def with_shared(self, shared: Mapping[str, Any] | None) -> "Fuse":
        """The operation with the scales of an earlier run; it was made of the rest."""
        if shared is None or shared["scales"] is None:
            return self
        return dataclasses.replace(self, scales=tuple(shared["scales"]))


def _of(values: Any, channel: int) -> Any:
    return values[channel if len(values) > 1 else 0]


def as_json(field: Field | None) -> Any:
    """A field for a manifest."""
    if field is None:
        return None
    return {"nodes": field.nodes.tolist(), "spacing": field.spacing.tolist()}


def from_json(known: Any) -> Field | None:
    """A field from a manifest."""
    if known is None:
        return None
    nodes, spacing = np.array(known["nodes"]), np.array(known["spacing"])
    return Field(nodes=nodes, spacing=spacing, weights=np.zeros(0))


def margin(field: Field | None, matrix: np.ndarray) -> int:
    """Voxels to read around what a region maps to."""
    if field is None:
        return MARGIN
    farthest = abs(matrix[:-1, :-1]) @ abs(field.nodes).reshape(len(matrix) - 1, -1)
    return MARGIN + int(np.ceil(farthest.max()))


def displacement(field: Field | None, block: Block) -> Displacement | None:
    """The field about the first voxel of what a block reads."""
    if field is None:
        return None
    # Nodes at multiples of their distance: neighbours interpolate between the same.
    starts = [a // NODES * NODES for a, _ in block.read]
    counts = [-(-(n - 1) // NODES) + 2 for n in block.read_shape]
    before = [a - s for (a, _), s in zip(block.read, starts, strict=True)]
    values = field.on_lattice(starts, NODES, counts)
    return Displacement(
        values=values.astype(np.float32),  # pyright: ignore[reportArgumentType]
        spacing=np.full(len(counts), NODES, np.float32),  # pyright: ignore[reportArgumentType]
        before=np.array(before, np.float32),  # pyright: ignore[reportArgumentType]
    )


def box_shape(
    shape: Sequence[int], matrix: np.ndarray, view_shape: Shape, around: int
) -> Shape:
    """Of the box of a view that holds what any region of a shape maps to."""
    extent = abs(matrix[:-1, :-1]) @ (np.array(shape) - 1)
    sizes = np.ceil(extent + 1e-6).astype(int) + 2 + 2 * around
    return tuple(int(min(s, n)) for s, n in zip(sizes, view_shape, strict=True))


def box_of(
    region: Region, matrix: np.ndarray, view_shape: Shape, around: int = MARGIN
) -> Region:
    """The box of a view that holds what a region maps to, as far as the view goes."""
    corners = np.array(list(itertools.product(*((a, b - 1) for a, b in region))))
    low = (corners @ matrix[:-1, :-1].T + matrix[:-1, -1]).min(0)
    sizes = box_shape([b - a for a, b in region], matrix, view_shape, around)
    starts = np.floor(low + 1e-6).astype(int) - around
    return tuple(
        (int(s), int(s) + size)
        for s, size in (
            (min(max(s, 0), n - size), size)
            for s, size, n in zip(starts, sizes, view_shape, strict=True)
        )
    )
