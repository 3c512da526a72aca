"""Voxels that are no data: hot, saturated, masked."""

from collections.abc import Iterator

import numpy as np

from ._light import Light

HOT_FACTOR, HOT_ERRORS = 3.0, 10.0
"""A voxel is hot if it sticks out of its neighbours by this factor more than the PSF
itself does, and by this many standard errors."""
LEAST_SATURATED, LEAST_PEAK = 1e-3, 50.0
"""Share of the voxels at the maximum, and photons there, that mean saturation."""
LEAST_ZEROS, GAP, LEAST_PHOTONS = 0.01, 0.2, 10.0
"""Share of voxels that are exactly zero, and where the others begin, as a share of the
median and at least, that mean a mask."""


def defects(image: np.ndarray, psf: np.ndarray, light: Light) -> Iterator[str]:
    """What in an image is no light through a PSF."""
    hot = hot_voxels(image, psf, light)
    if hot:
        yield (
            f"{hot} voxel{'s stick' if hot > 1 else ' sticks'} out of the neighbours "
            f"more than light through this PSF can: hot pixels? Replace them by the "
            f"median of their neighbours, or they mislead every choice"
        )
    highest = image.max()
    share = np.mean(image == highest)
    if share > LEAST_SATURATED and light.peak > LEAST_PEAK:
        yield (
            f"{share:.1%} of the voxels have the largest value, {highest:.6g}: "
            f"saturated? What was cut off cannot be restored"
        )
    zeros = np.mean(image == 0)
    if LEAST_ZEROS < zeros < 1:
        least = image[image != 0].min()
        photons = (least - light.camera.offset) / light.camera.gain
        if least > GAP * np.median(image) and max(photons, least) > LEAST_PHOTONS:
            yield (
                f"{zeros:.1%} of the voxels are exactly 0, and no other is below "
                f"{least:.6g}: masked? Crop them away"
            )


def hot_voxels(image: np.ndarray, psf: np.ndarray, light: Light) -> int:
    """How many voxels no light through the PSF can have made so bright alone."""
    centre = tuple(n // 2 for n in psf.shape)
    neighbours = _largest_neighbour(psf)[centre]
    steepest = psf[centre] / max(neighbours, 1e-12)
    above = (image - light.background) / light.camera.gain
    around = np.maximum(_largest_neighbour(above), 0)
    noise = np.sqrt(np.maximum(above, 0) + light.dark + 1)
    allowed = HOT_FACTOR * steepest * (around + HOT_ERRORS * np.sqrt(around + 1))
    return int(np.sum((above > allowed) & (above > HOT_ERRORS * noise)))


def _largest_neighbour(volume: np.ndarray) -> np.ndarray:
    """Of the next voxels along every axis, the largest."""
    found = np.full(volume.shape, -np.inf)
    for axis in range(volume.ndim):
        line, value = np.moveaxis(found, axis, 0), np.moveaxis(volume, axis, 0)
        line[1:] = np.maximum(line[1:], value[:-1])
        line[:-1] = np.maximum(line[:-1], value[1:])
    return found
