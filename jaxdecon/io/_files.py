"""Read and write images by the suffix of their path."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ._atomic import atomic_target
from ._image import AXES, Image
from ._tiff import guessed_axes, read_tiff
from ._tiff_write import write_tiff
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
    OME-Zarr 0.4 and 0.5, and `.npy` (axes by their number: zyx, tzyx, tczyx).

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
    try:
        return read_zarr(path) if kind == "OME-Zarr" else read_tiff(path)
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} has damaged metadata ({error!r}).") from error
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


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
            _write_npy(partial, image)
        else:
            write_tiff(partial, image, ome=kind == "OME-TIFF")


def _read_npy(path: Path) -> Image:
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a readable .npy file: {error}.") from error
    if not isinstance(data, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays, not a .npy file.")
    return _from_array(data)


def _write_npy(path: Path, image: Image) -> None:
    """Volume by volume, so that the image need not fit into memory."""
    header = {
        "descr": np.lib.format.dtype_to_descr(image.dtype),
        "fortran_order": False,
        "shape": image.shape,
    }
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, volume in image.volumes():
            file.write(np.ascontiguousarray(volume).data)


def _from_array(data: np.ndarray) -> Image:
    if not 2 <= data.ndim <= len(AXES):
        raise ValueError(f"`image` has shape {data.shape}; 2 to 5 axes are needed.")
    axes = guessed_axes(data.ndim - 2) + "yx"
    note = f"axes taken as {axes}; no voxel size"
    return Image(data=data, axes=axes, notes=(note,))
