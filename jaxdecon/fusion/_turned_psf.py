"""A view's PSF in the orientation of the grid on which the object is."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..geometry import warp
from ..psf import crop_to_energy

ENERGY = 0.9995
"""Share of a turned PSF that is kept: turned boxes have empty corners."""
STRAIGHT = 1e-6
"""Largest difference of a matrix from the identity that turns nothing."""


def turned_psf(
    psf: ArrayLike, linear: np.ndarray, *, largest: Sequence[int] | None = None
) -> jax.Array:
    """A PSF seen on another grid.

    Args:
        psf: centred on n // 2.
        linear: (d, d), from voxels of the grid to those of the PSF.
        largest: shape of the grid; of a PSF's box, no more than twice it is of use.

    Returns:
        The PSF on the grid's voxels, centred, with unit sum; by cubic interpolation,
        what falls below zero cut off. As it is where nothing turns.
    """
    psf = jnp.asarray(psf)
    if abs(linear - np.eye(len(linear))).max() < STRAIGHT:
        return psf / psf.sum()
    shape = _box(psf.shape, np.linalg.inv(linear))
    if largest is not None:
        shape = [min(n, 2 * m + 1) for n, m in zip(shape, largest, strict=True)]
    matrix = np.eye(len(linear) + 1)
    matrix[:-1, :-1] = linear
    centre = np.array([n // 2 for n in shape])
    matrix[:-1, -1] = np.array([n // 2 for n in psf.shape]) - linear @ centre
    seen = jnp.maximum(warp(psf, matrix, shape, order="cubic"), 0)
    kept = crop_to_energy(seen / seen.sum(), ENERGY)
    return jnp.asarray(kept / kept.sum())


def _box(shape: Sequence[int], linear: np.ndarray) -> list[int]:
    """Odd sizes of the box about a turned one."""
    half = [n // 2 for n in shape]
    corners = np.array(list(itertools.product(*((-n, n) for n in half))))
    reach = abs(corners @ linear.T).max(0)
    return [2 * int(np.ceil(r - 1e-6)) + 1 for r in reach]
