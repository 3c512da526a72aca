"""Resample a volume to another shape or voxel size."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_image, check_positive, check_shape
from ._spline import inverse_filter, spline_weights
from ._warp import ORDERS

BLOCK = 128
"""New voxels of a line that are made at once, from the old ones near them."""
TRUNCATE = 4.0
"""Radius of the Gaussian filter, in standard deviations."""


def resample(
    volume: ArrayLike,
    shape: Sequence[int] | None = None,
    *,
    voxel_size: float | Sequence[float] | None = None,
    new_voxel_size: float | Sequence[float] | None = None,
    order: str = "linear",
    antialias: bool = True,
) -> jax.Array:
    """Resample a volume to another shape or voxel size, on the same field of view.

    The outer edges of the outermost voxels stay where they are, as in scikit-image's
    `resize`: on an axis of n voxels that become m, the new voxel i has its centre at
    (i + 1/2) n / m - 1/2. Centres beyond those of the outermost voxels have their
    values. Intensities are kept, not summed.

    Where an axis gets fewer voxels, a Gaussian filter comes first, against detail that
    they could not hold, with a standard deviation of (n / m - 1) / 2 voxels. It is a
    compromise: at the new limit of resolution more than half of a contrast stays.

    Linear in the volume, differentiable, and may be inside `jax.jit` or `jax.vmap`
    with shapes and sizes that are known.

    Args:
        volume: (z, y, x) or (y, x).
        shape: of the result.
        voxel_size: of the volume, one number or one per axis, in any unit.
        new_voxel_size: wanted instead of a shape, in the same unit. The field of view
            is cut into the nearest whole number of voxels, whose size,
            `voxel_size * volume.shape / result.shape`, differs a little if it does
            not divide.
        order: "linear", or "cubic" (B-spline interpolation), which blurs less.
        antialias: whether to filter.

    Returns:
        An array of the wanted shape.

    Raises:
        ValueError: not exactly one of `shape` and `new_voxel_size`; only one of the
            voxel sizes; a volume with NaN; an unknown order.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxdecon import geometry
        >>> geometry.resample(jnp.arange(4.0)[:, None] * jnp.ones(2), (2, 2))[:, 0]
        Array([0.55..., 2.44...], dtype=float32)
        >>> sizes = {"voxel_size": (0.3, 0.1, 0.1), "new_voxel_size": 0.1}
        >>> geometry.resample(jnp.ones((5, 8, 8)), **sizes).shape
        (15, 8, 8)

    References:
        Unser, IEEE Signal Process. Mag. 16(6), 22 (1999), doi:10.1109/79.799930.
    """
    volume = check_image("volume", volume, least=None)
    check_choice("order", order, ORDERS)
    shape = _new_shape(volume.shape, shape, voxel_size, new_voxel_size)
    for axis, (n, m) in enumerate(zip(volume.shape, shape, strict=True)):
        if n != m:
            matrix = _matrix(n, m, order, antialias).astype(volume.dtype)
            lines = multiply_lines(jnp.moveaxis(volume, axis, -1), matrix)
            volume = jnp.moveaxis(lines, -1, axis)
    return volume


def _new_shape(old: tuple[int, ...], shape, voxel_size, new_voxel_size):
    if (shape is None) == (new_voxel_size is None):
        raise ValueError(
            f"`shape` is {shape} and `new_voxel_size` is {new_voxel_size}; exactly one "
            f"of them is needed."
        )
    if (voxel_size is None) != (new_voxel_size is None):
        raise ValueError(
            f"`voxel_size` is {voxel_size} and `new_voxel_size` is {new_voxel_size}; "
            f"both are needed, or a `shape` alone."
        )
    if shape is None:
        sizes = {"voxel_size": voxel_size, "new_voxel_size": new_voxel_size}
        now, then = (_sizes(name, size, len(old)) for name, size in sizes.items())
        return tuple(max(1, round(n * s)) for n, s in zip(old, now / then, strict=True))
    shape = check_shape("shape", shape)
    if len(shape) != len(old):
        raise ValueError(f"`shape` is {shape}; {len(old)} axes are needed.")
    return shape


def _sizes(name: str, size, ndim: int) -> np.ndarray:
    check_positive(name, size)
    if np.shape(size) not in ((), (ndim,)):
        raise ValueError(f"`{name}` is {size}; one number, or {ndim}, are needed.")
    return np.broadcast_to(np.asarray(size, float), ndim)


def multiply_lines(lines: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Lines on the last axis, times a matrix that is zero far from its diagonal."""
    blocks = []
    for start in range(0, matrix.shape[1], BLOCK):
        block = matrix[:, start : start + BLOCK]
        used = np.flatnonzero(block.any(1))
        near = slice(used[0], used[-1] + 1)
        blocks.append(jnp.matmul(lines[..., near], block[near], precision="highest"))
    return jnp.concatenate(blocks, -1)


def _matrix(n: int, m: int, order: str, antialias: bool) -> np.ndarray:
    """(n, m): what every voxel of a line gives to every new one."""
    at = np.clip((np.arange(m) + 0.5) * (n / m) - 0.5, 0, n - 1)
    weights = _linear(at, n) if order == "linear" or n == 1 else _cubic(at, n)
    return (
        gaussian_matrix(n, (n / m - 1) / 2) @ weights
        if antialias and m < n
        else weights
    )


def _linear(at: np.ndarray, n: int) -> np.ndarray:
    return np.maximum(0, 1 - abs(at - np.arange(n)[:, None]))


def _cubic(at: np.ndarray, n: int) -> np.ndarray:
    """As linear, of the spline through the voxels, which mirrors them at the ends."""
    low = np.clip(np.floor(at), 0, n - 2)
    index = abs(low.astype(int) + np.arange(-1, 3)[:, None])
    index = np.where(index > n - 1, 2 * (n - 1) - index, index)
    basis = np.zeros((n, len(at)))
    fractions: Any = at - low
    np.add.at(basis, (index, np.arange(len(at))), spline_weights(fractions))
    return inverse_filter(n).T @ basis


def smoothed(volume: jax.Array, sigma: float) -> jax.Array:
    """A Gaussian filter by sums, along one axis after the other; borders are mirrors.

    Sums of positive numbers keep their digits in the dark, where transforms round to
    some 1e-7 of the brightest voxel.

    Args:
        volume: of any number of axes.
        sigma: standard deviation in voxels.
    """
    for axis, n in enumerate(volume.shape):
        matrix = gaussian_matrix(n, sigma).astype(volume.dtype)
        lines = multiply_lines(jnp.moveaxis(volume, axis, -1), matrix)
        volume = jnp.moveaxis(lines, -1, axis)
    return volume


def gaussian_matrix(n: int, sigma: float) -> np.ndarray:
    """(n, n): a Gaussian filter's response to every voxel; borders are mirrors."""
    radius = int(TRUNCATE * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    voxels = np.arange(n)
    source = np.pad(voxels, radius, mode="symmetric")[voxels[:, None] + steps + radius]
    matrix = np.zeros((n, n))
    np.add.at(matrix, (source, voxels[:, None]), weights / weights.sum())
    return matrix
