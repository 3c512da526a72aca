"""Read and write images by the suffix of their path."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._atomic import atomic_target
from ._bdv import read_bdv
from ._hdf5 import read_hdf5
from ._image import AXES, Image
from ._n5 import read_n5
from ._tiff import guessed_axes, read_tiff
from ._tiff_series import is_pattern, read_tiff_series
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

READ_ONLY = {
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".n5": "N5",
    ".xml": "BigDataViewer",
}
"""What is read, and not written."""


def format_of(path: str | os.PathLike[str], *, writing: bool = False) -> str:
    """The format that the suffix of `path` stands for.

    Args:
        path: a file or folder, or "file.h5:/path/in/file".
        writing: refuse what can only be read.

    Raises:
        ValueError: an unknown suffix.
    """
    name = _split(path)[0].name.lower()
    known = FORMATS if writing else FORMATS | READ_ONLY
    for suffix in sorted(known, key=len, reverse=True):
        if name.endswith(suffix):
            return known[suffix]
    if name.endswith(tuple(READ_ONLY)):
        raise ValueError(
            f"{path} can be read but not written; written are "
            f"{', '.join(sorted(FORMATS))}."
        )
    raise ValueError(
        f"{path} has an unknown suffix; known are {', '.join(sorted(known))}."
    )


def _split(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file, and what a colon behind it names inside."""
    suffixes = "|".join(map(re.escape, READ_ONLY))
    match = re.fullmatch(rf"(.+(?:{suffixes})):(.*)", os.fspath(path), re.I | re.S)
    if match is None:
        return Path(path), ""
    return Path(match[1]), match[2].replace(os.sep, "/")


def read(path: str | os.PathLike[str]) -> Image:
    """Open an image; its data are read when they are sliced.

    TIFF (plain, ImageJ hyperstack, OME, BigTIFF; any byte order and compression),
    OME-Zarr 0.4 and 0.5, and `.npy` (axes by their number: zyx, tzyx, tczyx).

    Many TIFF files are one image as a folder, as `planes/*.tif` (in natural order:
    planes along z, volumes along t) or as `img_c{c}_t{t}_z{z}.tif`.

    HDF5 with the extra `hdf5`, N5 with the extra `n5`; one image of several is
    `file.h5:/path/in/file` or `volume.n5:path/inside`. BigDataViewer data sets by their
    `.xml`; one setup of several is `dataset.xml:2` (see `read_bdv`).

    Args:
        path: a file, a folder, or a pattern.

    Returns:
        The image; `notes` says what the file lacks or leaves open.

    Raises:
        FileNotFoundError: nothing at `path`.
        ImportError: an extra is missing; the message names it.
        ValueError: unknown suffix; damaged, truncated or foreign content.
    """
    file, inside = _split(path)
    reader = _reader(file, inside)
    if reader is not read_tiff_series and not file.exists():
        raise FileNotFoundError(f"{file} is not there.")
    try:
        return reader(file)
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} has damaged metadata ({error!r}).") from error
    except ValueError as error:
        if str(file) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


def _reader(file: Path, inside: str) -> Callable[[Path], Image]:
    if is_pattern(file) or (file.is_dir() and not _is_known(file)):
        return read_tiff_series
    return {
        "OME-Zarr": read_zarr,
        "NumPy": _read_npy,
        "HDF5": lambda path: read_hdf5(path, inside),
        "N5": lambda path: read_n5(path, inside),
        "BigDataViewer": lambda path: read_bdv(path, setup=_setup_number(inside)),
    }.get(format_of(file), read_tiff)


def _is_known(folder: Path) -> bool:
    """Whether the suffix says what the folder is."""
    return folder.name.lower().endswith((".zarr", ".n5"))


def _setup_number(inside: str) -> int | None:
    if inside and not inside.isdecimal():
        raise ValueError(f"the setup is {inside!r}; a whole number is needed.")
    return int(inside) if inside else None


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
    kind = format_of(path, writing=True)
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
