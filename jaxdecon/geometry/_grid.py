"""Grids of voxels in the place of others: isotropic, common to several, deskewed."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_positive, check_shape
from ._matrix import check_matrix, scaling

REGIONS = ("first", "union", "intersection")
ROUNDING = 1e-4
"""Voxels by which a grid may fall short of a border."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid of voxels, and where it lies in a volume.

    Attributes:
        shape: in voxels.
        voxel_size: one per axis, µm, or in the units of the sizes given.
        matrix: (d + 1, d + 1), from the grid's voxels to those of the volume, so that
            `warp(volume, grid.matrix, grid.shape)` shows the volume on the grid.
    """

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    matrix: np.ndarray


def common_grid(
    shapes: Sequence[Sequence[int]],
    matrices: Sequence[ArrayLike],
    *,
    voxel_sizes: Sequence[float | Sequence[float] | None] | None = None,
    region: str = "first",
    voxel_size: float | None = None,
) -> Grid:
    """The isotropic grid on which views of a specimen are fused.

    It has the orientation of the first view, and voxels whole steps away from the first
    of it. Regions are boxes: of a view that is turned, the box about it.

    Args:
        shapes: of the views.
        matrices: from voxels of the first view to those of each, the first included.
        voxel_sizes: of every view, one number or one per axis; None: alike, and cubes.
        region: "first": where the first view is; "union": where any view is;
            "intersection": where all are.
        voxel_size: of the grid, along all axes; None: the smallest of the first view.

    Raises:
        ValueError: an unknown region; numbers of shapes, matrices and sizes that
            differ; views that have no common region.

    Example:
        >>> import numpy as np
        >>> from jaxdecon import geometry
        >>> grid = geometry.common_grid(
        ...     [(5, 16, 16)], [np.eye(4)], voxel_sizes=[(1.0, 0.25, 0.25)])
        >>> grid.shape, grid.voxel_size
        ((17, 16, 16), (0.25, 0.25, 0.25))
    """
    check_choice("region", region, REGIONS)
    shapes = [check_shape("shapes", shape) for shape in shapes]
    sizes = [None] * len(shapes) if voxel_sizes is None else list(voxel_sizes)
    if not len(shapes) == len(matrices) == len(sizes) > 0:
        raise ValueError(
            f"there are {len(shapes)} `shapes`, {len(matrices)} `matrices` and "
            f"{len(sizes)} `voxel_sizes`; one of each per view is needed."
        )
    ndim = len(shapes[0])
    to_space = scaling("voxel_sizes[0]", sizes[0], ndim)
    step = float(np.diag(to_space)[:-1].min()) if voxel_size is None else voxel_size
    check_positive("voxel_size", step)
    boxes = []
    for shape, matrix in zip(shapes, matrices, strict=True):
        back = to_space @ np.linalg.inv(check_matrix("matrices", matrix))
        boxes.append(_box(shape, back))
    low, high = _joined(boxes, region, step)
    if not (high >= low).all():
        raise ValueError(
            f"the views have no common region: their boxes in the first one, in units "
            f"of its voxel size, are {[np.round(box, 1).tolist() for box in boxes]}."
        )
    count = np.floor((high - low) / step + ROUNDING).astype(int) + 1
    matrix = np.diag([*[step] * ndim, 1.0])
    matrix[:-1, -1] = low
    return Grid(
        shape=tuple(count.tolist()),
        voxel_size=(float(step),) * ndim,
        matrix=np.linalg.inv(to_space) @ matrix,
    )


def _box(shape: Sequence[int], matrix: np.ndarray) -> np.ndarray:
    """(2, d): the lowest and highest places of a volume's outermost voxels."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in shape))))
    places = corners @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return np.stack([places.min(0), places.max(0)])


def _joined(boxes: Sequence[np.ndarray], region: str, step: float) -> np.ndarray:
    """The box of a region, which begins whole steps away from the first view."""
    if region == "first":
        return boxes[0]
    lows, highs = np.stack(boxes, 1)
    if region == "union":
        low = step * np.floor(lows.min(0) / step + ROUNDING)
        return np.stack([low, highs.max(0)])
    low = step * np.ceil(lows.max(0) / step - ROUNDING)
    return np.stack([low, highs.min(0)])


def deskewed_grid(
    shape: Sequence[int],
    *,
    angle: float,
    step: float,
    pixel_size: float,
    voxel_size: float | None = None,
    upright: bool = False,
    direction: int = 1,
) -> Grid:
    """The straight grid of a stack whose planes were scanned obliquely.

    In stage scanning (diSPIM, oblique plane, lattice light sheet) the specimen moves
    along x of the stage by `step` from plane to plane, at an angle to the planes: plane
    k lies `k step sin(angle)` further along the optical axis of the detection, and
    `k step cos(angle)` further along x of the camera. The raw stack is a sheared
    picture of the specimen.

    `warp(stack, grid.matrix, grid.shape)` straightens it. As an operator,
    `operators.Warp.from_matrix(grid.matrix, stack_shape, grid.shape)` does, with its
    adjoint. To deconvolve in the skewed frame, where nothing is resampled but the
    model, give `fuse` the raw stack with `grid=grid`.

    Args:
        shape: (planes, y, x) of the raw stack.
        angle: between the planes and the direction of the scan, radians, from above 0
            to pi / 2: 45 degrees for a diSPIM on a stage, some 31 for lattice light
            sheets.
        step: of the scan between planes, µm, along its direction.
        pixel_size: of the camera in the specimen, µm.
        voxel_size: of the grid; None: that of a pixel.
        upright: turn the grid, too, so that z is normal to the stage and x along the
            scan; else z is the optical axis of the detection.
        direction: 1 or -1, of the scan along x of the camera.

    Raises:
        ValueError: a shape that is not 3D, an angle outside (0, pi / 2], numbers that
            are not positive, another direction.

    Example:
        >>> import math
        >>> from jaxdecon import geometry
        >>> grid = geometry.deskewed_grid(
        ...     (20, 8, 8), angle=math.radians(30), step=0.4, pixel_size=0.1)
        >>> grid.shape  # 20 planes 0.2 µm apart, each 0.35 µm further along x
        (39, 8, 73)
    """
    shape = check_shape("shape", shape)
    if len(shape) != 3:
        raise ValueError(f"`shape` is {shape}; (planes, y, x) is needed.")
    if not 0 < angle <= np.pi / 2 + 1e-9:
        raise ValueError(f"`angle` is {angle}; radians in (0, pi / 2] are needed.")
    if direction not in (1, -1):
        raise ValueError(f"`direction` is {direction}; 1 or -1 is needed.")
    size = pixel_size if voxel_size is None else voxel_size
    for name, value in (("step", step), ("pixel_size", pixel_size)):
        check_positive(name, value)
    check_positive("voxel_size", size)
    to_space = np.diag([step * np.sin(angle), pixel_size, pixel_size, 1.0])
    to_space[2, 0] = direction * step * np.cos(angle)
    if upright:
        to_space = _turned_about_y(direction * angle) @ to_space
    low, high = _box(shape, to_space)
    count = np.floor((high - low) / size + ROUNDING).astype(int) + 1
    straight = np.diag([size, size, size, 1.0])
    straight[:-1, -1] = low
    return Grid(
        shape=tuple(count.tolist()),
        voxel_size=(float(size),) * 3,
        matrix=np.linalg.inv(to_space) @ straight,
    )


def _turned_about_y(angle: float) -> np.ndarray:
    """Turns x of the camera, (0, 0, 1), and the scan onto z and x of the stage."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1.0]])


def turned(
    degrees: float,
    *,
    axis: str = "y",
    shape: Sequence[int],
    to_shape: Sequence[int] | None = None,
    voxel_size: float | Sequence[float] | None = None,
    to_voxel_size: float | Sequence[float] | None = None,
) -> np.ndarray:
    """The matrix of a view from the side: a turn that lays the centres on each other.

    What lies at p in the first view lies at `matrix @ p` in the view that the turn
    brings there: of a diSPIM, whose second objective looks along x of the first, 90 or
    -90 degrees about y.

    Args:
        degrees: of the turn; positive ones bring z to x about y, y to z about x, and
            x to y about z.
        axis: to turn about, "z", "y" or "x".
        shape: (z, y, x) of the first view.
        to_shape: of the other view; None: as the first.
        voxel_size: of the first view, one number or one per axis.
        to_voxel_size: of the other view; None: as the first.

    Example:
        >>> from jaxdecon import geometry
        >>> matrix = geometry.turned(90, shape=(5, 9, 9), to_shape=(9, 9, 5))
        >>> (matrix @ [0, 0, 0, 1]).tolist()  # the first corner
        [8.0, 0.0, 0.0, 1.0]
    """
    check_choice("axis", axis, ("z", "y", "x"))
    shape = check_shape("shape", shape)
    to_shape = shape if to_shape is None else check_shape("to_shape", to_shape)
    to_voxel_size = voxel_size if to_voxel_size is None else to_voxel_size
    first = scaling("voxel_size", voxel_size, 3)
    other = scaling("to_voxel_size", to_voxel_size, 3)
    a, b = {"y": (0, 2), "x": (1, 0), "z": (2, 1)}[axis]
    turn = np.eye(4)
    c, s = (np.round(f(np.radians(degrees)), 15) for f in (np.cos, np.sin))
    turn[a, a] = turn[b, b] = c
    turn[b, a], turn[a, b] = s, -s
    matrix = np.linalg.inv(other) @ turn @ first
    centre, to_centre = ((np.array(n) - 1) / 2 for n in (shape, to_shape))
    matrix[:3, 3] = to_centre - matrix[:3, :3] @ centre
    return matrix
