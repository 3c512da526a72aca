"""A simulated pair of views from the side of each other, of which all is known."""

import functools

import numpy as np
import scipy.ndimage

import jaxdecon as jd
from jaxdecon.geometry import Transform

SHAPE = (40, 48, 44)
LONG, SHORT = 6.0, 2.0
BACKGROUND = 100.0


@functools.cache
def make(shift=(1.6, -2.3, 0.7), turn=(0.02, -0.03, 0.01), photons=400, seed=0):
    """(truth, [views], [PSFs], matrix of the second in the first); as it is recorded.

    Structures are made once and blurred, so that nothing is interpolated: the second
    view is the truth in its pose, drawn there from the places of its points.
    """
    rng = np.random.default_rng(seed)
    places = np.stack([rng.uniform(6, n - 7, 90) for n in SHAPE], 1)
    heights = rng.uniform(0.2, 1, len(places))
    centre = (np.array(SHAPE) - 1) / 2
    pose = Transform(
        parameters=np.array([*turn, *shift], np.float32), centre=centre, model="rigid"
    )
    matrix = np.asarray(pose.matrix, float)
    psfs = [
        np.asarray(jd.psf.gaussian((25, 13, 13), (LONG, SHORT, SHORT))),
        np.asarray(jd.psf.gaussian((13, 13, 25), (SHORT, SHORT, LONG))),
    ]
    truth = points(places, heights, SHAPE)
    moved = points(places @ matrix[:3, :3].T + matrix[:3, 3], heights, SHAPE)
    views = []
    for scene, psf in zip((truth, moved), psfs, strict=True):
        blurred = scipy.ndimage.convolve(scene, psf, mode="constant")
        blurred *= photons / blurred.max()
        views.append(rng.poisson(blurred) + rng.normal(BACKGROUND, 2, SHAPE))
    return truth, [v.astype(np.float32) for v in views], psfs, matrix


def points(places, heights, shape, width=0.8):
    """Small Gaussian specks at any places."""
    volume = np.zeros(shape, np.float32)
    for place, height in zip(places, heights, strict=True):
        near = [
            slice(max(round(p) - 7, 0), round(p) + 8) for p in place
        ]  # beyond lies less than 1e-16 of the height
        axes = [np.arange(n)[part] for n, part in zip(shape, near, strict=True)]
        lines = [
            np.exp(-0.5 * ((a - p) / width) ** 2)
            for a, p in zip(axes, place, strict=True)
        ]
        volume[tuple(near)] += height * np.einsum("i,j,k->ijk", *lines)
    return volume


def ncc(image, truth):
    return np.corrcoef(np.ravel(image), np.ravel(truth))[0, 1]
