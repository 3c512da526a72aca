"""Read and write images by the suffix of their path."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ._atomic import atomic_target
from ._image import AXES, Image
from ._tiff import read_tiff, write_tiff
from ._zarr import read_zarr, write_zarr

FORMATS = {
    ".ome.zarr": "OME-Zarr",
    ".zarr": "OME-Zarr",
    ".ome.tif": "OME-TIFF",
    ".ome.tiff": "OME-TIFF",
    ".ome.btf": "OME-TIFF",
    ".tif": "ImageJ TIFF",
    ".tiff": "ImageJ TIFF",
    ".npy": "NumPy",
}
"""What is written for a suffix. Any TIFF dialect is read from any TIFF suffix."""


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that the suffix of `path` stands for.

    Raises:
        ValueError: an unknown suffix.
    """
    name = Path(path).name.lower()
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(suffix):
            return FORMATS[suffix]
    raise ValueError(
        f"{path} has an unknown suffix; known are {', '.join(sorted(FORMATS))}."
    )


def read(path: str | os.PathLike[str]) -> Image:
    """Open an image; its data are read when they are sliced.

    TIFF (plain, ImageJ hyperstack, OME, BigTIFF; any byte order and compression),
    OME-Zarr 0.4 and 0.5, and `.npy` (axes by their number, the last of them z, y, x).

    Args:
        path: a file, or an OME-Zarr folder.

    Returns:
        The image; `notes` says what the file lacks or leaves open.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: unknown suffix; damaged, truncated or foreign content.
    """
    path = Path(path)
    kind = format_of(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there.")
    if kind == "NumPy":
        return _read_npy(path)
    return read_zarr(path) if kind == "OME-Zarr" else read_tiff(path)


def write(
    path: str | os.PathLike[str],
    image: Image | Any,
    *,
    overwrite: bool = False,
) -> None:
    """Write an image in the format of the suffix, whole or not at all.

    `.ome.zarr` and `.zarr` are OME-Zarr 0.5 (sharded, with a pyramid), `.ome.tif` is
    OME-TIFF, `.tif` an ImageJ hyperstack; `.npy` holds the data without metadata.

    Args:
        path: where to; its folder must be there.
        image: an `Image`, or a bare array, whose axes are then taken by their number
            (the last of them z, y, x).
        overwrite: replace what is there.

    Raises:
        FileExistsError: `path` is there already.
        ValueError: unknown suffix; data that the format cannot hold.
        OSError: disk full or no permission; nothing is left behind.
    """
    path = Path(path)
    kind = format_of(path)
    if not isinstance(image, Image):
        image = _from_array(np.asarray(image))
    with atomic_target(path, overwrite=overwrite) as partial:
        if kind == "OME-Zarr":
            write_zarr(partial, image)
        elif kind == "NumPy":
            with open(partial, "wb") as file:
                np.save(file, np.asarray(image))
        else:
            write_tiff(partial, image, ome=kind == "OME-TIFF")


def _read_npy(path: Path) -> Image:
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is not a readable .npy file: {error}.") from error
    return _from_array(data)


def _from_array(data: np.ndarray) -> Image:
    if not 2 <= data.ndim <= len(AXES):
        raise ValueError(f"`image` has shape {data.shape}; 2 to 5 axes are needed.")
    axes = AXES[-data.ndim :]
    note = f"axes taken as {axes}; no voxel size"
    return Image(data=data, axes=axes, notes=(note,))
