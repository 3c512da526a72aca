"""Tables of positions: comma- or tab-separated, and Fiji's TileConfiguration.txt."""

import csv
import dataclasses
import os
import re
from pathlib import Path

import numpy as np

LINE = re.compile(r"\s*(?P<file>[^;]+?)\s*;[^;]*;\s*\((?P<place>[^)]*)\)\s*")
"""Of a TileConfiguration: `file; (time and channel, or nothing); (x, y, z)`."""
UNIT_NAMES = {
    "": "voxels",
    "voxel": "voxels",
    "voxels": "voxels",
    "px": "voxels",
    "pixel": "voxels",
    "pixels": "voxels",
    "um": "um",
    "µm": "um",
    "μm": "um",
    "micron": "um",
    "microns": "um",
    "micrometer": "um",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """What a table says.

    Attributes:
        places: file -> (z, y, x).
        unit: "voxels", "um", or None if it does not say.
    """

    places: dict[str, tuple[float, float, float]]
    unit: str | None


def read_table(path: str | os.PathLike[str]) -> Table:
    """Positions of tiles.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither kind of table; a line that cannot be read; a file twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there.")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    lines = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
    lines = [(n, line) for n, line in lines if not line.lstrip().startswith("#")]
    is_fiji = any(LINE.fullmatch(line) for _, line in lines)
    table = (_fiji if is_fiji else _columns)(path, lines)
    if not table.places:
        raise ValueError(f"{path} lists no tiles.")
    return table


def _fiji(path: Path, lines: list[tuple[int, str]]) -> Table:
    places: dict[str, tuple[float, float, float]] = {}
    for number, line in lines:
        if re.fullmatch(r"\s*\w+\s*=.*", line):  # dim = 3
            continue
        match = LINE.fullmatch(line)
        texts = match["place"].split(",") if match else []
        if match is None or len(texts) not in (2, 3):
            raise _unreadable(path, number, line, "file; ; (x, y, z)")
        _add(places, path, number, match["file"], texts[::-1])
    return Table(places=places, unit="voxels")


def _columns(path: Path, lines: list[tuple[int, str]]) -> Table:
    text = lines[0][1] if lines else ""
    delimiter = next((d for d in "\t;," if d in text), ",")
    header = [h.strip().lower() for h in next(csv.reader([text], delimiter=delimiter))]
    if not {"file", "y", "x"} <= set(header):
        raise ValueError(
            f"{path} begins with {text!r}; a header with file, z, y, x and perhaps "
            f"unit is needed, or lines `file; ; (x, y, z)` as in TileConfiguration.txt."
        )
    places: dict[str, tuple[float, float, float]] = {}
    units = set()
    for number, line in lines[1:]:
        cells = next(csv.reader([line], delimiter=delimiter))
        if len(cells) < len(header):
            raise _unreadable(path, number, line, ", ".join(header))
        row = dict(zip(header, (c.strip() for c in cells), strict=False))
        texts = [row[a] for a in "zyx" if a in row]
        _add(places, path, number, row["file"], texts)
        units.add(row["unit"].lower() if "unit" in row else None)
    return Table(places=places, unit=_one_unit(path, units))


def _one_unit(path: Path, units: set) -> str | None:
    if not units or units == {None}:
        return None
    known = {UNIT_NAMES.get(u) for u in units}
    unit = next(iter(known))
    if len(known) > 1 or unit is None:
        raise ValueError(
            f"{path} has units {', '.join(sorted(map(str, units)))}; one for all is "
            f"needed: voxels or um."
        )
    return unit


def _add(places, path: Path, number: int, file: str, texts: list[str]) -> None:
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise _unreadable(path, number, ", ".join(texts), "numbers") from None
    if not file or not np.isfinite(values).all():
        raise _unreadable(path, number, ", ".join([file, *texts]), "finite numbers")
    if file in places:
        raise ValueError(f"{path}, line {number}: {file} is listed twice.")
    z, y, x = [0.0, *values][-3:]
    places[file] = (z, y, x)


def _unreadable(path: Path, number: int, line: str, needed: str) -> ValueError:
    return ValueError(f"{path}, line {number} is {line!r}; {needed} needed.")
