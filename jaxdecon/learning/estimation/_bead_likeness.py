"""Whether the bright spots of an image are beads that show its PSF."""

import dataclasses
from typing import Any

import numpy as np

from ...psf import DistilledPSF, distil, find_beads, fwhm

LEAST_BEADS = 5
"""Beads from which their likeness says something."""
MOST_SCATTER, LEAST_CORRELATION = 0.25, 0.97
"""Between a bead and the mean, noise aside: how beads of one size are alike."""
MOST_DIFFERENT = 0.12
"""Median difference of the widths of neighbouring beads, as a share. Neighbours, since
PSFs may change over the field."""
LEAST_SHARE = 0.5
"""Of the spots that are alone and whole, so many must be alike: in an image of other
things some spots are, by chance."""
NARROWEST, WIDEST = 0.8, 2.0
"""Widths that beads may have, of those of the optics."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeadVerdict:
    """Whether an image is one of beads, and their PSF.

    Attributes:
        distilled: from the beads; None where there are too few.
        reason: why they are or are not taken for beads.
        are_beads: the verdict.
    """

    distilled: DistilledPSF | None
    reason: str
    are_beads: bool


def look_for_beads(image: np.ndarray, modelled: Any = None) -> BeadVerdict:
    """Look for beads in an image of anything.

    Args:
        image: (z, y, x) or (y, x).
        modelled: the PSF of the optics, on the image's voxels, if they are known.
    """
    try:
        beads = find_beads(image)
    except ValueError as error:
        return BeadVerdict(distilled=None, reason=str(error), are_beads=False)
    count = int(beads.good.sum())
    if count < LEAST_BEADS:
        reason = f"{beads.summary()}; {LEAST_BEADS} good beads are needed"
        return BeadVerdict(distilled=None, reason=reason, are_beads=False)
    try:
        distilled = distil(image, beads)
    except ValueError as error:
        return BeadVerdict(distilled=None, reason=str(error), are_beads=False)
    faults = list(_faults(distilled, count, modelled))
    alike = (
        f"{len(distilled.fits)} of {count} spots are alike to "
        f"{distilled.scatter:.0%}, FWHM {_join(distilled.fwhm)} voxels"
    )
    return BeadVerdict(
        distilled=distilled,
        reason="; ".join([alike, *faults]),
        are_beads=not faults,
    )


def _faults(distilled: DistilledPSF, count: int, modelled: Any):
    """Why spots are no beads."""
    used = len(distilled.fits)
    if used < LEAST_BEADS or used < LEAST_SHARE * _whole(distilled):
        yield f"only {used} are alike, of {_whole(distilled)} that are alone and whole"
    correlations = [fit.correlation for fit in distilled.fits]
    if np.median(correlations) < LEAST_CORRELATION or distilled.scatter > MOST_SCATTER:
        yield (
            f"they differ too much for beads (correlation with the mean "
            f"{np.median(correlations):.3f})"
        )
    different = _difference_of_neighbours(distilled)
    if different > MOST_DIFFERENT:
        yield f"the widths of neighbours differ by {different:.0%}"
    if modelled is not None:
        expected = np.asarray(fwhm(modelled))
        ratio = distilled.fwhm / expected
        if (ratio < NARROWEST).any() or (ratio > WIDEST).any():
            yield f"the optics give {_join(expected)} voxels"


def _difference_of_neighbours(distilled: DistilledPSF) -> float:
    """Between the widths of a bead and of the nearest other one, along any axis."""
    beads = distilled.beads[0]
    places, widths = beads.positions[beads.good], beads.widths[beads.good]
    if len(places) < 2:
        return 0.0
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    change = abs(np.log(widths / widths[distance.argmin(1)]))
    return float(np.nanmedian(change, axis=0).max())


def _whole(distilled: DistilledPSF) -> int:
    """Spots that are bright, alone and not cut: good ones and those unlike others."""
    kept = ("good", "unlike the others")
    return sum(status in kept for beads in distilled.beads for status in beads.status)


def _join(numbers) -> str:
    return " x ".join(f"{float(n):.2f}" for n in numbers)
