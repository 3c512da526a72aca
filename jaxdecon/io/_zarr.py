"""OME-Zarr 0.4 and 0.5 through zarr-python."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ._image import AXES, Image
from ._units import in_micrometres, in_seconds

AXIS_TYPES = {"t": "time", "c": "channel"}
CHUNK = 64
"""Edge of a chunk in voxels (1 MiB of float32)."""
SHARD = 256
"""Edge of a shard in voxels: up to 64 chunks in one file."""
METADATA = "jaxdecon"
"""Attribute of the group for what OME-Zarr has no place for."""
SMALLEST_LEVEL = 64
"""The pyramid ends once no axis is longer."""


def read_zarr(path: Path) -> Image:
    """Open the full-resolution level of an OME-Zarr image lazily.

    Raises:
        ValueError: no readable multiscale image at `path`.
    """
    try:
        group = _quietly(lambda: zarr.open_group(path, mode="r"))
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not an OME-Zarr image: {error}.") from error
    everything: Any = group.attrs.asdict()
    attributes: Any = everything.get("ome", everything)
    try:
        multiscale = attributes["multiscales"][0]
        dataset = multiscale["datasets"][0]
        data = _quietly(lambda: group[dataset["path"]])
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path} is a Zarr group without a multiscale image in it (missing {error})"
        ) from error
    image = _to_image(data, multiscale, dataset, attributes.get("omero", {}))
    return image.replace(metadata=everything.get(METADATA, {}))


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
    channel names, time step.
    """
    group = zarr.create_group(path, zarr_format=3)
    steps = _pyramid_steps(image)
    arrays = [_create(group, image, level, step) for level, step in enumerate(steps)]
    for index, volume in image.volumes():
        _write_levels(arrays, index, volume, steps)
    group.attrs["ome"] = _ome_attributes(image, steps)
    if image.metadata:
        group.attrs[METADATA] = dict(image.metadata)


def _write_levels(arrays, index, volume: np.ndarray, steps) -> None:
    done = (1,) * volume.ndim
    for array, step in zip(arrays, steps, strict=True):
        factors = [s // d for s, d in zip(step, done, strict=True)]
        volume, done = _bin(volume, factors), step
        array[tuple(index)] = volume


def _pyramid_steps(image: Image) -> list[tuple[int, ...]]:
    """Voxels of the full image per voxel of every level.

    Every level halves the axes that are still sampled finest, so that voxels become
    isotropic on the way.
    """
    size = np.array([s or 1.0 for s in image.voxel_size])
    step = np.ones(len(size), int)
    shape = np.array(image.volume_shape)
    steps = [tuple(step)]
    while (shape // step).max() > SMALLEST_LEVEL:
        current = size * step
        halve = (current <= 1.5 * current.min()) & (shape // step > 1)
        if not halve.any():
            halve = shape // step > 1
        step = step * np.where(halve, 2, 1)
        steps.append(tuple(step))
    return [tuple(int(s) for s in step) for step in steps]


def _level_shape(image: Image, step: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // s) for n, s in zip(image.volume_shape, step, strict=True))


def _bin(volume: np.ndarray, factors) -> np.ndarray:
    """Mean over blocks; incomplete blocks at the end average what they have."""
    if all(f == 1 for f in factors):
        return volume
    total = volume.astype(np.float64 if volume.dtype.itemsize > 4 else np.float32)
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        n = total.shape[axis]
        starts = np.arange(0, n, factor)
        count = np.minimum(starts + factor, n) - starts
        shape = [-1 if a == axis else 1 for a in range(total.ndim)]
        total = np.add.reduceat(total, starts, axis) / count.reshape(shape)
    if volume.dtype.kind in "iu":
        total = np.rint(total)
    return total.astype(volume.dtype)


def _create(group: Any, image: Image, level: int, step: tuple[int, ...]) -> Any:
    leading = image.shape[: len(image.shape) - len(step)]
    shape = _level_shape(image, step)
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
        dimension_names=list(image.axes),
    )


def _chunk(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Cubes of `CHUNK`, wider in plane where there are few planes."""
    edge = CHUNK if len(shape) == 3 else 8 * CHUNK
    return tuple(min(n, edge) for n in shape)


def _ome_attributes(image: Image, steps: list[tuple[int, ...]]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": "image",
                "type": "mean",
                "axes": list(_axes_metadata(image)),
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": _level_transforms(image, step),
                    }
                    for level, step in enumerate(steps)
                ],
            }
        ],
    }
    if image.channels:
        attributes["omero"] = {"channels": [_channel(n) for n in image.channels]}
    return attributes


def _channel(name: str) -> dict[str, Any]:
    return {"label": name, "color": "FFFFFF", "active": True}


def _axes_metadata(image: Image) -> Iterator[dict[str, str]]:
    sizes = dict(zip(image.spatial_axes, image.voxel_size, strict=True))
    for name in image.axes:
        axis = {"name": name, "type": AXIS_TYPES.get(name, "space")}
        if name == "t" and image.time_step is not None:
            axis["unit"] = "second"
        elif sizes.get(name) is not None:
            axis["unit"] = "micrometer"
        yield axis


def _level_transforms(image: Image, step: tuple[int, ...]) -> list[dict[str, Any]]:
    """A voxel of a level is centred on the mean of those it averages."""
    size = [s or 1.0 for s in image.voxel_size]
    leading = len(image.axes) - len(step)
    first = [1.0] * leading
    if "t" in image.axes and image.time_step is not None:
        first[0] = float(image.time_step)
    scale = [v * s for v, s in zip(size, step, strict=True)]
    offsets = zip(image.origin, size, step, strict=True)
    translation = [o + v * (s - 1) / 2 for o, v, s in offsets]
    return [
        {"type": "scale", "scale": [*first, *scale]},
        {"type": "translation", "translation": [0.0] * leading + translation},
    ]
