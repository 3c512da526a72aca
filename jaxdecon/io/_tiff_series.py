"""Read many TIFF files as one image: planes of a volume, volumes of a time series."""

import glob
import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._grid import Grid
from ._image import AXES, Image
from ._tiff import _Transposed, read_tiff

SUFFIXES = (".tif", ".tiff", ".btf")
LISTED = 6
"""Missing files that an error names."""
FIELDS = {"t": r"\d+", "c": r"[^/\\]+?", "z": r"\d+"}
"""What a file name may have in the place of {t}, {c} or {z}."""


def is_pattern(path: str | os.PathLike[str]) -> bool:
    """Whether a path stands for many files, and none has exactly this name."""
    text = os.fspath(path)
    wild = re.search(r"\{[tcz]\}|[*?]", text) is not None
    return wild and not os.path.lexists(text)


def read_tiff_series(path: str | os.PathLike[str]) -> Image:
    """Open a folder of TIFF files, or those that a pattern stands for, as one image.

    `planes/z{z}.tif` and `img_c{c}_t{t}_z{z}.tif` say which number in the name counts
    along which axis; {c} may also be the name of a channel. Without such a field (a
    folder, `planes/*.tif`) files are taken in natural order (2 before 10): planes along
    z, volumes along t. Data are read when they are sliced, only from the files that
    the slice touches.

    Args:
        path: the folder or the pattern.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: gaps in the grid, or files of different shapes, types or axes.
    """
    text = os.fspath(path)
    if re.search(r"\{[tcz]\}", text):
        fields, names, values = _by_fields(text)
    else:
        names = _in_natural_order(text)
        fields, values = "", [tuple(range(len(names)))]
    images = [read_tiff(Path(name)) for name in names]
    _check_alike(images, names)
    if not fields:
        return _stacked(images, names)
    channels = [str(v) for v in values[fields.index("c")]] if "c" in fields else []
    named = () if all(c.isdigit() for c in channels) else tuple(channels)
    return _joined(images, names, fields, tuple(map(len, values)), named)


def _by_fields(pattern: str) -> tuple[str, list[str], list[tuple[Any, ...]]]:
    """Axes, files in C order of the axes, and the values along each."""
    pieces = re.split(r"\{([tcz])\}", os.path.normpath(pattern))
    letters = pieces[1::2]
    if len(set(letters)) != len(letters):
        raise ValueError(f"{pattern} has a field twice.")
    found = _matches(pieces, pattern)
    fields = "".join(a for a in AXES if a in letters)
    ordered = {tuple(v[letters.index(a)] for a in fields): f for v, f in found.items()}
    seen = [sorted({k[i] for k in ordered}, key=_natural) for i in range(len(fields))]
    values = [_without_gaps(v) for v in seen]
    wanted = list(itertools.product(*values))
    _check_grid([k for k in wanted if k not in ordered], len(wanted), fields, pattern)
    return fields, [ordered[k] for k in wanted], values


def _matches(pieces: Sequence[str], pattern: str) -> dict[tuple[Any, ...], str]:
    """The files of a pattern by the values of its fields."""
    letters = pieces[1::2]
    wild = "*".join(glob.escape(piece) for piece in pieces[::2])
    parts = [re.escape(pieces[0])]
    for letter, literal in zip(letters, pieces[2::2], strict=True):
        parts += [f"({FIELDS[letter]})", re.escape(literal)]
    expression, found = re.compile("".join(parts)), {}
    for name in sorted(glob.glob(wild)):
        if not (match := expression.fullmatch(name)):
            continue
        pairs = zip(letters, match.groups(), strict=True)
        key = tuple(v if a == "c" and not v.isdigit() else int(v) for a, v in pairs)
        if key in found:
            raise ValueError(
                f"{found[key]} and {name} have the same place in a series."
            )
        found[key] = name
    if not found:
        raise FileNotFoundError(f"no file fits {pattern}.")
    return found


def _natural(name: Any) -> list[Any]:
    """A key that sorts 2 before 10."""
    parts = enumerate(re.split(r"(\d+)", str(name)))
    return [int(part) if i % 2 else part for i, part in parts]


def _without_gaps(values: list[Any]) -> tuple[Any, ...]:
    """All places along an axis, which lie evenly where they have numbers."""
    if len(values) < 3 or not all(isinstance(v, int) for v in values):
        return tuple(values)
    step = math.gcd(*(b - a for a, b in itertools.pairwise(values)))
    return tuple(range(values[0], values[-1] + 1, step))


def _check_grid(missing: list[tuple], count: int, fields: str, pattern: str) -> None:
    if not missing:
        return
    named = [
        " ".join(f"{axis}={value}" for axis, value in zip(fields, key, strict=True))
        for key in missing[:LISTED]
    ]
    more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
    raise ValueError(
        f"{pattern}: {len(missing)} of {count} files are missing: "
        f"{'; '.join(named)}{more}."
    )


def _in_natural_order(text: str) -> list[str]:
    """The files of a folder, or those that a pattern with `*` or `?` fits."""
    pattern = os.path.join(glob.escape(text), "*") if os.path.isdir(text) else text
    found = [f for f in glob.glob(pattern) if f.lower().endswith(SUFFIXES)]
    if not found:
        raise FileNotFoundError(f"{text}: no TIFF file there.")
    return sorted(found, key=lambda name: _natural(os.path.basename(name)))


def _check_alike(images: list[Image], names: list[str]) -> None:
    for image, name in zip(images, names, strict=True):
        for what in ("axes", "shape", "dtype"):
            here, there = getattr(image, what), getattr(images[0], what)
            if here != there:
                raise ValueError(
                    f"{name} has {what} {here}, {names[0]} has {there}; a series needs "
                    f"one for all."
                )


def _stacked(images: list[Image], names: list[str]) -> Image:
    """Planes along z, volumes along t; one file as it is."""
    if len(images) == 1:
        return images[0]
    axis = "t" if "z" in images[0].axes else "z"
    image = _joined(images, names, axis, (len(images),), ())
    gap = _gap(names)
    return image.replace(notes=(*image.notes, gap)) if gap else image


def _gap(names: list[str]) -> str | None:
    """A word on numbers that jump, if the files differ by one number only."""
    split = [re.split(r"(\d+)", os.path.basename(name)) for name in names]
    if len({len(parts) for parts in split}) != 1:
        return None
    columns = [set(column) for column in zip(*split, strict=True)]
    moving = [i for i, column in enumerate(columns) if len(column) > 1]
    if len(moving) != 1 or moving[0] % 2 == 0:
        return None
    numbers = sorted(int(text) for text in columns[moving[0]])
    even = _without_gaps(numbers)
    if len(even) == len(numbers):
        return None
    missing = sorted(set(even) - set(numbers))
    return (
        f"files may be missing: no number {', '.join(map(str, missing[:LISTED]))}"
        f"{', ...' if len(missing) > LISTED else ''}"
    )


def _joined(
    images: list[Image],
    names: list[str],
    fields: str,
    grid: tuple[int, ...],
    channels: tuple[str, ...],
) -> Image:
    """One image of all, with the axes `fields` before those of the files."""
    first = images[0]
    twice = set(fields) & set(first.axes)
    if twice:
        raise ValueError(
            f"{names[0]} has axes {first.axes}; {', '.join(sorted(twice))} cannot "
            f"count the files as well."
        )
    folder = Path(os.path.commonpath([os.path.dirname(name) or "." for name in names]))
    data: Any = Grid([image.data for image in images], grid, folder)
    given = fields + first.axes
    order = [given.index(axis) for axis in AXES if axis in given]
    if order != sorted(order):
        data = _Transposed(data, order)
    size = dict(zip(first.spatial_axes, first.voxel_size, strict=True))
    origin = dict(zip(first.spatial_axes, first.origin, strict=True))
    axes = "".join(given[i] for i in order)
    space = [a for a in axes if a in "zyx"]
    notes = first.notes
    if "z" in fields:
        notes = (*notes, "no voxel size along z in the files")
    return first.replace(
        data=data,
        axes=axes,
        voxel_size=tuple(size.get(a) for a in space),
        origin=tuple(origin.get(a, 0.0) for a in space),
        channels=channels if "c" in fields else first.channels,
        notes=notes,
    )
