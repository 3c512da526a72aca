"""How much a tile counts at a voxel."""

import numpy as np

FINE, COARSE = 2.0, 8.0
"""Widths in voxels of the Gaussian windows of the content: of what is taken for
structure, and of the region that it counts for; as those of views."""
TRUNCATE = 3.0
"""Widths at which the windows end."""
CONTENT_HALO = int(TRUNCATE * FINE + 0.5) + int(TRUNCATE * COARSE + 0.5)
"""Voxels around a region that its content depends on."""
LEAST_CONTENT = 1e-20
"""Added to the content, so that empty tiles, too, have a weight."""


def ramp(at: np.ndarray, n: int, weights: str) -> np.ndarray:
    """Weights along an axis of n voxels: 1 in the middle, falling to both borders."""
    depth = np.minimum(at + 1, n - at) / ((n + 1) / 2)
    if weights == "cosine":
        depth = 0.5 * (1 - np.cos(np.pi * depth))
    return depth.astype(np.float32)


def content(volume: np.ndarray) -> np.ndarray:
    """The local variance of what smoothing removes."""
    detail = volume - _smooth(volume, FINE)
    return _smooth(detail * detail, COARSE) + np.float32(LEAST_CONTENT)


def _smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(volume, sigma, truncate=TRUNCATE, mode="nearest")
