"""One pass over two volumes that yields all a second-order step needs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._core._pytree import pytree, static
from ..geometry._trilinear import is_inside, sample, sample_with_slope

Pixelwise = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]
"""From g and f to a weight, and to what takes the places of g and f."""


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


def moments(
    pair: Pair, matrix: jax.Array, pixelwise: Pixelwise | None = None
) -> jax.Array:
    """Inner products, over the overlap, of the columns J, g, f and 1.

    g(p) = moving(matrix @ p), f(p) = fixed(p); J are the derivatives of g with respect
    to the entries of the matrix' upper rows, for coordinates that run from -1 to 1
    (`unit_axis`), row by row. Voxels outside the moving volume count for nothing.
    Plane by plane: memory for one plane's columns.

    Args:
        pair: the volumes.
        matrix: (d, d + 1), from unit coordinates of the fixed volume to voxels of the
            moving one.
        pixelwise: further weights, and functions to take instead of g and f.

    Returns:
        (k, k), k = d (d + 1) + 3.
    """
    size = len(pair.fixed.shape) * (len(pair.fixed.shape) + 1) + 3

    def product(plane):
        columns = _columns(pair, matrix, plane, pixelwise)
        return jnp.matmul(columns, columns.T, precision="highest")

    return over_planes(pair, product, jnp.zeros((size, size), matrix.dtype))


def over_planes(pair: Pair, function, zero):
    """The sum of a function of every plane's place, fixed values and weights."""
    if pair.fixed.ndim == 2:
        return function(planes(pair))

    def add(total, plane):
        return total + function(plane), None

    return jax.lax.scan(add, zero, planes(pair))[0]


def planes(pair: Pair):
    """Places, values and weights of the fixed volume's planes; or those of its one."""
    first = pair.fixed.ndim == 3
    places = unit_axis(pair.fixed.shape[0], pair.fixed.dtype) if first else None
    return places, pair.fixed, pair.fixed_weight


def _columns(pair: Pair, matrix, plane, pixelwise: Pixelwise | None) -> jax.Array:
    """(k, voxels of a plane): square roots of the weights times J, g, f and 1."""
    unit, at = where(pair, matrix, plane)
    fixed = plane[1]
    g, slopes = sample_with_slope(pair.moving, at)
    w = weight_at(pair, plane, unit, at)
    if pixelwise is not None:
        factor, g, fixed = pixelwise(g, fixed)
        w = w * factor
    whole = pixelwise is None and pair.fixed_weight is None
    root = w if whole and pair.moving_weight is None else jnp.sqrt(w)
    jacobian = [slope * u for slope in slopes for u in (*unit, 1.0)]
    columns = [root * c for c in (*jacobian, g, fixed, jnp.ones_like(fixed))]
    return jnp.stack(columns).reshape(len(columns), -1)


def where(pair: Pair, matrix: jax.Array, plane):
    """Unit coordinates of a plane's voxels, and where in the moving volume they go."""
    place, fixed, _ = plane
    y, x = (unit_axis(n, matrix.dtype) for n in fixed.shape)
    unit = [jnp.broadcast_to(g, fixed.shape) for g in (y[:, None], x[None, :])]
    if place is not None:
        unit.insert(0, jnp.full(fixed.shape, place))
    at = [sum(m * u for m, u in zip(r, unit, strict=False)) + r[-1] for r in matrix]
    return unit, at


def weight_at(pair: Pair, plane, unit, at) -> jax.Array:
    """How much every voxel of a plane counts at a pose."""
    _, fixed, weight = plane
    inside = is_inside(pair.moving.shape, at, pair.moving_margin)
    if pair.fixed_margin is not None:
        for u, n, m in zip(unit, pair.fixed.shape, pair.fixed_margin, strict=True):
            inside = inside & (jnp.abs(u) < 1 - 2 * m / n)
    w = inside.astype(fixed.dtype)
    if weight is not None:
        w = w * weight
    if pair.moving_weight is not None:
        w = w * sample(pair.moving_weight, at)[0]
    return w


def warped_at(pair: Pair, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The whole moving volume at a pose, and how much every voxel counts."""

    def seen(plane):
        unit, at = where(pair, rows, plane)
        return sample(pair.moving, at)[0], weight_at(pair, plane, unit, at)

    each = seen if pair.fixed.ndim == 2 else jax.vmap(seen)
    return each(planes(pair))


def unit_axis(n: int, dtype) -> jax.Array:
    """Coordinates of voxel centres, from about -1 to 1, zero in the middle."""
    return (jnp.arange(n, dtype=dtype) - (n - 1) / 2) * (2 / n)


def from_unit(shape) -> jax.Array:
    """(d + 1, d + 1): unit coordinates of a volume to its voxels."""
    d = len(shape)
    matrix = jnp.zeros((d + 1, d + 1)).at[-1, -1].set(1)
    for axis, n in enumerate(shape):
        matrix = matrix.at[axis, axis].set(n / 2).at[axis, -1].set((n - 1) / 2)
    return matrix
