"""The figure of a registration: overlays before and after, a checkerboard, scores."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..geometry import warp
from ..geometry._warp import overlap
from ..registration import Registration
from ._figure import LINES, _as_volume, _new_figure, _size
from ._psf_figure import _label

BLACK, WHITE = 1, 99.8
"""Percentiles of a volume."""
PLANES = ((1, 2), (0, 2), (1, 0))
"""The axes down and across: xy, xz below it, zy beside it."""
SQUARES = 8
"""Of the checkerboard, along the longer side of a plane."""
SAMPLES = 64
"""Voxels along an axis that suffice to choose a plane."""
TALL = 1.6
"""Height over width of views that stand in one row."""
FAILED = LINES[2]


def registration_figure(
    fixed: ArrayLike,
    moving: ArrayLike,
    found: Registration,
    *,
    voxel_size: Sequence[float | None] | None = None,
    moving_voxel_size: Sequence[float | None] | None = None,
    title: str = "",
) -> Any:
    """A registration: the volumes on each other before and after, and its scores.

    Planes of the fixed volume, the brightest in the middle third of the overlap, in
    three views. Overlays of the fixed volume (magenta) and the moving one (green), grey
    where they agree: the centres on each other ("before"), and in the pose found
    ("after"). A checkerboard, across whose edges structures run on if the pose is
    right. Each volume has one contrast in all views, its own; black is outside, too.
    Last, the score after every pass.

    Args:
        fixed: (z, y, x) or (y, x), that of the registration, or another channel of it.
        moving: likewise.
        found: of `jaxdecon.register`; also one that is not to be believed.
        voxel_size: of the fixed volume, µm per axis; None: unknown, drawn as cubes.
        moving_voxel_size: of the moving one; None: as the fixed one's.
        title: of the figure; the registration's message stands below it.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
        ValueError: volumes, voxel sizes or matrix of different dimensionality.
    """
    fixed, moving, matrix = (np.asarray(a) for a in (fixed, moving, found.matrix))
    moving_voxel_size = voxel_size if moving_voxel_size is None else moving_voxel_size
    _check(fixed, moving, matrix, voxel_size, moving_voxel_size)
    fixed, moving = (_scaled(_as_volume(v)) for v in (fixed, moving))
    size, unit = _size(voxel_size)
    poses = (
        _centred(fixed.shape, moving.shape, voxel_size, moving_voxel_size),
        _in_space(matrix),
    )
    place = _place(fixed, moving.shape, poses[1])
    figure, (*parts, last) = _parts(fixed.shape, size)
    views = _views(fixed, moving, poses, place, size)
    for part, (name, images) in zip(parts, views.items(), strict=True):
        _draw(part, images, place, size, unit)
        part.suptitle(name, fontsize=8)
    _scores(last.subplots(), np.asarray(found.history), found.metric)
    _headline(figure, found, title)
    return figure


def _check(fixed, moving, matrix, voxel_size, moving_voxel_size) -> None:
    d = fixed.ndim
    if d not in (2, 3) or moving.ndim != d:
        raise ValueError(
            f"`fixed` has shape {fixed.shape}, `moving` {moving.shape}; two volumes "
            f"(z, y, x) or two images (y, x) are needed."
        )
    if matrix.shape != (d + 1, d + 1):
        raise ValueError(
            f"`found.matrix` has shape {matrix.shape}; {(d + 1, d + 1)} is needed: "
            f"that of one pair, with the axes of `fixed`."
        )
    sizes = {"voxel_size": voxel_size, "moving_voxel_size": moving_voxel_size}
    for name, size in sizes.items():
        if size is not None and len(size) != d:
            raise ValueError(f"`{name}` is {size}; one per axis, {d}, is needed.")


def _scaled(volume: np.ndarray) -> np.ndarray:
    """From black, 0, to white, 1; NaN is black."""
    low, high = np.nanpercentile(volume, (BLACK, WHITE)).tolist()
    if high == low:  # light in very few voxels, or in none
        high = float(np.nanmax(volume))
    scaled = (volume.astype(np.float32) - low) / ((high - low) or 1)
    return np.nan_to_num(np.clip(scaled, 0, 1))


def _centred(shape, moving_shape, voxel_size, moving_voxel_size) -> np.ndarray:
    """The (4, 4) matrix that lays the centres on each other."""
    (size, unit), (moving_size, moving_unit) = map(
        _size, (voxel_size, moving_voxel_size)
    )
    scale = np.divide(size, moving_size) if unit == moving_unit else np.ones(3)
    middle, moving_middle = ((np.array(s) - 1) / 2 for s in (shape, moving_shape))
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = moving_middle - scale * middle
    return matrix


def _in_space(matrix: np.ndarray) -> np.ndarray:
    """The (4, 4) matrix of one for planes, too."""
    whole = np.eye(4)
    whole[-len(matrix) :, -len(matrix) :] = matrix
    return whole


def _place(fixed: np.ndarray, moving_shape, matrix: np.ndarray) -> tuple[int, ...]:
    """Indices of the brightest planes in the middle third of the overlap."""
    steps = [max(1, n // SAMPLES) for n in fixed.shape]
    sampled = fixed[tuple(slice(None, None, step) for step in steps)]
    coarse = jnp.asarray(matrix @ np.diag([*steps, 1.0]), jnp.float32)
    inside = np.asarray(overlap(moving_shape, coarse, sampled.shape))
    inside = inside if inside.any() else np.ones_like(inside)
    return tuple(
        step * _brightest(sampled * inside, inside, axis)
        for axis, step in enumerate(steps)
    )


def _brightest(volume: np.ndarray, inside: np.ndarray, axis: int) -> int:
    others = tuple(a for a in range(3) if a != axis)
    reach = np.flatnonzero(inside.any(others))
    third = reach.size // 3
    middle = reach[third : reach.size - third]
    return int(middle[volume.sum(others)[middle].argmax()])


def _parts(shape, size) -> tuple[Any, Any]:
    """The figure, and its parts: three views, and the scores."""
    z, y, x = (n * s for n, s in zip(shape, size, strict=True))
    ratio = y / x if shape[0] == 1 else (y + z) / (x + z)
    rows, columns = (1, 4) if shape[0] == 1 or ratio > TALL else (2, 2)
    height = np.clip((10 / columns - 0.5) * ratio, 1.5, 7)
    figure = _new_figure(10, 0.4 + rows * (height + 0.8))
    return figure, figure.subfigures(rows, columns).ravel()


def _views(fixed, moving, poses, place, size) -> dict[str, list[np.ndarray]]:
    """Name -> an image per plane, (rows, columns) or with red, green and blue."""
    planes = PLANES if len(fixed) > 1 else PLANES[:1]
    below = [_slice(fixed, place, plane) for plane in planes]
    before, after = (
        [_resampled(moving, pose, fixed.shape, place, plane) for plane in planes]
        for pose in poses
    )
    boards = [
        _checkerboard(one, other, [size[a] for a in plane])
        for one, other, plane in zip(below, after, planes, strict=True)
    ]
    return {
        "before, centres on each other\nfixed magenta, moving green": [
            _overlay(*pair) for pair in zip(below, before, strict=True)
        ],
        "after\nfixed magenta, moving green, both grey": [
            _overlay(*pair) for pair in zip(below, after, strict=True)
        ],
        "after\nsquares of fixed and moving in turn": boards,
    }


def _slice(volume: np.ndarray, place, plane: tuple[int, int]) -> np.ndarray:
    """The plane through a place, its axes down and across."""
    index = tuple(slice(None) if a in plane else place[a] for a in range(3))
    return volume[index].T if plane[0] > plane[1] else volume[index]


def _resampled(moving, matrix, shape, place, plane) -> np.ndarray:
    """The plane of the warped moving volume."""
    slab = tuple(n if a in plane else 1 for a, n in enumerate(shape))
    shift = np.eye(4)
    shift[:3, 3] = [0 if a in plane else place[a] for a in range(3)]
    try:
        section = np.asarray(warp(moving, matrix @ shift, slab))
    except ValueError:  # a pose that is not finite, or singular: nothing is seen
        section = np.zeros(slab, np.float32)
    return _slice(section, (0, 0, 0), plane)


def _overlay(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    return np.stack([fixed, moving, fixed], -1)


def _checkerboard(fixed: np.ndarray, moving: np.ndarray, size) -> np.ndarray:
    """Squares of both in turn; the upper left one is of the fixed volume."""
    side = max(n * s for n, s in zip(fixed.shape, size, strict=True)) / SQUARES
    row, column = (
        np.floor((np.arange(n) + 0.5) * s / side).astype(int)
        for n, s in zip(fixed.shape, size, strict=True)
    )
    return np.where((row[:, None] + column) % 2 == 0, fixed, moving)


def _draw(part, images, place, size, unit) -> None:
    """xy, below it xz and beside it zy, on one scale."""
    if len(images) == 1:
        _show(part.subplots(), images[0], PLANES[0], size, unit)
        return
    xy, xz, zy = panels = _panels(part, images, size)
    for axes, image, plane in zip(panels, images, PLANES, strict=True):
        _show(axes, image, plane, size, unit)
        across = 3 - sum(plane)
        where = f"{'zyx'[across]} = {place[across] * size[across]:.4g} {unit}"
        axes.set_title(where, fontsize=7, loc="right" if axes is zy else "left")
    for axes, inwards in ((xy, "SE"), (xz, "NE"), (zy, "SW")):
        axes.set_anchor(inwards)
    xy.set(xlabel="", xticklabels=[])
    zy.set(ylabel="", yticklabels=[])
    zy.set_xlabel(zy.get_xlabel(), loc="right")


def _panels(part, images, size) -> tuple[Any, Any, Any]:
    y, x = (n * s for n, s in zip(images[0].shape, size[1:], strict=False))
    z = len(images[1]) * size[0]
    grid = part.subplots(2, 2, width_ratios=(x, z), height_ratios=(y, z))
    grid[1, 1].remove()
    return grid[0, 0], grid[1, 0], grid[0, 1]


def _show(axes, image, plane, size, unit) -> None:
    """With the first voxel's centre at zero."""
    (top, bottom), (left, right) = (
        (-0.5 * size[a], (n - 0.5) * size[a])
        for n, a in zip(image.shape, plane, strict=False)
    )
    axes.imshow(
        image,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(left, right, bottom, top),
        aspect="equal",
    )
    _label(axes, *(f"{'zyx'[a]} ({unit})" for a in plane[::-1]))


def _scores(axes, history: np.ndarray, metric: str) -> None:
    """A line per level, coarse to fine, on one axis of passes."""
    done = 0
    for level, (colour, row) in enumerate(
        zip(itertools.cycle(LINES[1:]), history), start=1
    ):
        if done:
            axes.axvline(done + 0.5, color="#bbbbbb", lw=0.6, zorder=0)
        values = row[np.isfinite(row)]
        passes = done + 1 + np.arange(values.size)
        name = f"level {level} of {len(history)}"
        axes.plot(passes, values, "o-", color=colour, ms=3, lw=1, label=name)
        done += values.size
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=6, frameon=False)
    _label(axes, "pass", metric, "score after every pass")


def _headline(figure, found: Registration, title: str) -> None:
    """The title, and below it whether to believe the pose."""
    verdict = "registration" if found.converged else "registration failed:"
    colour = "black" if found.converged else FAILED
    message = textwrap.fill(f"{verdict} {found.message}", 120)
    heading = f"{title}\n" if title else ""
    figure.suptitle(f"{heading}{message}", fontsize=9, color=colour)
