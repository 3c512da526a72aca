"""Estimate the camera offset and stray light of an image."""

import numpy as np
from jax.typing import ArrayLike

from ._patches import patch_means

BACKGROUND_QUANTILE = 0.01


def estimate_background(image: ArrayLike) -> float:
    """The level of an image's darkest parts.

    The 1 % quantile of the means over patches of 8 x 8 voxels of every plane, which
    noise hardly lowers, unlike a quantile of voxels. Right where at least a few per
    cent of the image are empty; with structure everywhere it is an upper bound that
    removes some of the signal. Planes of fewer than 8 x 8 voxels: the quantile of
    voxels.

    Args:
        image: any shape; read in full.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).poisson(20, (8, 64, 64))
        >>> bool(18 < estimate_background(image) < 20)
        True
    """
    means = patch_means(np.asarray(image, float))
    return float(np.quantile(means, BACKGROUND_QUANTILE))
