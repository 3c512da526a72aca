"""Read images from N5 containers, through tensorstore."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._grid import expand
from ._image import AXES, Image, Lazy
from ._tiff import _arrange, _name_axes
from ._units import in_micrometres

LISTED = 12
"""Datasets that an error names."""


def read_n5(path: Path, inside: str = "") -> Image:
    """Open a dataset of an N5 container lazily; of a pyramid its finest level, "s0".

    N5 counts axes from the fastest one, x: they are reversed to z, y, x. "axes" and the
    voxel size in "pixelResolution", or in "resolution" and "units", are read from the
    attributes of the dataset or of a group around it.

    Args:
        path: folder of the container.
        inside: path of the dataset or of the pyramid in it; may be left out if there is
            only one.

    Raises:
        ImportError: tensorstore is missing; the message names the extra.
        ValueError: damaged, no such dataset, or several to choose from.
    """
    folder = _choose(path, inside)
    data = open_n5(folder)
    if not 2 <= len(data.shape) <= len(AXES):
        raise ValueError(f"{folder} has shape {data.shape}; 2 to 5 axes are needed.")
    notes: list[str] = []
    attributes = _collected(path, folder)
    axes = _name_axes(_axes(attributes, len(data.shape)), notes)
    metadata = {"size": _voxel_size(attributes, axes), "notes": notes}
    return _arrange(data, axes, metadata)


class LazyN5(Lazy):
    """A dataset of an N5 container that is read when sliced; its axes reversed."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype):
        self.path, self.shape, self.dtype = path, shape, dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        full = expand(index, self.shape)
        try:
            store = _tensorstore(self.path)
            return np.asarray(store.T[full].read().result())
        except ValueError as error:
            raise ValueError(
                f"{self.path} cannot be decoded: {_line(error)}."
            ) from error


def open_n5(folder: Path) -> LazyN5:
    """The dataset in `folder`.

    Raises:
        ImportError: tensorstore is missing; the message names the extra.
        ValueError: no dataset there, or damaged.
    """
    try:
        store = _tensorstore(folder)
    except ValueError as error:
        raise ValueError(f"{folder} is no readable N5: {_line(error)}.") from error
    return LazyN5(folder, tuple(store.shape)[::-1], np.dtype(store.dtype.numpy_dtype))


def _tensorstore(folder: Path) -> Any:
    try:
        import tensorstore
    except ImportError as error:
        raise ImportError(
            'N5 containers need tensorstore: pip install "jaxdecon[n5]"'
        ) from error
    where = {"driver": "file", "path": str(folder)}
    spec = {"driver": "n5", "kvstore": where}
    return tensorstore.open(spec, open=True, read=True).result()


def _line(error: Exception) -> str:
    """What tensorstore says, without the long specification that it appends."""
    return " ".join(str(error).split(" [", 1)[0].split())


def _choose(path: Path, inside: str) -> Path:
    folder = path / inside.strip("/")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there.")
    found = list(_datasets(folder))
    if len(found) == 1:
        return found[0]
    names = [f.relative_to(path).as_posix() for f in found]
    listed = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    if not found:
        raise ValueError(f"{folder} has no N5 dataset in it.")
    if names[0].startswith("setup"):
        raise ValueError(
            f"{path} holds the data of a BigDataViewer data set ({listed}): read its "
            f".xml."
        )
    raise ValueError(
        f"{path} has {len(found)} datasets ({listed}); say which: "
        f'"{path.name}:path/inside".'
    )


def _datasets(folder: Path) -> Iterator[Path]:
    """Datasets under `folder`; of the levels of a pyramid the finest one."""
    for candidate in (folder, folder / "s0"):
        if "dimensions" in _attributes(candidate):
            yield candidate
            return
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            yield from _datasets(child)


def _attributes(folder: Path) -> dict[str, Any]:
    file = folder / "attributes.json"
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged: {error}.") from error


def _collected(root: Path, folder: Path) -> dict[str, Any]:
    """Attributes of a dataset, and what it lacks from the groups around it."""
    found = _attributes(folder)
    factors = found.get("downsamplingFactors")
    own = "pixelResolution" in found or "resolution" in found
    while folder != root:
        folder = folder.parent
        found = _attributes(folder) | found
    # A group gives the voxel size of the finest level.
    return found | {"downsamplingFactors": None if own else factors}


def _axes(attributes: dict[str, Any], count: int) -> str:
    axes = [str(a).lower() for a in attributes.get("axes") or ()][::-1]
    if len(axes) == count and all(len(a) == 1 and a in AXES for a in axes):
        return "".join(axes)
    return "q" * (count - 2) + "yx"


def _voxel_size(attributes: dict[str, Any], axes: str) -> dict[str, float | None]:
    """µm by axis, from sizes that begin with x and cover all axes or those in space."""
    pixel = attributes.get("pixelResolution")
    if isinstance(pixel, dict):
        sizes, units = pixel.get("dimensions"), pixel.get("unit", "um")
    elif pixel is not None:
        sizes, units = pixel, "um"  # as the N5 viewer takes a bare list
    else:
        sizes, units = attributes.get("resolution"), attributes.get("units")
    if not sizes:
        return {}
    letters = axes[::-1]
    if len(sizes) != len(axes):
        letters = "".join(a for a in letters if a in "xyz")
    units = [units] * len(sizes) if not isinstance(units, list) else units
    factors = attributes.get("downsamplingFactors") or [1] * len(sizes)
    sized = zip(letters, sizes, units, factors, strict=False)
    return {a: in_micrometres(s * f, u) if s > 0 else None for a, s, u, f in sized}
