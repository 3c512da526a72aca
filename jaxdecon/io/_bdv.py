"""Read BigDataViewer data sets: an XML file beside HDF5 or N5.

The format: Pietzsch et al., "BigDataViewer: visualization and processing for large
image data sets", Nature Methods 12, 481 (2015), https://doi.org/10.1038/nmeth.3392, and
https://imagej.net/plugins/bdv/#about-the-bigdataviewer-data-format.
"""

import contextlib
import dataclasses
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._grid import Grid, Zeros
from ._hdf5 import LazyHdf5, open_hdf5
from ._image import Image, Lazy
from ._n5 import open_n5
from ._units import in_micrometres

LISTED = 12
"""Setups, or missing views, that a message names."""
LOADERS = {"bdv.hdf5": "hdf5", "bdv.n5": "n5"}
"""The element with the path, by the format of the image loader."""


@dataclasses.dataclass(frozen=True)
class _Setup:
    number: int
    voxel_size: tuple[float | None, ...]
    """µm along z, y, x."""
    shape: str
    """As the XML gives it; empty if it does not."""
    attributes: dict[str, str]
    """Identifiers of channel, angle, tile and illumination."""

    def __str__(self) -> str:
        words = ", ".join(f"{name} {value}" for name, value in self.attributes.items())
        return f"{self.number} ({words})" if words else str(self.number)

    @property
    def kind(self) -> tuple:
        """All that channels of one image have in common."""
        rest = {k: v for k, v in self.attributes.items() if k != "channel"}
        return rest, self.shape, self.voxel_size


View = tuple[int, int]
"""Time point and setup."""


def read_bdv(path: str | os.PathLike[str], *, setup: int | None = None) -> Image:
    """Open a BigDataViewer data set lazily, at full resolution.

    Setups that differ by nothing but the channel become the axis c, time points the
    axis t. `metadata["transforms"]` holds the registration of every view: a matrix
    (4, 4) as nested lists, below one list per leading axis of the image (t, c). It maps
    voxels (z, y, x, 1) to the world coordinates (z, y, x, 1) of the data set: in the
    unit of its registrations, which need not be µm.

    Args:
        path: the XML file.
        setup: number of one setup; may be left out where all are channels of one image.

    Raises:
        FileNotFoundError: the XML file, or the data that it names, are not there.
        ImportError: h5py or tensorstore is missing; the message names the extra.
        ValueError: damaged or foreign content, or several setups to choose from.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there.")
    with _described(path):
        root = _root(path)
        setups, times = _chosen(_setups(root), setup, path), _times(root)
        views = [(t, chosen.number) for t in times for chosen in setups]
        absent = sorted(_missing(root).intersection(views))
        kind, container = _container(path, root)
        transforms, notes = _transforms(root, views)
        channels = _channel_names(root, setups)
    if absent:
        notes.append(f"views that were never taken read as 0: {_named(absent)}")
    if None in setups[0].voxel_size:
        notes.append("no voxel size in a unit of length in the file")
    lengths = {"t": len(times), "c": len(setups)}
    leading = "".join(axis for axis, length in lengths.items() if length > 1)
    grid = tuple(lengths[axis] for axis in leading)
    return Image(
        data=Grid(_parts(kind, container, views, absent), grid, container),
        axes=leading + "zyx",
        voxel_size=setups[0].voxel_size,
        channels=channels if "c" in leading else (),
        notes=tuple(notes),
        metadata={"transforms": transforms.reshape(*grid, 4, 4).tolist()},
    )


@contextlib.contextmanager
def _described(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the XML, in one line that names it."""
    try:
        yield
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not readable XML: {error}.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} has damaged metadata: {error}.") from error


def _root(path: Path) -> Any:
    root = ElementTree.parse(path).getroot()
    if root.find("SequenceDescription/ImageLoader") is None:
        raise ValueError(f"{path} is not the XML of a BigDataViewer data set.")
    return root


def _setups(root: Any) -> list[_Setup]:
    found = [_setup(e) for e in root.iterfind(".//ViewSetups/ViewSetup")]
    if not found:
        raise ValueError("it has no setups")
    return sorted(found, key=lambda setup: setup.number)


def _setup(element: Any) -> _Setup:
    attributes = element.iterfind("attributes/*")
    size, unit = element.findtext("voxelSize/size"), element.findtext("voxelSize/unit")
    xyz = [float(v) for v in size.split()] if size else [None] * 3
    x, y, z = (in_micrometres(v, unit) for v in xyz)
    return _Setup(
        number=int(element.findtext("id")),
        voxel_size=(z, y, x),
        shape=element.findtext("size", "").strip(),
        attributes={e.tag: (e.text or "").strip() for e in attributes},
    )


def _chosen(setups: list[_Setup], number: int | None, path: Path) -> list[_Setup]:
    if number is not None:
        chosen = [setup for setup in setups if setup.number == number]
        if not chosen:
            raise ValueError(f"{path} has no setup {number}; it has {_named(setups)}.")
        return chosen
    channels = {setup.attributes.get("channel") for setup in setups}
    alike = all(setup.kind == setups[0].kind for setup in setups)
    if alike and len(channels) == len(setups):
        return setups
    raise ValueError(
        f"{path} has setups that are no channels of one image: {_named(setups)}; "
        f"choose one: `read_bdv(path, setup={setups[0].number})`, or read "
        f'"{path.name}:{setups[0].number}".'
    )


def _named(things: Sequence[Any]) -> str:
    words = [
        f"t={thing[0]} setup={thing[1]}" if isinstance(thing, tuple) else str(thing)
        for thing in things[:LISTED]
    ]
    more = [f"and {len(things) - LISTED} more"] if len(things) > LISTED else []
    return ", ".join(words + more)


def _channel_names(root: Any, setups: list[_Setup]) -> tuple[str, ...]:
    """One name per setup; none if they are but numbers."""
    entries = root.iterfind(".//ViewSetups/Attributes[@name='channel']/Channel")
    names = {e.findtext("id", "").strip(): e.findtext("name", "") for e in entries}
    numbers = [setup.attributes.get("channel", "") for setup in setups]
    found = tuple(names.get(n, "").strip() or n for n in numbers)
    return () if all(name.isdigit() for name in found) else found


def _times(root: Any) -> list[int]:
    element = root.find("SequenceDescription/Timepoints")
    if element is None:
        return [0]
    kind = element.get("type")
    if kind == "range":
        return list(_span(f"{element.findtext('first')}-{element.findtext('last')}"))
    if kind == "pattern":
        spans = (element.findtext("integerpattern") or "0").split(",")
        return [number for span in spans for number in _span(span)]
    if kind == "list":
        return [int(e.findtext("id")) for e in element.iterfind("timepoint")]
    raise ValueError(f"its time points are of the unknown type {kind!r}")


def _span(text: str) -> range:
    """The whole numbers of "3", "0-5" or "0-10:2"."""
    span, _, step = text.partition(":")
    first, _, last = span.partition("-")
    return range(int(first), int(last or first) + 1, int(step or 1))


def _missing(root: Any) -> set[View]:
    entries = root.iterfind("SequenceDescription/MissingViews/MissingView")
    return {_view(entry) for entry in entries}


def _view(element: Any) -> View:
    return int(element.get("timepoint")), int(element.get("setup"))


def _container(path: Path, root: Any) -> tuple[str, Path]:
    """ "hdf5" or "n5", and where it is."""
    loader = root.find("SequenceDescription/ImageLoader")
    kind = LOADERS.get(loader.get("format"))
    if kind is None:
        raise ValueError(
            f"{path} has its data in the format {loader.get('format')!r}; known are "
            f"{', '.join(LOADERS)}."
        )
    place = loader.find(kind)
    base = path.parent
    if place.get("type") != "absolute":
        base = base / (root.findtext("BasePath") or ".").strip()
    container = Path(os.path.normpath(base / place.text.strip()))
    if not container.exists():
        raise FileNotFoundError(f"{container}, which {path} names, is not there.")
    return kind, container


def _parts(
    kind: str, container: Path, views: list[View], absent: list[View]
) -> list[Lazy]:
    there = [view for view in views if view not in absent]
    open_views = _hdf5_views if kind == "hdf5" else _n5_views
    found = dict(zip(there, open_views(container, there), strict=True))
    if not found:
        raise ValueError(f"{container}: all views are declared missing.")
    first = found[there[0]]
    for view, part in found.items():
        if (part.shape, part.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"{container}: view {_named([view])} has shape {part.shape} and type "
                f"{part.dtype}, the first one {first.shape} and {first.dtype}."
            )
    zeros = Zeros(first.shape, first.dtype)
    return [found.get(view, zeros) for view in views]


def _hdf5_views(container: Path, views: list[View]) -> Iterator[Lazy]:
    with open_hdf5(container) as file:
        for time, setup in views:
            inside = f"t{time:05d}/s{setup:02d}/0/cells"
            dataset = file.get(inside)
            if dataset is None:
                raise ValueError(f"{container} lacks {inside}: it is incomplete.")
            # Java has no unsigned types: what HDF5 calls int16 here means uint16.
            meant = np.dtype(dataset.dtype.str.replace("i2", "u2"))
            yield LazyHdf5(container, inside, dataset.shape, meant)


def _n5_views(container: Path, views: list[View]) -> Iterator[Lazy]:
    for time, setup in views:
        yield open_n5(container / f"setup{setup}" / f"timepoint{time}" / "s0")


def _transforms(root: Any, views: list[View]) -> tuple[np.ndarray, list[str]]:
    """The matrices of views, in (z, y, x) order, and a note on those without one."""
    entries = root.iterfind("ViewRegistrations/ViewRegistration")
    found = {_view(entry): _matrix(entry) for entry in entries}
    without = [view for view in views if view not in found]
    note = f"no registration, taken as the identity, of {_named(without)}"
    matrices = np.stack([found.get(view, np.eye(4)) for view in views])
    return matrices, [note] if without else []


def _matrix(registration: Any) -> np.ndarray:
    """The product of the transforms in the order listed: the last acts first."""
    matrix = np.eye(4)
    for element in registration.iterfind("ViewTransform"):
        if element.get("type") != "affine":
            raise ValueError(
                f"a transform has the unknown type {element.get('type')!r}"
            )
        rows = np.array(element.findtext("affine").split(), float).reshape(3, 4)
        matrix = matrix @ np.vstack([rows, (0.0, 0.0, 0.0, 1.0)])
    order = [2, 1, 0, 3]  # from (x, y, z, 1) to (z, y, x, 1)
    return matrix[np.ix_(order, order)]
