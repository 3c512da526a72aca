"""Read TIFF in the dialects that microscopes and ImageJ write, through tifffile."""

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

from ._grid import expand
from ._image import AXES, Image, Lazy
from ._ome_optics import ome_optics
from ._units import in_micrometres, in_seconds

RESOLUTION_UNITS = {2: "inch", 3: "cm"}


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
            if len(tiff.series) > 1:
                note = f"the file has {len(tiff.series)} images; the first is read"
                metadata["notes"] = (*metadata.get("notes", ()), note)
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


class _LazyTiff(Lazy):
    """The first series of a TIFF as an array that is read when sliced."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype):
        self.path, self.shape, self.dtype = path, shape, dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} is not there any more.")
        try:
            with tifffile.TiffFile(self.path) as tiff:
                store = tiff.series[0].aszarr(level=0)
                try:
                    return np.asarray(zarr.open_array(store, mode="r")[index])
                finally:
                    store.close()
        except Exception as error:  # whatever the decoders of 30 formats raise
            raise ValueError(f"{self.path} cannot be decoded: {error}.") from error


def _metadata(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict:
    if tiff.is_ome and tiff.ome_metadata:
        try:
            return _ome_metadata(tiff.ome_metadata)
        except (ElementTree.ParseError, StopIteration, ValueError) as error:
            note = f"its OME metadata are damaged and not used ({error})"
            return {"size": {}, "notes": (note,)}
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
    optics = ome_optics(root, pixels)
    return {
        "metadata": {"optics": optics} if optics else {},
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
    # ImageJ writes a negative spacing for stacks that run downwards.
    spacing = abs(float(info.get("spacing") or 0)) or None
    size["z"] = in_micrometres(spacing, info.get("zunit", unit))
    if "voxel_size_um" in info:
        size = _parse_partial(str(info["voxel_size_um"]))
    known = {axis: size.get(axis) or 0.0 for axis in "zyx"}
    # ImageJ counts the origin in voxels, and where it lies from the first voxel on.
    origin = {a: -float(info.get(f"{a}origin", 0)) * known[a] for a in "zyx"}
    return {
        "size": size,
        "origin": {a: origin[a] or None for a in "zyx"},
        "channels": _imagej_channels(info, series),
        "time_step": info.get("finterval"),
    }


def _parse_partial(text: str) -> dict[str, float | None]:
    """Voxel sizes as `_imagej_attributes` writes them if some are unknown."""
    sizes = [None if part == "?" else float(part) for part in text.split()]
    return dict(zip("zyx"[-len(sizes) :], sizes, strict=True))


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
    notes = list(metadata.get("notes", ()))
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
        metadata=metadata.get("metadata", {}),
    )


def _name_axes(axes: str, notes: list[str]) -> str:
    """Letters of tczyx for the letters that tifffile gives.

    Of the axes that the file does not name, the last is z if z is free (a stack of
    pages); what is left is t, or t and c. Colour samples are channels.
    """
    named = list(axes.replace("s", "c") if "c" not in axes else axes)
    unnamed = [i for i, letter in enumerate(named) if letter in "iq"]
    free = [a for a in guessed_axes(len(unnamed), "z" not in named) if a not in named]
    known = all(letter in AXES for letter in named if letter not in "iq")
    if not known or len(free) != len(unnamed):
        raise ValueError(
            f"its axes are {axes.upper()}; known are T, C, Z, Y and X, and some that "
            f"the file leaves open."
        )
    for i, letter in zip(unnamed, free, strict=True):
        named[i] = letter
        notes.append(f"axis {i} of the file has no name; taken as {letter}")
    if len(set(named)) != len(named):
        raise ValueError(f"its axes are {axes.upper()}: some occur twice.")
    return "".join(named)


def guessed_axes(count: int, with_z: bool = True) -> str:
    """Names for axes before y and x that nothing names: z innermost, then t, or c."""
    outer = count - with_z
    return {0: "", 1: "t", 2: "tc"}.get(outer, "") + ("z" if with_z and count else "")


class _Transposed(Lazy):
    """An array with its axes in another order; read when sliced."""

    def __init__(self, data: Any, order: Sequence[int]):
        self._data, self._order = data, tuple(order)
        self.path = getattr(data, "path", None)
        self.shape = tuple(data.shape[i] for i in order)
        self.dtype = data.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        index = expand(index, self.shape)
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
