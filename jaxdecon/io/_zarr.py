"""OME-Zarr 0.4 and 0.5 through zarr-python."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs

from ._image import AXES, Image
from ._ome_metadata import ome_attributes
from ._pyramid import bin_volume, level_shape, pyramid_steps
from ._units import in_micrometres, in_seconds

CHUNK = 64
"""Edge of a chunk in voxels (1 MiB of float32)."""
SHARD = 256
"""Edge of a shard in voxels: up to 64 chunks in one file."""
METADATA = "jaxdecon"
"""Attribute of the group for what OME-Zarr has no place for."""


def read_zarr(path: Path) -> Image:
    """Open the full-resolution level of an OME-Zarr image lazily.

    Raises:
        ValueError: no readable multiscale image at `path`.
    """
    return _read_levels(path, 1)[0]


def read_levels(path: str | os.PathLike[str]) -> list[Image]:
    """All levels of an OME-Zarr image's pyramid, the full image first; opened lazily.

    Raises:
        ValueError: no readable multiscale image at `path`.
    """
    return _read_levels(Path(path), None)


def _read_levels(path: Path, most: int | None) -> list[Image]:
    try:
        group = _quietly(lambda: zarr.open_group(path, mode="r"))
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not an OME-Zarr image: {error}.") from error
    everything: Any = group.attrs.asdict()
    attributes: Any = everything.get("ome", everything)
    levels = []
    try:
        multiscale = attributes["multiscales"][0]
        datasets = multiscale["datasets"][:most]
        if not datasets:
            raise IndexError("dataset")
        for dataset in datasets:
            data = _quietly(lambda dataset=dataset: group[dataset["path"]])
            levels.append((data, dataset))
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path} is a Zarr group without a multiscale image in it (missing {error})"
        ) from error
    images = [
        _to_image(data, multiscale, dataset, attributes.get("omero", {}))
        for data, dataset in levels
    ]
    return [image.replace(metadata=everything.get(METADATA, {})) for image in images]


def _quietly(open_it: Callable[[], Any]) -> Any:
    """Open without warnings of harmless slips in files that other programs wrote."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="zarr")
        return open_it()


def _to_image(data: Any, multiscale: dict, dataset: dict, omero: dict) -> Image:
    axes = [_axis(entry) for entry in multiscale["axes"]]
    names = "".join(axis["name"] for axis in axes)
    if sorted(names, key=AXES.find) != list(names) or not set(names) <= set(AXES):
        raise ValueError(f"axes {names!r} are not a part of {AXES!r} in that order.")
    scale, translation = _transforms(multiscale, dataset, len(names))
    length = {a["name"]: a.get("unit") for a in axes}
    space = [i for i, name in enumerate(names) if name in "zyx"]
    size = tuple(in_micrometres(scale[i], length[names[i]]) for i in space)
    origin = tuple(in_micrometres(translation[i], length[names[i]]) for i in space)
    labels = [str(c.get("label", "")) for c in omero.get("channels", [])]
    count = data.shape[names.index("c")] if "c" in names else 1
    missing = [names[i] for i, s in zip(space, size, strict=True) if s is None]
    note = f"no voxel size in a unit of length along {', '.join(missing)}"
    time = names.find("t")
    return Image(
        data=data,
        axes=names,
        voxel_size=size,
        origin=tuple(o or 0.0 for o in origin),
        channels=tuple(labels) if len(labels) == count and all(labels) else (),
        time_step=in_seconds(scale[time], length["t"]) if time >= 0 else None,
        notes=(note,) if missing else (),
    )


def _axis(entry: Any) -> dict:
    return {"name": entry} if isinstance(entry, str) else entry


def _transforms(multiscale: dict, dataset: dict, n: int):
    """Scale and translation of a level: those of the level, then the common ones."""
    scale, translation = np.ones(n), np.zeros(n)
    for owner in (dataset, multiscale):
        for transform in owner.get("coordinateTransformations") or []:
            if "scale" in transform:
                factor = np.asarray(transform["scale"], float)
                scale, translation = scale * factor, translation * factor
            if "translation" in transform:
                translation = translation + np.asarray(transform["translation"], float)
    return scale, translation


def write_zarr(path: Path, image: Image) -> None:
    """Write OME-Zarr 0.5: sharded, with a pyramid by means over 2 x 2 (x 2) voxels.

    Metadata are complete: axes with units, scale and translation of every level,
    channel names with the range of values to show, time step.

    Raises:
        ValueError: axes that OME-Zarr cannot hold.
    """
    steps = pyramid_steps(image)
    ome_attributes(image, steps)  # refuses before anything is written
    group = zarr.create_group(path, zarr_format=3)
    arrays = [_create(group, image, level, step) for level, step in enumerate(steps)]
    for index, volume in image.volumes():
        _write_levels(arrays, index, volume, steps)
    windows = [shown_range(arrays[-1], c) for c in range(len(image.channels))]
    group.attrs["ome"] = ome_attributes(image, steps, windows)
    if image.metadata:
        group.attrs[METADATA] = dict(image.metadata)


def _write_levels(arrays, index, volume: np.ndarray, steps) -> None:
    done = (1,) * volume.ndim
    for array, step in zip(arrays, steps, strict=True):
        factors = [s // d for s, d in zip(step, done, strict=True)]
        volume, done = bin_volume(volume, factors), step
        array[tuple(index)] = volume


def shown_range(array: Any, channel: int) -> tuple[float, float]:
    """Smallest and largest value of a channel at the coarsest level, for viewers."""
    leading = [a for a in array.metadata.dimension_names if a in "tc"]
    times = array.shape[0] if "t" in leading else 1
    indices = [
        tuple({"t": time, "c": channel}[a] for a in leading) for time in range(times)
    ]
    low, high = np.inf, -np.inf
    for index in indices:
        values = np.asarray(array[index], np.float64)
        values = values[np.isfinite(values)]
        low, high = values.min(initial=low), values.max(initial=high)
    if low < high:
        return float(low), float(high)
    black = float(low) if np.isfinite(low) else 0.0
    return black, black + 1  # viewers divide by the difference


def _create(group: Any, image: Image, level: int, step: tuple[int, ...]) -> Any:
    leading = image.shape[: len(image.shape) - len(step)]
    shape = level_shape(image, step)
    chunk = _chunk(shape)
    shard = [
        min(-(-n // c), SHARD // CHUNK) * c for n, c in zip(shape, chunk, strict=True)
    ]
    ones = (1,) * len(leading)
    return group.create_array(
        str(level),
        shape=(*leading, *shape),
        chunks=(*ones, *chunk),
        shards=(*ones, *shard),
        dtype=image.dtype,
        compressors=compressor(),
        dimension_names=list(image.axes),
    )


def compressor() -> Any:
    """Of all that is written: fast, and with a checksum, without which most damage to
    a chunk would read as wrong values."""
    return zarr.codecs.ZstdCodec(level=1, checksum=True)


def _chunk(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Cubes of `CHUNK`, wider in plane where there are few planes."""
    edge = CHUNK if len(shape) == 3 else 8 * CHUNK
    return tuple(min(n, edge) for n in shape)
