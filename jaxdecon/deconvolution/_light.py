"""How many photons an image holds: gain, offset, background, signal to noise."""

import dataclasses
import math

import numpy as np

from .._core._check import check_positive
from ._background import estimate_background
from ._counts import counts_fault
from ._noise import NoiseEstimate, estimate_noise

BRIGHT = 0.999
"""Quantile of the voxels that stands for the brightest, hot ones left out."""
LIKELY_PHOTONS, MOST_PHOTONS = 1e5, 1e6
"""In the brightest voxel: more than cameras hold; and the most that is ever assumed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """How an image's units count photons.

    Attributes:
        gain: units of the image per photon.
        offset: units without light.
        reason: where these come from.
        doubt: what may be wrong with them; None if nothing is known to be.
    """

    gain: float
    offset: float
    reason: str
    doubt: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """An image in photons.

    Attributes:
        camera: units per photon.
        background: offset and stray light, in units.
        peak: photons above the background in the brightest voxels.
        snr: of these voxels.
    """

    camera: Camera
    background: float
    peak: float
    snr: float

    @property
    def dark(self) -> float:
        """The background in photons."""
        return max(self.background - self.camera.offset, 0.0) / self.camera.gain

    @property
    def doubt(self) -> str | None:
        """What may be wrong with gain and offset; None if nothing is known to be."""
        if self.camera.doubt is None and self.peak > LIKELY_PHOTONS:
            return (
                f"{self.peak:.2g} photons in the brightest voxels are more than "
                f"cameras hold: the noise was filtered, averaged or never there; give "
                f"gain and offset, or expect too many iterations"
            )
        return self.camera.doubt


def measure_light(
    image: np.ndarray,
    *,
    gain: float | None,
    offset: float | None,
    background: float | None,
) -> Light:
    """The light of an image, by what is given and what its noise tells."""
    if gain is not None:
        check_positive("gain", gain)
        camera = Camera(gain=gain, offset=offset or 0.0, reason="as given")
    else:
        camera = _measured(image, offset)
    if background is None:
        background = max(estimate_background(image), camera.offset)
    bright = float(np.quantile(image, BRIGHT))
    if bright <= background:
        bright = float(image.max())
    peak = max(bright - background, 0.0) / camera.gain
    all_light = max(bright - camera.offset, 0.0) / camera.gain
    snr = peak / math.sqrt(all_light) if all_light > 0 else 0.0
    return Light(camera=camera, background=float(background), peak=peak, snr=snr)


def _measured(image: np.ndarray, offset: float | None) -> Camera:
    """The camera of an image, by its noise."""
    noise = estimate_noise(image)
    if not offset and counts_fault(image, noise) is None:
        doubt = (
            "whether the numbers are photon counts could not be measured (too few "
            "voxels, too even, or no noise): if not, give gain and offset"
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
    level = 0.0 if math.isnan(noise.level) else noise.level
    gain = max(level**2 / middle if middle > 0 else 0.0, finest)
    return Camera(
        gain=gain if gain > 0 else 1.0,
        offset=offset,
        reason=f"guessed from a noise of {level:.3g} units",
        doubt="the noise does not grow with intensity as photons' does (denoised, "
        "interpolated, simulated without it, or too few voxels): give gain and offset",
    )
