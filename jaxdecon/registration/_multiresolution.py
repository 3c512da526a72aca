"""From coarse to fine: many starts, the best refined, under one program."""

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree, static
from ..geometry import Transform
from ..geometry._transform import parameter_count
from ._correlation import significance
from ._gauss_newton import Search, search
from ._moments import Pair
from ._pyramid import Level, from_level, reduce, soften
from ._starts import best_poses

KEPT = 6
"""Starts that are refined."""
COARSE_TOLERANCE, FINE_TOLERANCE = 0.1, 0.05
"""Voxels of a level that the last step moves the corners by, at most."""


@pytree
class Found:
    """A pose, and how it was found.

    Attributes:
        matrix: from fixed to moving voxels.
        search: on the finest level, in parameters about `base`.
        base: the start that led there.
        counts: passes over the volumes on every level, coarse to fine.
        rivals: correlation of every refined start on the coarsest level.
        rival_weights: voxels over which.
        rival_matrices: their poses.
    """

    matrix: jax.Array
    search: Search
    base: jax.Array
    counts: jax.Array
    rivals: jax.Array
    rival_weights: jax.Array
    rival_matrices: jax.Array


@pytree
class Setting:
    """What does not change with the numbers in the volumes.

    Attributes:
        model: of the transform.
        levels: of the pyramid, coarse to fine.
        fixed_shape: of the fixed volume.
        fixed_size: voxel size.
        moving_size: voxel size.
        most: passes on one level.
    """

    model: str = static()
    levels: tuple[Level, ...] = static()
    fixed_shape: tuple[int, ...] = static()
    fixed_size: tuple[float, ...] = static()
    moving_size: tuple[float, ...] = static()
    most: int = static(default=30)


@jax.jit
def register_from_anywhere(pair: Pair, vectors: jax.Array, setting: Setting) -> Found:
    """Try all rotation vectors on the coarsest level, refine the best."""
    coarse = _at(pair, setting.levels[0])
    sizes = [
        np.asarray(s) * np.asarray(f)
        for s, f in zip(
            (setting.fixed_size, setting.moving_size), setting.levels[0], strict=True
        )
    ]
    count = min(KEPT, vectors.shape[0])
    matrices, _ = best_poses(coarse, vectors, *sizes, count=count)
    into, out = _between(setting.levels[0])
    starts = (
        jnp.asarray(into, matrices.dtype) @ matrices @ jnp.asarray(out, matrices.dtype)
    )
    return register_from(pair, starts, setting)


@jax.jit
def register_from(pair: Pair, starts: jax.Array, setting: Setting) -> Found:
    """Refine starts on the coarsest level, then the best of them on the others.

    Args:
        pair: the volumes.
        starts: (k, d + 1, d + 1), from fixed to moving voxels.
        setting: how.
    """
    first, *others = setting.levels
    coarse = _at(pair, first)

    def refine(start):
        zeros = jnp.zeros(
            parameter_count(setting.model, pair.fixed.ndim), pair.fixed.dtype
        )
        found = _search(coarse, start, zeros, first, setting, COARSE_TOLERANCE)
        return found, pose(found.parameters, start, setting)

    found, matrices = jax.vmap(refine)(starts)
    score = significance(found.ncc, found.normal.weight)
    best = jnp.where(jnp.isfinite(score), score, -jnp.inf).argmax()
    last = jax.tree.map(lambda leaf: leaf[best], found)
    base, counts = starts[best], [last.count]
    for level in others:
        tolerance = FINE_TOLERANCE if level == others[-1] else COARSE_TOLERANCE
        last = _search(
            *(_at(pair, level), base, last.parameters, level, setting, tolerance)
        )
        counts.append(last.count)
    return Found(
        matrix=pose(last.parameters, base, setting),
        search=last,
        base=base,
        counts=jnp.stack(counts),
        rivals=found.ncc,
        rival_weights=found.normal.weight,
        rival_matrices=matrices,
    )


def _at(pair: Pair, level: Level) -> Pair:
    def coarse(volume, factors):
        return None if volume is None else reduce(volume, factors)

    fixed, fixed_margin = _quiet(pair.fixed, level.fixed)
    moving, moving_margin = _quiet(pair.moving, level.moving)
    return Pair(
        fixed=fixed,
        moving=moving,
        fixed_weight=coarse(pair.fixed_weight, level.fixed),
        moving_weight=coarse(pair.moving_weight, level.moving),
        fixed_margin=fixed_margin,
        moving_margin=moving_margin,
    )


def _quiet(volume: jax.Array, factors: tuple[int, ...]):
    """A coarse copy; where nothing was reduced a softened one, and its margins."""
    if max(factors) > 1:
        return reduce(volume, factors), None
    return soften(volume)


def _search(
    coarse: Pair, base, parameters, level: Level, setting: Setting, tolerance
) -> Search:
    """A search on one level, in the parameters of the full volumes."""
    into, out = _between(level)
    before, after = (
        jnp.asarray(np.linalg.inv(m), parameters.dtype) for m in (into, out)
    )

    def matrix_of(parameters):
        return before @ pose(parameters, base, setting) @ after

    return search(coarse, matrix_of, parameters, tolerance=tolerance, most=setting.most)


def _between(level: Level) -> tuple[np.ndarray, np.ndarray]:
    """Coarse to full moving voxels, and full to coarse fixed voxels."""
    return from_level(level.moving), np.linalg.inv(from_level(level.fixed))


def pose(parameters, start, setting: Setting) -> jax.Array:
    """start @ T, with T of the model in physical space, about the fixed centre."""
    size = np.array([*setting.fixed_size, 1.0])
    centre = (np.array(setting.fixed_shape) - 1) / 2 * size[:-1]
    transform = Transform(
        parameters=parameters,
        centre=jnp.asarray(centre, parameters.dtype),
        model=setting.model,
    )
    scale = jnp.asarray(size, parameters.dtype)
    return start @ (transform.matrix * scale[None, :] / scale[:, None])
