"""How many photons an image holds: gain, offset, background, signal to noise."""

import dataclasses

import numpy as np

from .._core._check import check_positive
from ._background import estimate_background
from ._counts import counts_fault
from ._noise import NoiseEstimate, estimate_noise

BRIGHT = 0.999
"""Quantile of the voxels that stands for the brightest, hot ones left out."""
MOST_PHOTONS = 1e6
"""In the brightest voxel, where an image shows no noise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """An image in photons.

    Attributes:
        gain: units of the image per photon.
        offset: units without light.
        background: offset and stray light, in units.
        peak: photons above the background in the brightest voxels.
        snr: of these voxels.
        reason: where gain and offset come from.
        doubt: what may be wrong with them; None if nothing is known to be.
    """

    gain: float
    offset: float
    background: float
    peak: float
    snr: float
    reason: str
    doubt: str | None = None

    @property
    def dark(self) -> float:
        """The background in photons."""
        return max(self.background - self.offset, 0.0) / self.gain


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
    noise = estimate_noise(image)
    found = _camera(image, noise, gain, offset)
    if background is None:
        background = max(estimate_background(image), found["offset"])
    bright = float(np.quantile(image, BRIGHT))
    if bright <= background:
        bright = float(image.max())
    peak = max(bright - background, 0.0) / found["gain"]
    all_light = max(bright - found["offset"], 0.0) / found["gain"]
    snr = peak / np.sqrt(all_light) if all_light > 0 else 0.0
    return Light(background=float(background), peak=peak, snr=float(snr), **found)


def _camera(image, noise: NoiseEstimate, gain, offset) -> dict:
    """Gain and offset, and where they come from."""
    if gain is not None:
        offset = 0.0 if offset is None else offset
        return {"gain": gain, "offset": offset, "reason": "as given"}
    fault = counts_fault(image, noise)
    if fault is None and not offset:
        return {
            "gain": 1.0,
            "offset": 0.0,
            "reason": "the numbers can be photon counts",
            "doubt": None
            if noise.gain > 0
            else "whether they are counts could not be measured: too few voxels, too "
            "even, or no noise",
        }
    if noise.gain > 0:
        return {
            "gain": noise.gain,
            "offset": max(noise.offset, 0.0) if offset is None else offset,
            "reason": "measured: so the noise grows with intensity",
        }
    return _guess(image, noise, offset)


def _guess(image, noise: NoiseEstimate, offset) -> dict:
    """Numbers that give the noise of the median intensity, if it is seen at all."""
    offset = 0.0 if offset is None else offset
    finest = (float(image.max()) - offset) / MOST_PHOTONS
    middle = float(np.median(image)) - offset
    level = 0.0 if np.isnan(noise.level) else noise.level
    gain = max(level**2 / middle if middle > 0 else 0.0, finest)
    return {
        "gain": gain if gain > 0 else 1.0,
        "offset": offset,
        "reason": f"guessed from a noise of {level:.3g} units",
        "doubt": "the noise does not grow with intensity as photons' does (denoised, "
        "interpolated or simulated without it? too small?): give gain and offset",
    }
