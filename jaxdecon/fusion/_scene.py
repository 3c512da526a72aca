"""Views, where they are, and how bright: what every kind of fusion begins with."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_finite, check_image
from ..geometry import Grid, common_grid, warp
from ..geometry._matrix import check_matrix
from ..geometry._warp import overlap
from ..registration import Registration
from ._joint import check_backgrounds
from ._register_views import Size, per_view, register_views

MOST_SATURATED, SOME_SATURATED = 0.2, 1e-3
"""Share of a view at its largest value: refused, and told."""
LEAST_SEEN = 0.01
"""Share of a view, or of the result, that it is to cover."""
LEAST_OVERLAP = 100
"""Voxels of two views from which a correlation is made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """Views of a specimen and the grid to fuse them on.

    Attributes:
        views: less their backgrounds.
        matrices: (views, d + 1, d + 1), from voxels of the first view to those of each.
        grid: to fuse on, in voxels of the first view.
        registrations: of every view but the first; empty where matrices were given.
        notes: doubts, in words.
    """

    views: tuple[jax.Array, ...]
    matrices: np.ndarray
    grid: Grid
    registrations: tuple[Registration, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def to_views(self) -> list[np.ndarray]:
        """From voxels of the grid to those of each view."""
        return [matrix @ self.grid.matrix for matrix in self.matrices]

    def show(self) -> tuple[list[jax.Array], list[jax.Array]]:
        """The views on the grid, and where each is."""
        shape = self.grid.shape
        pairs = list(zip(self.views, self.to_views, strict=True))
        shown = [
            v if is_same_grid(m, v.shape, shape) else warp(v, m, shape)
            for v, m in pairs
        ]
        inside = [overlap(v.shape, jnp.asarray(m, v.dtype), shape) for v, m in pairs]
        return shown, inside


def is_same_grid(matrix: np.ndarray, view_shape: Any, shape: Any) -> bool:
    """Whether a view's voxels are those of the grid."""
    straight = abs(matrix - np.eye(len(matrix))).max() < 1e-6
    return straight and tuple(view_shape) == tuple(shape)


def make_scene(
    views: Sequence[ArrayLike],
    psfs: Sequence[ArrayLike] | None,
    *,
    matrices: Sequence[ArrayLike] | None,
    background: Any,
    voxel_sizes: Sequence[Size] | None,
    psf_voxel_sizes: Sequence[Size] | None,
    region: str,
    grid: Grid | None,
    initial: Sequence[ArrayLike | None] | None,
    near: Sequence[ArrayLike] | None = None,
    model: str | Sequence[str],
) -> Scene:
    """Check the views, find their poses if they are not given, and choose the grid."""
    images, notes = _checked(views)
    backgrounds = check_backgrounds(background, images)
    for i, (image, level) in enumerate(zip(images, backgrounds, strict=True)):
        if not bool((image > level).any()):
            raise ValueError(
                f"`views[{i}]` has nothing above its background; its largest value is "
                f"{float(image.max()):.6g}."
            )
    registrations: tuple[Registration, ...] = ()
    if matrices is None:
        registrations = register_views(
            [image - b for image, b in zip(images, backgrounds, strict=True)],
            psfs,
            voxel_sizes=voxel_sizes,
            psf_voxel_sizes=psf_voxel_sizes,
            initial=initial,
            near=near,
            model=model,
        )
        _refuse_failures(registrations)
        first = np.eye(images[0].ndim + 1)
        found = [first, *(np.asarray(r.matrix, float) for r in registrations)]
    else:
        given = per_view("matrices", matrices, len(images))
        found = [check_matrix(f"matrices[{i}]", m) for i, m in enumerate(given)]
    if grid is None:
        grid = common_grid(
            [image.shape for image in images],
            found,
            voxel_sizes=voxel_sizes,
            region=region,
        )
    return Scene(
        views=tuple(i - b for i, b in zip(images, backgrounds, strict=True)),
        matrices=np.stack(found),
        grid=grid,
        registrations=registrations,
        notes=tuple(notes),
    )


def _checked(views: Sequence[ArrayLike]) -> tuple[tuple[jax.Array, ...], list[str]]:
    if len(views) < 2:
        raise ValueError(
            f"there are {len(views)} `views`; two or more are needed: for one use "
            f"`richardson_lucy`."
        )
    images, notes = [], []
    for i, view in enumerate(views):
        image = check_image(f"views[{i}]", view, least=None)
        if image.ndim != 3:
            raise ValueError(f"`views[{i}]` has shape {image.shape}; (z, y, x) needed.")
        check_finite(f"views[{i}]", image)
        low, high = float(image.min()), float(image.max())
        if low == high:
            raise ValueError(f"`views[{i}]` is {low:.6g} everywhere: it is empty.")
        share = float((image == high).mean())
        if share > MOST_SATURATED:
            raise ValueError(
                f"`views[{i}]` is saturated: {share:.0%} of its voxels have its "
                f"largest value, {high:.6g}."
            )
        if share > SOME_SATURATED:
            notes.append(
                f"view {i} is saturated: {share:.2%} of its voxels have its largest "
                f"value, {high:.6g}; what they show is too dim"
            )
        images.append(image)
    dtype = jnp.result_type(*images)
    return tuple(image.astype(dtype) for image in images), notes


def _refuse_failures(registrations: Sequence[Registration]) -> None:
    for i, found in enumerate(registrations, 1):
        if not bool(found.converged):
            raise RuntimeError(
                f"view {i} could not be registered to view 0: {found.message}. Give "
                f"its rough pose as `initial` (`geometry.turned` for a view from the "
                f"side), or `matrices`."
            )


def agreement(
    shown: Sequence[jax.Array], inside: Sequence[jax.Array]
) -> tuple[np.ndarray, np.ndarray]:
    """How every view correlates with the first, and its brightness in terms of it.

    Raises:
        ValueError: a view that is not where the result is, or not where the first is.
    """
    correlations, exposures = [1.0], [1.0]
    for i, here in enumerate(inside):
        if float(here.mean()) == 0:
            raise ValueError(
                f"view {i} lies outside the region to fuse: check its matrix, or "
                f'choose `region="union"`.'
            )
    for i in range(1, len(shown)):
        both = inside[0] & inside[i]
        if int(both.sum()) < LEAST_OVERLAP:
            correlations.append(np.nan)
            exposures.append(1.0)
            continue
        r, e = jax.device_get(_compare(shown[0], shown[i], both))
        correlations.append(float(r))
        exposures.append(float(e))
    return np.array(correlations), np.array(exposures)


@jax.jit
def _compare(a: jax.Array, b: jax.Array, both: jax.Array):
    """Correlation over an overlap, and the ratio of all light there."""
    count = both.sum()
    sums = [jnp.where(both, v, 0).sum() for v in (a, b)]
    a, b = (
        jnp.where(both, v - s / count, 0) for v, s in zip((a, b), sums, strict=True)
    )
    r = (a * b).sum() / jnp.sqrt((a**2).sum() * (b**2).sum())
    return r, sums[1] / sums[0]
