"""Which spots are too near to each other, and which are side lobes of a PSF."""

import numpy as np

OVERLAP = 0.2
"""Height, as a share of that of a bead, from which a spot in its box disturbs it."""
LEAST_BEADS, MAJORITY, VISIBLE = 4, 0.6, 1.5
"""Beads of which that share has to have a spot at the same place beside it, for it to
be a side lobe of the PSF."""


def without_repeats(peaks: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Peaks but those that a higher one is near to (a flat top has several maxima).

    Args:
        peaks: (n, ndim), the highest first.
        reach: how near, voxels per axis.
    """
    pairs = _pairs(peaks, np.asarray(reach, float))
    kept = np.ones(len(peaks), bool)
    for first, second in pairs:  # first < second
        kept[second] &= not kept[first]
    return peaks[kept]


def neighbours(
    peaks: np.ndarray, heights: np.ndarray, half_box: np.ndarray, fwhm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the spots that another one disturbs, and of those that are side lobes.

    Args:
        peaks: (n, ndim), the highest first.
        heights: (n,).
        half_box: distance per axis within which spots disturb each other, voxels.
        fwhm: of the beads, voxels.
    """
    pairs = _pairs(peaks, half_box)
    lobes = _lobes(peaks, heights, pairs, fwhm)
    crowded = np.zeros(len(peaks), bool)
    for first, second in pairs:
        if not (lobes[first] or lobes[second]):
            crowded[second] = True
            crowded[first] |= heights[second] > OVERLAP * heights[first]
    return crowded, lobes


def _pairs(places: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Pairs (i < j), sorted, that are within reach along every axis."""
    from scipy.spatial import KDTree

    tree = KDTree(places / reach)
    pairs = tree.query_pairs(1.0, p=np.inf, output_type="ndarray")
    return pairs[np.lexsort(pairs.T[::-1])]


def _lobes(peaks, heights, pairs, fwhm) -> np.ndarray:
    """Spots that most beads have, at the same place beside them.

    Light goes aside alike wherever the PSF is alike: axial side lobes of spherical
    aberration, rings. Chance neighbours do not repeat.
    """
    lobes = np.zeros(len(peaks), bool)
    near = np.zeros(len(peaks), bool)
    near[pairs[:, 1]] = True  # of a higher one
    mains = heights[~near]
    if not len(pairs):
        return lobes
    ours = pairs[~near[pairs[:, 0]]]
    offsets = (peaks[ours[:, 1]] - peaks[ours[:, 0]]) / fwhm
    ratios = heights[ours[:, 1]] / heights[ours[:, 0]]
    for (_, second), offset, ratio in zip(ours, offsets, ratios, strict=True):
        alike = (abs(offsets - offset) < 0.5).all(1) & (abs(ratios / ratio - 1) < 0.5)
        able = int((mains * ratio > VISIBLE * heights.min()).sum())
        needed = max(LEAST_BEADS, MAJORITY * able)
        lobes[second] = np.unique(ours[alike, 0]).size >= needed
    return lobes
