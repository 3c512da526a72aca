"""The forward model of several views: each on its own grid, in its own pose."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree, static
from ..deconvolution import Problem
from ..geometry._warp import overlap
from ..operators import Convolution, LinearOperator, Views, Warp, Weight
from ..operators._base import Shape
from ._back_projectors import common_shape
from ._register_views import per_view, psf_scale
from ._scene import Scene, is_same_grid
from ._turned_psf import turned_psf


@pytree
class View:
    """A view of an object: what was recorded, and how.

    The model is `data ~ weight * blurred(inverse of matrix) + background`: the object
    is blurred on its own grid, and the smooth result is sampled where the view's voxels
    are. What is interpolated is thus never sharper than the PSF.

    Attributes:
        data: on the view's own grid, less its background.
        psf: in the orientation and voxels of the object's grid, with unit sum.
        matrix: from voxels of the object's grid to those of the view.
        weight: exposure, a number or one per voxel; 0 where nothing is to be explained.
        kernel: back projector in place of the PSF; None: matched.
        on_grid: whether the view's voxels are those of the object's grid.
    """

    data: jax.Array
    psf: jax.Array
    matrix: jax.Array
    weight: jax.Array
    kernel: jax.Array | None = None
    on_grid: bool = static(default=False)

    def operator(
        self, shape: Shape, boundary: str, kernel: jax.Array | None = None
    ) -> LinearOperator:
        """From the object to the view; with `kernel` in place of the PSF, if given."""
        blur = Convolution.from_psf(self.psf, shape, boundary=boundary)
        if kernel is not None:
            blur = blur.back_projection(kernel).T
        recorded = Weight(values=self.weight, domain=self.data.shape)
        if self.on_grid:
            return recorded @ blur
        pull = jnp.linalg.inv(self.matrix)
        pose = Warp.from_matrix(pull, shape, self.data.shape)
        return recorded @ (pose @ blur)


def view_problem(
    views: tuple[View, ...], shape: Shape, boundary: str, likelihood: Any
) -> Problem:
    """The views as one problem; what has no weight is explained by zero.

    Args:
        views: with PSFs of one shape.
        shape: of the object's grid.
        boundary: as for `Convolution.from_psf`.
        likelihood: of the noise of the views.
    """
    data = tuple(jnp.where(view.weight > 0, view.data, 0) for view in views)
    operators = [view.operator(shape, boundary) for view in views]
    return Problem(
        data=data, operator=Views(operators), background=0.0, likelihood=likelihood
    )


def back_projectors(
    views: tuple[View, ...], shape: Shape, boundary: str
) -> tuple[LinearOperator, ...] | None:
    """From images to the object, one per view; None if all are matched."""
    if all(view.kernel is None for view in views):
        return None
    return tuple(view.operator(shape, boundary, view.kernel).T for view in views)


def turned_psfs(psfs, scene: Scene, voxel_sizes, psf_voxel_sizes) -> list[jax.Array]:
    """The PSFs of a scene's views, in the orientation and voxels of its grid."""
    count, dtype = len(scene.views), scene.views[0].dtype
    sizes = zip(
        psfs,
        scene.to_views,
        per_view("voxel_sizes", voxel_sizes, count),
        per_view("psf_voxel_sizes", psf_voxel_sizes, count),
        strict=True,
    )
    return [
        turned_psf(
            jnp.asarray(psf, dtype),
            psf_scale(size, psf_size, 3) @ matrix[:-1, :-1],
            largest=scene.grid.shape,
        )
        for psf, matrix, size, psf_size in sizes
    ]


def recorded_views(
    scene: Scene, psfs: Sequence[jax.Array], kernels: Any, weights: Sequence[jax.Array]
) -> tuple[View, ...]:
    """The views of a scene with their models, for `solve`.

    Args:
        scene: the views and their places.
        psfs: on the scene's grid.
        kernels: back projectors on that grid; None: matched.
        weights: of every view.
    """
    shape = scene.grid.shape
    kernels = [None] * len(psfs) if kernels is None else kernels
    views = []
    for data, matrix, psf, kernel, weight in zip(
        scene.views, scene.to_views, common_shape(psfs), kernels, weights, strict=True
    ):
        same = is_same_grid(matrix, data.shape, shape)
        if not same:  # what lies beyond the grid is not to be explained
            pull = jnp.asarray(np.linalg.inv(matrix), data.dtype)
            weight = jnp.where(overlap(shape, pull, data.shape), weight, 0)
        views.append(
            View(
                data=data,
                psf=psf,
                matrix=jnp.asarray(matrix, data.dtype),
                weight=weight,
                kernel=kernel,
                on_grid=same,
            )
        )
    return tuple(views)
