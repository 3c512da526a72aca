"""The poses of views in the first one, from volumes with one and the same blur."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_image
from ..geometry import Grid, common_grid, resample, warp
from ..geometry._matrix import check_matrix, scaling
from ..geometry._warp import overlap
from ..operators import Convolution
from ..registration import Registration, register
from ._turned_psf import turned_psf

MOST_VOXELS = 2**22
"""On which a pose is sought: views with more are reduced."""
SMALL_TURN = 0.02
"""Difference of two turns, as of matrices, that a blur does not notice."""

Size = float | Sequence[float] | None


def register_views(
    views: Sequence[ArrayLike],
    psfs: Sequence[ArrayLike] | None = None,
    *,
    voxel_sizes: Sequence[Size] | None = None,
    psf_voxel_sizes: Sequence[Size] | None = None,
    initial: Sequence[ArrayLike | None] | None = None,
    near: Sequence[ArrayLike] | None = None,
    model: str | Sequence[str] = "rigid",
    most_voxels: int = MOST_VOXELS,
    **options: Any,
) -> tuple[Registration, ...]:
    """Find the poses of the second and later views in the first.

    Each view is blurred along its own axis, and registration takes a difference of blur
    for one of pose: a beam that is long along z in one view and along x in the other
    fits best if it is turned or sheared a little. Therefore every view is blurred by
    the PSF of the other first, which makes them alike. (On a simulated pair of a diSPIM
    this took the error of a rigid pose from 0.26 to 0.01 voxels and that of an affine
    one from 2.5 to 0.1.)

    Views are shown on isotropic grids in the orientation of the first one.

    Args:
        views: (z, y, x), of any shapes.
        psfs: of the views, in their own orientations; None: blur is left as it is.
        voxel_sizes: of every view, µm, one number or one per axis; None: alike, cubes.
        psf_voxel_sizes: of every PSF; None: as the view's.
        initial: rough poses, from voxels of the first view to those of each, the first
            included, e.g. of `geometry.turned`; None for a view, or for all: centres on
            each other, not turned. Any shift is found, and turns of up to some 30
            degrees away from these.
        near: poses that are nearly right, of which the search is to begin; if it does
            not converge from there, it is done anew.
        model: of the pose, as for `register`.
        most_voxels: views with more are reduced.
        options: of `register`: `metric`, `robust`.

    Returns:
        A `Registration` of every view but the first, with `matrix` from voxels of the
        first view to voxels of that view; its `uncertainty` is in voxels of the grid.

    Raises:
        ValueError: what `register` refuses; numbers of views, PSFs, sizes and matrices
            that differ.
    """
    volumes = [check_image(f"views[{i}]", v, least=None) for i, v in enumerate(views)]
    count, ndim = len(volumes), volumes[0].ndim
    sizes = per_view("voxel_sizes", voxel_sizes, count)
    psf_sizes = per_view("psf_voxel_sizes", psf_voxel_sizes, count)
    blurs: list[Any] = [None] * count
    if psfs is not None:
        scales = [
            psf_scale(size, psf_size, ndim)
            for size, psf_size in zip(sizes, psf_sizes, strict=True)
        ]
        blurs = list(zip(per_view("psfs", psfs, count), scales, strict=True))
    poses = rough_poses(volumes, sizes, initial)
    grids = _grids(volumes, poses, sizes[0], most_voxels)
    first, *others = (
        _Shown(volume=volume, pose=pose, grid=grid, blur=blur)
        for volume, pose, grid, blur in zip(volumes, poses, grids, blurs, strict=True)
    )
    starts = per_view("near", near, count)[1:]
    return tuple(
        _register(first, other, start, model, options)
        for other, start in zip(others, starts, strict=True)
    )


def per_view(name: str, values: Any, count: int) -> list[Any]:
    """One value per view; None is None for all."""
    if values is None:
        return [None] * count
    if len(values) != count:
        raise ValueError(
            f"`{name}` has {len(values)} parts for {count} views; one per view is "
            f"needed."
        )
    return list(values)


def psf_scale(size: Size, psf_size: Size, ndim: int) -> np.ndarray:
    """(d, d): from voxels of a view to those of its PSF."""
    if psf_size is None:
        return np.eye(ndim)
    own = scaling("psf_voxel_sizes", psf_size, ndim)
    return (np.linalg.inv(own) @ scaling("voxel_sizes", size, ndim))[:-1, :-1]


def rough_poses(volumes, sizes, initial) -> list[np.ndarray]:
    """Poses as given, or with centres on each other."""
    ndim = volumes[0].ndim
    given = per_view("initial", initial, len(volumes))
    to_space = [scaling("voxel_sizes", size, ndim) for size in sizes]
    poses = []
    for i, volume in enumerate(volumes):
        if i and given[i] is not None:
            poses.append(check_matrix(f"initial[{i}]", given[i]))
            continue
        matrix = np.linalg.inv(to_space[i]) @ to_space[0]
        centres = [(np.array(v.shape) - 1) / 2 for v in (volumes[0], volume)]
        matrix[:-1, -1] = centres[1] - matrix[:-1, :-1] @ centres[0]
        poses.append(matrix)
    return poses


def _grids(volumes, poses, size: Size, most_voxels: int) -> list[Grid]:
    """Boxes about the views in the orientation of the first, of one voxel size."""

    def grids(step: float | None) -> list[Grid]:
        return [
            common_grid([v.shape], [p], voxel_sizes=[size], voxel_size=step)
            for v, p in zip(volumes, poses, strict=True)
        ]

    found = grids(None)
    share = max(float(np.prod(grid.shape)) for grid in found) / most_voxels
    if share <= 1:
        return found
    return grids(found[0].voxel_size[0] * share ** (1 / volumes[0].ndim))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shown:
    """A view to be shown on an isotropic grid in the orientation of the first.

    Attributes:
        volume: the view.
        pose: from voxels of the first view to its own, roughly.
        grid: on which it is shown, in voxels of the first view.
        blur: its PSF, and the matrix from its voxels to the PSF's; or None.
    """

    volume: jax.Array
    pose: np.ndarray
    grid: Grid
    blur: tuple[Any, np.ndarray] | None

    @property
    def matrix(self) -> np.ndarray:
        """From voxels of the grid to those of the view."""
        return self.pose @ self.grid.matrix

    def show(self) -> tuple[jax.Array, jax.Array | None]:
        """The view on its grid, and where it is, unless that is everywhere."""
        volume, matrix = not_finer(self.volume, self.matrix)
        inside = overlap(self.volume.shape, jnp.asarray(self.matrix), self.grid.shape)
        shown = warp(volume, matrix, self.grid.shape)
        return shown, None if bool(inside.all()) else inside

    def blurred_as_this(self, volume: jax.Array, linear: np.ndarray) -> jax.Array:
        """A volume blurred by the view's PSF; `linear` turns its grid to the view's."""
        if self.blur is None:
            return volume
        psf, scale = self.blur
        whole = scale @ self.matrix[:-1, :-1] @ linear
        seen = turned_psf(psf, whole, largest=volume.shape)
        return Convolution.from_psf(seen, volume.shape, boundary="edge")(volume)


def not_finer(volume: jax.Array, matrix: np.ndarray) -> tuple[jax.Array, np.ndarray]:
    """A view with voxels that are not much smaller than those it is to be shown on."""
    steps = np.linalg.norm(matrix[:-1, :-1], axis=1)
    shape = [
        max(1, round(n / max(s, 1))) for n, s in zip(volume.shape, steps, strict=True)
    ]
    if tuple(shape) == volume.shape:
        return volume, matrix
    ratio = np.array(shape) / volume.shape
    to_small = np.diag([*ratio, 1.0])
    to_small[:-1, -1] = ratio / 2 - 0.5
    return resample(volume, shape), to_small @ matrix


def _register(first: _Shown, other: _Shown, near, model, options) -> Registration:
    """With the blur that the rough pose has, then with that of the pose found."""
    fixed, mask = first.show()
    moving, moving_mask = other.show()
    options = {**options, "mask": mask, "moving_mask": moving_mask}

    def alike(turn: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return (
            other.blurred_as_this(fixed, turn),
            first.blurred_as_this(moving, np.linalg.inv(turn)),
        )

    def search(start: np.ndarray | None) -> Registration:
        turn = np.eye(fixed.ndim) if start is None else start[:-1, :-1]
        return register(*alike(turn), model=model, initial=start, **options)

    start = None
    if near is not None:
        start = np.linalg.inv(other.matrix) @ np.asarray(near, float) @ first.matrix
    found = search(start)
    if start is not None and not bool(found.converged):
        start, found = None, search(None)
    turn = np.asarray(found.matrix, float)
    before = np.eye(fixed.ndim) if start is None else start[:-1, :-1]
    far = abs(turn[:-1, :-1] - before).max() > SMALL_TURN
    if bool(found.converged) and far and first.blur is not None:
        found = search(turn)
    matrix = other.matrix @ np.asarray(found.matrix, float)
    matrix = matrix @ np.linalg.inv(first.matrix)
    return dataclasses.replace(found, matrix=jnp.asarray(matrix, float))
