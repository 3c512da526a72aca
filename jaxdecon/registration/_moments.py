"""One pass over two volumes that yields all a second-order step needs."""

from collections.abc import Callable
from typing import NamedTuple

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


class Plane(NamedTuple):
    """A plane of the fixed volume.

    Attributes:
        grid: unit coordinates of its voxels in the plane, one array per axis.
        place: that of the plane; None if it is the only one.
        fixed: values.
        weight: of them; None for 1.
    """

    grid: list[jax.Array]
    place: jax.Array | None
    fixed: jax.Array
    weight: jax.Array | None


def over_planes(pair: Pair, function: Callable[[Plane], jax.Array], zero: jax.Array):
    """The sum of a function of every plane."""
    grid, planes = _planes(pair)
    if pair.fixed.ndim == 2:
        return function(Plane(grid, *planes))

    def add(total, plane):
        return total + function(Plane(grid, *plane)), None

    return jax.lax.scan(add, zero, planes)[0]


def _planes(pair: Pair):
    """The grid of a plane, and places, values and weights of all planes."""
    shape, dtype = pair.fixed.shape, pair.fixed.dtype
    y, x = (unit_axis(n, dtype) for n in shape[-2:])
    grid = [jnp.broadcast_to(g, shape[-2:]) for g in (y[:, None], x[None, :])]
    places = unit_axis(shape[0], dtype) if len(shape) == 3 else None
    return grid, (places, pair.fixed, pair.fixed_weight)


def _columns(
    pair: Pair, matrix, plane: Plane, pixelwise: Pixelwise | None
) -> jax.Array:
    """(k, voxels of a plane): square roots of the weights times J, g, f and 1."""
    unit, at = where(matrix, plane)
    fixed = plane.fixed
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


def countable(pair: Pair, magnification: jax.Array) -> jax.Array:
    """Fixed voxels that may count at some pose: those of the smaller volume.

    Args:
        pair: the volumes.
        magnification: moving voxels in the place of a fixed one.
    """
    sums = []
    margins = (pair.fixed_margin, pair.moving_margin)
    for weight, margin in zip(pair.weights(), margins, strict=True):
        inner = (0,) * weight.ndim if margin is None else margin
        part = tuple(slice(m, n - m) for m, n in zip(inner, weight.shape, strict=True))
        sums.append(weight[part].sum())
    return jnp.minimum(sums[0], sums[1] / magnification)


def where(matrix: jax.Array, plane: Plane):
    """Unit coordinates of a plane's voxels, and where in the moving volume they go."""
    unit = plane.grid
    if plane.place is not None:
        unit = [jnp.full(plane.fixed.shape, plane.place), *unit]
    at = [sum(m * u for m, u in zip(r, unit, strict=False)) + r[-1] for r in matrix]
    return unit, at


def weight_at(pair: Pair, plane: Plane, unit, at) -> jax.Array:
    """How much every voxel of a plane counts at a pose."""
    inside = is_inside(pair.moving.shape, at, pair.moving_margin)
    if pair.fixed_margin is not None:
        for u, n, m in zip(unit, pair.fixed.shape, pair.fixed_margin, strict=True):
            inside = inside & (jnp.abs(u) < 1 - 2 * m / n)
    w = inside.astype(plane.fixed.dtype)
    if plane.weight is not None:
        w = w * plane.weight
    if pair.moving_weight is not None:
        w = w * sample(pair.moving_weight, at)[0]
    return w


def warped_at(pair: Pair, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The whole moving volume at a pose, and how much every voxel counts."""

    grid, planes = _planes(pair)

    def seen(plane):
        plane = Plane(grid, *plane)
        unit, at = where(rows, plane)
        return sample(pair.moving, at)[0], weight_at(pair, plane, unit, at)

    each = seen if pair.fixed.ndim == 2 else jax.vmap(seen)
    return each(planes)


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
