"""No aberrations at all, and all of them negated: what an estimate is tested against.

A pupil with the aberrations -W gives the PSF of W seen through the point at its
centre, h(-x): its OTF has the same magnitude, and so all that second-order statistics
say of one image is the same for both. (The other symmetry, -W(-f) with z reversed, is
this one with y and x reversed.)
"""

import dataclasses
from typing import Any

import numpy as np

from ._parameters import UNKNOWN_SPREAD, Parameters

NAME = "aberrations"


def which_aberrations(parameters: Parameters) -> np.ndarray:
    """Which of the parameters are aberrations: those under that name."""
    return np.array([name.startswith(NAME) for name in parameters.names])


def spread_of_aberrations(parameters: Parameters, spread: Any) -> Parameters:
    """With room for aberrations that begin near 0: a tenth of that is no guess.

    Args:
        parameters: as parsed.
        spread: what the user gave; None: nothing.
    """
    if spread is not None:
        return parameters
    bounded = np.isfinite(parameters.low) & np.isfinite(parameters.high)
    least = np.where(which_aberrations(parameters) & ~bounded, UNKNOWN_SPREAD, 0)
    return dataclasses.replace(parameters, spread=np.maximum(parameters.spread, least))


def null_and_twin(
    parameters: Parameters, vector: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """What an estimate is to be better than.

    Returns:
        The start without aberrations; and the estimate with its aberrations negated,
        None if there are none, or if the bounds exclude it.
    """
    bent = which_aberrations(parameters)
    null = np.where(bent, 0.0, parameters.start)
    null = np.clip(null, parameters.low, parameters.high)
    if not bent.any():
        return null, None
    twin = np.where(bent, -vector, vector)
    inside = (parameters.low <= twin) & (twin <= parameters.high)
    return null, twin if inside.all() else None


def at_bounds(parameters: Parameters, vector: np.ndarray) -> list[str]:
    """Names of the parameters that ended at a bound."""
    near = 1e-3 * parameters.spread
    held = (vector <= parameters.low + near) | (vector >= parameters.high - near)
    return [parameters.names[i] for i in np.flatnonzero(held)]
