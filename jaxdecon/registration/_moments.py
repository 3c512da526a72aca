"""One pass over two volumes that yields all a second-order step needs."""

import jax
import jax.numpy as jnp

from .._core._pytree import pytree, static
from ..geometry._trilinear import is_inside, sample, sample_with_slope


@pytree
class Pair:
    """Two volumes on one level of a pyramid.

    Attributes:
        fixed: (z, y, x) or (y, x).
        moving: with as many axes.
        fixed_weight: of every voxel, 0 to 1, or None for 1.
        moving_weight: likewise.
        fixed_margin: voxels along the borders of every axis that do not count.
        moving_margin: likewise.
    """

    fixed: jax.Array
    moving: jax.Array
    fixed_weight: jax.Array | None = None
    moving_weight: jax.Array | None = None
    fixed_margin: tuple[int, ...] | None = static(default=None)
    moving_margin: tuple[int, ...] | None = static(default=None)

    def weights(self) -> tuple[jax.Array, jax.Array]:
        """Both, as arrays."""
        pairs = ((self.fixed, self.fixed_weight), (self.moving, self.moving_weight))
        first, second = (
            jnp.ones_like(volume) if weight is None else weight
            for volume, weight in pairs
        )
        return first, second


def moments(pair: Pair, matrix: jax.Array) -> jax.Array:
    """Inner products, over the overlap, of the columns J, g, f and 1.

    g(p) = moving(matrix @ p), f(p) = fixed(p); J are the derivatives of g with respect
    to the entries of the matrix' upper rows, for coordinates that run from -1 to 1
    (`unit_axis`), row by row. Voxels outside the moving volume count for nothing.
    Plane by plane: memory for one plane's columns.

    Args:
        pair: the volumes.
        matrix: (d, d + 1), from unit coordinates of the fixed volume to voxels of the
            moving one.

    Returns:
        (k, k), k = d (d + 1) + 3.
    """
    shape = pair.fixed.shape
    rows = jnp.stack([jnp.asarray(g, matrix.dtype) for g in _plane_grid(shape)])
    size = len(shape) * (len(shape) + 1) + 3

    def add(total, plane):
        place, fixed, weight = plane
        columns = _columns(pair, matrix, place, rows, fixed, weight)
        return total + jnp.matmul(columns, columns.T, precision="highest"), None

    weights = pair.fixed_weight
    start = jnp.zeros((size, size), matrix.dtype)
    if len(shape) == 2:
        return add(start, (None, pair.fixed, weights))[0]
    places = unit_axis(shape[0], matrix.dtype)
    return jax.lax.scan(add, start, (places, pair.fixed, weights))[0]


def _columns(pair: Pair, matrix, place, rows, fixed, weight) -> jax.Array:
    """(k, voxels of a plane): square roots of the weights times J, g, f and 1."""
    unit = list(rows) if place is None else [jnp.full(fixed.shape, place), *rows]
    at = [sum(m * u for m, u in zip(r, unit, strict=False)) + r[-1] for r in matrix]
    g, slopes = sample_with_slope(pair.moving, at)
    inside = is_inside(pair.moving.shape, at, pair.moving_margin)
    if pair.fixed_margin is not None:
        for u, n, m in zip(unit, pair.fixed.shape, pair.fixed_margin, strict=True):
            inside = inside & (jnp.abs(u) < 1 - 2 * m / n)
    w = inside.astype(fixed.dtype)
    if weight is not None:
        w = w * weight
    if pair.moving_weight is not None:
        w = w * sample(pair.moving_weight, at)[0]
    root = w if weight is None and pair.moving_weight is None else jnp.sqrt(w)
    jacobian = [slope * u for slope in slopes for u in (*unit, 1.0)]
    columns = [root * c for c in (*jacobian, g, fixed, jnp.ones_like(fixed))]
    return jnp.stack(columns).reshape(len(columns), -1)


def unit_axis(n: int, dtype) -> jax.Array:
    """Coordinates of voxel centres, from about -1 to 1, zero in the middle."""
    return (jnp.arange(n, dtype=dtype) - (n - 1) / 2) * (2 / n)


def _plane_grid(shape) -> list[jax.Array]:
    y, x = (unit_axis(n, jnp.float32) for n in shape[-2:])
    return [jnp.broadcast_to(g, shape[-2:]) for g in (y[:, None], x[None, :])]


def from_unit(shape) -> jax.Array:
    """(d + 1, d + 1): unit coordinates of a volume to its voxels."""
    d = len(shape)
    matrix = jnp.zeros((d + 1, d + 1)).at[-1, -1].set(1)
    for axis, n in enumerate(shape):
        matrix = matrix.at[axis, axis].set(n / 2).at[axis, -1].set((n - 1) / 2)
    return matrix
