"""Shifts by a fraction of a voxel, one axis after the other."""

import numpy as np

ORDERS = ("linear", "cubic")
MARGINS = {"linear": (0, 1), "cubic": (1, 2)}
"""Voxels needed before and after those that are shifted."""
ROUNDING = 1e-4
"""Fractions of a voxel that count as none."""


def whole_and_part(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole voxels, and what is left, from 0 to below 1."""
    whole = np.floor(places + ROUNDING)
    part = places - whole
    return whole.astype(int), np.where(part < ROUNDING, 0.0, part)


def shifted(volume: np.ndarray, part: np.ndarray, order: str) -> np.ndarray:
    """Values at p + part, without the margins along axes that are shifted.

    Args:
        volume: float32, with margins along axes whose part is not 0.
        part: (d,) from 0 to below 1.
        order: "linear", or "cubic": Keys' convolution.
    """
    for axis, t in enumerate(np.asarray(part).tolist()):
        if t > 0:
            weights = [1 - t, t] if order == "linear" else _cubic(t)
            volume = _mixed(volume, axis, weights)
    return volume


def _mixed(volume: np.ndarray, axis: int, weights: list[float]) -> np.ndarray:
    size = volume.shape[axis] - len(weights) + 1
    index: list[slice] = [slice(None)] * volume.ndim
    mixed, scratch = None, None
    for step, weight in enumerate(weights):
        index[axis] = slice(step, step + size)
        part = volume[tuple(index)]
        if mixed is None:
            mixed = part * np.float32(weight)
        else:
            scratch = np.multiply(part, np.float32(weight), out=scratch)
            mixed += scratch
    assert mixed is not None
    return mixed


def _cubic(t: float) -> list[float]:
    """Of the four neighbours, at t between the second and the third; a = -1/2."""
    return [
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    ]
