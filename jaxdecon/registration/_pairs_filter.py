"""Crops without what varies slowly, seen at any shift: matrices along every axis."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

FINE, COARSE = 0.8, 12.0
"""Widths in voxels of the Gaussian windows: of what is taken for noise, and of what is
taken for shading."""
TAPER = 3
"""Voxels over which the weight of an overlap rises from its borders."""
MARGIN, THIN = 2, 4
"""Voxels at borders that do not count, since windows end there; one along axes of less
than twice `THIN` voxels, none below it."""


class Crop(NamedTuple):
    """A part of a tile in an array of a common shape.

    Attributes:
        values: (z, y, x) or (y, x); it begins at index 0.
        size: (d,) its own shape.
    """

    values: jax.Array
    size: jax.Array


def inside(crop: Crop) -> list[jax.Array]:
    """Per axis, 1 where the crop is."""
    sizes = zip(crop.values.shape, crop.size, strict=True)
    return [(jnp.arange(n) < size).astype(crop.values.dtype) for n, size in sizes]


def flattened(crop: Crop) -> Crop:
    """Without mean and slow variations, of variance 1; zero outside.

    What varies slowly is the mean under the coarse window, within the crop.
    """
    lines = inside(crop)
    mask = separable(lines)
    total = jnp.maximum(mask.sum(), 1)
    values = jnp.where(mask > 0, crop.values, 0)
    values = jnp.where(mask > 0, values - values.sum() / total, 0)
    windows = []
    for line in lines:
        voxels = jnp.arange(line.size, dtype=line.dtype)
        away = (voxels[:, None] - voxels) / COARSE
        window = jnp.exp(-0.5 * away**2) * line
        windows.append(window / jnp.maximum(window.sum(1, keepdims=True), 1e-20))
    values = (values - along_axes(windows, values)) * mask
    power = (values**2).sum() / total
    tiny = jnp.finfo(values.dtype).tiny
    return crop._replace(values=values / jnp.sqrt(jnp.maximum(power, tiny)))


def softened(crop: Crop, shift: jax.Array) -> jax.Array:
    """The crop under the fine window, at p + shift for every p."""
    lines, _ = _lines(crop, shift)
    return along_axes(lines, crop.values)


def softened_with_slopes(crop: Crop, shift: jax.Array):
    """As `softened`, and its derivatives along every axis, (d, ...)."""
    lines, slopes = _lines(crop, shift)
    found = []
    for axis in range(len(lines)):
        mixed = [*lines[:axis], slopes[axis], *lines[axis + 1 :]]
        found.append(along_axes(mixed, crop.values))
    return along_axes(lines, crop.values), jnp.stack(found)


def _lines(crop: Crop, shift: jax.Array):
    """Per axis, (n, n) matrices of the fine window at p + shift and its derivative.

    The window is evaluated where it is needed: no second interpolation. Its weights
    sum to one within the crop, also next to a border.
    """
    windows, slopes = [], []
    for axis, mask in enumerate(inside(crop)):
        n = mask.size
        voxels = jnp.arange(n, dtype=mask.dtype)
        away = (voxels[:, None] + shift[axis] - voxels) / FINE
        window = jnp.exp(-0.5 * away**2) * mask
        slope = -away / FINE * window
        total = jnp.maximum(window.sum(1, keepdims=True), 1e-20)
        window = window / total
        slopes.append(slope / total - window * slope.sum(1, keepdims=True) / total)
        windows.append(window)
    return windows, slopes


def along_axes(matrices: list[jax.Array], values: jax.Array) -> jax.Array:
    """Every axis multiplied by its matrix."""
    for axis, matrix in enumerate(matrices):
        if values.shape[axis] > 1:
            product = jnp.tensordot(
                values, matrix, ((axis,), (1,)), precision="highest"
            )
            values = jnp.moveaxis(product, -1, axis)
        else:
            values = values * matrix[0, 0]
    return values


def overlap_weight(fixed: Crop, moving: Crop, shift: jax.Array) -> list[jax.Array]:
    """Per axis, of the voxels p of the fixed crop whose p + shift is in the other.

    Rises over `TAPER` voxels from every border of the overlap, so that it, and all
    that is summed under it, is a smooth function of the shift.
    """
    weights = []
    for axis, n in enumerate(fixed.values.shape):
        p = jnp.arange(n, dtype=fixed.values.dtype)
        there, size = p + shift[axis], moving.size[axis]
        depth = jnp.minimum(p, fixed.size[axis] - 1 - p)
        depth = jnp.minimum(depth, jnp.minimum(there, size - 1 - there))
        least = jnp.minimum(fixed.size[axis], size)
        depth = depth - jnp.clip(least // THIN, 0, MARGIN)
        weights.append(jnp.clip((depth + 1) / (TAPER + 1), 0, 1))
    return weights


def separable(lines: list[jax.Array]) -> jax.Array:
    """The outer product of a vector per axis."""
    product = lines[0]
    for line in lines[1:]:
        product = product[..., None] * line
    return product
