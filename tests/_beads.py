"""Simulated images of beads with PSFs, places and faults that are known."""

import numpy as np

from jaxdecon.psf import FWHM_PER_SIGMA


def gaussian_beads(shape, positions, widths, heights, *, background=100.0, seed=0):
    """Gaussians sampled at any places, with Poisson noise.

    `widths` (FWHM, voxels) has one row per bead, or is one for all.
    """
    image = np.broadcast_to(background, shape).astype(float)
    widths = np.broadcast_to(widths, np.shape(positions))
    for place, width, height in zip(positions, widths, heights, strict=True):
        lines = [
            np.exp(-0.5 * ((np.arange(n) - p) * FWHM_PER_SIGMA / w) ** 2)
            for n, p, w in zip(shape, place, width, strict=True)
        ]
        bead = lines[0]
        for line in lines[1:]:
            bead = np.multiply.outer(bead, line)
        image = image + height * bead
    return np.random.default_rng(seed).poisson(image)


def places_in_plane(shape, step, seed=0, margin=8):
    """Beads on a jittered lattice of the last two axes, (n, 2)."""
    rng = np.random.default_rng(seed)
    lines = [np.arange(margin, n - margin + 1, step) for n in shape[-2:]]
    grid = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)
    return grid + rng.uniform(-1.5, 1.5, grid.shape)


def curved_field(shape=(24, 100, 100), step=14, sag=3.0, tilt=(0.8, -0.5), seed=0):
    """Beads on a curved, tilted surface, ever wider towards the right.

    Returns the image, positions, and the FWHM (x) as a function of the place along x.
    """
    across = places_in_plane(shape, step, seed)
    centre = (np.array(shape[1:]) - 1) / 2
    r = (across - centre) / centre
    depth = (shape[0] - 1) / 2 + sag * (r**2).sum(1) / 2 + r @ np.array(tilt)
    positions = np.column_stack([depth, across])

    def width(x):
        return 3.0 + 1.5 * np.asarray(x) / shape[2]

    flat = np.ones(len(positions))
    widths = np.stack([4.5 * flat, 3.0 * flat, width(positions[:, 2])], 1)
    heights = np.random.default_rng(seed + 1).uniform(1500, 4000, len(positions))
    image = gaussian_beads(shape, positions, widths, heights, seed=seed)
    return image, positions, width
