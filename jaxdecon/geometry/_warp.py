"""Resample a volume through a matrix."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_choice, check_image, check_shape, is_traced
from ._matrix import check_matrix
from ._spline import sample_cubic, spline_coefficients
from ._trilinear import is_inside, sample, sample_with_slope

ORDERS = ("linear", "cubic")


def warp(
    volume: ArrayLike,
    matrix: ArrayLike,
    shape: Sequence[int] | None = None,
    *,
    order: str = "linear",
    outside: float = 0.0,
) -> jax.Array:
    """Resample a volume: `warped(p) = volume(matrix @ p)`.

    Differentiable in volume and matrix; of "linear" the derivatives are hand-written,
    from the same neighbours as the values.

    Args:
        volume: (z, y, x) or (y, x).
        matrix: (4, 4) or (3, 3), from voxel coordinates of the result to those of the
            volume, on (z, y, x, 1); voxel centres are at whole numbers.
        shape: of the result; None: that of the volume.
        order: "linear", or "cubic" (B-spline interpolation), which blurs less.
        outside: value where the volume does not reach; NaN marks it.

    Returns:
        An array of the wanted shape.

    Raises:
        ValueError: a matrix of another size, or singular; a volume with NaN; an
            unknown order.

    Example:
        >>> import jax.numpy as jnp, numpy as np, jaxdecon as jd
        >>> matrix = np.eye(3)
        >>> matrix[0, 2] = 1.0
        >>> jd.warp(jnp.arange(4.0)[:, None] * jnp.ones(3), matrix)[:, 0]
        Array([1., 2., 3., 0.], dtype=float32)

    References:
        Thévenaz, Blu & Unser, IEEE Trans. Med. Imaging 19, 739 (2000),
        doi:10.1109/42.875199.
    """
    volume = check_image("volume", volume, least=None)
    check_choice("order", order, ORDERS)
    if not is_traced(matrix):
        check_matrix("matrix", matrix)
    matrix = jnp.asarray(matrix, volume.dtype)
    if matrix.shape != (volume.ndim + 1,) * 2:
        raise ValueError(
            f"`matrix` has shape {matrix.shape}; a volume of {volume.ndim} axes needs "
            f"{(volume.ndim + 1,) * 2}."
        )
    shape = volume.shape if shape is None else check_shape("shape", shape)
    if len(shape) != volume.ndim:
        raise ValueError(f"`shape` is {shape}; {volume.ndim} axes are needed.")
    resample: Any = _linear if order == "linear" else _cubic
    values = resample(volume, matrix, tuple(shape))
    return jnp.where(overlap(volume.shape, matrix, shape), values, outside)


def coordinates(matrix: jax.Array, shape: Sequence[int]) -> list[jax.Array]:
    """Where the voxels of a grid go, one array per axis."""
    grid = [
        jnp.arange(n, dtype=matrix.dtype).reshape(
            [-1 if a == axis else 1 for a in range(len(shape))]
        )
        for axis, n in enumerate(shape)
    ]
    return [
        jnp.broadcast_to(
            sum(row[a] * g for a, g in enumerate(grid)) + row[-1], tuple(shape)
        )
        for row in matrix[:-1]
    ]


def overlap(
    volume_shape: Sequence[int], matrix: jax.Array, shape: Sequence[int]
) -> jax.Array:
    """Which voxels of a grid of `shape` fall into the volume."""
    return is_inside(volume_shape, coordinates(matrix, shape))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _linear(volume: jax.Array, matrix: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return _linear_jit(volume, matrix, shape)


@functools.partial(jax.jit, static_argnums=2)
def _linear_jit(
    volume: jax.Array, matrix: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    return by_planes(lambda at: sample(volume, at)[0], matrix, shape)


def _linear_forward(volume, matrix, shape):
    return _linear(volume, matrix, shape), (volume, matrix)


def _linear_backward(shape, saved, cotangent):
    volume, matrix = saved
    return (
        spread(cotangent, matrix, volume.shape),
        _matrix_gradient(volume, matrix, shape, cotangent),
    )


_linear.defvjp(_linear_forward, _linear_backward)


@functools.partial(jax.jit, static_argnums=2)
def spread(values: jax.Array, matrix: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The adjoint of linear resampling: every value goes to its neighbours' voxels."""
    template = jax.ShapeDtypeStruct(tuple(shape), values.dtype)

    def resample(volume):
        return sample(volume, coordinates(matrix, values.shape))[0]

    return jax.linear_transpose(resample, template)(values)[0]


@functools.partial(jax.jit, static_argnums=2)
def _matrix_gradient(volume, matrix, shape, cotangent) -> jax.Array:
    """d <cotangent, warped> / d matrix: moments of the slopes."""
    at = coordinates(matrix, shape)
    _, slopes = sample_with_slope(volume, at)
    slopes = [
        jnp.where(_not_clipped(c, n), s, 0)
        for s, c, n in zip(slopes, at, volume.shape, strict=True)
    ]
    rows = []
    for slope in slopes:
        pull = cotangent * slope
        moments = [
            (
                pull.sum(tuple(b for b in range(pull.ndim) if b != a))
                @ jnp.arange(n, dtype=pull.dtype)
            )
            for a, n in enumerate(shape)
        ]
        rows.append(jnp.stack([*moments, pull.sum()]))
    rows.append(jnp.zeros_like(rows[0]))
    return jnp.stack(rows)


def _not_clipped(c: jax.Array, n: int) -> jax.Array:
    return (c >= 0) & (c <= n - 1)


@functools.partial(jax.jit, static_argnums=2)
def _cubic(volume, matrix, shape) -> jax.Array:
    coefficients = spline_coefficients(volume)
    return by_planes(lambda at: sample_cubic(coefficients, at), matrix, shape)


def by_planes(function, matrix, shape) -> jax.Array:
    """A function of coordinates, plane by plane, so that few are held at once."""
    if len(shape) == 2:
        return function(coordinates(matrix, shape))

    def plane(z):
        # A plane's coordinates: what z adds is an offset.
        offset = matrix[:, :1] * z + matrix[:, -1:]
        rows = jnp.concatenate([matrix[:, 1:-1], offset], 1)
        return function(coordinates(rows, shape[1:]))

    return jax.lax.map(plane, jnp.arange(shape[0], dtype=matrix.dtype))
