"""Where blocks are read from: a file, a Zarr array, or an array in memory."""

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from .. import io
from ..io import Image
from ..io._atomic import ZARR_MARKS
from ..io._image import AXES, Lazy
from ..io._tiff import guessed_axes
from ._blocks import Region, Shape, slices

COARSE = 2**26
"""Voxels of a coarse level that is read as a whole."""


class Source:
    """An image that blocks are read from, here and in other processes.

    Args:
        given: a path, a Zarr array, an `Image` or an array. A path is what other
            processes are told, and opened there; a Zarr array is opened there too.

    Attributes:
        image: the image, not read yet.
        path: where it is; None for arrays in memory.
    """

    def __init__(self, given: Any):
        named = isinstance(given, str | os.PathLike)
        self._given = str(given) if named else given
        self._image: Image | None = None
        if named and Path(given).exists():
            self.path: Path | None = Path(given)
        else:  # an array, a pattern of names, or a part of a file
            self.path = array_path(self.image)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_given": self._given, "_image": None}

    @property
    def image(self) -> Image:
        """The image, opened when it is first asked for."""
        if self._image is None:
            self._image = _open(self._given)
        return self._image

    @property
    def in_memory(self) -> bool:
        """Whether the data are only here, and would travel with every task."""
        return self.path is None

    @property
    def leading(self) -> Shape:
        """Sizes of the axes before the spatial ones."""
        return self.image.shape[: len(self.image.axes) - len(self.image.spatial_axes)]

    @property
    def shape(self) -> Shape:
        """Shape of one volume."""
        return self.image.volume_shape

    def read(self, index: Shape, region: Region) -> np.ndarray:
        """A region of one volume, in native byte order.

        Raises:
            OSError: the source cannot be read; the message names it.
        """
        try:
            data = self.image.data[(*index, *slices(region))]
        except (OSError, MemoryError):
            raise
        except Exception as error:  # what dozens of decoders raise
            raise OSError(
                f"{self.path or 'the source'} cannot be read at {index} {region}: "
                f"{error!r}."
            ) from error
        self._check_there()
        return narrowed(np.asarray(data, self.image.dtype), self.path)

    def _check_there(self) -> None:
        """A Zarr array whose files are gone reads as zeros: refuse them."""
        if self.path is not None and not self.path.exists():
            raise FileNotFoundError(f"{self.path} is not there any more.")

    def coarse(self) -> tuple[Image, tuple[int, ...]] | None:
        """The finest level of at most `COARSE` voxels per volume, and its step.

        None where the source has no pyramid.
        """
        levels = self.levels()[1:]
        small = (pair for pair in levels if math.prod(pair[0].volume_shape) <= COARSE)
        return next(small, None)

    def levels(self) -> list[tuple[Image, tuple[int, ...]]]:
        """The levels of the pyramid, finest first, with the voxels per voxel of each.

        Empty where the source has no pyramid.
        """
        group = self._group()
        if group is None:
            return []
        found = []
        full, *coarser = io.read_levels(group)
        found.append((full, (1,) * len(self.shape)))
        for image in coarser:
            step = step_of(full, image)
            if step is not None:
                found.append((image, step))
        return found

    def _group(self) -> Path | None:
        """The OME-Zarr whose full image this is; None if it is none."""
        for folder in (self.path, self.path and self.path.parent):
            if folder is None or not any((folder / m).exists() for m in ZARR_MARKS):
                continue
            try:
                full = io.read_levels(folder)[0]
            except Exception:  # an array's folder, as old versions of Zarr say it
                continue
            if full.shape == self.image.shape and array_path(full) == array_path(
                self.image
            ):
                return folder
        return None

    def fingerprint(self) -> dict[str, Any]:
        """What changes when the source does: shape, type, and its files' times."""
        image = self.image
        known = {"shape": list(image.shape), "dtype": str(image.dtype)}
        if self.path is None:
            data = np.ascontiguousarray(image.data[...])
            digest = hashlib.sha256(data.view(np.uint8).data).hexdigest()
            return known | {"path": None, "content": digest}
        return known | {
            "path": str(self.path.resolve()),
            "files": files_digest(self.path),
        }


def step_of(full: Image, level: Image) -> tuple[int, ...] | None:
    """Voxels of the full image per voxel of a level; None if they are not whole.

    By the voxel sizes; by the shapes where these are not known.
    """
    sizes = zip(full.voxel_size, level.voxel_size, strict=True)
    shapes = zip(full.volume_shape, level.volume_shape, strict=True)
    step = []
    for (a, b), (n, m) in zip(sizes, shapes, strict=True):
        ratio = n / m if a is None or b is None else b / a
        whole = max(round(ratio), 1)
        fits = whole * (m - 1) < n + whole and abs(ratio - whole) < 0.05 * whole
        if not (fits or a is None or b is None):
            return None
        step.append(whole)
    return tuple(step)


def narrowed(data: np.ndarray, path: Path | None) -> np.ndarray:
    """64-bit integers as 32-bit ones, which is what JAX has.

    Raises:
        ValueError: values that do not fit.
    """
    if data.dtype.kind not in "iu" or data.dtype.itemsize < 8:
        return data
    kind = np.dtype("int32" if data.dtype.kind == "i" else "uint32")
    limits = np.iinfo(kind)
    if data.size and (data.min() < limits.min or data.max() > limits.max):
        raise ValueError(
            f"{path or 'the source'} ({data.dtype}) has values from {data.min()} to "
            f"{data.max()}; {kind} must hold them: convert it yourself."
        )
    return data.astype(kind)


def array_path(given: Any) -> Path | None:
    """The folder of a Zarr array or of an image's data, if they are on this disk."""
    data = given.data if isinstance(given, Image) else given
    root = getattr(getattr(data, "store", None), "root", None)
    if isinstance(data, zarr.Array) and root is not None:
        return Path(root) / data.path
    return getattr(data, "path", None) if isinstance(data, Lazy) else None


def _open(given: Any) -> Image:
    if isinstance(given, Image):
        return given
    return io.read(given) if isinstance(given, str) else as_image(given)


def as_image(given: Any, axes: str | None = None) -> Image:
    """An array as an image; its axes by their number if they are not given.

    Raises:
        ValueError: fewer than two axes, or more than five.
    """
    if not isinstance(given, zarr.Array):
        given = np.asarray(given)
    if not 2 <= given.ndim <= len(AXES):
        raise ValueError(f"`source` has shape {given.shape}; 2 to 5 axes are needed.")
    return Image(data=given, axes=axes or guessed_axes(given.ndim - 2) + "yx")


def files_digest(path: Path) -> str:
    """A digest of sizes and times of a file, or of the files of a folder."""
    digest = hashlib.sha256()
    count = 0
    for name, size, time in _walk(path) if path.is_dir() else [_entry(path, path)]:
        digest.update(f"{name} {size} {time}\n".encode())
        count += 1
    return f"{count} {digest.hexdigest()}"


def _walk(path: Path) -> Iterator[tuple[str, int, int]]:
    for folder, inner, names in os.walk(path):
        inner.sort()
        for name in sorted(names):
            file = Path(folder) / name
            yield _entry(file, path)


def _entry(file: Path, root: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file.relative_to(root.parent)), status.st_size, status.st_mtime_ns
