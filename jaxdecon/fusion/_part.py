"""A part of a fusion: a region of the result, from what the views show of it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core._pytree import pytree
from .._core._sum import total
from ..geometry import warp
from ..geometry._displacement import Displacement, transformed
from ..geometry._trilinear import sample
from ..geometry._warp import by_planes, overlap
from ..operators import Convolution
from ..operators._base import Shape
from ._alternating import joint_scheme
from ._blending import blend
from ._model import View, back_projectors, view_problem


@pytree
class Box:
    """What a view shows of a region of the result.

    Attributes:
        data: a box of the view, in any type; the background still in it.
        matrix: from voxels of the region to those of the box.
        start: first voxel of the box in the view.
        displacement: of the region's voxels before they are mapped; None: none.
    """

    data: Any
    matrix: Any
    start: Any
    displacement: Displacement | None = None


@pytree
class Light:
    """How bright a view is, the same for all parts.

    Attributes:
        background: of the view.
        exposure: in terms of the first view.
        noise: variance of dark voxels, see `_dark_noise`.
    """

    background: Any
    exposure: Any
    noise: Any


@functools.partial(
    jax.jit, static_argnames=("shape", "view_shapes", "on_grid", "method")
)
def blend_part(
    boxes: tuple[Box, ...],
    lights: tuple[Light, ...],
    *,
    shape: Shape,
    view_shapes: tuple[Shape, ...],
    on_grid: tuple[bool, ...],
    method: str,
) -> jax.Array:
    """A region of the views' average, with any of the weights of `blend`.

    Args:
        boxes: of every view.
        lights: of every view.
        shape: of the region.
        view_shapes: of the whole views.
        on_grid: of every view, whether its box is the region itself.
        method: see `blend`.
    """
    shown, matrices, inside = [], [], []
    for box, light, view_shape, same in zip(
        boxes, lights, view_shapes, on_grid, strict=True
    ):
        data = _lit(box, light) / light.exposure
        matrix = box.matrix.astype(data.dtype)
        shown.append(data if same else show(data, matrix, shape, box.displacement))
        matrices.append(matrix.at[:-1, -1].add(box.start.astype(data.dtype)))
        inside.append(overlap(view_shape, matrices[-1], shape))
    return blend(shown, matrices, view_shapes, inside, method=method)


def solve_part(
    boxes: tuple[Box, ...],
    lights: tuple[Light, ...],
    psfs: tuple[jax.Array, ...],
    kernels: tuple[jax.Array, ...] | None,
    start: jax.Array,
    iterations: int | jax.Array,
    *,
    on_grid: tuple[bool, ...],
    update: str,
    boundary: str,
) -> tuple[jax.Array, jax.Array]:
    """A region of the deconvolved object, and the light recorded there and predicted.

    Args:
        boxes: of every view.
        lights: of every view.
        psfs: of every view on the grid, of one shape.
        kernels: back projectors; None: matched.
        start: of the region.
        iterations: sweeps over all views; not static: any number is one program.
        on_grid: of every view, whether its box is the region itself.
        update: one of `UPDATES`.
        boundary: beyond the region.

    Returns:
        The object in the region, with light as it comes; and (recorded, predicted).
    """
    shape = start.shape
    views = part_views(boxes, lights, psfs, kernels, shape, on_grid)
    noise = [light.noise for light in lights]
    problem = view_problem(views, shape, boundary, noise=noise)
    blur = Convolution.from_psf(views[0].psf, shape, boundary=boundary)
    backs = back_projectors(views, shape, boundary)
    scheme = joint_scheme(update, backs, initial=blur.lift(jnp.maximum(start, 0)))
    state = jax.lax.fori_loop(
        0, iterations, lambda _, s: scheme.update(problem, s), scheme.init(problem)
    )
    light = problem.operator(state.estimate)
    pairs = (problem.excess, light)
    sums = [jnp.stack([total(v) for v in part]).sum() for part in pairs]
    return blur.image_region(state.estimate), jnp.stack(sums)


def part_views(
    boxes: Sequence[Box],
    lights: Sequence[Light],
    psfs: Sequence[jax.Array],
    kernels: Sequence[jax.Array] | None,
    shape: Shape,
    on_grid: Sequence[bool],
) -> tuple[View, ...]:
    """The models of the views' boxes; what lies beyond the region has no weight."""
    backs = [None] * len(boxes) if kernels is None else kernels
    views = []
    for box, light, psf, kernel, same in zip(
        boxes, lights, psfs, backs, on_grid, strict=True
    ):
        data = _lit(box, light)
        matrix = box.matrix.astype(data.dtype)
        weight = light.exposure.astype(data.dtype)
        if not same:
            here = overlap(shape, jnp.linalg.inv(matrix), data.shape)
            weight = jnp.where(here, weight, 0)
        views.append(
            View(
                data=data,
                psf=psf,
                matrix=matrix,
                weight=weight,
                offset=jnp.zeros((), data.dtype),
                kernel=kernel,
                on_grid=same,
                displacement=box.displacement,
            )
        )
    return tuple(views)


def show(
    data: jax.Array, matrix: jax.Array, shape: Shape, move: Displacement | None
) -> jax.Array:
    """A box of a view on a region of the result; 0 where it does not reach."""
    if move is None:
        return warp(data, matrix, shape)

    def seen(at):
        values, inside = sample(data, transformed(matrix, move(at)))
        return jnp.where(inside, values, 0)

    return by_planes(seen, jnp.eye(len(matrix), dtype=data.dtype), shape)


def _lit(box: Box, light: Light) -> jax.Array:
    """A box less its background, as float32."""
    return box.data.astype(jnp.float32) - light.background.astype(jnp.float32)
