"""Beads brought to one place and averaged, each to a fraction of a voxel."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ._bead_shape import fit_spot
from ._bead_stamps import Stamps, shell
from ._distil_clean import clean, noise_of

MOST_ROUNDS = 12
SETTLED = 0.005
"""Voxels: no bead moves further when the mean has settled."""
LARGEST_STEP = 0.5
LARGEST_WEIGHT = 3.0
"""Of a bead, over the median: no clump shall decide alone."""
CLIP, LEAST_CLIPPED = 4.0, 5
"""Deviations from the others at which a voxel of a bead does not count, and beads that
have to be there for that."""
CORE = 0.02
"""Of the peak: where beads are compared."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """The mean of beads, its peak 1 on n // 2, and how each bead fits.

    Attributes:
        mean: (*box).
        noise: standard deviation of its background.
        offsets: (n, ndim), of the beads from n // 2 of their boxes, voxels.
        heights: (n,).
        weights: (n,), sum 1.
        unexplained: (n,), energy that a bead does not share with the mean, beyond
            noise, as a share of its own.
    """

    mean: np.ndarray
    noise: float
    offsets: np.ndarray
    heights: np.ndarray
    weights: np.ndarray
    unexplained: np.ndarray


def align(stamps: Stamps, fwhm: np.ndarray) -> Aligned:
    """Register every bead to the running mean, and average.

    A bead is fitted by the shifted mean times a height plus a constant (Gauss-Newton on
    the shift, in Fourier space). What is left over is shifted back, and its average is
    added to the mean: so interpolation does not blur the mean, and where a bead has
    other things in its box, the others decide.

    Args:
        stamps: the beads.
        fwhm: of a bead, voxels per axis.
    """
    shifter = Shifter(stamps.values.shape[1:])
    outer = shell(shifter.shape)
    offsets, heights = stamps.offsets.copy(), stamps.heights.astype(float)
    mean = _start(stamps, shifter)
    weights = np.full(len(stamps), 1 / len(stamps))
    misfit = np.zeros(len(stamps))
    for turn in range(MOST_ROUNDS):
        model = clean(mean, fwhm)
        fits = [
            _fit(shifter, model, value, count, offset)
            for value, count, offset in zip(
                stamps.values, stamps.counts, offsets, strict=True
            )
        ]
        moved, heights, rests, misfit, spread = (
            np.stack(part) for part in zip(*fits, strict=True)
        )
        weights = _weights(heights, spread)
        change = _average(rests, stamps.counts, weights)
        mean = _normalised(model + change, outer)
        step = abs(moved - offsets).max()
        offsets = moved
        if step < SETTLED and turn > 0:
            break
    mean, centre = _centred(shifter, mean, fwhm)
    return Aligned(
        mean=mean,
        noise=noise_of(mean, outer),
        offsets=offsets + centre,
        heights=heights,
        weights=weights,
        unexplained=misfit,
    )


class Shifter:
    """Shifts boxes by parts of a voxel, in Fourier space."""

    def __init__(self, shape: Sequence[int]):
        self.shape = tuple(shape)
        grids = [np.fft.fftfreq(n) for n in self.shape[:-1]]
        grids.append(np.fft.rfftfreq(self.shape[-1]))
        self.frequencies = [
            (2 * np.pi * g).astype(np.float32)
            for g in np.meshgrid(*grids, indexing="ij", sparse=True)
        ]

    def __call__(self, box: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """The box, its content moved by `shift`."""
        return self.back(self.spectrum(box) * self.phase(shift))

    def spectrum(self, box: np.ndarray) -> np.ndarray:
        """Half of its transform."""
        from scipy import fft

        return fft.rfftn(box)  # pyright: ignore[reportReturnType]

    def back(self, spectrum: np.ndarray) -> np.ndarray:
        """The box of a transform."""
        from scipy import fft

        return fft.irfftn(spectrum, self.shape)  # pyright: ignore[reportReturnType]

    def phase(self, shift: np.ndarray) -> np.ndarray:
        """What the transform of a shifted box is multiplied with."""
        waves = (
            np.exp(-1j * s * k).astype(np.complex64)
            for s, k in zip(shift, self.frequencies, strict=True)
        )
        return functools.reduce(np.multiply, waves)

    def slopes(self, spectrum: np.ndarray) -> list[np.ndarray]:
        """Derivatives with respect to the shift along every axis."""
        return [self.back(spectrum * (np.complex64(-1j) * k)) for k in self.frequencies]


def _fit(shifter: Shifter, model, value, count, offset):
    """New offset, height, what is left (of height 1, in place), misfit, variance.

    What is left is that of the new offset, to first order: with that of the old one,
    mean and offsets would answer each other's last move for ever.
    """
    spectrum = shifter.spectrum(model) * shifter.phase(offset)
    shifted = shifter.back(spectrum)
    parts = [shifted, np.ones_like(shifted), *shifter.slopes(spectrum)]
    columns = np.stack(parts, -1)[count].astype(float)
    solved, *_ = np.linalg.lstsq(columns.T @ columns, columns.T @ value[count], None)
    if not solved[0] > 0:  # nothing of the mean is in it
        solved = np.array([max(abs(solved[0]), 1e-12), *np.zeros(solved.size - 1)])
    height = solved[0]
    limit = LARGEST_STEP * height
    solved[2:] = np.clip(solved[2:], -limit, limit)
    rest = np.zeros(count.shape, np.float32)
    rest[count] = value[count] - columns @ solved
    moved = offset + solved[2:] / height
    misfit, variance = _misfit(rest, count, shifted, height)
    back = shifter(rest / np.float32(height), -moved)
    return moved, height, back, misfit, variance


def _misfit(rest, count, model, height: float) -> tuple[float, float]:
    """Energy left in the core beyond noise, as a share, and variance of what is left.

    Noise differs from voxel to voxel, and what the model lacks is smooth: half of the
    squared differences between neighbours is noise.
    """
    core = count & (model > CORE * model.max())
    pairs = core[..., 1:] & core[..., :-1]
    if not pairs.any():
        return 0.0, 1.0
    steps = (rest[..., 1:] - rest[..., :-1])[pairs].astype(float)
    left = float(np.mean(rest[core].astype(float) ** 2))
    energy = float(np.mean((height * model[core].astype(float)) ** 2))
    smooth = max(left - float(np.mean(steps**2)) / 2, 0)
    return smooth / energy, max(left, 1e-12 * energy)


def _weights(heights: np.ndarray, variances: np.ndarray) -> np.ndarray:
    weights = heights**2 / variances
    weights = np.minimum(weights, LARGEST_WEIGHT * np.median(weights))
    return weights / weights.sum()


def _average(rests: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean, per voxel of those that count and agree with the others."""
    used = counts * weights.astype(np.float32)[:, *(None,) * (counts.ndim - 1)]
    if len(rests) >= LEAST_CLIPPED:
        distance = abs(rests - np.median(rests, axis=0))
        limit = CLIP * 1.4826 * np.median(distance, axis=0)
        used = used * (distance <= limit)
    total = used.sum(0)
    return (used * rests).sum(0) / np.where(total > 0, total, 1)


def _start(stamps: Stamps, shifter: Shifter) -> np.ndarray:
    """A rough mean: the beads shifted by what is known of their places."""
    shifted = np.stack(
        [
            shifter(value / np.float32(height), -offset)
            for value, height, offset in zip(
                stamps.values, stamps.heights, stamps.offsets, strict=True
            )
        ]
    )
    middle = np.median(shifted, axis=0) if len(shifted) > 2 else shifted.mean(0)
    return _normalised(middle, shell(shifter.shape))


def _normalised(mean: np.ndarray, outer: np.ndarray) -> np.ndarray:
    mean = mean - np.median(mean[outer])
    return (mean / mean.max()).astype(np.float32)


def _centred(shifter: Shifter, mean: np.ndarray, fwhm: np.ndarray):
    """The mean with its peak on n // 2, and how far it was from there."""
    middle = np.array([n // 2 for n in shifter.shape])
    peak = np.unravel_index(int(np.argmax(mean)), mean.shape)
    total = np.asarray(peak) - middle
    mean = np.roll(mean, -total, axis=tuple(range(mean.ndim)))
    moved = total.astype(float)
    for _ in range(3):
        shift = fit_spot(mean, tuple(middle), fwhm)[1] - middle
        mean, moved = shifter(mean, -shift), moved + shift
    return mean / mean.max(), moved
