"""Candidates for the whole-voxel shift of two crops, and which one to believe."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ._correlation import significance
from ._pairs_filter import Crop, overlap_weight, separable, softened
from ._phase import FLOOR

PEAKS = 4
"""The highest ones that are looked at."""
LEAST_SHARE = 0.2
"""Of the overlap at the expected shift: candidates with less are not looked at."""


def best_shift(
    fixed: Crop, moving: Crop, expected: jax.Array, search: Sequence[int]
) -> jax.Array:
    """The whole shift near the expected one at which two crops correlate best.

    Args:
        fixed: without slow variations.
        moving: likewise.
        expected: (d,) whole voxels.
        search: voxels per axis that the shift may be away from it.

    Returns:
        (d,) s with `moving(p + s)` most like `fixed(p)`.
    """
    zero = jnp.zeros(len(search), fixed.values.dtype)
    soft, soft_moving = softened(fixed, zero), softened(moving, zero)
    height = _phase_map(
        fixed._replace(values=soft), moving._replace(values=soft_moving)
    )
    ranges = [e + jnp.arange(-r, r + 1) for e, r in zip(expected, search, strict=True)]
    # A peak means a shift modulo the size: every meaning within reach is looked at.
    for axis, shifts in enumerate(ranges):
        height = jnp.take(height, shifts % height.shape[axis], axis)
    height = jnp.where(_enough(fixed, moving, ranges, expected), height, -jnp.inf)
    peaks = jnp.where(height >= _highest_near(height), height, -jnp.inf)
    _, flat = jax.lax.top_k(peaks.ravel(), min(PEAKS, peaks.size))
    index = jnp.unravel_index(flat, peaks.shape)
    shifts = jnp.stack([r[i] for r, i in zip(ranges, index, strict=True)], -1)
    shifts = jnp.concatenate([expected[None], shifts])

    def score(shift):
        return _evidence(soft, fixed, moving, shift.astype(soft.dtype))

    return shifts[jax.lax.map(score, shifts).argmax()]


def _phase_map(fixed: Crop, moving: Crop) -> jax.Array:
    """Phase correlation: high where `moving(p + s)` is like `fixed(p)`."""
    power = _spectrum(fixed).conj() * _spectrum(moving)
    size = abs(power)
    white = power / jnp.maximum(size, jnp.maximum(FLOOR * size.max(), 1e-30))
    return jnp.fft.irfftn(white, s=fixed.values.shape)


def _spectrum(crop: Crop) -> jax.Array:
    """Under a window as large as the crop."""
    windows = []
    for n, size in zip(crop.values.shape, crop.size, strict=True):
        at = (jnp.arange(n) + 0.5) / size
        window = jnp.sin(jnp.pi * jnp.clip(at, 0, 1)).astype(crop.values.dtype)
        windows.append(jnp.where(size > 3, window, (at < 1).astype(window.dtype)))
    return jnp.fft.rfftn(crop.values * separable(windows))


def _enough(fixed: Crop, moving: Crop, ranges, expected) -> jax.Array:
    """Which shifts leave enough overlap."""

    def lengths(shifts):
        return [
            jnp.maximum(jnp.minimum(n, m - s) - jnp.maximum(0, -s), 0).astype(float)
            for s, n, m in zip(shifts, fixed.size, moving.size, strict=True)
        ]

    least = LEAST_SHARE * jnp.prod(jnp.stack(lengths(expected)))
    return separable(lengths(ranges)) >= jnp.maximum(least, 1)


def _highest_near(height: jax.Array) -> jax.Array:
    """The maximum over every voxel and its neighbours."""
    zero = jnp.asarray(-jnp.inf, height.dtype)
    window = (3,) * height.ndim
    steps = (1,) * height.ndim
    return jax.lax.reduce_window(height, zero, jax.lax.max, window, steps, "SAME")


def _evidence(soft, fixed: Crop, moving: Crop, shift) -> jax.Array:
    """Significance of the correlation over the true overlap."""
    weight = separable(overlap_weight(fixed, moving, shift))
    total = jnp.maximum(weight.sum(), 1)
    seen = softened(moving, shift)
    f = soft - (weight * soft).sum() / total
    g = seen - (weight * seen).sum() / total
    power = (weight * f**2).sum() * (weight * g**2).sum()
    tiny = jnp.finfo(power.dtype).tiny
    both = (weight * f * g).sum() / jnp.sqrt(jnp.maximum(power, tiny))
    return significance(jnp.where(power > 0, both, 0), weight.sum())
