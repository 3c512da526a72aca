"""Where blocks are written to: OME-Zarr with its pyramid, or a Zarr array."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import zarr

from ..io import Image, convert
from ..io._atomic import move_into_place
from ..io._ome_metadata import ome_attributes
from ..io._pyramid import bin_volume, level_shape, pyramid_steps
from ..io._zarr import CHUNK, METADATA, compressor, shown_range
from ._blocks import Block, Region, Shape, slices, unravel

CHUNKS = 4
"""Along the edge of a shard."""
SLAB = 32
"""Planes of a coarse level that are made at a time."""
LEAST_SHARD = 32
"""Edge of the shards of a level that blocks write themselves; coarser levels are made
of finer ones at the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Like:
    """Shape and type of data that are not there yet."""

    shape: Shape
    dtype: np.dtype


@dataclasses.dataclass(frozen=True, kw_only=True)
class OmeZarrTarget:
    """An OME-Zarr 0.5 image that blocks are written to, with its pyramid.

    A block writes whole shards, of the full image and of every level whose shards are
    `LEAST_SHARD` wide, so that no two blocks ever touch one file.

    Attributes:
        store: folder that is written to.
        image: axes, voxel size and all that is known, with `Like` as data.
        shard: shape of a shard of the full image; cores of blocks are made of them.
            None until they are chosen.
        scale: factor on the values, before they are converted.
    """

    store: Path
    image: Image
    shard: Shape | None = None
    scale: float = 1.0

    @property
    def shards(self) -> Shape:
        """The shape of a shard, once it was chosen."""
        if self.shard is None:
            raise RuntimeError("the shards of this target were not chosen yet.")
        return self.shard

    @property
    def steps(self) -> list[Shape]:
        """Voxels of the full image per voxel of every level."""
        return pyramid_steps(self.image)

    @property
    def written_by_blocks(self) -> int:
        """Levels that blocks write."""
        count = 1
        for step in self.steps[1:]:
            sizes = zip(self.image.volume_shape, self.shards, step, strict=True)
            if not all(_fits(n, shard, s) for n, shard, s in sizes):
                break
            count += 1
        return count

    def create(self) -> None:
        """Make the empty arrays, if they are not there."""
        group = zarr.open_group(self.store, mode="a", zarr_format=3)
        for level, step in enumerate(self.steps):
            if str(level) not in group:
                self._create_level(group, level, step)
        group.attrs["ome"] = ome_attributes(self.image, self.steps)
        if self.image.metadata:
            group.attrs[METADATA] = dict(self.image.metadata)

    def write(self, block: Block, values: np.ndarray) -> list[str]:
        """Write the core of a block, on all levels; the names of its shards."""
        values = converted(block, values, self.image.dtype, self.scale)
        group = zarr.open_group(self.store, mode="r+")
        done, names = (1,) * values.ndim, []
        for level in range(self.written_by_blocks):
            step = self.steps[level]
            factors = [s // d for s, d in zip(step, done, strict=True)]
            values, done = bin_volume(values, factors), step
            region = _binned(block.core, step)
            names += put(_array(group, level), block.index, region, values)
        return names

    def bytes(self) -> int:
        """Of the full image, uncompressed."""
        return self.image.dtype.itemsize * math.prod(self.image.shape)

    def finish(self) -> None:
        """Make the levels that blocks did not write, and complete the metadata."""
        group = zarr.open_group(self.store, mode="r+")
        for level in range(self.written_by_blocks, len(self.steps)):
            self._fill(group, level)
        windows = [
            shown_range(_array(group, len(self.steps) - 1), channel)
            for channel in range(len(self.image.channels))
        ]
        group.attrs["ome"] = ome_attributes(self.image, self.steps, windows)

    def move_to(self, path: Path) -> None:
        """Put the finished store in its place."""
        move_into_place(self.store, path)

    def describe(self) -> dict[str, Any]:
        """What has to stay the same when a run is taken up again."""
        return {
            "axes": self.image.axes,
            "shape": list(self.image.shape),
            "dtype": str(self.image.dtype),
            "voxel_size": list(self.image.voxel_size),
            "origin": list(self.image.origin),
            "scale": self.scale,
        }

    def _create_level(self, group: zarr.Group, level: int, step: Shape) -> None:
        shape = level_shape(self.image, step)
        leading = self.image.shape[: -len(shape)]
        chunk, shard = self._tiling(level, step)
        ones = (1,) * len(leading)
        group.create_array(
            str(level),
            shape=(*leading, *shape),
            chunks=(*ones, *chunk),
            shards=(*ones, *shard),
            dtype=self.image.dtype,
            fill_value=0,
            compressors=compressor(),
            dimension_names=list(self.image.axes),
        )

    def _tiling(self, level: int, step: Shape) -> tuple[Shape, Shape]:
        """Shapes of chunks and shards of a level."""
        chunks, shards = [], []
        edge = chunk_edge(len(step))
        by_block = level < self.written_by_blocks
        for n, shard, s in zip(self.image.volume_shape, self.shards, step, strict=True):
            if shard < n and by_block:
                shards.append(shard // s)
                chunks.append(_divisor(shard // s, edge))
                continue
            size = -(-n // s)
            chunks.append(min(size, edge))
            whole = -(-size // chunks[-1]) * chunks[-1]
            shards.append(
                whole if shard >= n and by_block else min(whole, CHUNKS * edge)
            )
        return tuple(chunks), tuple(shards)

    def _fill(self, group: zarr.Group, level: int) -> None:
        """A level from the next finer one, shard by shard."""
        finer, array = _array(group, level - 1), _array(group, level)
        steps = zip(self.steps[level], self.steps[level - 1], strict=True)
        factors = [coarse // fine for coarse, fine in steps]
        leading = array.shape[: -len(factors)]
        shape, shard = array.shape[len(leading) :], array.shards[len(leading) :]
        counts = [-(-n // s) for n, s in zip(shape, shard, strict=True)]
        for number in range(int(np.prod((*leading, *counts)))):
            place = unravel(number, (*leading, *counts))
            index, position = place[: len(leading)], place[len(leading) :]
            sizes = zip(position, shard, shape, strict=True)
            region = tuple((p * s, min((p + 1) * s, n)) for p, s, n in sizes)
            put(array, index, region, binned_region(finer, index, region, factors))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArrayTarget:
    """A Zarr array of somebody else's, that blocks are written to in place.

    Attributes:
        array: of the result's shape.
        image: its axes, with the array as data.
        scale: factor on the values, before they are converted.
    """

    array: zarr.Array
    image: Image
    scale: float = 1.0

    @property
    def shard(self) -> Shape:
        """What one file holds."""
        unit = self.array.shards or self.array.chunks
        return tuple(unit[-len(self.image.spatial_axes) :])

    def create(self) -> None:
        """Nothing to do: the array is there."""

    def write(self, block: Block, values: np.ndarray) -> list[str]:
        """Write the core of a block; the names of its shards."""
        values = converted(block, values, self.array.dtype, self.scale)
        return put(self.array, block.index, block.core, values)

    def bytes(self) -> int:
        """Of the array, uncompressed."""
        return self.array.dtype.itemsize * math.prod(self.array.shape)

    def finish(self) -> None:
        """Nothing to do."""

    def move_to(self, path: Path) -> None:
        """Nothing to do: it is in its place."""

    def describe(self) -> dict[str, Any]:
        """What has to stay the same when a run is taken up again."""
        return {
            "shape": list(self.array.shape),
            "dtype": str(self.array.dtype),
            "shards": list(self.shard),
            "scale": self.scale,
        }


Target = OmeZarrTarget | ArrayTarget


def binned_region(
    finer: Any, index: Shape, region: Region, factors: Sequence[int]
) -> np.ndarray:
    """A region of a level from the next finer one, which is read in thin slabs."""
    (first, last), *others = region
    parts = []
    for start in range(first, last, SLAB):
        slab = ((start, min(start + SLAB, last)), *others)
        source = tuple(
            slice(a * f, b * f) for (a, b), f in zip(slab, factors, strict=True)
        )
        parts.append(bin_volume(np.asarray(finer[(*index, *source)]), factors))
    return np.concatenate(parts)


def converted(block: Block, values: np.ndarray, dtype: Any, scale: float) -> np.ndarray:
    """The values of a block in the type of the target.

    Raises:
        FloatingPointError: NaN or infinities.
        ValueError: values that do not fit.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise FloatingPointError(
            f"the result of block {block.name} has NaN or infinite values."
        )
    return convert(values, dtype, scale=scale)


def put(array: Any, index: Shape, region: Region, values: np.ndarray) -> list[str]:
    """Write whole shards of an array; their names.

    What is there is removed first: Zarr reads a shard before it writes to it, and one
    that a killed process has torn cannot be read.
    """
    whole = [*((i, i + 1) for i in index), *region]
    unit = array.shards or array.chunks
    ranges = [range(a // u, -(-b // u)) for (a, b), u in zip(whole, unit, strict=True)]
    names = [
        str(PurePosixPath(array.path, array.metadata.encode_chunk_key(place)))
        for place in itertools.product(*ranges)
    ]
    root = getattr(array.store, "root", None)
    for name in names if root is not None else ():
        Path(str(root), name).unlink(missing_ok=True)
    array[(*index, *slices(region))] = values
    return names


def _fits(n: int, shard: int, step: int) -> bool:
    """Whether a level has whole shards where the full image has them."""
    return shard >= n or (shard % step == 0 and shard // step >= LEAST_SHARD)


def _divisor(n: int, most: int) -> int:
    """The largest divisor that is not above `most`; `n` if they are all small."""
    found = next(d for d in range(min(n, most), 0, -1) if n % d == 0)
    return found if 4 * found >= min(n, most) else n


def chunk_edge(ndim: int) -> int:
    """Of a chunk of the full image, voxels."""
    return CHUNK if ndim == 3 else 8 * CHUNK


def _binned(region: Region, step: Sequence[int]) -> Region:
    return tuple((a // s, -(-b // s)) for (a, b), s in zip(region, step, strict=True))


def _array(group: zarr.Group, level: int) -> Any:
    return group[str(level)]
