"""How well parameters are known, from the Fisher information."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ._estimate import NullTest
from ._fit_engine import Fit

LEAST_PART = 0.3
"""Share of a direction's length from which on a parameter belongs to it."""
ROUNDING = 1e-6
"""Information below this share of the largest is rounding."""
OWN_SHARE = 1e-3
"""A parameter of which the beads' own leave less of the information is one of those:
tip and tilt leave 1e-4 (by what a moved PSF lets into its array), defocus 5e-3."""


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """Covariance and errors, and what the data do not determine.

    Attributes:
        covariance: (n, n), of what is determined.
        errors: (n,), infinite where it is not.
        unidentified: combinations of parameters, in words.
    """

    covariance: np.ndarray
    errors: np.ndarray
    unidentified: tuple[str, ...]


def without_own(information: np.ndarray, n: int) -> np.ndarray:
    """Information (bead, n, n) of n parameters where each bead's own are unknown."""
    information = np.asarray(information, float)
    own, cross = information[:, n:, n:], information[:, :n, n:]
    return information[:, :n, :n] - cross @ np.linalg.solve(own, cross.swapaxes(1, 2))


def check_found(fit: Fit) -> None:
    """Refuse a fit that never saw a finite likelihood.

    Raises:
        ValueError: the model and its derivatives are finite at no start.
    """
    if not np.isfinite(float(fit.score)):
        raise ValueError(
            "`model` or its derivatives are not finite at any start: begin where "
            "they are (an NA below the index, no square root of 0)."
        )


def likelihood_ratio(fit: Fit, null: Fit, size: int, excess: float) -> NullTest:
    """Whether data prefer a fit to one with `size` parameters fewer.

    Twice the gain is chi-square with `size` degrees of freedom if they are worth
    nothing; by chance it passes once in about a thousand times. `excess` is the
    variance of the noise as a multiple of what was taken for it.
    """
    score, without = float(fit.score) / excess, float(null.score) / excess
    threshold = float(0.5 * (size + 3.1 * np.sqrt(2 * size) + 5))
    passed = bool(without - score > threshold)
    return NullTest(score=score, null=without, threshold=threshold, passed=passed)


def explained(information: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Which parameters do to all beads what their own parameters do, (n,).

    Args:
        information: (bead, n + own, n + own).
        left: (bead, n, n), `without_own` of it.
    """
    n = left.shape[1]
    known, raw = (np.einsum("bii->i", m[:, :n, :n]) for m in (left, information))
    return known < OWN_SHARE * raw


def knowledge(
    information: np.ndarray,
    spread: np.ndarray,
    names: Sequence[str],
    explained: np.ndarray,
) -> Knowledge:
    """Of parameters whose order of magnitude is `spread`.

    A direction, in units of the spread, is not determined if its error is larger than
    1: then the data say less than what was known before.

    Args:
        information: (n, n), Fisher's.
        spread: (n,), how far each may be from where it was expected.
        names: of the parameters.
        explained: (n,), which of them positions, photons and backgrounds explain.
    """
    spread = np.maximum(spread, 1e-12)
    scaled = information * np.outer(spread, spread)
    values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
    unknown = values < max(1.0, ROUNDING * values.max(initial=0))
    kept = vectors[:, ~unknown]
    covariance = (kept / values[~unknown]) @ kept.T * np.outer(spread, spread)
    lost = (vectors[:, unknown] ** 2).sum(1) > LEAST_PART**2
    errors = np.where(lost | explained, np.inf, np.sqrt(np.diag(covariance)))
    said = [_direction(vectors[:, i], names) for i in np.flatnonzero(unknown)]
    said += [
        n for n, own in zip(names, explained, strict=True) if own and n not in said
    ]
    return Knowledge(covariance, errors, tuple(said))


def _direction(vector: np.ndarray, names: Sequence[str]) -> str:
    """The parameters of a direction, the strongest first, with their signs."""
    order = np.argsort(-abs(vector)).tolist()
    strong = [i for i in order if abs(vector[i]) > LEAST_PART]
    sign = np.sign(vector[strong[0]])
    parts = [f"{'+' if sign * vector[i] > 0 else '-'} {names[i]}" for i in strong]
    return " ".join(parts).removeprefix("+ ")
