"""Three kinds of object, as a microscope sees them: cut from larger ones."""

import numpy as np

import jaxdecon as jd

BACKGROUND = 5.0


def blobs(shape, rng):
    """Round specks of some five voxels, of different brightness."""
    truth = np.zeros(shape, np.float32)
    count = truth.size // 2000
    where = tuple(rng.integers(0, n, count) for n in shape)
    truth[where] = rng.uniform(100, 1000, count)
    return truth, 2.5


def filaments(shape, rng):
    """Thin curved lines across the volume."""
    truth = np.zeros(shape, np.float32)
    along = np.linspace(-0.2, 1.2, 6 * max(shape))[:, None]
    for _ in range(max(6, truth.size // 12000)):
        start, slope, bend = (rng.uniform(low, 1, 3) for low in (0, -1, -1))
        line = start + slope * (along - 0.5) + bend * (along - 0.5) ** 2
        index = np.round(line * np.array(shape)).astype(int)
        inside = ((index >= 0) & (index < shape)).all(1)
        truth[tuple(index[inside].T)] += rng.uniform(0.5, 1.5)
    return truth, 1.8


def cells(shape, rng):
    """Filled ellipsoids with holes and a rough inside, beside and over each other."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    truth = np.zeros(shape, np.float32)
    for _ in range(max(4, truth.size // 40000)):
        centre = rng.uniform(0, shape)
        radii = rng.uniform(8, 16, 3)
        r = np.sqrt((((grid - centre) / radii) ** 2).sum(-1))
        truth += (r < 1) * rng.uniform(0.5, 1.0)
        hole = centre + rng.uniform(-0.4, 0.4, 3) * radii
        truth *= (((grid - hole) / (0.25 * radii)) ** 2).sum(-1) > 1
    return truth * rng.gamma(2.0, 0.5, shape).astype(np.float32), 1.8


OBJECTS = {"blobs": blobs, "filaments": filaments, "cells": cells}


def make(kind, size, peak, seed=0, width=(6.0, 3.0, 3.0)):
    """(truth, PSF, counts): `peak` photons in the brightest voxel, and a background.

    The image is cut from one that is larger by the PSF, so that light enters it from
    outside.
    """
    rng = np.random.default_rng(seed)
    psf = np.asarray(jd.psf.gaussian(tuple(4 * int(w) + 1 for w in width), width))
    margin = [m - 1 for m in psf.shape]
    large = tuple(size + m for m in margin)
    sharp, smooth = OBJECTS[kind](large, rng)
    truth = _blur(sharp, jd.psf.gaussian((9, 9, 9), smooth))
    inside = tuple(slice(m // 2, m // 2 + size) for m in margin)
    truth, clean = truth[inside], _blur(truth, psf)[inside]
    scale = peak / clean.max()
    image = rng.poisson(scale * clean + BACKGROUND).astype(np.float32)
    return scale * truth, psf, image


def _blur(volume, psf):
    blur = jd.operators.Convolution.from_psf(psf, volume.shape, boundary="periodic")
    return np.maximum(np.asarray(blur(volume)), 0)
