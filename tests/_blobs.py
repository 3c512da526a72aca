"""Blobs that can be seen in any pose, and how far off a pose is."""

import jax.numpy as jnp
import numpy as np

from jaxdecon.geometry import Transform

SHAPE = (40, 48, 44)


class Blobs:
    """A scene of Gaussian blobs that can be seen in any pose, without resampling."""

    def __init__(self, seed=0, count=250, ndim=3):
        rng = np.random.default_rng(seed)
        self.places = rng.uniform(-12, 62, (count, ndim))
        self.widths = rng.uniform(1.5, 3.0, count)
        self.heights = rng.uniform(0.3, 1.0, count)

    def image(self, shape, matrix, noise=0.01, seed=0):
        """The volume whose voxel `matrix @ p` shows what is at the place p."""
        there = self.places @ matrix[:-1, :-1].T + matrix[:-1, -1]
        pull = np.linalg.inv(matrix)[:-1, :-1]
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        volume = np.zeros(shape)
        for place, width, height in zip(there, self.widths, self.heights, strict=True):
            low = np.floor(place - 4.5 * width * 1.4).astype(int)
            high = np.ceil(place + 4.5 * width * 1.4).astype(int) + 1
            box = tuple(
                slice(max(a, 0), min(b, n))
                for a, b, n in zip(low, high, shape, strict=True)
            )
            if any(s.start >= s.stop for s in box):
                continue
            offset = (grid[box] - place) @ pull.T
            volume[box] += height * np.exp(-0.5 * (offset**2).sum(-1) / width**2)
        rng = np.random.default_rng(seed + 100)
        return (volume + noise * rng.normal(size=shape)).astype(np.float32)


def pose(model, seed=0, angle=0.12, shift=3.0, ndim=3):
    """A matrix of a model about the centre of the fixed volume."""
    rng = np.random.default_rng(seed)
    centre = (np.array(SHAPE[:ndim]) - 1) / 2
    zero = Transform.identity(model, centre)
    values = angle * rng.uniform(-1, 1, zero.parameters.size) / 2
    if model not in ("translation", "affine"):
        turns = 3 if ndim == 3 else 1
        direction = rng.normal(size=turns)
        values[:turns] = angle * direction / np.linalg.norm(direction)
    values[-ndim:] = shift * rng.uniform(-1, 1, ndim)
    found = Transform(parameters=jnp.asarray(values), centre=zero.centre, model=model)
    return np.asarray(found.matrix, float)


def corner_error(found, truth, shape=SHAPE):
    corners = np.array(np.meshgrid(*((0.0, n - 1.0) for n in shape))).reshape(
        len(shape), -1
    )
    difference = np.asarray(found, float) - truth
    moved = difference[:-1, :-1] @ corners + difference[:-1, -1:]
    return np.linalg.norm(moved, axis=0).mean()
