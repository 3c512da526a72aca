"""Read images from HDF5, through h5py."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._grid import expand
from ._image import AXES, Image, Lazy
from ._tiff import _arrange

LISTED = 12
"""Datasets that an error names."""


def read_hdf5(path: Path, inside: str = "") -> Image:
    """Open a dataset of an HDF5 file lazily.

    Axes are those of the attribute "axistags" (ilastik) or of the labels of the
    dimensions; else they are taken by their number. The attribute "element_size_um"
    (ilastik, ImageJ) is the voxel size along z, y and x.

    Args:
        path: the file.
        inside: path of the dataset in it; may be left out if there is only one with two
            axes or more.

    Raises:
        ImportError: h5py is missing; the message names the extra.
        ValueError: not HDF5, damaged, no such dataset, or several to choose from.
    """
    with open_hdf5(path) as file:
        name = inside.strip("/") or _only_dataset(file, path)
        dataset = _dataset(file, name, path)
        data = LazyHdf5(path, name, dataset.shape, dataset.dtype)
        return _arrange(data, _axes(dataset), {"size": _element_size(dataset)})


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file, open for reading.

    Raises:
        ImportError: h5py is missing; the message names the extra.
        ValueError: not HDF5, or damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            'HDF5 files need h5py: pip install "jaxdecon[hdf5]"'
        ) from error
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file: {error}.") from error
    with file:
        yield file


class LazyHdf5(Lazy):
    """A dataset of an HDF5 file that is read when sliced."""

    def __init__(
        self, path: Path, inside: str, shape: tuple[int, ...], dtype: np.dtype
    ):
        """`dtype` may be another one of the same width: the bits are taken as that."""
        self.path, self.inside, self.shape, self.dtype = path, inside, shape, dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        full = expand(index, self.shape)
        with open_hdf5(self.path) as file:
            try:
                return np.asarray(file[self.inside][full]).view(self.dtype)
            except (OSError, KeyError, ValueError) as error:
                hint = " (install hdf5plugin?)" if "filter" in str(error) else ""
                raise ValueError(
                    f"{self.path}: {self.inside} cannot be decoded: {_line(error)}"
                    f"{hint}."
                ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).strip("'\"").split())


def _dataset(file: Any, name: str, path: Path) -> Any:
    dataset = file.get(name)
    if dataset is None or not hasattr(dataset, "shape"):
        raise ValueError(f"{path} has no dataset {name!r}; it has {_listed(file)}.")
    if (
        not 2 <= len(dataset.shape or ()) <= len(AXES)
        or dataset.dtype.kind not in "iuf"
    ):
        raise ValueError(
            f"{path}: dataset {name!r} has shape {dataset.shape} and type "
            f"{dataset.dtype}; numbers along 2 to 5 axes are needed."
        )
    return dataset


def _only_dataset(file: Any, path: Path) -> str:
    if "t00000/s00/0/cells" in file:
        raise ValueError(
            f"{path} holds the data of a BigDataViewer data set: read its .xml."
        )
    names = [name for name, _ in _images(file)]
    if len(names) != 1:
        raise ValueError(
            f"{path} has {len(names)} datasets with two axes or more "
            f'({_listed(file)}); say which: "{path.name}:/path/in/file".'
        )
    return names[0]


def _images(file: Any) -> list[tuple[str, Any]]:
    found = []

    def visit(name: str, entry: Any) -> None:
        if len(getattr(entry, "shape", None) or ()) >= 2 and entry.dtype.kind in "iuf":
            found.append((name, entry))

    file.visititems(visit)
    return found


def _listed(file: Any) -> str:
    images = _images(file)
    words = [f"{name} {entry.shape} {entry.dtype}" for name, entry in images[:LISTED]]
    if len(images) > LISTED:
        words.append(f"and {len(images) - LISTED} more")
    return ", ".join(words) or "none"


def _axes(dataset: Any) -> str:
    """A letter per axis; "q" where nothing names it."""
    count = len(dataset.shape)
    tags = dataset.attrs.get("axistags")
    if tags is not None:
        axes = [str(axis["key"]) for axis in json.loads(tags)["axes"]]
    else:
        axes = [dimension.label.lower() for dimension in dataset.dims]
    if len(axes) == count and all(len(a) == 1 and a in AXES for a in axes):
        return "".join(axes)
    return "q" * (count - 2) + "yx"


def _element_size(dataset: Any) -> dict[str, float | None]:
    """µm per voxel along z, y and x, as far as the file says."""
    sizes = np.ravel(dataset.attrs.get("element_size_um", ())).astype(float)[::-1]
    known = zip("xyz", sizes, strict=False)
    return {axis: float(s) if np.isfinite(s) and s > 0 else None for axis, s in known}
