"""Homogeneous matrices on (z, y, x, 1), in voxels and in µm."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_positive

LEAST_DETERMINANT = 1e-6
"""Of the linear part: below this a matrix flattens space."""


def check_matrix(name: str, value: ArrayLike) -> np.ndarray:
    """A homogeneous matrix that can be inverted, in float64.

    Raises:
        ValueError: another shape, NaN, a last row that is not 0 ... 0 1, or a linear
            part without an inverse.
    """
    matrix = np.asarray(value, float)
    if matrix.shape not in ((3, 3), (4, 4)):
        raise ValueError(
            f"`{name}` has shape {matrix.shape}; a homogeneous matrix is needed, "
            f"(4, 4) for volumes, (3, 3) for planes."
        )
    if not np.isfinite(matrix).all():
        raise ValueError(f"`{name}` has NaN or infinite values.")
    last = np.eye(len(matrix))[-1]
    if abs(matrix[-1] - last).max() > 1e-6:
        raise ValueError(f"`{name}` has the last row {matrix[-1]}; {last} is needed.")
    determinant = np.linalg.det(matrix[:-1, :-1])
    if abs(determinant) < LEAST_DETERMINANT:
        raise ValueError(
            f"`{name}` is singular: its linear part has the determinant "
            f"{determinant:.2g}."
        )
    return matrix


def in_micrometres(
    matrix: ArrayLike, fixed_voxel_size: Any, moving_voxel_size: Any
) -> np.ndarray:
    """A matrix between voxels as one between µm, origins on the first voxels' centres.

    A rigid motion is rigid in µm; between voxels that are not cubes, or of two sizes,
    its matrix is not.

    Args:
        matrix: maps fixed to moving voxel coordinates.
        fixed_voxel_size: µm, one number or one per axis.
        moving_voxel_size: likewise.
    """
    matrix = check_matrix("matrix", matrix)
    fixed, moving = _scales(matrix, fixed_voxel_size, moving_voxel_size)
    return moving @ matrix @ np.linalg.inv(fixed)


def in_voxels(
    matrix: ArrayLike, fixed_voxel_size: Any, moving_voxel_size: Any
) -> np.ndarray:
    """A matrix between µm as one between voxels; the inverse of `in_micrometres`."""
    matrix = check_matrix("matrix", matrix)
    fixed, moving = _scales(matrix, fixed_voxel_size, moving_voxel_size)
    return np.linalg.inv(moving) @ matrix @ fixed


def _scales(matrix, fixed_voxel_size, moving_voxel_size) -> list[np.ndarray]:
    d = len(matrix) - 1
    given = {
        "fixed_voxel_size": fixed_voxel_size,
        "moving_voxel_size": moving_voxel_size,
    }
    return [scaling(name, size, d) for name, size in given.items()]


def scaling(name: str, size: float | Sequence[float] | None, ndim: int) -> np.ndarray:
    """The matrix from voxels to µm; the identity where no size is given."""
    if size is None:
        return np.eye(ndim + 1)
    check_positive(name, size)
    if np.shape(size) not in ((), (ndim,)):
        raise ValueError(f"`{name}` is {size}; one number, or {ndim}, are needed.")
    return np.diag([*np.broadcast_to(np.asarray(size, float), ndim), 1.0])
