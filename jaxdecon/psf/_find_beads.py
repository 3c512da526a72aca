"""Find beads in an image, and say of every bright spot whether it is a good one."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_count, check_image, check_share
from ._bead_background import clipped, hot_voxels, mesh, without_hot
from ._bead_neighbours import neighbours, without_repeats
from ._bead_shape import core_light, fit_spot
from ._bead_size import guess_fwhm, saturation_level, typical

GOOD = "good"
SATURATED, BORDER, DIM = "saturated", "at the border", "too dim"
OVERLAPS, LOBE, ODD = "overlaps", "side lobe", "unlike the others"
LEFT_OUT = "left out"
REASONS = (GOOD, SATURATED, BORDER, DIM, OVERLAPS, LOBE, ODD, LEFT_OUT)
"""What `Beads.status` may say. A side lobe belongs to the PSF of a bead beside it; what
is left out is beyond the wanted number."""

FWHM_IN_BOX = 4.0
"""Size of the box in which a bead has to be alone, FWHM."""
SMOOTHED = 0.25
"""Standard deviation of the smoothing before maxima are taken, FWHM."""
FLOOR = 6.0
"""Deviations of the noise that anything has to rise above the background."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Beads:
    """All bright spots of an image, the brightest first; from `find_beads`.

    NumPy arrays, one entry per spot.

    Attributes:
        positions: centres in voxels, (n, ndim), to a fraction of a voxel.
        heights: above the background.
        backgrounds: at that place.
        noise: standard deviation of single voxels of the background there.
        widths: full widths at half maximum, voxels, (n, ndim), of a Gaussian fitted to
            the core; NaN where none fits.
        status: one of `REASONS`: "good", or why it is not.
        fwhm: voxels per axis: the median over good beads, (ndim,).
        size: of the box in which a bead has to be alone, voxels per axis.
        shape: of the image.
        hot_voxels: how many stood out alone and were replaced.
        saturation: level from which voxels count as saturated; infinite if none do.
    """

    positions: np.ndarray
    heights: np.ndarray
    backgrounds: np.ndarray
    noise: np.ndarray
    widths: np.ndarray
    status: tuple[str, ...]
    fwhm: np.ndarray
    size: tuple[int, ...]
    shape: tuple[int, ...]
    hot_voxels: int = 0
    saturation: float = math.inf

    def __len__(self) -> int:
        return len(self.status)

    @property
    def good(self) -> np.ndarray:
        """Mask of the good ones, (n,)."""
        return np.array([s == GOOD for s in self.status], bool)

    def summary(self) -> str:
        """How many there are, and what became of them, in one line."""
        counts = Counter(self.status)
        parts = [f"{counts[r]} {r}" for r in REASONS if counts[r] or r == GOOD]
        spots = f"{len(self)} spot{'s' * (len(self) != 1)}: {', '.join(parts)}"
        if not self.hot_voxels:
            return spots
        return f"{spots} ({self.hot_voxels} hot voxels replaced)"

    def with_status(self, status: Sequence[str]) -> "Beads":
        """The same spots, judged anew."""
        return dataclasses.replace(self, status=tuple(status))


def find_beads(
    image: ArrayLike,
    *,
    size: float | Sequence[float] | None = None,
    threshold: float = 0.25,
    saturation: float | Literal["auto"] | None = "auto",
    border: float | Sequence[float] | None = None,
    alike: float = 1.6,
    count: int | None = None,
) -> Beads:
    """Find beads, and reject those that show no PSF.

    Hot pixels are replaced, an uneven background is measured in blocks, and maxima of
    the slightly smoothed image that rise above its noise are spots. A spot is a good
    bead if it is bright enough, not saturated, alone in its box, whole, and about as
    wide as the others. Positions and widths are those of a Gaussian fitted to the core.

    Runs on the host, not under `jit`.

    Args:
        image: (z, y, x) or (y, x), of any real type.
        size: of the box in which a bead has to be alone, voxels, one number or one per
            axis. None: four times the FWHM that the brightest spots have.
        threshold: least height as a share of the typical one (the median, in which
            high spots count more).
        saturation: intensity from which a voxel is saturated. None: none is. "auto":
            the maximum, if it is the largest number of an integer type, or several
            voxels in touch with each other have it.
        border: least distance from the border of the image, voxels, one number or one
            per axis. None: one FWHM.
        alike: largest ratio of a width to the median of that of all spots, either way.
            Raise it where the PSF changes much over the field.
        count: at most so many good ones, the brightest. None: all.

    Returns:
        All spots, with a status each; `.good` is the mask of those to use.

    Raises:
        ValueError: an image that is not 2D or 3D, has NaN or is constant; nothing in it
            that rises above its noise; arguments out of range.

    Example:
        >>> import jaxdecon as jd
        >>> image = 10 + 1000 * jd.psf.gaussian((25, 25, 25), (6.0, 4.0, 4.0))
        >>> beads = jd.psf.find_beads(image)
        >>> beads.summary()
        '1 spot: 1 good'
        >>> beads.widths.round(1)
        array([[6., 4., 4.]])
    """
    volume = np.asarray(check_image("image", image, least=None))
    if not np.ptp(volume):
        raise ValueError(
            f"`image` is {volume.flat[0]:g} everywhere; an image with beads is needed."
        )
    check_share("threshold", threshold)
    limit = None if count is None else check_count("count", count, 1)
    if not alike > 1:
        raise ValueError(f"`alike` is {alike}; a ratio above 1 is needed.")
    box = None if size is None else _numbers("size", size, volume.ndim, least=3)
    margin = None if border is None else _numbers("border", border, volume.ndim)
    full = saturation_level(volume, np.asarray(image).dtype, saturation)
    noise = _noise(volume)
    hot = hot_voxels(volume, noise)
    spots = _Spots(without_hot(volume, hot), box, noise)
    saturated = volume >= full
    saturated[hot] = False
    status = spots.judge(saturated, margin, threshold, alike)
    return spots.beads(
        _keep(status, limit), hot_voxels=int(hot[0].size), saturation=full
    )


def _noise(image: np.ndarray) -> float:
    """Deviation of the background; numbers that all are alike still are rounded."""
    deviation = clipped(image)[1]
    return deviation if deviation > 0 else 1e-6 * float(np.ptp(image))


def _keep(status: Sequence[str], count: int | None) -> list[str]:
    """The first `count` good ones."""
    result, left = list(status), count
    for i, reason in enumerate(status):
        if left is not None and reason == GOOD:
            result[i] = GOOD if left > 0 else LEFT_OUT
            left -= 1
    return result


def _numbers(name: str, value: Any, ndim: int, least: float = 0) -> np.ndarray:
    """One number per axis."""
    numbers = np.asarray(value, float)
    if numbers.shape not in ((), (1,), (ndim,)) or not (numbers >= least).all():
        raise ValueError(
            f"`{name}` is {value}; one number or {ndim} numbers of at least {least:g} "
            f"are needed."
        )
    return np.broadcast_to(numbers, (ndim,)).copy()


class _Spots:
    """The maxima of an image, measured."""

    def __init__(self, image: np.ndarray, box: np.ndarray | None, noise: float):
        from scipy import ndimage

        self.shape = image.shape
        fwhm = guess_fwhm(image, noise, box)
        self.box = FWHM_IN_BOX * fwhm if box is None else box
        block = np.maximum(2 * self.box, 16)
        level, deviation = mesh(image, block)
        self.above = image - level
        smooth = ndimage.gaussian_filter(self.above, SMOOTHED * fwhm, mode="constant")
        floor = FLOOR * np.maximum(mesh(smooth, block)[1], 1e-6 * smooth.max())
        self.peaks = _maxima(smooth, floor, fwhm)
        if not len(self.peaks):
            raise ValueError(
                f"`image` has no spot that rises {FLOOR:g} standard deviations of the "
                f"noise above its background, in it are no beads to be seen. Is it the "
                f"right channel?"
            )
        at = tuple(self.peaks.T)
        self.smooth, self.levels, self.noise = smooth[at], level[at], deviation[at]
        # Noise of few counts has single voxels that rise above any floor.
        self.light = np.array([core_light(self.above, p, fwhm) for p in self.peaks])
        fitted = [fit_spot(self.above, peak, fwhm) for peak in self.peaks]
        self.heights, self.positions, self.widths = map(
            np.asarray, zip(*fitted, strict=True)
        )
        self.guess = fwhm

    def judge(self, saturated, margin, threshold: float, alike: float) -> list[str]:
        """A status for every spot; what is named first counts."""
        crowded, lobe = neighbours(self.peaks, self.smooth, self.box / 2, self.guess)
        border = self.guess if margin is None else margin
        distance = np.minimum(self.peaks, np.asarray(self.shape) - 1 - self.peaks)
        dim = self.smooth < threshold * typical(self.smooth[~lobe], self.smooth[~lobe])
        dim |= self.light < FLOOR * self.noise
        usual = self.widths[~(dim | lobe) & np.isfinite(self.widths).all(1)]
        ratio = self.widths / (np.median(usual, axis=0) if len(usual) else np.nan)
        reasons = {
            LOBE: lobe,
            SATURATED: self._touches(saturated),
            BORDER: (distance < border).any(1),
            DIM: dim,
            OVERLAPS: crowded,
            ODD: ~((ratio < alike) & (ratio > 1 / alike)).all(1),
        }
        return [
            next((reason for reason, mask in reasons.items() if mask[i]), GOOD)
            for i in range(len(self.peaks))
        ]

    def _touches(self, mask: np.ndarray) -> np.ndarray:
        """Whether any voxel of the mask is in the core of a spot."""
        reach = np.maximum(np.ceil(self.guess / 2), 1).astype(int)
        return np.array([mask[_window(p, reach)].any() for p in self.peaks], bool)

    def beads(self, status: Sequence[str], **more: Any) -> Beads:
        """All that is known, the brightest first."""
        order = np.argsort(-self.heights, kind="stable")
        good = np.array([s == GOOD for s in status], bool)
        known = self.widths[good] if good.any() else self.guess[None]
        return Beads(
            positions=self.positions[order],
            heights=self.heights[order],
            backgrounds=self.levels[order],
            noise=self.noise[order],
            widths=self.widths[order],
            status=tuple(str(status[i]) for i in order),
            fwhm=np.median(known, axis=0),
            size=tuple(round(b) for b in self.box),
            shape=self.shape,
            **more,
        )


def _window(peak: np.ndarray, reach: np.ndarray) -> tuple[slice, ...]:
    return tuple(
        slice(max(p - r, 0), p + r + 1) for p, r in zip(peak, reach, strict=True)
    )


def _maxima(smooth: np.ndarray, floor: np.ndarray, fwhm: np.ndarray) -> np.ndarray:
    """Voxels above the floor that are the highest within half a FWHM."""
    from scipy import ndimage

    reach = np.maximum(np.round(fwhm / 2), 1).astype(int)
    highest = ndimage.maximum_filter(smooth, size=2 * reach + 1, mode="nearest")
    peaks = np.argwhere((smooth == highest) & (smooth > floor))
    order = np.argsort(-smooth[tuple(peaks.T)], kind="stable")
    return without_repeats(peaks[order], reach)
