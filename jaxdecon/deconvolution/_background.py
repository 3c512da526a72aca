"""Estimate the camera offset and stray light of an image."""

import numpy as np
from jax.typing import ArrayLike

BACKGROUND_QUANTILE = 0.01


def estimate_background(image: ArrayLike) -> float:
    """A level that hardly any voxel lies below: the 1 % quantile.

    Right where at least a few per cent of the image are empty; with structure
    everywhere it is an upper bound that removes some of the signal.

    Args:
        image: any shape; read in full.
    """
    return float(np.quantile(np.asarray(image), BACKGROUND_QUANTILE))
