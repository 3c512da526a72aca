"""A mean of beads made a PSF: what is noise in it goes, and the size of the beads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._bead_stamps import shell

SMOOTHED = 0.35
"""Standard deviation, FWHM, of the smoothing against which details are judged."""
SIGNIFICANT = 3.0
"""Deviations of the noise, after smoothing, that light rises above it."""
TAPER = 0.15
"""Share of a box, on each side, over which a PSF is faded out."""
FIRST_ZERO = 4.4934
"""Of the transform of a sphere: tan q = q."""
LEAST_GAIN = 0.2
"""Of a sphere, below which frequencies are not brought back in full."""


def clean(mean: np.ndarray, fwhm: np.ndarray) -> np.ndarray:
    """The part of a mean that is light, not negative, zero at the border of its box.

    Light is what rises above the noise after smoothing, in one piece with the peak.
    There, details are kept as far as they exceed the noise about them (Lee's filter):
    else noise that is cut at zero would add light all over the box.

    References:
        Lee, IEEE Trans. Pattern Anal. Mach. Intell. 2, 165 (1980),
        doi:10.1109/TPAMI.1980.4766994.
    """
    from scipy import ndimage

    outer = shell(mean.shape)
    sigma = SMOOTHED * np.asarray(fwhm)
    smooth = ndimage.gaussian_filter(mean, sigma, mode="nearest")
    noise = noise_of(mean, outer)
    local = ndimage.gaussian_filter(mean**2, sigma, mode="nearest") - smooth**2
    detail = np.clip((local - noise**2) / np.maximum(local, 1e-30), 0, 1)
    left = float(np.prod(1 / np.sqrt(2 * np.sqrt(np.pi) * np.maximum(sigma, 0.3))))
    light = smooth > SIGNIFICANT * noise * min(left, 1)
    labels, _ = ndimage.label(light)  # pyright: ignore[reportGeneralTypeIssues]
    peak = np.unravel_index(int(np.argmax(mean)), mean.shape)
    light = ndimage.binary_dilation(labels == labels[peak]) if light[peak] else light
    result = (smooth + detail * (mean - smooth)) * _taper(mean.shape)
    return np.where(light, np.maximum(result, 0), 0).astype(np.float32)


def noise_of(mean: np.ndarray, where: np.ndarray) -> float:
    """Standard deviation of noise, from differences of neighbours along x.

    The tails of a PSF are smooth, and are none.
    """
    steps = (mean[..., 1:] - mean[..., :-1])[where[..., 1:] & where[..., :-1]]
    return 1.4826 / np.sqrt(2) * float(np.median(abs(steps))) if steps.size else 0.0


def _taper(shape: Sequence[int]) -> np.ndarray:
    """One inside, a quarter of a wave down to zero beyond the border, per axis."""
    result = np.ones((), np.float32)
    for n in shape:
        depth = min(np.ceil(TAPER * n), (n - 1) // 2)
        edge = np.minimum(np.arange(n), np.arange(n)[::-1]) + 1
        line = np.sin(np.pi / 2 * np.minimum(edge / (depth + 1), 1)) ** 2
        result = np.multiply.outer(result, line.astype(np.float32))
    return result


def sphere_otf(
    shape: Sequence[int], voxel_size: Sequence[float] | np.ndarray, diameter: float
) -> np.ndarray:
    """Transform of a uniformly dyed sphere at the frequencies of `rfftn`: 1 at zero.

    In 2D that of its projection, which has the same transform.

    Args:
        shape: of the box.
        voxel_size: per axis, in the unit of `diameter`.
        diameter: of the sphere.
    """
    q = otf_argument(shape, voxel_size, diameter)
    near = q < 1e-2
    safe = np.where(near, 1, q)
    far = 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3
    return np.where(near, 1 - q**2 / 10, far)


def without_sphere(
    psf: np.ndarray,
    voxel_size: Sequence[float] | np.ndarray,
    diameter: float,
    noise: float,
) -> np.ndarray:
    """The PSF of a point from that of a sphere, peak 1: an inverse with noise in mind.

    Every frequency is divided by the transform of the sphere, and shrunk by the share
    of it that is noise (Wiener). What the sphere hides, frequencies beyond the first
    zero of its transform, is not made up.

    Args:
        psf: of the sphere, its peak 1.
        voxel_size: per axis.
        diameter: in the same unit.
        noise: standard deviation of the noise in `psf`.
    """
    from scipy import fft, ndimage

    otf = sphere_otf(psf.shape, voxel_size, diameter)
    spectrum: Any = fft.rfftn(psf.astype(float))
    power = ndimage.uniform_filter(abs(spectrum) ** 2, size=3, mode="nearest")
    certain = np.maximum(1 - noise**2 * psf.size / np.maximum(power, 1e-30), 0)
    gain = np.where(otf > 0, certain / np.maximum(otf, LEAST_GAIN), 0)
    gain[otf_argument(psf.shape, voxel_size, diameter) > FIRST_ZERO] = 0
    result: Any = fft.irfftn(spectrum * gain, psf.shape)
    return np.where(psf > 0, np.maximum(result, 0), 0).astype(np.float32)


def otf_argument(
    shape: Sequence[int], voxel_size: Sequence[float] | np.ndarray, diameter: float
) -> np.ndarray:
    """Pi times diameter times spatial frequency, at the frequencies of `rfftn`."""
    axes = [np.fft.fftfreq(n, s) for n, s in zip(shape, voxel_size, strict=True)]
    axes[-1] = np.fft.rfftfreq(shape[-1], voxel_size[-1])
    squares = (k**2 for k in np.meshgrid(*axes, indexing="ij", sparse=True))
    return np.pi * diameter * np.sqrt(sum(squares, np.zeros(())))
