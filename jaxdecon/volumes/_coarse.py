"""Coarse copies of sources, that are looked at as a whole."""

import dataclasses
import math

import numpy as np

from ..io import Image
from ..io._pyramid import bin_volume
from ._blocks import Shape
from ._source import Source

SLAB = 2**26
"""Voxels that are read at a time."""


@dataclasses.dataclass(frozen=True)
class Coarse:
    """A volume of means.

    Attributes:
        volume: float32.
        step: voxels of the source per voxel, along every axis.
    """

    volume: np.ndarray
    step: Shape

    @property
    def matrix(self) -> np.ndarray:
        """From its voxels to those of the source."""
        matrix = np.diag([*map(float, self.step), 1.0])
        matrix[:-1, -1] = (np.array(self.step) - 1) / 2
        return matrix


def coarse_copy(source: Source, index: Shape, most_voxels: int) -> Coarse:
    """The finest copy of a volume with at most so many voxels.

    From the source's pyramid where it has one, else binned while all is read once.

    Args:
        source: of the volume.
        index: of its leading axes.
        most_voxels: of the copy.
    """
    step = coarse_step(source.image, most_voxels)
    found = _from_pyramid(source, index, most_voxels)
    if found is not None and math.prod(found.step) <= 8 * math.prod(step):
        return found
    parts = []
    for start, stop in _slabs(source.shape):
        region = ((start, stop), *((0, n) for n in source.shape[1:]))
        slab = source.read(index, region).astype(np.float32)
        parts.append(bin_volume(slab, (1, *step[1:])))
    thin = np.concatenate(parts)  # binned in plane; now along the first axis
    return Coarse(bin_volume(thin, (step[0], *(1,) * (len(step) - 1))), step)


def coarse_step(image: Image, most_voxels: int) -> Shape:
    """Steps that leave at most so many voxels, the finest axes reduced first."""
    size = np.array([s or 1.0 for s in image.voxel_size])
    step = np.ones(len(size), int)
    shape = np.array(image.volume_shape)
    while math.prod(-(-shape // step)) > most_voxels:
        grain = np.where(shape // step > 1, size * step, np.inf)
        step[int(np.argmin(grain))] += 1
    return tuple(int(s) for s in step)


def _from_pyramid(source: Source, index: Shape, most_voxels: int) -> Coarse | None:
    for image, step in source.levels():
        if math.prod(image.volume_shape) <= most_voxels:
            return Coarse(image.volume(index).astype(np.float32), step)
    return None


def _slabs(shape: Shape) -> list[tuple[int, int]]:
    """Ranges of the first axis."""
    planes = max(SLAB // math.prod(shape[1:]), 1)
    return [(a, min(a + planes, shape[0])) for a in range(0, shape[0], planes)]


def to_full(matrix: np.ndarray, first: Coarse, other: Coarse) -> np.ndarray:
    """A pose between coarse copies as one between their sources."""
    return other.matrix @ matrix @ np.linalg.inv(first.matrix)


def to_coarse(matrix: np.ndarray, first: Coarse, other: Coarse) -> np.ndarray:
    """A pose between sources as one between their coarse copies."""
    return np.linalg.inv(other.matrix) @ matrix @ first.matrix
