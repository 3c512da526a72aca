"""Simulated tiles of a mosaic: a specimen that can be seen from anywhere, exactly."""

import dataclasses

import numpy as np

BACKGROUND = 100.0


class Specimen:
    """Gaussian blobs along random filaments, rendered without resampling."""

    def __init__(self, extent, seed=0, filaments=60, steps=40):
        rng = np.random.default_rng(seed)
        begin = rng.uniform(-10, np.array(extent) + 10, (filaments, 1, 3))
        turns = rng.normal(size=(filaments, steps, 3)).cumsum(1) * 0.25
        turns += rng.normal(size=(filaments, 1, 3))
        turns /= np.linalg.norm(turns, axis=-1, keepdims=True)
        self.places = (begin + 2.5 * turns.cumsum(1)).reshape(-1, 3)
        self.heights = np.repeat(rng.uniform(0.3, 1, filaments), steps)
        self.width = 1.7

    def image(self, origin, shape):
        """What a stack of a shape shows whose first voxel is at an origin."""
        volume = np.zeros(shape)
        reach = int(np.ceil(5 * self.width))
        there = self.places - np.asarray(origin, float)
        near = ((there > -reach) & (there < np.array(shape) + reach)).all(1)
        for place, height in zip(there[near], self.heights[near], strict=True):
            low = np.maximum(np.floor(place).astype(int) - reach, 0)
            high = np.minimum(np.floor(place).astype(int) + reach + 1, shape)
            if (high <= low).any():
                continue
            lines = [
                np.exp(-0.5 * ((np.arange(a, b) - p) / self.width) ** 2)
                for a, b, p in zip(low, high, place, strict=True)
            ]
            z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
            volume[z, y, x] += height * np.einsum("i,j,k->ijk", *lines)
        return volume


@dataclasses.dataclass
class Mosaic:
    """Tiles, where they are said to be, and what is true of them."""

    stacks: list
    nominal: np.ndarray
    truth: np.ndarray
    gains: np.ndarray
    shading: np.ndarray
    shape: tuple
    empty: tuple


def shading(shape, depth=0.12):
    """(y, x) factor that falls towards the corners, its geometric mean 1."""
    y, x = np.meshgrid(
        *(2 * (np.arange(n) + 0.5) / n - 1 for n in shape), indexing="ij"
    )
    logarithm = -depth * (y**2 + x**2) + 0.3 * depth * y * x
    return np.exp(logarithm - logarithm.mean())


def simulate(
    grid=(1, 3, 3),
    shape=(16, 80, 88),
    overlap=36,
    jitter=(3, 10, 10),
    photons=60.0,
    dim=8.0,
    empty=(),
    seed=0,
):
    """A grid of tiles with stage errors, photon noise, gains, shading, empty ones."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(grid))
    steps = np.array(shape) - [min(overlap, shape[0] // 2), overlap, overlap]
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1)
    nominal = places.reshape(-1, 3) * steps.astype(float)
    truth = nominal + rng.uniform(-1, 1, nominal.shape) * jitter
    extent = nominal.max(0) + shape
    volume = float(np.prod(extent + 20))
    specimen = Specimen(extent, seed, filaments=int(volume / 12_000))
    gains = np.exp(rng.uniform(-0.1, 0.1, count))
    field = shading(shape[1:])
    stacks = []
    for n in range(count):
        seen = np.zeros(shape) if n in empty else specimen.image(truth[n], shape)
        counts = rng.poisson((photons * seen + dim) * gains[n] * field)
        stacks.append(np.round(BACKGROUND + 4 * counts).astype(np.uint16))
    return Mosaic(stacks, nominal, truth, gains, field, shape, tuple(empty))


def position_error(found, mosaic, skip=()):
    """Largest difference per axis, after the common shift is removed."""
    kept = [n for n in range(len(mosaic.truth)) if n not in skip]
    difference = np.asarray(found)[kept] - mosaic.truth[kept]
    return abs(difference - difference.mean(0)).max()
