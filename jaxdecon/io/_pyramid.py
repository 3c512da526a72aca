"""Pyramids: ever coarser copies of an image, by means."""

import numpy as np

from ._image import Image

SMALLEST_LEVEL = 64
"""The pyramid ends once no axis is longer."""


def pyramid_steps(image: Image) -> list[tuple[int, ...]]:
    """Voxels of the full image per voxel of every level.

    Every level halves the axes that are still sampled finest, so that voxels become
    isotropic on the way.
    """
    size = np.array([s or 1.0 for s in image.voxel_size])
    step = np.ones(len(size), int)
    shape = np.array(image.volume_shape)
    steps = [tuple(step)]
    while (shape // step).max() > SMALLEST_LEVEL:
        current = size * step
        halve = (current <= 1.5 * current.min()) & (shape // step > 1)
        if not halve.any():
            halve = shape // step > 1
        step = step * np.where(halve, 2, 1)
        steps.append(tuple(step))
    return [tuple(int(s) for s in step) for step in steps]


def level_shape(image: Image, step: tuple[int, ...]) -> tuple[int, ...]:
    """Of one volume of a level whose voxels are `step` of the full image's."""
    return tuple(-(-n // s) for n, s in zip(image.volume_shape, step, strict=True))


def bin_volume(volume: np.ndarray, factors) -> np.ndarray:
    """Mean over blocks; incomplete blocks at the end average what they have."""
    if all(f == 1 for f in factors):
        return volume
    exact = volume.dtype.itemsize <= (4 if volume.dtype.kind == "f" else 2)
    total = volume.astype(np.float32 if exact else np.float64)
    for axis, factor in enumerate(factors):
        if factor > 1:
            total = _mean_along(total, axis, factor)
    if volume.dtype.kind in "iu":
        total = np.rint(total)
    return total.astype(volume.dtype)


def _mean_along(volume: np.ndarray, axis: int, factor: int) -> np.ndarray:
    """Means over `factor` voxels along an axis, and over what is left at its end."""

    def part(start: int, stop: int, step: int = 1) -> np.ndarray:
        index = [slice(None)] * volume.ndim
        index[axis] = slice(start, stop, step)
        return volume[tuple(index)]

    n = volume.shape[axis]
    whole = n // factor * factor
    mean = part(0, whole, factor).copy()
    for first in range(1, factor):
        mean += part(first, whole, factor)
    mean /= factor
    if whole == n:
        return mean
    rest = part(whole, n).mean(axis, keepdims=True, dtype=volume.dtype)
    return np.concatenate([mean, rest], axis)
