"""The time points of several views, from files of any kind."""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._inputs import expand, with_voxel_size

NUMBER = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Frames:
    """Views over time: images with a time axis, or a file for every time point.

    Attributes:
        files: of every time point, one per view; None for one that is missing.
        images: one per view, if each is one file with all time points.
        sample: one image per view, for axes, shapes and voxel sizes.
        kinds: axes and shape of the files of every view.
        voxel_sizes: µm given by the user, per view; None: as the files say.
        straight: for every view the grid that straightens an oblique scan; or None.
    """

    files: tuple[tuple[Path | None, ...], ...]
    images: tuple[Any, ...] | None
    sample: tuple[Any, ...]
    kinds: tuple[tuple[str, tuple[int, ...]], ...]
    voxel_sizes: tuple[Any, ...]
    straight: tuple[Any, ...] = ()

    @property
    def count(self) -> int:
        """Number of time points."""
        if self.images is None:
            return len(self.files)
        return self.sample[0].sizes.get("t", 1)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.sample[0].sizes.get("c", 1)

    def missing(self, time: int) -> str:
        """What lacks at a time point, in words; empty if nothing does."""
        if self.images is not None:
            return ""
        lacking = [str(v) for v, file in enumerate(self.files[time]) if file is None]
        return f"no file of view {', '.join(lacking)}" if lacking else ""

    def volumes(self, time: int, channel: int) -> list[np.ndarray]:
        """The views of a time point.

        Raises:
            ValueError, OSError: files that cannot be read, or differ from the first.
        """
        if self.images is not None:
            pairs = [(image, time) for image in self.images]
        else:
            pairs = [
                (self._open(view, file), 0)
                for view, file in enumerate(self.files[time])
            ]
        raw = [_volume(image, t, channel) for image, t in pairs]
        if not self.straight:
            return raw
        return [
            volume if grid is None else straightened(volume, grid)
            for volume, grid in zip(raw, self.straight, strict=True)
        ]

    def deskewed(self, angles: Sequence[float | None]) -> "Frames":
        """The same views, straightened; angles in degrees, negative for scans that run
        against x."""
        grids = tuple(
            None if angle is None else _straight_grid(image, angle)
            for image, angle in zip(self.sample, angles, strict=True)
        )
        sample = tuple(
            image if grid is None else _reshaped(image, grid)
            for image, grid in zip(self.sample, grids, strict=True)
        )
        return dataclasses.replace(self, straight=grids, sample=sample)

    def _open(self, view: int, file: Path | None) -> Any:
        from .. import io

        if file is None:
            raise ValueError(f"no file of view {view}.")
        image, (axes, shape) = io.read(file), self.kinds[view]
        if (image.axes, image.shape) != (axes, shape):
            raise ValueError(
                f"{file} has axes {image.axes!r} and shape {image.shape}; the first of "
                f"its series {axes!r} and {shape}."
            )
        return image


def _volume(image: Any, time: int, channel: int) -> np.ndarray:
    chosen = {"t": time, "c": channel}
    index = [chosen[a] for a in image.axes if a in "tc"]
    return image.volume(index)


def read_frames(views: Sequence[str], voxel_sizes: Sequence[Any]) -> Frames:
    """The frames of the views that a command line names.

    Raises:
        ValueError: different numbers of channels or time points, no volumes.
    """
    lists = [expand([view]) for view in views]
    if all(len(files) == 1 for files in lists):
        files: tuple = (tuple(files[0] for files in lists),)
        images = _open_all(files[0], voxel_sizes)
        _check(images, [str(f) for f in files[0]])
        return Frames(files, images, images, _kinds(images), tuple(voxel_sizes))
    rows = [row for _, row in match(lists)]
    whole = next((row for row in rows if None not in row), None)
    if whole is None:
        raise ValueError("no time point has files of all views.")
    sample = _open_all(whole, voxel_sizes)
    _check(sample, [str(file) for file in whole])
    if any("t" in image.axes for image in sample):
        raise ValueError("files of a series have a time axis already; give one file.")
    return Frames(tuple(rows), None, sample, _kinds(sample), tuple(voxel_sizes))


def _kinds(images: Sequence[Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((image.axes, image.shape) for image in images)


def _straight_grid(image: Any, angle: float) -> Any:
    from ..geometry import deskewed_grid

    step, pixel, width = image.known_voxel_size
    if abs(pixel / width - 1) > 0.01:
        raise ValueError(f"--deskew needs square pixels, not {pixel} by {width} µm.")
    if not 0 < abs(angle) <= 90:
        raise ValueError(f"--deskew is {angle}; degrees up to 90 or -90 are needed.")
    return deskewed_grid(
        image.volume_shape,
        angle=math.radians(abs(angle)),
        step=step,
        pixel_size=width,
        direction=1 if angle > 0 else -1,
    )


def straightened(volume: np.ndarray, grid: Any) -> np.ndarray:
    """An oblique scan on its straight grid; the darkest value outside."""
    from ..geometry import warp

    dark = float(volume.min())
    shown = warp(volume, grid.matrix, grid.shape, order="cubic", outside=dark)
    return np.maximum(np.asarray(shown), dark)


def _reshaped(image: Any, grid: Any) -> Any:
    """An image's description with the shape and voxel size of a grid."""
    leading = image.shape[: len(image.shape) - 3]
    data = np.broadcast_to(np.zeros((), np.float32), (*leading, *grid.shape))
    return image.replace(data=data, voxel_size=grid.voxel_size)


def _open_all(files: Sequence[Any], voxel_sizes: Sequence[Any]) -> tuple[Any, ...]:
    from .. import io

    return tuple(
        with_voxel_size(io.read(file), size, file.name)
        for file, size in zip(files, voxel_sizes, strict=True)
    )


def match(
    lists: Sequence[Sequence[Path]],
) -> list[tuple[str, tuple[Path | None, ...]]]:
    """Files of one time point side by side, by the last number in their names.

    Raises:
        ValueError: two files of a view with one number, or names without numbers of
            which there are not as many in every view.
    """
    tables = []
    for files in lists:
        table: dict[str, Path] = {}
        for position, file in enumerate(files):
            found = NUMBER.findall(file.name.split(".")[0])
            key = found[-1] if found else f"#{position}"
            if key in table:
                raise ValueError(
                    f"{table[key]} and {file} are both of time point {key}: the last "
                    f"number in a name is to count time."
                )
            table[key] = file
        tables.append(table)
    keys = sorted({key for table in tables for key in table}, key=_by_number)
    if any(key.startswith("#") for key in keys):
        counts = {len(files) for files in lists}
        if len(counts) > 1:
            raise ValueError(
                f"the views have {sorted(counts)} time points, and no numbers in their "
                f"names to tell which are missing."
            )
    return [(key, tuple(table.get(key) for table in tables)) for key in keys]


def _by_number(key: str) -> tuple[int, str]:
    return int(key.lstrip("#")), key


def _check(images: Sequence[Any], names: Sequence[str]) -> None:
    first = images[0]
    for image, name in zip(images, names, strict=True):
        if image.spatial_axes != "zyx":
            raise ValueError(f"{name} has axes {image.axes!r}; volumes are needed.")
        for axis, what in (("t", "time points"), ("c", "channels")):
            here, there = image.sizes.get(axis, 1), first.sizes.get(axis, 1)
            if here != there:
                raise ValueError(
                    f"{name} has {here} {what}, {names[0]} {there}; as many are needed."
                )
    known = [None not in image.voxel_size for image in images]
    if any(known) and not all(known):
        unknown = names[known.index(False)]
        raise ValueError(
            f"{unknown} has no complete voxel size, and other views have: give "
            f"--voxel-size, once, or once per view."
        )
