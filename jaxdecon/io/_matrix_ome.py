"""Coordinate transformations of OME-Zarr 0.6 (RFC 5) as JSON.

They map places from their input, the fixed, to their output, the moving image, in the
order of the data's axes, (z, y, x) last; first voxels are at zero. One whose ends are
named `moving` and `fixed` is inverted.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ._units import in_micrometres

KINDS = ("identity", "scale", "translation", "rotation", "affine", "sequence")
ENDS = ("fixed", "moving")


def read_ome(path: Path, ndim: int | None = None) -> np.ndarray:
    """The matrix on (z, y, x, 1) between places in µm.

    Args:
        path: of JSON: one transformation, a list of them, or a dictionary with
            `coordinateTransformations`, also inside `ome`, as in `zarr.json`.
        ndim: how many axes are spatial; None: as many as the file has, up to three.

    Raises:
        ValueError: no JSON; no such transformation, or several; one that is not
            linear, or that moves other axes.
    """
    try:
        return _read(path, ndim)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} has no valid coordinate transformation of OME-Zarr: {error!r}"
        ) from None


def as_ome(physical: np.ndarray) -> str:
    """A file of a matrix on (z, y, x, 1) between places in µm."""
    d = len(physical) - 1
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"[-d:]]
    entry = {
        "type": "affine",
        "affine": physical[:d].tolist(),
        "input": {"name": ENDS[0]},
        "output": {"name": ENDS[1]},
    }
    content = {
        "coordinateSystems": [{"name": name, "axes": axes} for name in ENDS],
        "coordinateTransformations": [entry],
    }
    return json.dumps(content, indent=2) + "\n"


def _read(path: Path, ndim: int | None) -> np.ndarray:
    entry, systems = _find(path)
    names = [_name(entry.get(end)) for end in ("input", "output")]
    systems = [systems.get(name) for name in names]
    known = [len(axes) for axes in systems if axes is not None]
    n = _count(entry) or next(iter(known), None) or ndim or 3
    matrix = _matrix(path, entry, n)
    fixed, moving = (_space(path, axes, n) for axes in systems)
    most = min(len(fixed), len(moving))
    d = ndim or most
    if not 2 <= d <= most:
        raise ValueError(
            f"{path} is about {len(fixed)} and {len(moving)} axes of space; "
            f"{ndim or '2 or 3'} are needed."
        )
    matrix = _in_space(path, matrix, moving[-d:], fixed[-d:])
    return np.linalg.inv(matrix) if names == [*reversed(ENDS)] else matrix


def _find(path: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The transformation of a file, and the axes of its coordinate systems by name."""
    try:
        node = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    for key in ("attributes", "ome", "scene"):
        node = node.get(key, node) if isinstance(node, dict) else node
    systems = {}
    if isinstance(node, dict):
        systems = {s["name"]: s["axes"] for s in node.get("coordinateSystems", [])}
        node = node.get("coordinateTransformations", [node])
    if not node or not all(isinstance(e, dict) and "type" in e for e in node):
        raise ValueError(f"{path} has no coordinate transformation of OME-Zarr.")
    if len(node) == 1:
        return node[0], systems
    if any("input" in entry for entry in node):
        raise ValueError(f"{path} has {len(node)} transformations; one is needed.")
    # Without ends, as until OME-Zarr 0.5, a list is a sequence.
    return {"type": "sequence", "transformations": node}, systems


def _name(end: Any) -> str:
    """Of a coordinate system, which OME-Zarr 0.6 puts into a dictionary."""
    return end.get("name", "") if isinstance(end, dict) else end or ""


def _count(entry: dict[str, Any]) -> int | None:
    """How many axes a transformation is about, if its numbers tell."""
    kind = entry["type"]
    if kind == "sequence":
        counts = [_count(part) for part in entry["transformations"]]
        return next((count for count in counts if count), None)
    if kind == "affine" and kind in entry:
        return len(entry[kind][0]) - 1
    return len(entry[kind]) if kind in entry else None


def _matrix(path: Path, entry: dict[str, Any], n: int) -> np.ndarray:
    """The homogeneous matrix of a transformation of n axes."""
    kind, matrix = entry["type"], np.eye(n + 1)
    if kind == "identity":
        return matrix
    if kind == "sequence":
        for part in entry["transformations"]:
            matrix = _matrix(path, part, n) @ matrix
        return matrix
    if kind not in KINDS or kind not in entry:
        raise ValueError(
            f"{path} has a transformation of the type {kind!r}; known are "
            f"{', '.join(KINDS)}, with the numbers in the file."
        )
    values = _numbers(path, kind, entry[kind], n)
    if kind == "scale":
        matrix[:n, :n] = np.diag(values)
    elif kind == "translation":
        matrix[:n, n] = values
    else:
        matrix[:n, : values.shape[1]] = values
    return matrix


def _numbers(path: Path, kind: str, values: Any, n: int) -> np.ndarray:
    shapes = {"rotation": (n, n), "affine": (n, n + 1)}
    needed = shapes.get(kind, (n,))
    try:
        array = np.array(values, float)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if kind == "affine" and array.shape == (n + 1, n + 1):
        array = array[:n]  # SpatialData writes the last row, too.
    if array.shape != needed:
        raise ValueError(
            f"{path}: `{kind}` is {values}; an array of shape {needed} is needed."
        )
    return array


def _space(
    path: Path, axes: list[dict[str, Any]] | None, n: int
) -> list[tuple[int, float]]:
    """Index, and unit in µm, of the axes of space, z before y before x."""
    if axes is None:
        return [(i, 1.0) for i in range(n)][-3:]
    space = [(i, a) for i, a in enumerate(axes[:n]) if _is_spatial(a)]
    if {a["name"] for _, a in space} <= set("zyx"):
        space.sort(key=lambda item: item[1]["name"], reverse=True)
    return [(i, _unit(path, a.get("unit"))) for i, a in space]


def _is_spatial(axis: dict[str, Any]) -> bool:
    return axis.get("type", "space") == "space" and not axis.get("discrete")


def _unit(path: Path, unit: str | None) -> float:
    size = 1.0 if unit is None else in_micrometres(1.0, unit)
    if size is None:
        raise ValueError(f"{path} has an axis in {unit!r}; a length is needed.")
    return size


def _in_space(path: Path, matrix: np.ndarray, rows, columns) -> np.ndarray:
    """The part of a matrix on axes of space, in µm; it must leave the others alone."""
    n = len(matrix) - 1
    orders = []
    for chosen in (rows, columns):
        index = [i for i, _ in chosen]
        orders.append([*(i for i in range(n) if i not in index), *index, n])
    matrix, k = matrix[np.ix_(*orders)], n - len(rows)
    rest = np.eye(n + 1)
    if not (
        np.allclose(matrix[:k], rest[:k]) and np.allclose(matrix[:, :k], rest[:, :k])
    ):
        raise ValueError(
            f"{path} changes axes that are not of space; a transformation that leaves "
            f"them alone is needed."
        )
    to, back = (np.diag([*(unit for _, unit in c), 1.0]) for c in (rows, columns))
    return to @ matrix[k:, k:] @ np.linalg.inv(back)
