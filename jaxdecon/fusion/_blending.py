"""Fusion without deconvolution: averages with weights, and the maximum."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..geometry._resample import smoothed
from ..geometry._warp import coordinates

BLENDS = ("average", "blending", "content", "maximum")
RAMP = 0.15
"""Share of a view, from every border, over which its weight rises to full."""
FINE, COARSE = 2.0, 8.0
"""Widths in voxels of the Gaussian windows of the content: of what is taken for
structure, and of the region that it counts for (Preibisch: 20 and 40 pixels in a
plane of 1000)."""
LEAST = 1e-6
"""Weight, as a share of the largest at a voxel, that stands for none."""


def blend(
    shown: Sequence[jax.Array],
    matrices: Sequence[jax.Array],
    shapes: Sequence[tuple[int, ...]],
    inside: Sequence[jax.Array],
    *,
    method: str,
) -> jax.Array:
    """One volume of views that are shown on one grid.

    Args:
        shown: the views on the grid.
        matrices: from voxels of the grid to those of each view.
        shapes: of the views.
        inside: where on the grid each is to be used.
        method: "average": the mean of the views that reach a voxel; "blending": with
            weights that fall to the borders of each; "content": with weights for what
            a view resolves there, too (Preibisch et al. 2008); "maximum".

    Returns:
        The volume; 0 where no view reaches.
    """
    geometry = zip(matrices, shapes, strict=True)
    at = [(coordinates(m, shown[0].shape), shape) for m, shape in geometry]
    if method == "maximum":
        pairs = zip(shown, inside, strict=True)
        best = jnp.stack([jnp.where(i, v, -jnp.inf) for v, i in pairs]).max(0)
        return jnp.where(jnp.isfinite(best), best, 0)
    weights = [jnp.where(i, 1.0, 0.0).astype(shown[0].dtype) for i in inside]
    if method != "average":
        pairs = zip(weights, at, strict=True)
        weights = [w * _ramp(c, shape) for w, (c, shape) in pairs]
    if method == "content":
        pairs = zip(weights, shown, strict=True)
        weights = [w * _content(v) for w, v in pairs]
    # Of every voxel by itself: a part of a volume is blended as the whole is.
    most = functools.reduce(jnp.maximum, weights)
    least = LEAST * most + jnp.finfo(most.dtype).tiny / LEAST
    weights = [jnp.where(i, w + least, 0) for w, i in zip(weights, inside, strict=True)]
    total = sum(weights[1:], weights[0])
    mixed = [w * v for w, v in zip(weights, shown, strict=True)]
    return sum(mixed[1:], mixed[0]) / jnp.where(total > 0, total, 1)


def _ramp(at: Sequence[jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """Rises from 0 at every border of a view to 1, as a cosine."""
    weight = jnp.ones_like(at[0])
    for c, n in zip(at, shape, strict=True):
        if n > 1:
            depth = jnp.minimum(c, n - 1 - c) / (RAMP * (n - 1))
            weight = weight * 0.5 * (1 - jnp.cos(jnp.pi * jnp.clip(depth, 0, 1)))
    return weight


def _content(volume: jax.Array) -> jax.Array:
    """How much fine structure is near: the local variance of what smoothing removes."""
    detail = (volume - smoothed(volume, FINE)) ** 2
    return smoothed(detail, COARSE)
