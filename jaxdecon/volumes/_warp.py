"""Resample a volume larger than memory through a matrix."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Unpack

import jax
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_shape
from ..geometry import ORDERS
from ..geometry import warp as warp_array
from ..geometry._matrix import check_matrix
from ..geometry._warp import overlap
from ._blocks import Block, Shape
from ._deconvolve_blocks import digest
from ._fuse_blocks import MARGIN, box_of, box_shape
from ._how import How, Options
from ._operation import Operation
from ._outcome import Run
from ._plan import Plan
from ._run import Job, run
from ._source import Source
from ._targets import make_target, target_path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warp(Operation):
    """Resample a volume in a block.

    Attributes:
        source: of the image.
        matrix: from voxels of the result to those of the source.
        shape: of the result.
        order: "linear" or "cubic".
    """

    source: Source
    matrix: np.ndarray
    shape: Shape
    order: str

    name = "warp"

    @property
    def halo(self) -> Shape:
        """None: a voxel depends on no other one of the result."""
        return (0,) * len(self.shape)

    @property
    def leading(self) -> Shape:
        """Sizes of the source's leading axes."""
        return self.source.leading

    def read(self, block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The box of the source that the block shows; matrices to it and to all."""
        region = box_of(block.read, self.matrix, self.source.shape)
        whole, local = self.matrix.copy(), self.matrix.copy()
        first = np.array([a for a, _ in block.read])
        whole[:-1, -1] += self.matrix[:-1, :-1] @ first
        local[:-1, -1] = whole[:-1, -1] - [a for a, _ in region]
        data = self.source.read(block.index, region)
        return data, local.astype(np.float32), whole.astype(np.float32)

    def is_empty(self, block: Block, inputs: Any) -> bool:
        """Whether the box is 0."""
        return not inputs[0].any()

    def compute(self, block: Block, inputs: Any) -> jax.Array:
        """The resampled block."""
        return warp_box(
            *inputs,
            shape=block.read_shape,
            source_shape=self.source.shape,
            order=self.order,
        )

    def memory(self, block: Block) -> tuple[int, int]:
        """Bytes on device and host that a block takes."""
        box = math.prod(self._box(block))
        voxels = math.prod(block.read_shape)
        itemsize = self.source.image.dtype.itemsize
        return 4 * (3 * box + 4 * voxels), itemsize * box + 4 * voxels

    def bytes_to_read(self, block: Block) -> int:
        """Bytes of the box."""
        return self.source.image.dtype.itemsize * math.prod(self._box(block))

    def _box(self, block: Block) -> Shape:
        return box_shape(block.read_shape, self.matrix, self.source.shape, MARGIN)


@functools.partial(jax.jit, static_argnames=("shape", "source_shape", "order"))
def warp_box(data, local, whole, *, shape: Shape, source_shape: Shape, order: str):
    """A region, from the box that shows it; 0 where the whole source does not reach."""
    seen = warp_array(data.astype(np.float32), local, shape, order=order)
    return jax.numpy.where(overlap(source_shape, whole, shape), seen, 0)


def warp(
    source: Any,
    target: Any,
    matrix: ArrayLike,
    *,
    shape: Sequence[int] | None = None,
    order: str = "linear",
    voxel_size: Sequence[float] | None = None,
    dtype: str = "float32",
    scale: float = 1.0,
    **how: Unpack[How],
) -> Run | Plan:
    """Resample an image of any size: `result(p) = source(matrix @ p)`.

    Args:
        source: as for `volumes.deconvolve`.
        target: as there.
        matrix: (4, 4) or (3, 3), from voxels of the result to those of the source.
        shape: of one volume of the result; None: that of the source.
        order: "linear" or "cubic".
        voxel_size: µm, of the result; None: as the source's.
        dtype: see there.
        scale: see there.
        how: block, engine, memory, resume, ...: how to run; see `How`.

    Returns:
        A `Run`; with `dry_run` the `Plan`.

    Raises:
        ValueError: a matrix of another size or singular; as `volumes.deconvolve`.

    Example:
        >>> import pathlib, tempfile, numpy as np, jaxdecon as jd
        >>> image = np.random.default_rng(0).random((8, 40, 40), np.float32)
        >>> matrix = np.eye(4); matrix[1, 3] = 5
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = pathlib.Path(folder) / "moved.ome.zarr"
        ...     run = jd.volumes.warp(image, target, matrix, block=32)
        ...     bool(np.allclose(np.asarray(jd.io.read(target))[:, :35], image[:, 5:]))
        True
    """
    options = Options(**how)
    check_choice("order", order, ORDERS)
    opened = Source(source)
    place = check_matrix("matrix", matrix)
    if len(place) != len(opened.shape) + 1:
        raise ValueError(
            f"`matrix` has shape {place.shape}; {len(opened.shape)} axes need "
            f"{(len(opened.shape) + 1,) * 2}."
        )
    size = opened.shape if shape is None else check_shape("shape", shape)
    operation = Warp(source=opened, matrix=place, shape=size, order=order)
    like = opened.image
    if voxel_size is not None:
        like = like.replace(voxel_size=tuple(voxel_size))
    job = Job(
        operation=operation,
        target=make_target(target, like, size, dtype, scale),
        path=target_path(target),
        sources=(opened,),
        request={"matrix": digest([place]), "order": order},
    )
    return run(job, options)
