"""From coarse to fine: many starts, the best refined, under one program."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree
from ..geometry._transform import parameter_count
from ._gauss_newton import Search, corner_places, look, rows_of
from ._implicit import attach
from ._levels import (
    Setting,
    at_level,
    matrix_of_level,
    pose,
    refine,
    search_level,
    trusted,
)
from ._metrics import Plain, score_at
from ._moments import Pair
from ._pyramid import Level, edges
from ._result import LEAST_LEAD
from ._starts import best_poses

KEPT = 6
"""Starts that are refined."""
ROUNDS = 3
"""How often the finest level is searched again, with weights from the pose found."""
ELSEWHERE = 3.0
"""Voxels of the coarsest level between poses that are not the same."""


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
        evidence: for the pose, when it was chosen.
        rival: that of the best pose elsewhere; -infinity for none.
        mirrored: whether it turns a right hand into a left one, and its start did not.
        peaks: kurtosis of the volumes' values, the larger one.
    """

    matrix: jax.Array
    score: jax.Array
    search: Search
    base: jax.Array
    counts: jax.Array
    history: jax.Array
    evidence: jax.Array
    rival: jax.Array
    mirrored: jax.Array
    peaks: jax.Array


@pytree
class Contest:
    """Several poses, and how good they are; all attributes have an axis for them.

    Attributes:
        start: index of the start that led to each.
        search: that found it.
        matrix: the pose.
        evidence: for it; -infinity where it was not looked at.
    """

    start: jax.Array
    search: Search
    matrix: jax.Array
    evidence: jax.Array

    def __getitem__(self, index) -> "Contest":
        return jax.tree.map(lambda leaf: leaf[index], self)


@jax.jit
def register_from_anywhere(pair: Pair, vectors: jax.Array, setting: Setting) -> Found:
    """Try all rotation vectors on the coarsest level, refine the best."""
    sizes = [
        np.asarray(s) * np.asarray(f)
        for s, f in zip(
            (setting.fixed_size, setting.moving_size), setting.levels[0], strict=True
        )
    ]
    shifts = KEPT if len(vectors) == 1 else 1
    count = min(KEPT, shifts * len(vectors))
    coarse = jax.lax.stop_gradient(_for_starts(pair, setting))
    matrices, _ = best_poses(coarse, vectors, *sizes, count=count, shifts=shifts)
    into, out = setting.levels[0].between()
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
    still, bases = jax.lax.stop_gradient((pair, starts))
    volumes = [at_level(still, level) for level in setting.levels]
    contest = _begin(volumes[0], bases, setting)
    first, rival = _best_and_rival(still, contest, setting)
    searches, best = [contest[first].search], contest[first]
    if len(setting.levels) > 1:
        pairing = contest[jnp.stack([first, rival])]
        contest = _go_on(volumes[1], bases, pairing, setting)
        first, rival = _best_and_rival(still, contest, setting)
        best = contest[first]
        searches = [pairing[first].search, best.search]
    base = bases[best.start]
    for rank in range(2, len(setting.levels)):
        found = searches[-1].parameters
        searches.append(refine(volumes[rank], base, found, rank, setting))
    if setting.robust:
        rank = len(setting.levels) - 1

        def again(_, found):
            return refine(volumes[-1], base, found.parameters, rank, setting)

        searches[-1] = jax.lax.fori_loop(0, ROUNDS, again, searches[-1])
    last, base = searches[-1], starts[best.start]
    parameters, value = _attached(pair, base, last, setting)
    matrix = pose(parameters, base, setting)
    return Found(
        matrix=matrix,
        score=value,
        search=last,
        base=base,
        counts=jnp.stack([s.count for s in searches]),
        history=jnp.stack([s.history for s in searches]),
        evidence=best.evidence,
        rival=jnp.where(rival == first, -jnp.inf, contest.evidence[rival]),
        mirrored=_hand(matrix) * _hand(base) <= 0,
        peaks=_kurtosis(volumes[-1]),
    )


def _hand(matrix: jax.Array) -> jax.Array:
    return jnp.sign(jnp.linalg.det(jax.lax.stop_gradient(matrix[:-1, :-1])))


def _kurtosis(pair: Pair) -> jax.Array:
    """Fourth moment over the squared variance: 3 of normal values, more of blobs."""

    def of(volume, weight):
        total = weight.sum()
        away = volume - (volume * weight).sum() / total
        away = away / jnp.maximum(jnp.abs(away).max(), jnp.finfo(away.dtype).tiny)
        second, fourth = ((away**k * weight).sum() / total for k in (2, 4))
        return fourth / second**2

    fixed, moving = pair.weights()
    return jnp.maximum(of(pair.fixed, fixed), of(pair.moving, moving))


def _begin(plain: Pair, bases: jax.Array, setting: Setting) -> Contest:
    """Every start, refined on the coarsest level."""
    coarse = setting.metric.prepare(plain)
    zeros = jnp.zeros(parameter_count(setting.model, plain.fixed.ndim), bases.dtype)

    def climb(start, base):
        found = search_level(coarse, base, zeros, 0, setting)
        return Contest(
            start=start,
            search=found,
            matrix=pose(found.parameters, base, setting),
            evidence=_evidence(plain, base, found, setting),
        )

    return jax.vmap(climb)(jnp.arange(len(bases)), bases)


def _evidence(coarse: Pair, base, found: Search, setting: Setting) -> jax.Array:
    """For a pose on the coarsest level; of voxels that agree, if they are to."""
    metric, normal = setting.metric, found.normal
    if setting.robust:
        matrix_of = matrix_of_level(base, setting.levels[0], setting)
        rows = rows_of(matrix_of(found.parameters), coarse.fixed.shape)
        chosen = metric.prepare(trusted(coarse, rows))
        normal = look(metric, chosen, matrix_of, found.parameters)
    return _finite(metric.evidence(normal))


def _finite(evidence: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(evidence), evidence, -jnp.inf)


def _best_and_rival(pair: Pair, contest: Contest, setting: Setting):
    """Indices of the best pose, and of the best one elsewhere (else of the best)."""
    places = jax.vmap(corner_places(pair, lambda matrix: matrix))(contest.matrix)
    places = places / jnp.asarray(setting.levels[0].moving, places.dtype)
    best = contest.evidence.argmax()
    apart = jnp.sqrt(((places - places[best]) ** 2).sum(2)).max(1)
    elsewhere = apart > ELSEWHERE
    others = jnp.where(elsewhere, contest.evidence, -jnp.inf)
    return best, jnp.where(others.max() > -jnp.inf, others.argmax(), best)


def _go_on(pair: Pair, bases, pairing: Contest, setting: Setting) -> Contest:
    """The best pose on the next level, and its rival if that is nearly as good."""
    near = pairing.evidence[0] < LEAST_LEAD * pairing.evidence[1]
    distinct = pairing.start[0] != pairing.start[1]

    def climb(rank, contest):
        base = bases[contest.start[rank]]
        found = refine(pair, base, contest.search.parameters[rank], 1, setting)
        one = Contest(
            start=contest.start[rank],
            search=found,
            matrix=pose(found.parameters, base, setting),
            evidence=_finite(setting.metric.evidence(found.normal)),
        )
        return jax.tree.map(lambda all_, new: all_.at[rank].set(new), contest, one)

    unseen = jnp.full_like(pairing.evidence, -jnp.inf)
    pairing = dataclasses.replace(pairing, evidence=unseen)
    return jax.lax.fori_loop(0, 1 + (near & distinct), climb, pairing)


def _attached(pair: Pair, base, found: Search, setting: Setting):
    """What was found and its score, with derivatives by volumes and base."""
    level, metric = setting.levels[-1], setting.metric
    shape = [n // f for n, f in zip(pair.fixed.shape, level.fixed, strict=True)]

    def rows(parameters, base):
        return rows_of(matrix_of_level(base, level, setting)(parameters), shape)

    def score(rows, pair, around):
        fine = at_level(pair, level)
        if setting.robust:
            fine = trusted(fine, around)
        return score_at(metric, metric.prepare(fine), rows)

    value = found.normal.score
    if isinstance(metric, Plain):
        still = jax.lax.stop_gradient((pair, base))
        at = rows(found.parameters, still[1])
        value = score(at, still[0], at)
    return attach(score, rows, found.parameters, value, pair, base)


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
