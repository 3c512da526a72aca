"""Centre, height and widths of a bright spot."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ._gaussian import FWHM_PER_SIGMA

CORE = 0.75
"""Radius of the part that is fitted, FWHM: there a PSF is much like a Gaussian."""
LEAST_RADIUS = 1.5
"""The same in voxels: enough of them for a fit, however narrow the spot."""
DARK = 0.05
"""Of the height: what is darker does not count, since its logarithm is noise."""


def fit_spot(
    image: np.ndarray,
    peak: Sequence[int] | np.ndarray,
    fwhm: Sequence[float] | np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Height, centre and widths of a spot: a Gaussian fitted to its core.

    The logarithm is fitted by a parabola along every axis, with the intensities as
    weights, so that noise in dark voxels counts little.

    Args:
        image: without background.
        peak: the brightest voxel, roughly.
        fwhm: expected, voxels.

    Returns:
        Height, centre (ndim,), FWHM (ndim,). The widths are NaN, and the rest is that
        of the voxel, where no maximum is.
    """
    values, offsets = _core(image, peak, fwhm)
    height = float(image[tuple(peak)])
    failed = height, np.asarray(peak, float), np.full(image.ndim, math.nan)
    if not height > 0:
        return failed
    share = np.maximum(values / height, DARK)
    columns = np.concatenate([np.ones((1, share.size)), offsets, offsets**2]).T
    coefficients, *_ = np.linalg.lstsq(
        columns * share[:, None], np.log(share) * share, rcond=None
    )
    slopes, curvatures = np.split(coefficients[1:], 2)
    if not (curvatures < 0).all():
        return failed
    shift = -slopes / (2 * curvatures)
    if (abs(shift) > np.maximum(CORE * np.asarray(fwhm), LEAST_RADIUS)).any():
        return failed
    top = height * math.exp(coefficients[0] + slopes @ shift / 2)
    return top, np.asarray(peak) + shift, FWHM_PER_SIGMA / np.sqrt(-2 * curvatures)


def core_light(image: np.ndarray, peak: np.ndarray, fwhm: np.ndarray) -> float:
    """Sum over the core of a spot over the square root of its number of voxels.

    It has the noise of a single voxel.
    """
    values, _ = _core(image, peak, fwhm)
    return float(values.sum() / np.sqrt(values.size))


def _core(
    image: np.ndarray,
    peak: Sequence[int] | np.ndarray,
    fwhm: Sequence[float] | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of an ellipsoid about the peak, and their places relative to that."""
    radius = np.maximum(CORE * np.asarray(fwhm), LEAST_RADIUS)
    reach = np.floor(radius).astype(int)
    lines = [
        np.arange(max(p - r, 0), min(p + r + 1, n)) - p
        for p, r, n in zip(peak, reach, image.shape, strict=True)
    ]
    grid = np.stack(np.meshgrid(*lines, indexing="ij")).reshape(image.ndim, -1)
    inside = ((grid / radius[:, None]) ** 2).sum(0) <= 1
    grid = grid[:, inside]
    return image[tuple(grid + np.asarray(peak)[:, None])].astype(float), grid


def ellipse(
    psf: np.ndarray, voxel_size: Sequence[float] | np.ndarray
) -> tuple[float, float, float, float]:
    """The waist of a PSF: a tilted Gaussian fitted to the core of its central plane.

    Args:
        psf: centred on n // 2, (z, y, x) or (y, x).
        voxel_size: per axis of `psf`, any unit.

    Returns:
        Long and short FWHM in that unit, angle of the long one from x towards y
        (radians, above -pi/2 to pi/2), and the asymmetry: the difference to the plane
        turned by half a turn, as a share, in Euclidean norm.
    """
    plane = psf[psf.shape[0] // 2] if psf.ndim == 3 else psf
    peak = tuple(n // 2 for n in plane.shape)
    widths = fit_spot(plane, peak, (3.0, 3.0))[2]
    values, offsets = _core(plane, peak, np.nan_to_num(widths, nan=3.0))
    y, x = offsets * np.asarray(voxel_size[-2:])[:, None]
    share = np.maximum(values / values.max(), DARK)
    columns = np.stack([np.ones_like(y), y, x, y * y, x * x, x * y], -1)
    fitted, *_ = np.linalg.lstsq(
        columns * share[:, None], np.log(share) * share, rcond=None
    )
    _, _, _, yy, xx, xy = fitted
    curvature = -2 * np.array([[yy, xy / 2], [xy / 2, xx]])
    values, axes = np.linalg.eigh(curvature)
    if not values[0] > 0:
        return math.nan, math.nan, math.nan, _asymmetry(plane)
    angle = math.atan2(axes[0, 0], axes[1, 0])
    angle -= math.pi * round(angle / math.pi)
    long, short = FWHM_PER_SIGMA / np.sqrt(values)
    return float(long), float(short), angle, _asymmetry(plane)


def _asymmetry(plane: np.ndarray) -> float:
    """Distance of a plane to itself turned about n // 2, as a share of its norm."""
    reach = min((n - 1) // 2 for n in plane.shape)
    middle = tuple(slice(n // 2 - reach, n // 2 + reach + 1) for n in plane.shape)
    part = plane[middle]
    return float(np.linalg.norm(part - part[::-1, ::-1]) / np.linalg.norm(part))


def line_widths(
    image: np.ndarray,
    peak: Sequence[int] | np.ndarray,
    reach: Sequence[int] | np.ndarray,
) -> list[float]:
    """FWHM of the lines through a peak, NaN where they do not fall to half."""
    widths = []
    for axis, (p, r) in enumerate(zip(peak, reach, strict=True)):
        others = (slice(None) if a == axis else q for a, q in enumerate(peak))
        line = image[tuple(others)]
        sides = line[p : p + r + 1], line[p::-1][: r + 1]
        widths.append(sum(_half(side, line[p] / 2) for side in sides))
    return widths


def _half(side: np.ndarray, half: float) -> float:
    """Distance at which a line falls below a value."""
    for k, (upper, lower) in enumerate(itertools.pairwise(side)):
        if lower < half:
            return k + float((upper - half) / (upper - lower))
    return math.nan
