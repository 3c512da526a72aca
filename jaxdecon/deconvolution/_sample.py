"""The part of a volume on which a plan is made."""

import math
from collections.abc import Sequence

import numpy as np

MOST_VOXELS = 2**20
"""Of the object that a part and the reach of its PSF make."""
MOST_PLANES = 64
LEAST_SIDE = 48


def brightest_part(image: np.ndarray, psf_shape: Sequence[int]) -> tuple[slice, ...]:
    """The box of a bounded number of voxels that holds the most light."""
    sizes = part_shape(image.shape, psf_shape)
    if sizes == image.shape:
        return tuple(slice(None) for _ in sizes)
    light = np.asarray(image, float)
    for axis, size in enumerate(sizes):
        light = _window_sums(light, size, axis)
    corner = np.unravel_index(int(light.argmax()), light.shape)
    return tuple(slice(int(c), int(c) + s) for c, s in zip(corner, sizes, strict=True))


def part_shape(shape: Sequence[int], psf_shape: Sequence[int]) -> tuple[int, ...]:
    """At most 64 planes, and a square as large as is left for it."""
    planes = [min(n, MOST_PLANES) for n in shape[:-2]]
    deep = math.prod(
        n + min(m, 2 * n - 1) for n, m in zip(planes, psf_shape[:-2], strict=True)
    )
    side = math.isqrt(MOST_VOXELS // deep)
    rows, columns = (
        min(n, max(side - m, LEAST_SIDE))
        for n, m in zip(shape[-2:], psf_shape[-2:], strict=True)
    )
    return (*planes, rows, columns)


def _window_sums(volume: np.ndarray, size: int, axis: int) -> np.ndarray:
    sums = np.cumsum(np.moveaxis(volume, axis, 0), axis=0)
    before = np.concatenate([np.zeros_like(sums[:1]), sums[:-size]])
    return np.moveaxis(sums[size - 1 :] - before, 0, axis)
