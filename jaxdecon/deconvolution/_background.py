"""Estimate the camera offset and stray light of an image."""

import numpy as np
from jax.typing import ArrayLike

from ._patches import BLOCK, MEDIAN_SHARE, patch_means, patch_noise

BACKGROUND_QUANTILE = 0.01
QUANTILE_DEPTH = 2.326
"""Standard deviations by which the 1 % quantile of a normal variable is below its
mean."""
DIM_SHARE = 16
"""The noise of the background is that of the dimmest patch of so many."""


def estimate_background(image: ArrayLike) -> float:
    """The level of an image's darkest parts.

    From the 1 % quantile of the means over patches of 8 x 8 voxels of every plane, up
    to where patches are most frequent, but by no more than what noise can have lowered
    the quantile by. Right where at least a few per cent of the image are empty; with
    structure everywhere it is an upper bound that removes some of the signal. Planes
    of fewer than 12 x 12 voxels: the 1 % quantile alone, of voxels below 8 x 8.

    Args:
        image: any shape; read in full.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).poisson(20, (8, 64, 64))
        >>> bool(19.5 < estimate_background(image) < 20.5)
        True
    """
    values = np.asarray(image, float)
    means = patch_means(values)
    lowest = float(np.quantile(means, BACKGROUND_QUANTILE))
    return _climb(means, lowest, _patch_error(values))


def _patch_error(values: np.ndarray) -> float:
    """Standard error of the mean over a patch, where it is dim."""
    if values.ndim < 2:
        return 0.0
    means, variances = patch_noise(values)
    if not means.size:
        return 0.0
    dim = np.argsort(means)[: max(means.size // DIM_SHARE, 1)]
    return float(np.sqrt(np.median(variances[dim]) / MEDIAN_SHARE)) / BLOCK


def _climb(means: np.ndarray, lowest: float, error: float) -> float:
    """Mean shift to the next mode, two standard errors to either side being seen."""
    level, highest = lowest, lowest + QUANTILE_DEPTH * error
    for _ in range(20):
        near = means[abs(means - level) <= 2 * error]
        if not near.size:
            break
        level = min(max(float(near.mean()), lowest), highest)
    return level
