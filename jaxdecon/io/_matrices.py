"""Files with the matrix of a pose: plain text, the published program's, and ITK's."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ._atomic import atomic_target

MATRIX_FORMATS = (".txt", ".tmx", ".tfm")
HEADER = (
    "From voxels of the fixed to voxels of the moving volume, on (z, y, x, 1): "
    "warped(p) = moving(matrix @ p)"
)
ITK = "#Insight Transform File V1.0"


def read_matrix(
    path: str | os.PathLike[str],
    *,
    fixed_voxel_size: Sequence[float] | None = None,
    moving_voxel_size: Sequence[float] | None = None,
) -> np.ndarray:
    """The matrix of a pose, from fixed to moving voxels, on (z, y, x, 1).

    - `.txt`: that matrix, row by row.
    - `.tmx` (Guo et al. 2020): likewise, on (x, y, z, 1).
    - `.tfm`, `.txt` of ITK and ANTs: an affine transform between physical places
      (x, y, z), which needs the voxel sizes; origins are taken to be on first voxels
      and axes to be straight.

    Args:
        path: of the file.
        fixed_voxel_size: (z, y, x), in the units of an ITK file.
        moving_voxel_size: likewise.

    Raises:
        ValueError: no such matrix in the file; an ITK file, and no voxel sizes.
    """
    path = Path(path)
    text = path.read_text(errors="replace")
    if text.startswith(ITK):
        physical = _from_itk(path, text)
        fixed, moving = _scales(path, physical, fixed_voxel_size, moving_voxel_size)
        return np.linalg.inv(moving) @ physical @ fixed
    try:
        matrix = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} is no matrix of numbers: {error}") from None
    if matrix.shape not in ((3, 3), (4, 4)):
        raise ValueError(f"{path} holds {matrix.shape} numbers; (4, 4) are needed.")
    return _reversed(matrix) if path.suffix.lower() == ".tmx" else matrix


def write_matrix(
    path: str | os.PathLike[str],
    matrix: np.ndarray,
    *,
    fixed_voxel_size: Sequence[float] | None = None,
    moving_voxel_size: Sequence[float] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the matrix of a pose; the suffix decides, as for `read_matrix`.

    Args:
        path: `.txt`, `.tmx` or `.tfm`.
        matrix: (4, 4) or (3, 3), from fixed to moving voxels, on (z, y, x, 1).
        fixed_voxel_size: (z, y, x), for `.tfm`.
        moving_voxel_size: likewise.
        overwrite: replace what is there.

    Raises:
        ValueError: another suffix; `.tfm`, and no voxel sizes.
        FileExistsError: `path` is there, and `overwrite` is not set.
    """
    path, matrix = Path(path), np.asarray(matrix, float)
    suffix = path.suffix.lower()
    if suffix not in MATRIX_FORMATS:
        raise ValueError(
            f"{path} has the suffix {suffix!r}; known: {', '.join(MATRIX_FORMATS)}."
        )
    if suffix == ".tfm":
        fixed, moving = _scales(path, matrix, fixed_voxel_size, moving_voxel_size)
        text = _to_itk(moving @ matrix @ np.linalg.inv(fixed))
    else:
        values = _reversed(matrix) if suffix == ".tmx" else matrix
        rows = [" ".join(f"{v:.12g}" for v in row) for row in values]
        head = [] if suffix == ".tmx" else [f"# {HEADER}"]
        text = "\n".join([*head, *rows, ""])
    with atomic_target(path, overwrite=overwrite) as partial:
        partial.write_text(text)


def _reversed(matrix: np.ndarray) -> np.ndarray:
    """The same map on (x, y, z, 1) instead of (z, y, x, 1), or back."""
    order = [*range(len(matrix) - 2, -1, -1), len(matrix) - 1]
    return matrix[np.ix_(order, order)]


def _scales(path: Path, matrix, *sizes) -> list[np.ndarray]:
    if any(size is None for size in sizes):
        raise ValueError(
            f"{path} is about physical places; the voxel sizes of both volumes are "
            f"needed (`fixed_voxel_size`, `moving_voxel_size`)."
        )
    d = len(matrix) - 1
    return [np.diag([*np.broadcast_to(np.asarray(s, float), d), 1.0]) for s in sizes]


def _from_itk(path: Path, text: str) -> np.ndarray:
    """Parameters and centre of an affine transform, as a matrix on (z, y, x, 1)."""
    lines = [line for line in text.splitlines() if ":" in line and line[0] != "#"]
    fields = dict(line.split(":", 1) for line in lines)
    kind = fields.get("Transform", "").strip()
    known = ("AffineTransform", "MatrixOffsetTransformBase")
    if not kind.startswith(known) or text.count("Transform:") != 1:
        raise ValueError(
            f"{path} holds {kind or 'no transform'}; one AffineTransform is needed."
        )
    numbers = np.array(fields["Parameters"].split(), float)
    centre = np.array(fields.get("FixedParameters", "").split() or 0, float)
    d = {6: 2, 12: 3}.get(numbers.size)
    if d is None:
        raise ValueError(f"{path} has {numbers.size} parameters; 12 are needed.")
    linear, shift = numbers[: d * d].reshape(d, d), numbers[d * d :]
    matrix = np.eye(d + 1)
    matrix[:d, :d] = linear
    matrix[:d, d] = shift + centre - linear @ np.broadcast_to(centre, d)
    return _reversed(matrix)


def _to_itk(physical: np.ndarray) -> str:
    matrix = _reversed(physical)
    d = len(matrix) - 1
    numbers = [*matrix[:d, :d].ravel(), *matrix[:d, d]]
    return "\n".join(
        [
            ITK,
            "#Transform 0",
            f"Transform: AffineTransform_double_{d}_{d}",
            "Parameters: " + " ".join(f"{v:.12g}" for v in numbers),
            "FixedParameters: " + " ".join(["0"] * d),
            "",
        ]
    )
