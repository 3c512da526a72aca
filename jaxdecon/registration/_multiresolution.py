"""From coarse to fine: many starts, the best refined, under one program."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree, static
from ..geometry import Transform
from ..geometry._transform import parameter_count
from ._ascent import ascend
from ._gauss_newton import MatrixOf, Search, look, rows_of, search
from ._implicit import attach
from ._local import local_agreement
from ._metrics import Metric, Plain, score_at
from ._moments import Pair, warped_at
from ._pyramid import Level, edges, reduce, soften
from ._starts import best_poses

KEPT = 6
"""Starts that are refined."""
ROUNDS = 3
"""How often the finest level is searched again, with weights from the pose found."""
COARSE_TOLERANCE, FINE_TOLERANCE = 0.1, 0.05
"""Voxels of a level that the last step moves the corners by, at most."""


@pytree
class Found:
    """A pose, and how it was found.

    Attributes:
        matrix: from fixed to moving voxels.
        score: there.
        search: on the finest level, in parameters about `base`.
        base: the start that led there.
        counts: passes over the volumes on every level, coarse to fine.
        history: (levels, most) score after every pass, NaN for none.
        evidence: for every refined start on the coarsest level.
        rival_matrices: their poses.
    """

    matrix: jax.Array
    score: jax.Array
    search: Search
    base: jax.Array
    counts: jax.Array
    history: jax.Array
    evidence: jax.Array
    rival_matrices: jax.Array


@pytree
class Setting:
    """What does not change with the numbers in the volumes.

    Attributes:
        model: of the transform.
        metric: what is raised.
        robust: whether voxels count by how well their surroundings agree.
        levels: of the pyramid, coarse to fine.
        fixed_shape: of the fixed volume.
        fixed_size: voxel size.
        moving_size: voxel size.
        most: passes on one level.
    """

    model: str = static()
    metric: Metric = static()
    robust: bool = static(default=False)
    levels: tuple[Level, ...] = static()
    fixed_shape: tuple[int, ...] = static()
    fixed_size: tuple[float, ...] = static()
    moving_size: tuple[float, ...] = static()
    most: int = static(default=30)


@jax.jit
def register_from_anywhere(pair: Pair, vectors: jax.Array, setting: Setting) -> Found:
    """Try all rotation vectors on the coarsest level, refine the best."""
    sizes = [
        np.asarray(s) * np.asarray(f)
        for s, f in zip(
            (setting.fixed_size, setting.moving_size), setting.levels[0], strict=True
        )
    ]
    count = min(KEPT, vectors.shape[0])
    coarse = jax.lax.stop_gradient(_for_starts(pair, setting))
    matrices, _ = best_poses(coarse, vectors, *sizes, count=count)
    into, out = setting.levels[0].between()
    starts = (
        jnp.asarray(into, matrices.dtype) @ matrices @ jnp.asarray(out, matrices.dtype)
    )
    return register_from(pair, starts, setting)


def _for_starts(pair: Pair, setting: Setting) -> Pair:
    """Coarse volumes whose values correspond."""
    level = setting.levels[0]
    if not setting.metric.edges:
        return setting.metric.prepare(at_level(pair, level))
    half = Level(*(tuple(max(f // 2, 1) for f in factors) for factors in level))
    rest = Level(
        *(
            tuple(f // h for f, h in zip(whole, part, strict=True))
            for whole, part in zip(level, half, strict=True)
        )
    )
    fine = at_level(pair, half)
    return at_level(
        dataclasses.replace(fine, fixed=edges(fine.fixed), moving=edges(fine.moving)),
        rest,
    )


@jax.jit
def register_from(pair: Pair, starts: jax.Array, setting: Setting) -> Found:
    """Refine starts on the coarsest level, then the best of them on the others.

    Args:
        pair: the volumes.
        starts: (k, d + 1, d + 1), from fixed to moving voxels.
        setting: how.
    """
    still, fixed_starts = jax.lax.stop_gradient((pair, starts))
    zeros = jnp.zeros(parameter_count(setting.model, pair.fixed.ndim), starts.dtype)
    plain = at_level(still, setting.levels[0])
    coarse = setting.metric.prepare(plain)

    def refine(start):
        found = _search(coarse, start, zeros, 0, setting)
        evidence = _evidence(plain, start, found, setting)
        return found, evidence, pose(found.parameters, start, setting)

    found, evidence, matrices = jax.vmap(refine)(fixed_starts)
    evidence = jnp.where(jnp.isfinite(evidence), evidence, -jnp.inf)
    best = evidence.argmax()
    searches = [jax.tree.map(lambda leaf: leaf[best], found)]
    for rank in range(1, len(setting.levels)):
        searches.append(
            _refine(still, fixed_starts[best], searches[-1].parameters, rank, setting)
        )
    if setting.robust:
        rank = len(setting.levels) - 1

        def again(_, found):
            return _refine(still, fixed_starts[best], found.parameters, rank, setting)

        searches[-1] = jax.lax.fori_loop(0, ROUNDS, again, searches[-1])
    last, base = searches[-1], starts[best]

    parameters, value = _attached(pair, base, last, setting)
    return Found(
        matrix=pose(parameters, base, setting),
        score=value,
        search=last,
        base=base,
        counts=jnp.stack([s.count for s in searches]),
        history=jnp.stack([s.history for s in searches]),
        evidence=evidence,
        rival_matrices=matrices,
    )


def _evidence(coarse: Pair, base, found: Search, setting: Setting) -> jax.Array:
    """For a pose on the coarsest level; of voxels that agree, if they are to be."""
    metric, level = setting.metric, setting.levels[0]
    if not setting.robust:
        return metric.evidence(found.normal)
    matrix_of = matrix_of_level(base, level, setting)
    rows = rows_of(matrix_of(found.parameters), coarse.fixed.shape)
    trusted = metric.prepare(_trusted(coarse, rows))
    return metric.evidence(look(metric, trusted, matrix_of, found.parameters))


def _attached(pair: Pair, base, found: Search, setting: Setting):
    """What was found and its score, with derivatives by volumes and base."""
    level, metric = setting.levels[-1], setting.metric
    shape = [n // f for n, f in zip(pair.fixed.shape, level.fixed, strict=True)]

    def rows(parameters, base):
        return rows_of(matrix_of_level(base, level, setting)(parameters), shape)

    def score(rows, pair):
        fine = at_level(pair, level)
        if setting.robust:
            fine = _trusted(fine, jax.lax.stop_gradient(rows))
        return score_at(metric, metric.prepare(fine), rows)

    return attach(score, rows, found.parameters, found.normal.score, pair, base)


def _refine(pair: Pair, base, parameters, rank: int, setting: Setting) -> Search:
    """A search on a level after the coarsest."""
    level, metric = setting.levels[rank], setting.metric
    fine = at_level(pair, level)
    if setting.robust:
        matrix = matrix_of_level(base, level, setting)(parameters)
        fine = _trusted(fine, rows_of(matrix, fine.fixed.shape))
    return _search(metric.prepare(fine), base, parameters, rank, setting)


def _trusted(pair: Pair, rows: jax.Array) -> Pair:
    """A pair whose voxels count by how well their surroundings agree at a pose."""
    warped, weight = warped_at(pair, rows)
    agreement = jax.lax.stop_gradient(local_agreement(warped, pair.fixed, weight))
    return dataclasses.replace(pair, fixed_weight=pair.weights()[0] * agreement)


def at_level(pair: Pair, level: Level) -> Pair:
    """Coarse copies of the volumes."""

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


def _search(coarse: Pair, base, parameters, rank: int, setting: Setting) -> Search:
    """A search on one level, in the parameters of the full volumes."""
    last = rank == len(setting.levels) - 1
    climb = ascend if isinstance(setting.metric, Plain) else search
    return climb(
        setting.metric,
        coarse,
        matrix_of_level(base, setting.levels[rank], setting),
        parameters,
        tolerance=FINE_TOLERANCE if last else COARSE_TOLERANCE,
        most=setting.most,
    )


def matrix_of_level(base, level: Level, setting: Setting) -> MatrixOf:
    """From parameters to the matrix between the voxels of a level."""
    before, after = (jnp.asarray(np.linalg.inv(m), base.dtype) for m in level.between())
    return lambda parameters: before @ pose(parameters, base, setting) @ after


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
