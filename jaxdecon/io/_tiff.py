"""TIFF in the dialects that microscopes and ImageJ write, through tifffile."""

import contextlib
import logging
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from ._image import AXES, Image
from ._units import in_micrometres, in_seconds

RESOLUTION_UNITS = {2: "inch", 3: "cm"}
IMAGEJ_DTYPES = ("uint8", "uint16", "float32")


def read_tiff(path: Path) -> Image:
    """Read a TIFF lazily: plain, ImageJ, OME, BigTIFF, any byte order or compression.

    Raises:
        ValueError: not a TIFF, cut short, or an arrangement of axes that is not known.
    """
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
            _check_complete(tiff, path, complaints)
            series = tiff.series[0]
            metadata = _metadata(tiff, series)
            data = _LazyTiff(path, tuple(series.shape), np.dtype(series.dtype))
            return _arrange(data, series.axes.lower(), metadata)
    except tifffile.TiffFileError as error:
        raise ValueError(f"{path} is not a readable TIFF: {error}.") from error


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs as errors, such as a chain of pages that breaks off."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())
    logger = tifffile.logger()
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _check_complete(tiff: tifffile.TiffFile, path: Path, complaints: list[str]) -> None:
    """Refuse a file whose pages or image data end before they should."""
    size = tiff.filehandle.size
    if not len(tiff.pages) or not tiff.series:
        raise ValueError(f"{path} has no image in it.")
    if complaints:
        raise ValueError(f"{path} is truncated or damaged: {complaints[0]}.")
    for page in tiff.series[0].pages:
        if page is None:
            raise ValueError(f"{path} lacks some of its planes: it is incomplete.")
        counts = zip(page.dataoffsets, page.databytecounts, strict=True)
        if any(offset + count > size for offset, count in counts):
            raise ValueError(
                f"{path} is truncated: it has {size} bytes, and its image data should "
                f"go on beyond them. Copy it again."
            )
    _check_imagej_size(tiff, path)


def _check_imagej_size(tiff: tifffile.TiffFile, path: Path) -> None:
    """ImageJ stacks above 4 GB have one page and say in words how many follow it."""
    if not tiff.is_imagej:
        return
    declared = int((tiff.imagej_metadata or {}).get("images", 1))
    found = math.prod(tiff.series[0].shape) // math.prod(tiff.pages[0].shape)
    if found < declared:
        raise ValueError(
            f"{path} is truncated: it should have {declared} planes and has {found}."
        )


class _LazyTiff:
    """The first series of a TIFF as an array that is read when sliced."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype):
        self.path, self.shape, self.dtype = path, shape, dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        with tifffile.TiffFile(self.path) as tiff:
            store = tiff.series[0].aszarr(level=0)
            try:
                array = zarr.open_array(store, mode="r")
                return np.asarray(array[index])
            finally:
                store.close()


def _metadata(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict:
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_metadata(tiff.ome_metadata)
    if tiff.is_imagej:
        return _imagej_metadata(tiff, series)
    return {"size": _plain_resolution(tiff.pages[0])}


def _ome_metadata(xml: str) -> dict:
    root = ElementTree.fromstring(xml)
    pixels = next(e for e in root.iter() if e.tag.endswith("}Pixels"))
    channels = [e for e in pixels if e.tag.endswith("}Channel")]
    names = [c.get("Name") for c in channels]

    def length(key: str) -> float | None:
        value = pixels.get(key)
        unit = pixels.get(f"{key}Unit", "µm")
        return None if value is None else in_micrometres(float(value), unit)

    step = pixels.get("TimeIncrement")
    plane = next((e for e in pixels if e.tag.endswith("}Plane")), None)
    return {
        "size": {axis: length(f"PhysicalSize{axis.upper()}") for axis in "zyx"},
        "origin": {axis: _plane_position(plane, axis) for axis in "zyx"},
        "channels": tuple(n for n in names if n) if all(names) else (),
        "time_step": in_seconds(
            None if step is None else float(step), pixels.get("TimeIncrementUnit", "s")
        ),
    }


def _plane_position(plane: Any, axis: str) -> float | None:
    if plane is None or plane.get(f"Position{axis.upper()}") is None:
        return None
    unit = plane.get(f"Position{axis.upper()}Unit", "µm")
    return in_micrometres(float(plane.get(f"Position{axis.upper()}")), unit)


def _imagej_metadata(tiff: tifffile.TiffFile, series: Any) -> dict:
    info = tiff.imagej_metadata or {}
    unit = info.get("unit")
    in_plane = _resolution(tiff.pages[0])
    size = {axis: in_micrometres(in_plane.get(axis), unit) for axis in "yx"}
    size["z"] = in_micrometres(info.get("spacing"), info.get("zunit", unit))
    known = {axis: size.get(axis) or 0.0 for axis in "zyx"}
    # ImageJ counts the origin in voxels, and where it lies from the first voxel on.
    origin = {a: -float(info.get(f"{a}origin", 0)) * known[a] for a in "zyx"}
    return {
        "size": size,
        "origin": {a: origin[a] or None for a in "zyx"},
        "channels": _imagej_channels(info, series),
        "time_step": info.get("finterval"),
    }


def _imagej_channels(info: dict, series: Any) -> tuple[str, ...]:
    """Channel names, where the slice labels of the first plane differ by channel."""
    labels = info.get("Labels")
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list):
        return ()
    axes = series.axes.lower()
    count = series.shape[axes.index("c")] if "c" in axes else 1
    names = tuple(str(label) for label in labels[:count])
    repeated = all(labels[i] == names[i % count] for i in range(len(labels)))
    return names if repeated and len(set(names)) == count else ()


def _plain_resolution(page: Any) -> dict:
    """In-plane voxel size of a plain TIFF; printers' resolutions count as unknown."""
    unit = page.tags.get("ResolutionUnit")
    name = RESOLUTION_UNITS.get(int(unit.value)) if unit else None
    sizes = {a: in_micrometres(v, name) for a, v in _resolution(page).items()}
    return {a: s for a, s in sizes.items() if s is not None and s < 50}


def _resolution(page: Any) -> dict[str, float]:
    """Length per pixel along y and x, in the unit of the file."""
    sizes = {}
    for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
        if tag in page.tags:
            pixels, length = page.tags[tag].value
            if pixels and length:
                sizes[axis] = length / pixels
    return sizes


def _arrange(data: Any, axes: str, metadata: dict) -> Image:
    """Bring axes into the order tczyx, naming those that the file does not name."""
    notes = []
    named = _name_axes(axes, notes)
    order = [named.index(a) for a in AXES if a in named]
    if order != sorted(order):
        data = _Transposed(data, order)
    axes = "".join(a for a in AXES if a in named)
    space = [a for a in axes if a in "zyx"]
    size = {a: metadata.get("size", {}).get(a) for a in space}
    missing = [a for a in space if size[a] is None]
    if missing:
        notes.append(f"no voxel size along {', '.join(missing)} in the file")
    channels = metadata.get("channels", ())
    count = data.shape[axes.index("c")] if "c" in axes else 1
    return Image(
        data=data,
        axes=axes,
        voxel_size=tuple(size[a] for a in space),
        origin=tuple(metadata.get("origin", {}).get(a) or 0.0 for a in space),
        channels=channels if len(channels) == count else (),
        time_step=metadata.get("time_step"),
        notes=tuple(notes),
    )


def _name_axes(axes: str, notes: list[str]) -> str:
    """Letters of tczyx for the letters that tifffile gives.

    An axis that the file does not name is z if z is free (a stack of pages), else t.
    Colour samples are channels.
    """
    named = axes.replace("s", "c") if "c" not in axes else axes
    for letter in named:
        if letter in AXES:
            continue
        free = next((a for a in "zt" if a not in named), None)
        if free is None or letter not in "iq":
            raise ValueError(
                f"its axes are {axes.upper()}; known are T, C, Z, Y and X, and one or "
                f"two that the file leaves open."
            )
        named = named.replace(letter, free, 1)
        notes.append(f"the file does not name its first axis; taken as {free}")
    if len(set(named)) != len(named):
        raise ValueError(f"its axes are {axes.upper()}: some occur twice.")
    return named


class _Transposed:
    """An array with its axes in another order; read when sliced."""

    def __init__(self, data: Any, order: Sequence[int]):
        self._data, self._order = data, tuple(order)
        self.shape = tuple(data.shape[i] for i in order)
        self.dtype = data.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        if any(i is Ellipsis for i in index):
            return np.transpose(np.asarray(self._data[...]), self._order)[index]
        source: list[Any] = [slice(None)] * len(self.shape)
        for target, position in enumerate(index):
            source[self._order[target]] = position
        kept = [
            axis
            for axis in self._order
            if not isinstance(source[axis], int | np.integer)
        ]
        return np.asarray(self._data[tuple(source)]).transpose(
            np.argsort(np.argsort(kept))
        )


def write_tiff(path: Path, image: Image, *, ome: bool) -> None:
    """Write an OME-TIFF or an ImageJ hyperstack, volume by volume.

    Raises:
        ValueError: a type that ImageJ does not know, or more than its 4 GB.
    """
    full = image if ome else _check_imagej(image)
    shape = tuple(full.sizes.get(axis, 1) for axis in "tzcyx")
    planes = _planes(full)
    big = math.prod(shape) * full.dtype.itemsize > 2**32 - 2**25
    with tifffile.TiffWriter(path, bigtiff=big, ome=ome, imagej=not ome) as writer:
        writer.write(
            planes,
            shape=shape,
            dtype=full.dtype,
            photometric="minisblack",
            resolution=_tiff_resolution(full),
            resolutionunit="NONE",
            metadata=(_ome_attributes if ome else _imagej_attributes)(full),
        )


def _planes(image: Image):
    """All planes in the order t, z, c, as the metadata say."""
    sizes = {axis: image.sizes.get(axis, 1) for axis in "tzc"}
    for t in range(sizes["t"]):
        leading = [
            tuple({"t": t, "c": c}[a] for a in image.axes if a in "tc")
            for c in range(sizes["c"])
        ]
        volumes = [image.volume(index) for index in leading]
        for z in range(sizes["z"]):
            for volume in volumes:
                yield volume[z] if "z" in image.axes else volume


def _check_imagej(image: Image) -> Image:
    if str(image.dtype) not in IMAGEJ_DTYPES:
        raise ValueError(
            f"ImageJ TIFF cannot hold {image.dtype}, only {', '.join(IMAGEJ_DTYPES)}: "
            f"write .ome.tif or .ome.zarr, or convert."
        )
    if math.prod(image.shape) * image.dtype.itemsize > 2**32 - 2**25:
        raise ValueError(
            "ImageJ TIFF cannot hold more than 4 GB: write .ome.tif or .ome.zarr."
        )
    return image


def _tiff_resolution(image: Image) -> tuple[float, float] | None:
    y, x = image.voxel_size[-2:]
    return None if y is None or x is None else (1 / x, 1 / y)


def _ome_attributes(image: Image) -> dict[str, Any]:
    attributes: dict[str, Any] = {"axes": "TZCYX"}
    for axis, size in zip(image.spatial_axes, image.voxel_size, strict=True):
        if size is not None:
            attributes[f"PhysicalSize{axis.upper()}"] = size
            attributes[f"PhysicalSize{axis.upper()}Unit"] = "µm"
    if image.channels:
        attributes["Channel"] = {"Name": list(image.channels)}
    if image.time_step is not None:
        attributes["TimeIncrement"] = image.time_step
        attributes["TimeIncrementUnit"] = "s"
    if any(image.origin):
        count = math.prod(image.sizes.get(axis, 1) for axis in "tzc")
        position = dict(zip(image.spatial_axes, image.origin, strict=True))
        attributes["Plane"] = {}
        for axis, value in position.items():
            attributes["Plane"][f"Position{axis.upper()}"] = [value] * count
            attributes["Plane"][f"Position{axis.upper()}Unit"] = ["µm"] * count
    return attributes


def _imagej_attributes(image: Image) -> dict[str, Any]:
    attributes: dict[str, Any] = {"axes": "TZCYX", "unit": "um"}
    sizes = dict(zip(image.spatial_axes, image.voxel_size, strict=True))
    if sizes.get("z") is not None:
        attributes["spacing"] = sizes["z"]
    if image.time_step is not None:
        attributes["finterval"] = image.time_step
    for axis, value in zip(image.spatial_axes, image.origin, strict=True):
        size = sizes[axis]
        if value and size:
            attributes[f"{axis}origin"] = -value / size
    if image.channels:
        planes = image.sizes.get("t", 1) * image.sizes.get("z", 1)
        attributes["Labels"] = list(image.channels) * planes
    return attributes
