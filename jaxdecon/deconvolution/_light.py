"""How many photons an image holds: gain, offset, background, signal to noise."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from .._core._check import check_positive
from ._background import estimate_background
from ._counts import counts_fault
from ._noise import NoiseEstimate, estimate_noise

BRIGHT = 0.999
"""Quantile of the voxels that stands for the brightest, hot ones left out."""
LIKELY_PHOTONS, MOST_PHOTONS = 1e5, 1e6
"""In the brightest voxel: more than cameras hold; and the most that is ever assumed."""
READ_SHARE, DIM_GROUPS = 0.3, 4
"""Read noise is seen where it adds this share to the variance of the dimmest of the
groups of patches."""
MOST_MEASURED = 2**24
"""Voxels in which noise and background are looked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """How an image's units count photons.

    Attributes:
        gain: units of the image per photon.
        offset: units at which the noise vanishes: without light, less the variance of
            the read noise over the gain (Snyder et al. 1995).
        reason: where these come from.
        doubt: what may be wrong with them; None if nothing is known to be.
        given: whether the user said the gain.
    """

    gain: float
    offset: float
    reason: str
    doubt: str | None = None
    given: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """An image in photons.

    Attributes:
        camera: units per photon.
        background: offset and stray light, in units.
        peak: photons above the background in the brightest voxels.
        snr: of these voxels.
        lowered_from: background that was found first, and with which the PSF does not
            fit; None if it is that.
    """

    camera: Camera
    background: float
    peak: float
    snr: float
    lowered_from: float | None = None

    def doubts(self) -> Iterator[str]:
        """What may be wrong with gain, offset and background."""
        if self.camera_doubt is not None:
            yield self.camera_doubt
        if self.lowered_from is not None:
            yield (
                f"the background was lowered from {self.lowered_from:.4g}, the level "
                f"of the darkest parts, to {self.background:.4g}, for the PSF to fit: "
                f"structure is everywhere, or the PSF is wider than the image's"
            )

    @property
    def dark(self) -> float:
        """The background in photons."""
        return max(self.background - self.camera.offset, 0.0) / self.camera.gain

    @property
    def camera_doubt(self) -> str | None:
        """What may be wrong with gain and offset; None if nothing is known to be."""
        if self.camera.doubt is not None or self.peak <= LIKELY_PHOTONS:
            return self.camera.doubt
        advice = "check the gain" if self.camera.given else "give gain and offset"
        return (
            f"{self.peak:.2g} photons in the brightest voxels are more than cameras "
            f"hold: the noise was filtered, averaged or never there; {advice}, or "
            f"expect too many iterations"
        )


def measure_light(
    image: np.ndarray,
    *,
    gain: float | None,
    offset: float | None,
    background: float | None,
) -> Light:
    """The light of an image, by what is given and what its noise tells.

    Raises:
        ValueError: numbers that are not finite, a gain that is not positive, a
            background below the offset.
    """
    _check_given(gain, offset, background)
    part = _some_planes(image)
    noise = estimate_noise(part)
    if gain is None:
        camera = _measured(part, noise, offset)
    else:
        camera = _given(noise, gain, offset or 0.0)
    if background is None:
        background = max(estimate_background(part), camera.offset)
    return with_background(image, camera, float(background))


def with_background(image: np.ndarray, camera: Camera, background: float) -> Light:
    """The light of an image whose camera and background are known."""
    bright = float(np.quantile(_some_planes(image), BRIGHT))
    if bright <= background:
        bright = float(image.max())
    peak = max(bright - background, 0.0) / camera.gain
    all_light = max(bright - camera.offset, 0.0) / camera.gain
    snr = peak / math.sqrt(all_light) if all_light > 0 else 0.0
    return Light(camera=camera, background=background, peak=peak, snr=snr)


def _check_given(gain, offset, background) -> None:
    if gain is not None:
        check_positive("gain", gain)
    for name, value in (("offset", offset), ("background", background)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"`{name}` is {value}; a finite number is needed.")
    if background is not None and background < (offset or 0.0):
        raise ValueError(
            f"`background` is {background} and `offset` {offset or 0.0}; the "
            f"background holds the offset, and cannot be below it."
        )


def _some_planes(image: np.ndarray) -> np.ndarray:
    """Planes at equal distances, if an image has very many voxels."""
    step = math.ceil(image.size / MOST_MEASURED)
    return image[::step] if image.ndim == 3 else image


def _given(noise: NoiseEstimate, gain: float, offset: float) -> Camera:
    """A camera of which the user knows gain and offset, but not the read noise."""
    photons = gain * (noise.means - offset)
    excess = np.median((noise.variances - photons)[:DIM_GROUPS]) if photons.size else 0
    dim = abs(np.median(photons[:DIM_GROUPS])) if photons.size else 0
    if noise.gain > 0 and excess > READ_SHARE * dim:
        read = math.sqrt(excess)
        return Camera(
            gain=gain,
            offset=offset - excess / gain,
            reason=f"as given, less the variance of a read noise of {read:.3g} units",
            given=True,
        )
    return Camera(gain=gain, offset=offset, reason="as given", given=True)


def _measured(image: np.ndarray, noise: NoiseEstimate, offset: float | None) -> Camera:
    """The camera of an image, by its noise."""
    if not offset and counts_fault(image, noise) is None:
        doubt = (
            "whether the numbers are photon counts could not be measured; if they are "
            "not, give gain and offset"
        )
        return Camera(
            gain=1.0,
            offset=0.0,
            reason="the numbers can be photon counts",
            doubt=None if noise.gain > 0 else doubt,
        )
    finest = (float(image.max()) - (offset or 0.0)) / MOST_PHOTONS
    if noise.gain > 0:
        return Camera(
            gain=max(noise.gain, finest),
            offset=noise.offset if offset is None else offset,
            reason="measured: so the noise grows with intensity",
        )
    return _guess(image, noise, finest, offset or 0.0)


def _guess(image, noise: NoiseEstimate, finest: float, offset: float) -> Camera:
    """Numbers that give the noise of the median intensity, if it is seen at all."""
    middle = float(np.median(image)) - offset
    unknown = math.isnan(noise.level)
    level = 0.0 if unknown else noise.level
    gain = max(level**2 / middle if middle > 0 else 0.0, finest)
    return Camera(
        gain=gain if gain > 0 else 1.0,
        offset=offset,
        reason="guessed: too few voxels to see noise in"
        if unknown
        else f"guessed from a noise of {level:.3g} units",
        doubt="the noise does not grow with intensity as photons' does (denoised, "
        "interpolated, simulated without it, or too few voxels): give gain and offset",
    )
