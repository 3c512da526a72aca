"""Uneven background and noise of an image with beads, and its hot voxels."""

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

CLIP = 3.0
"""Standard deviations beyond which a value is no background."""
MOST_LOOKED_AT = 4096
"""Voxels of a block from which its background is taken."""
HOT_CONTRAST, HOT_NOISE = 5.0, 3.0
"""A voxel is hot if it exceeds its neighbours by more than so many times their own
range and so many deviations of the noise. Of the narrowest PSF that is sampled at all,
FWHM 1.5 voxels, the peak does not."""


def mesh(
    image: np.ndarray, block: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Background and noise (standard deviation) at every voxel.

    Both are measured in blocks without what is bright in them, medians are taken over
    neighbouring blocks, and linear interpolation joins those (as in SExtractor).

    Args:
        image: (z, y, x) or (y, x).
        block: size of the blocks, voxels per axis.

    References:
        Bertin, Arnouts, Astron. Astrophys. Suppl. 117, 393 (1996),
        doi:10.1051/aas:1996164.
    """
    from scipy import ndimage

    counts = [max(1, round(n / b)) for n, b in zip(image.shape, block, strict=True)]
    edges = [
        np.linspace(0, n, k + 1).astype(int)
        for n, k in zip(image.shape, counts, strict=True)
    ]
    levels, noise = np.empty(counts), np.empty(counts)
    for index in np.ndindex(*counts):
        box = (slice(e[i], e[i + 1]) for e, i in zip(edges, index, strict=True))
        levels[index], noise[index] = clipped(image[tuple(box)])
    smooth = functools.partial(ndimage.median_filter, size=3, mode="nearest")
    centres = [(e[1:] + e[:-1] - 1) / 2 for e in edges]
    return _spread(smooth(levels), centres, image.shape), _spread(
        smooth(noise), centres, image.shape
    )


def clipped(values: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation of what is left when bright things are clipped."""
    values = values.ravel()
    kept = values[:: max(1, values.size // MOST_LOOKED_AT)].astype(float)
    for _ in range(10):
        middle, deviation = np.median(kept), kept.std()
        inside = kept[abs(kept - middle) <= CLIP * deviation]
        if inside.size in (0, kept.size):
            break
        kept = inside
    return float(np.median(kept)), float(kept.std())


def _spread(
    nodes: np.ndarray, centres: Sequence[np.ndarray], shape: Sequence[int]
) -> np.ndarray:
    """Values at the centres of blocks, interpolated to every voxel."""
    result = nodes.astype(np.float32)
    for axis, (centre, n) in enumerate(zip(centres, shape, strict=True)):
        weights = np.stack(
            [np.interp(np.arange(n), centre, unit) for unit in np.eye(centre.size)]
        )
        moved = np.tensordot(result, weights.astype(np.float32), axes=(axis, 0))
        result = np.moveaxis(moved, -1, axis)
    return result


def hot_voxels(image: np.ndarray, noise: float) -> tuple[np.ndarray, ...]:
    """Indices of voxels that stand out alone among their neighbours in the plane.

    A hot pixel of a camera is hot in every plane: neighbours along z say nothing.

    Args:
        image: (z, y, x) or (y, x).
        noise: standard deviation of the background.
    """
    level = np.median(image)
    places = np.nonzero(image > level + 2 * HOT_NOISE * noise)
    around = np.stack(list(_neighbours(image, places)))
    low, high = around.min(0), around.max(0)
    margin = HOT_CONTRAST * (high - low) + HOT_NOISE * noise
    hot = image[places] - low > margin
    return tuple(p[hot] for p in places)


def without_hot(image: np.ndarray, hot: tuple[np.ndarray, ...]) -> np.ndarray:
    """The image with hot voxels replaced by the median of their neighbours."""
    if not hot[0].size:
        return image
    result = image.copy()
    result[hot] = np.median(list(_neighbours(image, hot)), axis=0)
    return result


def _neighbours(
    image: np.ndarray, places: tuple[np.ndarray, ...]
) -> Iterator[np.ndarray]:
    """Values of the eight neighbours in the plane (of the place itself beyond it)."""
    *leading, y, x = places
    height, width = image.shape[-2:]
    for dy, dx in itertools.product((-1, 0, 1), repeat=2):
        if (dy, dx) != (0, 0):
            # Mirrored at the border, so that no place is its own neighbour.
            row = np.where((y + dy < 0) | (y + dy >= height), y - dy, y + dy)
            column = np.where((x + dx < 0) | (x + dx >= width), x - dx, x + dx)
            yield image[(*leading, row % height, column % width)]
