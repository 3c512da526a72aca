"""Local shifts between large views, all over, and what they agree on."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..fourier import filter_real, transfer_function
from ..fusion._part import Box, show
from ..geometry._warp import overlap
from ..registration._field import Field, fit_field, fit_pose
from ..registration._pairs import register_pairs
from ._blocks import Block, Region, Shape
from ._fuse_blocks import Fuse

EDGE = 64
"""Voxels of the regions that are compared."""
MOST_POINTS = 4096
"""Regions that are compared, at most: further apart where a volume is larger."""
SPACING = 64
"""Voxels between them."""
SEARCH = 5
"""Voxels that a local shift may be away from the coarse pose."""
BATCH = 16
LEAST_SEEN = 0.7
"""Of a region, the share that both views show."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalShifts:
    """What regions say: the second view fits better if shifted, in voxels of the grid.

    Attributes:
        points: (n, 3) middles of the regions.
        shifts: (n, 3).
        covariances: (n, 3, 3).
        usable: (n,) whether there is anything to go by.
        spacing: voxels between regions.
    """

    points: np.ndarray
    shifts: np.ndarray
    covariances: np.ndarray
    usable: np.ndarray
    spacing: float


def local_shifts(operation: Fuse, index: Shape, psfs: Any) -> list[LocalShifts]:
    """Of every view but the first: its shifts against that.

    Both are shown on the grid by the poses known so far, each blurred by the other's
    PSF, and registered region by region.

    Args:
        operation: with those poses.
        index: of the leading axes.
        psfs: of the views, on the grid; None: blur is left as it is.
    """
    spacing, regions = _regions(operation.shape)
    shape = tuple(min(EDGE, n) for n in operation.shape)
    found: list[list[Any]] = [[] for _ in operation.views[1:]]
    for batch in _batches(regions, BATCH):
        shown = [_shown(operation, index, region, psfs) for region in batch]
        for view, parts in enumerate(found):
            fixed = jnp.stack([crops[view][0] for crops in shown])
            moving = jnp.stack([crops[view][1] for crops in shown])
            seen = np.array([float(crops[view][2]) for crops in shown])
            result = register_pairs(fixed, moving, search=SEARCH)
            usable = np.asarray(result.usable) & (seen > LEAST_SEEN)
            parts.append(
                (np.asarray(result.shift), np.asarray(result.covariance), usable)
            )
    points = np.array([[a for a, _ in region] for region in regions], float)
    points += (np.array(shape) - 1) / 2
    merged = [[np.concatenate(part) for part in zip(*v, strict=True)] for v in found]
    return [
        LocalShifts(
            points=points,
            shifts=shifts[: len(points)],
            covariances=covariances[: len(points)],
            usable=usable[: len(points)],
            spacing=spacing,
        )
        for shifts, covariances, usable in merged
    ]


def better_poses(operation: Fuse, shifts: list[LocalShifts], model: str) -> np.ndarray:
    """Poses, from the first view's voxels, after what the local shifts agree on."""
    poses = [operation.poses[0]]
    back = np.linalg.inv(operation.grid.matrix)
    for matrix, found in zip(operation.matrices[1:], shifts, strict=True):
        change = fit_pose(
            found.points, found.shifts, found.covariances, found.usable, model=model
        )
        poses.append(matrix @ change @ back)
    return np.stack(poses)


def fields(operation: Fuse, shifts: list[LocalShifts]) -> tuple[Field | None, ...]:
    """One smooth displacement field per view; None for the first."""
    found = [
        fit_field(
            one.points,
            one.shifts,
            one.covariances,
            one.usable,
            shape=operation.shape,
            spacing=one.spacing,
        )
        for one in shifts
    ]
    return (None, *found)


def _regions(shape: Shape) -> tuple[float, list[Region]]:
    """Regions evenly spread over a grid, and how far they are apart."""
    sizes = [min(EDGE, n) for n in shape]
    spacing = float(SPACING)
    while math.prod(max(n / spacing, 1) for n in shape) > MOST_POINTS:
        spacing *= 1.25
    starts = []
    for n, size in zip(shape, sizes, strict=True):
        count = max(round((n - size) / spacing), 0) + 1
        starts.append(np.linspace(0, n - size, count).round().astype(int))
    corners = itertools.product(*starts)
    return spacing, [
        tuple((int(a), int(a) + s) for a, s in zip(corner, sizes, strict=True))
        for corner in corners
    ]


def _batches(regions: list[Region], size: int) -> Iterator[list[Region]]:
    """Regions, `size` at a time; the last is filled up, so that all compile alike."""
    size = min(size, len(regions))
    for first in range(0, len(regions), size):
        batch = regions[first : first + size]
        yield batch + [batch[-1]] * (size - len(batch))


def _shown(operation: Fuse, index: Shape, region: Region, psfs: Any):
    """The first view and each other one in a region, and the share that both show."""
    block = Block(number=0, index=index, core=region, read=region)
    first, *others = operation.read(block)
    shapes = [view.shape for view in operation.views]
    pairs = []
    for i, other in enumerate(others, 1):
        blurs = (None, None) if psfs is None else (psfs[i], psfs[0])
        pairs.append(
            _pair(
                first,
                other,
                *blurs,
                shape=block.read_shape,
                shapes=(shapes[0], shapes[i]),
            )
        )
    return pairs


@functools.partial(jax.jit, static_argnames=("shape", "shapes"))
def _pair(first: Box, other: Box, blur: Any, other_blur: Any, *, shape, shapes):
    crops, inside = [], jnp.asarray(True)
    pairs = zip((first, other), (blur, other_blur), shapes, strict=True)
    for box, psf, view_shape in pairs:
        data = box.data.astype(jnp.float32)
        crop = show(data, box.matrix, shape, None)
        if psf is not None:
            crop = filter_real(crop, transfer_function(jnp.asarray(psf), shape))
        whole = box.matrix.at[:-1, -1].add(box.start)
        inside = inside & overlap(view_shape, whole, shape)
        crops.append(crop)
    return *crops, inside.mean()
