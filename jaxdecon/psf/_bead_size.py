"""What the brightest spots of an image say: their width, and where it is saturated."""

import math
from typing import Any

import numpy as np

from ._bead_shape import line_widths
from ._gaussian import FWHM_PER_SIGMA

LOOKED_AT = 60
"""Spots of which the median width is taken."""
LEAST_FWHM = 1.5
BLUR = 0.7
"""Standard deviation, voxels, of the smoothing before widths are guessed."""
WEIGHT = 1.5
"""Power of the height with which a spot counts for what is typical."""
PLATEAU = 3
"""Voxels in touch with each other that all have the maximum, where it is a limit."""


def guess_fwhm(image: np.ndarray, noise: float, box: np.ndarray | None) -> np.ndarray:
    """The median FWHM of the brightest spots, voxels per axis.

    Args:
        image: without hot pixels.
        noise: standard deviation of its background.
        box: size in which to look; None: everywhere.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(image, BLUR, mode="nearest")
    smooth = smooth - np.median(smooth)
    highest = ndimage.maximum_filter(smooth, size=5, mode="nearest")
    peaks = np.argwhere((smooth == highest) & (smooth > 4 * noise))
    if not len(peaks):
        return np.full(image.ndim, 3.0)
    order = np.argsort(-smooth[tuple(peaks.T)], kind="stable")
    far = np.asarray(image.shape) if box is None else np.ceil(box / 2).astype(int)
    widths = np.array(
        [line_widths(smooth, peak, far) for peak in peaks[order[:LOOKED_AT]]]
    )
    heights = smooth[tuple(peaks[order[:LOOKED_AT]].T)]
    known = np.isfinite(widths).T
    middle = [
        typical(w[k], heights[k]) if k.any() else float(n)
        for w, k, n in zip(widths.T, known, image.shape, strict=True)
    ]
    sharp = np.sqrt(np.maximum(np.square(middle) - (BLUR * FWHM_PER_SIGMA) ** 2, 0))
    return np.maximum(sharp, LEAST_FWHM)


def typical(values: np.ndarray, heights: np.ndarray) -> float:
    """The median of values of spots, in which high spots count more.

    With that power, neither one clump as bright as ten beads nor any number of dim
    specks and out-of-focus rings decides.
    """
    order = np.argsort(values)
    weights = np.cumsum(heights[order] ** WEIGHT)
    return float(values[order][np.searchsorted(weights, weights[-1] / 2)])


def saturation_level(image: np.ndarray, dtype: Any, given: Any) -> float:
    """Intensity from which voxels are saturated; infinite if none are.

    Args:
        image: as floats.
        dtype: that it had.
        given: a number, None, or "auto".
    """
    if given is None:
        return math.inf
    if given != "auto":
        if isinstance(given, str) or not math.isfinite(given):
            raise ValueError(f'`saturation` is {given!r}; a number, "auto" or None.')
        return float(given)
    top = float(image.max())
    if np.issubdtype(dtype, np.integer) and top >= np.iinfo(dtype).max:
        return top
    return top if _largest_group(image == top, image) >= _plateau(image) else math.inf


def _plateau(image: np.ndarray) -> int:
    """Voxels that need the maximum: a bead between voxels has 2 ** ndim alike."""
    whole = bool((image.ravel()[:: max(1, image.size // 4096)] % 1 == 0).all())
    return PLATEAU if whole else 2**image.ndim + 1


def _largest_group(mask: np.ndarray, image: np.ndarray) -> int:
    """Voxels of the largest group in touch with each other."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3,) * image.ndim))  # pyright: ignore
    return int(np.bincount(labels.ravel())[1:].max()) if count else 0
