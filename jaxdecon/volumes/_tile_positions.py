"""Where the stage says that tiles are: arrays, tables, metadata, names of files."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._tile_tables import read_table
from ._tiles import Tile, check_tiles

UNITS = ("voxels", "um")
GRID_AXES = {
    "z": 0,
    "layer": 0,
    "row": 1,
    "y": 1,
    "col": 2,
    "column": 2,
    "x": 2,
}
"""Names in a pattern, and the axes along which they count."""


def tiles_at(
    sources: Sequence[Any],
    origins: ArrayLike,
    *,
    unit: str = "voxels",
    voxel_size: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    time: int | None = None,
) -> tuple[Tile, ...]:
    """Tiles at given places.

    Args:
        sources: paths, arrays or `Image`s.
        origins: (tiles, 3) z, y, x of the first voxels, or (tiles, 2) y, x.
        unit: of them: "voxels" or "um".
        voxel_size: µm along z, y, x, where the files do not say it.
        names: for messages.
        time: time point, for sources with several.

    Returns:
        The tiles.

    Raises:
        ValueError: not one origin per source; unknown unit or voxel size; tiles that
            do not go together.
    """
    places = np.asarray(origins, float)
    if places.ndim != 2 or places.shape[1] not in (2, 3) or len(places) != len(sources):
        raise ValueError(
            f"`origins` has shape {places.shape}, for {len(sources)} tiles; "
            f"({len(sources)}, 3) z, y, x are needed, one row per tile."
        )
    if unit not in UNITS:
        raise ValueError(f"`unit` is {unit!r}; known are {', '.join(UNITS)}.")
    labels = names or [f"tile {n}" for n in range(len(sources))]
    tiles = [
        Tile.open(s, p, time=time, name=None if _is_path(s) else label)
        for s, p, label in zip(sources, places.tolist(), labels, strict=True)
    ]
    if unit == "um":
        size = _known_size(tiles, voxel_size)
        tiles = [t.moved(np.divide(t.origin, size)) for t in tiles]
    return check_tiles(tiles)


def _is_path(source: Any) -> bool:
    return isinstance(source, str | os.PathLike)


def _known_size(tiles: Sequence[Tile], given: Sequence[float] | None) -> np.ndarray:
    """(3,) µm; those that are given come first."""
    if given is not None:
        sizes = tuple(float(s) for s in given)
        if len(sizes) not in (2, 3) or not min(sizes) > 0:
            raise ValueError(
                f"`voxel_size` is {sizes}; µm along z, y, x above 0 are needed."
            )
        return np.array((1.0, *sizes)[-3:])
    found = list(tiles[0].voxel_size)
    if tiles[0].shape[0] == 1 and found[0] is None:
        found[0] = 1.0
    if any(s is None for s in found):
        raise ValueError(
            f"positions are in µm, and {tiles[0].name} does not say its voxel size; "
            f"give `voxel_size` (z, y, x) in µm."
        )
    return np.array(found, float)


def tiles_from_table(
    path: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    files: Sequence[str | os.PathLike[str]] | None = None,
    unit: str | None = None,
    voxel_size: Sequence[float] | None = None,
    time: int | None = None,
) -> tuple[Tile, ...]:
    """Tiles at the places that a table lists.

    A table of comma- or tab-separated values with the header file, z, y, x (z may be
    missing) and perhaps unit; or what Fiji and BigStitcher call TileConfiguration.txt,
    with lines `file; ; (x, y, z)`, in voxels.

    Args:
        path: the table.
        folder: of the tiles; None: that of the table.
        files: the tiles wanted; None: all of the table.
        unit: "voxels" or "um"; None: that of the table, or voxels.
        voxel_size: µm along z, y, x, where the files do not say it.
        time: time point, for files with several.

    Returns:
        The tiles.

    Raises:
        FileNotFoundError: no table, or a tile of it is not there.
        ValueError: a line that cannot be read; a tile without position, or twice.
    """
    table = read_table(path)
    base = Path(path).parent if folder is None else Path(folder)
    if files is None:
        chosen = {name: base / name for name in table.places}
    else:
        chosen = {_listed(table.places, Path(f), path): Path(f) for f in files}
    return tiles_at(
        list(chosen.values()),
        [table.places[name] for name in chosen],
        unit=unit or table.unit or "voxels",
        voxel_size=voxel_size,
        time=time,
    )


def _listed(places: Mapping[str, Any], file: Path, table: Any) -> str:
    """The name under which a file is in a table: its path, or its last part."""
    for name in (str(file), file.name):
        if name in places:
            return name
    raise ValueError(f"{table} has no position for {file.name}; add a line for it.")


def tiles_from_metadata(
    files: Sequence[str | os.PathLike[str]],
    *,
    voxel_size: Sequence[float] | None = None,
    time: int | None = None,
) -> tuple[Tile, ...]:
    """Tiles at the positions in their OME-TIFF or OME-Zarr metadata, in µm.

    Args:
        files: the tiles.
        voxel_size: µm along z, y, x, where the files do not say it.
        time: time point, for files with several.

    Returns:
        The tiles.

    Raises:
        ValueError: the files do not say where they are, or all say the same.
    """
    tiles = [Tile.open(file, time=time) for file in files]
    if len(tiles) > 1 and not any(any(t.image.origin) for t in tiles):
        raise ValueError(
            f"the metadata of {tiles[0].name} and the others hold no positions; give "
            f"them as an array, a table, or by a pattern of file names and the overlap."
        )
    size = _known_size(tiles, voxel_size) if tiles else np.ones(3)
    places = [(0.0, *t.image.origin)[-3:] for t in tiles]
    return check_tiles(
        [t.moved(np.divide(p, size)) for t, p in zip(tiles, places, strict=True)]
    )


def tiles_from_pattern(
    pattern: str | os.PathLike[str],
    overlap: float | Sequence[float],
    *,
    time: int | None = None,
) -> tuple[Tile, ...]:
    """Tiles of a regular grid, by their file names.

    Args:
        pattern: a path whose last part holds `{row}` and `{col}`, or `{y}` and `{x}`,
            and perhaps `{z}` or `{layer}`, where the files have numbers:
            "scan/tile_{row}_{col}.tif".
        overlap: share of a tile, from 0 to below 1, that neighbours have in common; or
            one per axis z, y, x.
        time: time point, for files with several.

    Returns:
        The tiles, in the order of their numbers.

    Raises:
        FileNotFoundError: no file fits.
        ValueError: no such name in the pattern; an overlap out of range; files of
            different shapes.
    """
    path = Path(pattern)
    found = _matching(path)
    if not found:
        raise FileNotFoundError(f"no file in {path.parent} fits {path.name}.")
    share = np.broadcast_to(np.asarray(overlap, float), 3)
    if not ((share >= 0) & (share < 1)).all():
        raise ValueError(
            f"`overlap` is {overlap}; shares from 0 to below 1 are needed."
        )
    tiles = [Tile.open(file, time=time) for file in found.values()]
    for tile in tiles[1:]:
        if tile.shape != tiles[0].shape:
            raise ValueError(
                f"{tiles[0].name} has shape {tiles[0].shape}, {tile.name} "
                f"{tile.shape}; a grid needs one: give the positions as a table."
            )
    numbers = np.array(list(found))
    step = np.array(tiles[0].shape) * (1 - share)
    places = (numbers - numbers.min(0)) * step
    return check_tiles([t.moved(p) for t, p in zip(tiles, places, strict=True)])


def _matching(pattern: Path) -> dict[tuple[int, int, int], Path]:
    """(z, y, x) numbers -> file, of all that fit, in order."""
    parts = re.split(r"\{(\w+)\}", pattern.name)
    names = parts[1::2]
    unknown = [n for n in names if n not in GRID_AXES]
    if not names or unknown:
        known = ", ".join(f"{{{name}}}" for name in GRID_AXES)
        raise ValueError(
            f"`pattern` is {pattern.name!r}; it needs names of {known} where the "
            f"numbers are."
        )
    texts = [re.escape(text) for text in parts[::2]]
    fits = re.compile("".join(t + r"(\d+)" for t in texts[:-1]) + texts[-1])
    folder = pattern.parent
    found: dict[tuple[int, int, int], Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = fits.fullmatch(file.name)
        if match is None:
            continue
        place = [0, 0, 0]
        for name, number in zip(names, match.groups(), strict=True):
            place[GRID_AXES[name]] = int(number)
        z, y, x = place
        if (z, y, x) in found:
            raise ValueError(
                f"{found[z, y, x].name} and {file.name} have the same numbers."
            )
        found[z, y, x] = file
    return dict(sorted(found.items()))
