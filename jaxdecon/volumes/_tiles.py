"""A tile: a stack that is part of a mosaic, read where it is needed."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import io
from ..io import Image

Box = tuple[tuple[int, int], ...]
"""(start, stop) per axis z, y, x."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """A stack at a place.

    Attributes:
        name: for messages; of a file, its name.
        source: a path, or an array.
        image: what it holds, read when it is sliced; with an axis z or without, with
            channels or without.
        origin: (z, y, x) of its first voxel by the stage, voxels of the mosaic.
        time: the time point that is meant, if it has several.
    """

    name: str
    source: Any
    image: Image
    origin: tuple[float, float, float]
    time: int | None = None

    @classmethod
    def open(
        cls,
        source: Any,
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        *,
        name: str | None = None,
        time: int | None = None,
    ) -> "Tile":
        """A tile of a path, an `Image` or an array: (z, y, x), (y, x), (c, z, y, x).

        Args:
            source: what to read.
            origin: (z, y, x) or (y, x), voxels.
            name: for messages; None: the file's name.
            time: time point, for a source with several.

        Raises:
            FileNotFoundError: no such file.
            ValueError: an origin that is not finite, several time points.
        """
        place = tuple(float(o) for o in origin)
        if len(place) not in (2, 3) or not np.isfinite(place).all():
            raise ValueError(
                f"`origin` of {name or source} is {place}; finite (z, y, x) are needed."
            )
        image = _image_of(source)
        if time is None and image.sizes.get("t", 1) > 1:
            raise ValueError(
                f"{name or source} has {image.sizes['t']} time points; say which one: "
                f"`time=0`."
            )
        is_path = isinstance(source, str | os.PathLike)
        return cls(
            name=name or (Path(source).name if is_path else "tile"),
            source=source,
            image=image,
            origin=(0.0, *place)[-3:],  # pyright: ignore[reportArgumentType]
            time=time,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of one channel; z is 1 for an image without that axis."""
        sizes = self.image.sizes
        return sizes.get("z", 1), sizes["y"], sizes["x"]

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.image.dtype

    @property
    def voxel_size(self) -> tuple[float | None, ...]:
        """(z, y, x) in µm, None where it is not known."""
        return (None, *self.image.voxel_size)[-3:]

    @property
    def channels(self) -> int:
        """Their number."""
        return self.image.sizes.get("c", 1)

    def moved(self, origin: ArrayLike) -> "Tile":
        """The same tile elsewhere."""
        z, y, x = np.asarray(origin, float).tolist()
        return dataclasses.replace(self, origin=(z, y, x))

    def read(self, box: Box | None = None, *, channel: int = 0) -> np.ndarray:
        """A part of one channel, as (z, y, x).

        Args:
            box: (start, stop) along z, y, x, inside the tile; None: all.
            channel: its number.

        Raises:
            ValueError: a channel that is not there.
        """
        if not 0 <= channel < self.channels:
            raise ValueError(
                f"`channel` is {channel}; {self.name} has {self.channels}, from 0."
            )
        z, y, x = (slice(*b) for b in box or tuple((0, n) for n in self.shape))
        chosen = {"t": self.time or 0, "c": channel, "z": z, "y": y, "x": x}
        index = tuple(chosen[axis] for axis in self.image.axes)
        part = np.asarray(self.image.data[index], self.dtype)
        return part if part.ndim == 3 else part[None][z]


def _image_of(source: Any) -> Image:
    if isinstance(source, Image):
        return source
    if isinstance(source, str | os.PathLike):
        return io.read(source)
    data = source if hasattr(source, "shape") else np.asarray(source)
    axes = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}.get(len(data.shape))
    if axes is None:
        raise ValueError(
            f"a tile has shape {tuple(data.shape)}; (z, y, x), (y, x) or "
            f"(c, z, y, x) is needed."
        )
    return Image(data=data, axes=axes)


def check_tiles(tiles: Sequence[Tile]) -> tuple[Tile, ...]:
    """Tiles that can make one mosaic.

    Raises:
        ValueError: none at all; types, axes, channels or voxel sizes that differ; two
            at one place, or of one name.
    """
    tiles = tuple(tiles)
    if not tiles:
        raise ValueError("`tiles` is empty; at least one is needed.")
    first = tiles[0]
    for tile in tiles[1:]:
        for what in ("dtype", "channels"):
            _check_same(what, getattr(first, what), getattr(tile, what), first, tile)
        _check_same("axes", first.image.axes, tile.image.axes, first, tile)
        if not _same_size(first.voxel_size, tile.voxel_size):
            sizes = first.voxel_size, tile.voxel_size
            _check_same("a voxel size (µm) of", *sizes, first, tile)
    places: dict[tuple[float, ...], str] = {}
    for tile in tiles:
        if tile.origin in places:
            raise ValueError(
                f"{places[tile.origin]} and {tile.name} are both at {tile.origin}: two "
                f"tiles cannot have one position."
            )
        places[tile.origin] = tile.name
    return tiles


def _check_same(what: str, one: Any, other: Any, first: Tile, tile: Tile) -> None:
    if one != other:
        raise ValueError(
            f"{first.name} has {what} {one}, {tile.name} {other}; the tiles of a "
            f"mosaic need the same: convert or resample them first."
        )


def _same_size(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """To within a part in a thousand; an unknown size goes with any."""
    return all(
        a is None or b is None or abs(a - b) <= 1e-3 * a
        for a, b in zip(one, other, strict=True)
    )
