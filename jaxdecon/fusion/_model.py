"""The forward model of several views: each on its own grid, in its own pose."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree, static
from ..deconvolution import Problem
from ..geometry._displacement import Displacement
from ..geometry._warp import overlap
from ..operators import Convolution, LinearOperator, Views, Warp, Weight
from ..operators._base import Shape
from ._dark_noise import with_dark_noise
from ._register_views import per_view, psf_scale
from ._sampling import SplineReturn, SplineSample, spline_blur
from ._scene import Scene, is_same_grid
from ._turned_psf import turned_psf


@pytree
class View:
    """A view of an object: what was recorded, and how.

    The object is blurred on its own grid, the smooth result is sampled where the view's
    voxels are, weighted, and the offset added. What is interpolated is thus never
    sharper than the PSF.

    Attributes:
        data: on the view's own grid, less its background.
        psf: in the orientation and voxels of the object's grid, with unit sum.
        matrix: from voxels of the object's grid to those of the view.
        weight: exposure, a number or one per voxel; 0 where nothing is to be explained.
        offset: of the data, besides what was subtracted.
        kernel: back projector in place of the PSF; None: matched.
        displacement: of the object's voxels before they are mapped to the view; None:
            none.
        on_grid: whether the view's voxels are those of the object's grid.
        linear: whether to sample by linear interpolation, which is faster backwards.
    """

    data: jax.Array
    psf: jax.Array
    matrix: jax.Array
    weight: jax.Array
    offset: jax.Array | float = 0.0
    kernel: jax.Array | None = None
    displacement: Displacement | None = None
    on_grid: bool = static(default=False)
    linear: bool = static(default=False)

    def operator(self, shape: Shape, boundary: str) -> LinearOperator:
        """From the object to the view."""
        blur = Convolution.from_psf(self.psf, shape, boundary=boundary)
        recorded = Weight(values=self.weight, domain=self.data.shape)
        if self.on_grid:
            return recorded @ blur
        pull, seen = jnp.linalg.inv(self.matrix), self.data.shape
        if self.linear:
            return recorded @ (Warp(matrix=pull, domain=shape, range=seen) @ blur)
        pose = SplineSample(
            matrix=pull, domain=shape, range=seen, displacement=self.displacement
        )
        return recorded @ (pose @ spline_blur(blur))

    def back_projector(self, shape: Shape, boundary: str) -> LinearOperator:
        """From the view to the object, with the kernel in place of the PSF."""
        if self.kernel is None:
            return self.operator(shape, boundary).T
        blur = Convolution.from_psf(self.psf, shape, boundary=boundary)
        back = blur.back_projection(self.kernel)
        recorded = Weight(values=self.weight, domain=self.data.shape)
        if self.on_grid:
            return back @ recorded
        pose = SplineReturn(
            matrix=self.matrix,
            domain=self.data.shape,
            range=shape,
            displacement=self.displacement,
        )
        return back @ (pose @ recorded)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blurs:
    """PSFs and back projectors of views on one grid.

    Attributes:
        psfs: of one shape, with unit sum.
        kernels: back projectors; None: matched.
    """

    psfs: tuple[jax.Array, ...]
    kernels: tuple[jax.Array, ...] | None


def view_problem(
    views: tuple[View, ...],
    shape: Shape,
    boundary: str,
    *,
    noise: Sequence[jax.Array] | None = None,
) -> Problem:
    """The views as one problem; what has no weight is taken to be explained.

    Args:
        views: with PSFs of one shape.
        shape: of the object's grid.
        boundary: as for `Convolution.from_psf`.
        noise: variance of the dark voxels of every view; None: measured.
    """
    none = [jnp.zeros(())] * len(views)
    recorded, levels = with_dark_noise([v.data for v in views], none, noise)
    data, backgrounds = [], []
    for view, y, s in zip(views, recorded, levels, strict=True):
        backgrounds.append(s + view.offset)
        data.append(jnp.where(view.weight > 0, y, backgrounds[-1]))
    return Problem(
        data=tuple(data),
        operator=Views([view.operator(shape, boundary) for view in views]),
        background=tuple(backgrounds),
    )


def back_projectors(
    views: tuple[View, ...], shape: Shape, boundary: str
) -> tuple[LinearOperator, ...] | None:
    """From images to the object, one per view; None if all are matched on one grid.

    Spline sampling has small negative weights. Given as back projector, its adjoint is
    normalised with the care that such need where a voxel is hardly seen.
    """
    if all(view.kernel is None and (view.on_grid or view.linear) for view in views):
        return None
    return tuple(view.back_projector(shape, boundary) for view in views)


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
    scene: Scene, blurs: Blurs, weights: Sequence[jax.Array], offsets: np.ndarray
) -> tuple[View, ...]:
    """The views of a scene with their models, for `solve`.

    Args:
        scene: the views and their places.
        blurs: their PSFs and back projectors on the scene's grid.
        weights: of every view.
        offsets: of every view.
    """
    shape = scene.grid.shape
    kernels = [None] * len(blurs.psfs) if blurs.kernels is None else blurs.kernels
    views = []
    for data, matrix, psf, kernel, weight, offset in zip(
        *(scene.views, scene.to_views, blurs.psfs, kernels, weights, offsets),
        strict=True,
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
                offset=jnp.asarray(offset, data.dtype),
                kernel=kernel,
                on_grid=same,
            )
        )
    return tuple(views)
