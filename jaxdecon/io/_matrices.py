"""Files with the matrix of a pose: plain text, and those of other programs."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ._atomic import atomic_target
from ._matrix_itk import HEADER as ITK_HEADER
from ._matrix_itk import as_itk, read_itk, reversed_axes
from ._matrix_ome import as_ome, read_ome

MATRIX_FORMATS = (".txt", ".tmx", ".tfm", ".mat", ".json")
HEADER = (
    "From voxels of the fixed to voxels of the moving volume, on (z, y, x, 1): "
    "warped(p) = moving(matrix @ p)"
)
SHAPES = ((3, 3), (4, 4))


def read_matrix(
    path: str | os.PathLike[str],
    *,
    fixed_voxel_size: Sequence[float] | None = None,
    moving_voxel_size: Sequence[float] | None = None,
) -> np.ndarray:
    """The matrix of a pose, from fixed to moving voxels, on (z, y, x, 1).

    - `.txt`: that matrix, row by row.
    - `.tmx` (Guo et al. 2020): likewise, on (x, y, z, 1).
    - `.tfm`, `.mat`, `.txt` of ITK, SimpleITK and ANTs (`0GenericAffine.mat`): an
      affine, similarity, rigid or Euler transform or a translation, or a composite of
      them, between physical places (x, y, z).
    - `.json` with a coordinate transformation of OME-Zarr 0.6 (RFC 5), also
      `zarr.json` and `.zattrs` of a scene: likewise, in the order of the data's axes;
      where units are given, lengths become µm.

    Physical places need the voxel sizes. Origins are taken to be on first voxels, and
    axes to be straight.

    Args:
        path: of the file.
        fixed_voxel_size: (z, y, x), in the units of an ITK file, otherwise µm.
        moving_voxel_size: likewise.

    Raises:
        ValueError: no such matrix in the file; one between places, and no voxel sizes.

    References:
        McCormick et al., Front. Neuroinform. 8, 13 (2014),
        doi:10.3389/fninf.2014.00013, for ITK.
    """
    path, sizes = Path(path), (fixed_voxel_size, moving_voxel_size)
    physical = _read_physical(path, sizes)
    if physical is None:
        return _read_rows(path)
    fixed, moving = _scales(path, physical, *sizes)
    return np.linalg.inv(moving) @ physical @ fixed


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
        path: `.txt`, `.tmx`, `.tfm`, `.mat` or `.json`.
        matrix: (4, 4) or (3, 3), from fixed to moving voxels, on (z, y, x, 1).
        fixed_voxel_size: (z, y, x), for `.tfm` and `.mat` in the units of the images
            there, for `.json` in µm.
        moving_voxel_size: likewise.
        overwrite: replace what is there.

    Raises:
        ValueError: another suffix or shape; a file of physical places, and no voxel
            sizes.
        FileExistsError: `path` is there, and `overwrite` is not set.
    """
    path, matrix = Path(path), np.asarray(matrix, float)
    suffix = path.suffix.lower()
    if suffix not in MATRIX_FORMATS:
        raise ValueError(
            f"{path} has the suffix {suffix!r}; known: {', '.join(MATRIX_FORMATS)}."
        )
    if matrix.shape not in SHAPES:
        raise ValueError(f"`matrix` has the shape {matrix.shape}; (4, 4) is needed.")
    if suffix in (".txt", ".tmx"):
        content = _as_rows(matrix, suffix).encode()
    else:
        fixed, moving = _scales(path, matrix, fixed_voxel_size, moving_voxel_size)
        physical = moving @ matrix @ np.linalg.inv(fixed)
        is_ome = suffix == ".json"
        content = as_ome(physical).encode() if is_ome else as_itk(physical, suffix)
    with atomic_target(path, overwrite=overwrite) as partial:
        partial.write_bytes(content)


def _read_physical(path: Path, sizes) -> np.ndarray | None:
    """A matrix between physical places, if the file has one."""
    if path.suffix.lower() == ".json" or path.name == ".zattrs":
        counts = [len(size) for size in sizes if np.ndim(size)]
        return read_ome(path, *counts[:1])
    with path.open("rb") as file:
        start = file.read(len(ITK_HEADER))
    is_itk = path.suffix.lower() == ".mat" or start == ITK_HEADER.encode()
    return read_itk(path) if is_itk else None


def _read_rows(path: Path) -> np.ndarray:
    try:
        matrix = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} is no matrix of numbers: {error}") from None
    if matrix.shape not in SHAPES:
        raise ValueError(f"{path} holds {matrix.shape} numbers; (4, 4) are needed.")
    return reversed_axes(matrix) if path.suffix.lower() == ".tmx" else matrix


def _as_rows(matrix: np.ndarray, suffix: str) -> str:
    values = reversed_axes(matrix) if suffix == ".tmx" else matrix
    rows = [" ".join(f"{v:.12g}" for v in row) for row in values]
    head = [] if suffix == ".tmx" else [f"# {HEADER}"]
    return "\n".join([*head, *rows, ""])


def _scales(path: Path, matrix: np.ndarray, *sizes) -> list[np.ndarray]:
    """The matrices from voxels to physical places."""
    if any(size is None for size in sizes):
        raise ValueError(
            f"{path} is about physical places; the voxel sizes of both volumes are "
            f"needed (`fixed_voxel_size`, `moving_voxel_size`)."
        )
    d = len(matrix) - 1
    if any(np.shape(size) not in ((), (d,)) for size in sizes):
        raise ValueError(
            f"{path} is about {d} axes, and the voxel sizes are {sizes[0]} and "
            f"{sizes[1]}; {d} numbers each are needed."
        )
    return [np.diag([*np.broadcast_to(np.asarray(s, float), d), 1.0]) for s in sizes]
