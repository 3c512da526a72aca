"""Poses, exposures and offsets refined together with the object."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree
from ..geometry import Grid, Transform, common_grid, resample
from ..geometry._transform import parameter_count
from ..geometry._trilinear import is_inside
from ..geometry._warp import coordinates
from ._alternating import AlternatingRichardsonLucy
from ._back_projectors import common_shape
from ._dark_noise import with_dark_noise
from ._model import View, turned_psfs, view_problem
from ._register_views import not_finer
from ._scene import Scene
from ._solve import deviances

MOST_VOXELS = 2**19
"""Of the object, while poses are refined; larger ones are reduced."""
SWEEPS = 10
"""Updates of the object by matched back projectors for every try of the poses: with
fewer, or unmatched ones, the object is not yet what the data say, and poses that suit
the iteration better than the data win."""
MARGIN = 3
"""Voxels along the borders of the object in which views are not compared."""
MOST_STEPS = 20
SMALL = 1e-5
"""Relative gain of a step from which it is not worth another."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refinement:
    """What a joint refinement found.

    Attributes:
        matrices: (views, 4, 4), from voxels of the first view to those of each.
        factors: on the exposures; of the first view, 1.
        offsets: of every view, besides its background; of the first, 0.
        history: mean deviance per voxel of all views, before every step and at the end.
    """

    matrices: np.ndarray
    factors: np.ndarray
    offsets: np.ndarray
    history: np.ndarray


@pytree
class _Change:
    """Corrections in units of which one moves the outermost voxels by one."""

    poses: jax.Array  # (views - 1, parameters)
    exposures: jax.Array  # (views - 1,), of the logarithm
    offsets: jax.Array  # (views - 1,), in `_unit`s


def refine_scene(
    scene: Scene,
    psfs: Sequence[Any],
    weights: Sequence[jax.Array],
    *,
    model: str,
    boundary: str,
    voxel_sizes: Any = None,
    psf_voxel_sizes: Any = None,
) -> Refinement:
    """Refine poses, exposures and offsets of a scene by gradients through its model.

    The object is what `SWEEPS` matched joint updates make of the views in their poses;
    how well it then explains them is a function of poses, exposures and offsets alone,
    whose derivatives go through all updates. L-BFGS (Optax) minimises it. The first
    view's pose, exposure and offset stay: the object is in terms of these.

    Args:
        scene: the views in their poses.
        psfs: of the views, in their own orientations.
        weights: exposures to begin with, a number or one per voxel of each view.
        model: of the poses' corrections, "translation", "rigid", ..., "affine".
        boundary: as for `Convolution.from_psf`.
        voxel_sizes: as for `fuse`.
        psf_voxel_sizes: as for `fuse`.
    """
    coarse = dataclasses.replace(scene, grid=_reduced(scene.grid))
    turned = turned_psfs(psfs, coarse, voxel_sizes, psf_voxel_sizes)
    views, shape = _views(coarse, turned, weights), coarse.grid.shape
    change = _Change(
        poses=jnp.zeros((len(views) - 1, parameter_count(model, 3))),
        exposures=jnp.zeros(len(views) - 1),
        offsets=jnp.zeros(len(views) - 1),
    )
    options = {"shape": shape, "model": model, "boundary": boundary}
    state, history = _begin(change), []
    for _ in range(MOST_STEPS):
        change, state, before = _step(change, state, views, **options)
        history.append(float(before))
        if len(history) > 1 and history[-2] - history[-1] < SMALL * history[-2]:
            break
    history.append(float(_misfit(change, views, **options)))
    return _found(scene, coarse, views, change, model, history)


def _begin(change: _Change) -> Any:
    import optax

    return optax.lbfgs().init(change)  # pyright: ignore[reportArgumentType]


@functools.partial(jax.jit, static_argnames=("shape", "model", "boundary"))
def _step(change, state, views, *, shape, model, boundary):
    import optax

    def misfit(c):
        return _misfit(c, views, shape=shape, model=model, boundary=boundary)

    solver = optax.lbfgs()
    value, slope = optax.value_and_grad_from_state(misfit)(change, state=state)
    move, state = solver.update(
        slope, state, change, value=value, grad=slope, value_fn=misfit
    )
    return optax.apply_updates(change, move), state, value


@functools.partial(jax.jit, static_argnames=("shape", "model", "boundary"))
def _misfit(change: _Change, views, *, shape, model, boundary) -> jax.Array:
    """How badly the object made with these poses explains the views."""
    moved = _moved(change, views, shape, model)
    problem = view_problem(moved, shape, boundary)
    scheme = AlternatingRichardsonLucy()

    @jax.checkpoint
    def step(state, _):
        return scheme.update(problem, state), None

    state, _ = jax.lax.scan(step, scheme.init(problem), length=SWEEPS)
    return deviances(problem, moved, problem.predict(state.estimate)).mean()


def _moved(change: _Change, views, shape, model) -> tuple[View, ...]:
    """The views with corrections applied."""
    moved = []
    for i, view in enumerate(views[1:]):
        view = dataclasses.replace(
            view,
            matrix=view.matrix @ _pose(change.poses[i], shape, model),
            weight=view.weight * jnp.exp(change.exposures[i]),
            offset=view.offset + _unit(view) * change.offsets[i],
        )
        moved.append(view)
    return (views[0], *moved)


def _unit(view: View) -> jax.Array:
    """Of the offsets: the width of the dark noise, or a thousandth of the light."""
    _, (variance,) = with_dark_noise([view.data], [jnp.zeros(())])
    return jnp.maximum(jnp.sqrt(variance), 1e-3 * abs(view.data).mean())


def _pose(values: jax.Array, shape, model: str) -> jax.Array:
    reach = (max(shape) - 1) / 2
    scale = jnp.ones(values.shape).at[:-3].set(1 / reach)
    centre = (jnp.asarray(shape, values.dtype) - 1) / 2
    return Transform(parameters=values * scale, centre=centre, model=model).matrix


def _reduced(grid: Grid) -> Grid:
    """A coarser grid in the same place, if there are very many voxels."""
    share = float(np.prod(grid.shape)) / MOST_VOXELS
    if share <= 1:
        return grid
    coarse = common_grid(
        [grid.shape],
        [np.eye(4)],
        voxel_sizes=[grid.voxel_size],
        voxel_size=grid.voxel_size[0] * share ** (1 / 3),
    )
    return dataclasses.replace(coarse, matrix=grid.matrix @ coarse.matrix)


def _views(scene: Scene, psfs, weights) -> tuple[View, ...]:
    shape, views = scene.grid.shape, []
    for i, (whole, to_view, psf) in enumerate(
        zip(scene.views, scene.to_views, common_shape(psfs), strict=True)
    ):
        data, matrix = not_finer(whole, to_view)
        pull = jnp.asarray(np.linalg.inv(matrix), data.dtype)
        inside = is_inside(shape, coordinates(pull, data.shape), _margin(shape))
        weight = jnp.where(inside, _reduced_weight(weights[i], data.shape), 0)
        matrix = jnp.asarray(matrix, data.dtype)
        views.append(
            View(data=data, psf=psf, matrix=matrix, weight=weight, linear=True)
        )
    return tuple(views)


def _reduced_weight(weight: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if weight.ndim == 0 or weight.shape == shape:
        return weight
    return resample(weight, shape)


def _margin(shape: Sequence[int]) -> tuple[int, ...]:
    """Voxels at every border that a pose may take out of the object's grid."""
    return tuple(min(MARGIN, (n - 1) // 4) for n in shape)


def _found(scene, coarse, views, change, model, history) -> Refinement:
    """Corrections on the coarse grid, as poses of the scene."""
    place = np.asarray(coarse.grid.matrix)
    matrices, factors = [scene.matrices[0]], [1.0]
    for i in range(1, len(views)):
        pose = np.asarray(_pose(change.poses[i - 1], coarse.grid.shape, model), float)
        matrices.append(scene.matrices[i] @ place @ pose @ np.linalg.inv(place))
        factors.append(float(jnp.exp(change.exposures[i - 1])))
    units = [float(_unit(view)) for view in views[1:]]
    return Refinement(
        matrices=np.stack(matrices),
        factors=np.array(factors),
        offsets=np.array([0.0, *(np.asarray(change.offsets) * units)]),
        history=np.array(history),
    )
