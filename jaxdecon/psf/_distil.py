"""PSF distillation: one PSF from the image of many beads."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_count
from ._bead_shape import ellipse, line_widths
from ._bead_stamps import Stamps, cut
from ._distil_align import Aligned, align
from ._distil_clean import clean, sphere_otf, without_sphere
from ._distil_inputs import check_sizes, default_shape, prepare, refuse_too_few
from ._find_beads import GOOD, ODD, Beads

LEAST_COMPARED = 3
"""Beads from which one can be told to be unlike the others."""
DEVIATIONS, LEAST_MARGIN, ALWAYS_ALIKE = 5.0, 0.01, 0.99
"""A bead is unlike the others if its correlation with their mean is that far below the
median, in robust deviations and at least by the margin, and below the last."""
MUCH_SCATTER, MANY_ODD = 0.15, 0.2
"""Difference of beads from their mean, or share of beads that are unlike it, from which
one PSF may not be enough."""
LEAST_SPHERE_GAIN = 0.3
"""Transform of the bead's sphere at half a cycle per FWHM below which it hides the
PSF."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BeadFit:
    """How a bead fits the mean.

    Attributes:
        image: number of the image, from 0.
        spot: which of its spots (`Beads`).
        position: centre in voxels, (ndim,), aligned to the mean.
        height: of the bead, in units of the image.
        correlation: with the mean, noise aside: 1 if it differs by noise only.
        weight: in the mean; the sum over its beads is 1.
    """

    image: int
    spot: int
    position: np.ndarray
    height: float
    correlation: float
    weight: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DistilledPSF:
    """The PSF that beads show, and how sure it is; from `distil`.

    Attributes:
        psf: centred on n // 2 by its peak, non-negative, unit sum.
        beads: of every image, all spots with their status; beads that turned out to be
            unlike the mean have lost the status "good".
        fits: of the beads in the mean.
        fwhm: per axis, voxels.
        ellipticity: long over short lateral FWHM, at least 1.
        orientation: of the long one, radians from x towards y.
        asymmetry: of the central plane: 0 if half a turn about the peak changes
            nothing (coma does).
        snr: peak over the noise of the mean's background.
        scatter: median difference between a bead and the mean, noise aside, as a share
            of the bead.
        messages: what was done, one sentence each.
    """

    psf: jax.Array
    beads: tuple[Beads, ...]
    fits: tuple[BeadFit, ...]
    fwhm: np.ndarray
    ellipticity: float
    orientation: float
    asymmetry: float
    snr: float
    scatter: float
    messages: tuple[str, ...]

    @property
    def rejected(self) -> tuple[tuple[int, np.ndarray, str], ...]:
        """Image, position and reason of every spot that is not in the mean."""
        return tuple(
            (number, position, reason)
            for number, beads in enumerate(self.beads)
            for position, reason in zip(beads.positions, beads.status, strict=True)
            if reason != GOOD
        )


def distil(
    image: ArrayLike | Sequence[ArrayLike],
    beads: Beads | Sequence[Beads] | None = None,
    *,
    shape: Sequence[int] | None = None,
    voxel_size: Sequence[float] | None = None,
    diameter: float | None = None,
    min_beads: int = 1,
) -> DistilledPSF:
    """One PSF from the image of beads.

    Every good bead is registered to the running mean of all, to a fraction of a voxel;
    beads that are unlike the mean are left out; the others are averaged with weights
    by their signal-to-noise ratio, less their local background, without hot voxels and
    without what lies beside them. What does not rise above the noise of the mean is
    set to zero. One PSF for the whole field: see `distil_field` for several.

    A widefield PSF has light far from its peak that no box holds: what is left at the
    border of the box counts as background.

    Args:
        image: (z, y, x) or (y, x), of any real type; or a list of such images.
        beads: from `find_beads`, of every image. None: found with its defaults.
        shape: of the PSF, voxels. None: six times the FWHM, odd.
        voxel_size: one number per axis: of the ellipse across the optical axis, and the
            unit of `diameter`. None: voxels are cubes, of size 1.
        diameter: of the beads, uniformly dyed spheres, in the unit of `voxel_size`. It
            is removed from the PSF as far as noise allows; None: the PSF is that of the
            bead.
        min_beads: least number of good beads.

    Returns:
        The PSF, its measures, and what became of every spot.

    Raises:
        ValueError: fewer good beads, with the number that was found and why the others
            were rejected; unusable images or arguments; a sphere that hides the PSF.

    Example:
        >>> import jaxdecon as jd
        >>> image = 10 + 1000 * jd.psf.gaussian((29, 29, 29), (6.0, 4.0, 4.0))
        >>> jd.psf.distil(image).fwhm.round(1)
        array([6., 4., 4.])

    References:
        Cole, Jinadasa, Brown, Nat. Protoc. 6, 1929 (2011), doi:10.1038/nprot.2011.407,
        on measuring PSFs with beads.
    """
    images, found = prepare(image, beads)
    check_count("min_beads", min_beads, 1)
    size, diameter = check_sizes(images[0].ndim, voxel_size, diameter)
    refuse_too_few(found, min_beads)
    box = default_shape(found, shape)
    return distil_stamps(
        cut(images, found, box), found, size, diameter, min_beads=min_beads
    )


def distil_stamps(
    stamps: Stamps,
    beads: tuple[Beads, ...],
    size: np.ndarray,
    diameter: float | None,
    *,
    min_beads: int,
) -> DistilledPSF:
    """The PSF of beads that are cut out."""
    fwhm = np.median([b.fwhm for b in beads], axis=0)
    aligned = align(stamps, fwhm)
    odd = _unlike(aligned)
    beads = _without(beads, stamps, odd)
    messages = []
    if odd.any():
        count = int(odd.sum())
        which = f"{count} bead{'s' * (count > 1)} left out"
        messages.append(f"{which}: unlike the mean of all")
        stamps = dataclasses.replace(stamps, offsets=aligned.offsets).of(~odd)
        refuse_too_few(beads, min_beads)
        aligned = align(stamps, fwhm)
    psf = clean(aligned.mean, fwhm)
    scatter = float(np.median(np.sqrt(aligned.unexplained)))
    messages += _coverage(stamps)
    if scatter > MUCH_SCATTER or odd.mean() > MANY_ODD:
        messages.append(
            f"the beads differ ({int(odd.sum())} of {odd.size} left out, the others by "
            f"{scatter:.0%} from their mean, noise aside): does the PSF change over "
            f"the field? See `distil_field`, on the command line --grid"
        )
    if diameter is not None:
        psf = _point(psf, aligned.noise, size, diameter, messages)
    long, short, angle, asymmetry = ellipse(psf, size)
    return DistilledPSF(
        psf=jnp.asarray(psf / psf.sum(dtype=float), jnp.float32),
        beads=beads,
        fits=_fits(stamps, aligned),
        fwhm=_widths(psf),
        ellipticity=long / short,
        orientation=angle,
        asymmetry=asymmetry,
        snr=1 / max(aligned.noise, 1e-12),
        scatter=scatter,
        messages=tuple(messages),
    )


def _widths(psf: np.ndarray) -> np.ndarray:
    peak = [int(i) for i in np.unravel_index(int(np.argmax(psf)), psf.shape)]
    return np.array(line_widths(psf, peak, psf.shape))


def _correlations(aligned: Aligned) -> np.ndarray:
    return 1 / np.sqrt(1 + aligned.unexplained)


def _unlike(aligned: Aligned) -> np.ndarray:
    """Mask of the beads that differ from the mean more than the others do."""
    correlation = _correlations(aligned)
    if correlation.size < LEAST_COMPARED:
        return np.zeros(correlation.shape, bool)
    middle = np.median(correlation)
    deviation = 1.4826 * np.median(abs(correlation - middle))
    margin = max(DEVIATIONS * deviation, LEAST_MARGIN)
    return correlation < min(middle - margin, ALWAYS_ALIKE)


def _without(
    beads: tuple[Beads, ...], stamps: Stamps, odd: np.ndarray
) -> tuple[Beads, ...]:
    """The beads, some of which are no longer good."""
    status = [list(b.status) for b in beads]
    for image, spot in zip(stamps.image[odd], stamps.index[odd], strict=True):
        status[image][spot] = ODD
    return tuple(b.with_status(s) for b, s in zip(beads, status, strict=True))


def _coverage(stamps: Stamps) -> list[str]:
    """What is to be said of the beads in the mean."""
    messages = []
    if len(stamps) == 1:
        messages.append("a single bead: its noise is not averaged, nor is it compared")
    empty = float((~stamps.counts.any(0)).mean())
    if empty:
        messages.append(
            f"{empty:.1%} of the box lie beyond the image for every bead: zero there"
        )
    return messages


def _point(
    psf: np.ndarray, noise: float, size, diameter: float, messages: list[str]
) -> np.ndarray:
    """The PSF without the size of the beads."""
    before = _widths(psf)
    widest = float(np.nanmax(before[-2:] * size[-2:]))
    # A frequency that the PSF itself still lets through well.
    line = sphere_otf((64,), (widest / 32,), diameter)
    if line[1] < LEAST_SPHERE_GAIN:
        raise ValueError(
            f"`diameter` is {diameter:g}, and the image of a bead is {widest:.3g} wide "
            f"(FWHM): such a sphere hides the PSF. Use smaller beads; are the units of "
            f"`voxel_size` and `diameter` the same?"
        )
    result = without_sphere(psf / psf.max(), size, diameter, noise)
    messages.append(
        f"spheres of diameter {diameter:g} removed: FWHM {_join(before)} -> "
        f"{_join(_widths(result))} voxels"
    )
    return result


def _fits(stamps: Stamps, aligned: Aligned) -> tuple[BeadFit, ...]:
    positions = stamps.places + aligned.offsets
    correlation = _correlations(aligned)
    return tuple(
        BeadFit(
            image=int(stamps.image[i]),
            spot=int(stamps.index[i]),
            position=positions[i],
            height=float(aligned.heights[i]),
            correlation=float(correlation[i]),
            weight=float(aligned.weights[i]),
        )
        for i in range(len(stamps))
    )


def _join(numbers: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{n:.2f}" for n in numbers)
