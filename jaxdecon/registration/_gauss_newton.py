"""Gauss-Newton on the enhanced correlation coefficient, damped where it must be."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from .._core._pytree import pytree
from ._moments import Pair, from_unit, moments

LEAST_OVERLAP = 0.1
"""Share of the smaller volume; poses with less are not looked at."""
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-7, 1e3
EASE, STIFFEN = 0.1, 10.0
"""Factors on the damping after a step that raised the correlation, or did not."""
RIDGE = 1e-6
"""Of the diagonal: directions that the image says nothing about stay where they are."""

MatrixOf = Callable[[jax.Array], jax.Array]
"""From parameters to the homogeneous matrix between voxels of two volumes."""


@pytree
class Normal:
    """The normal equations at a pose, and how good it is.

    Attributes:
        hessian: J' J of the warped image, means removed, (n, n).
        toward_warped: J' g.
        toward_fixed: J' f.
        warped: g' g.
        fixed: f' f.
        both: g' f.
        slopes: squares of the slopes of g along every axis, summed, (d,).
        weight: voxels that overlap.
    """

    hessian: jax.Array
    toward_warped: jax.Array
    toward_fixed: jax.Array
    warped: jax.Array
    fixed: jax.Array
    both: jax.Array
    slopes: jax.Array
    weight: jax.Array

    @property
    def ncc(self) -> jax.Array:
        """Normalised cross-correlation over the overlap; 0 where one is constant."""
        power = self.warped * self.fixed
        tiny = jnp.finfo(power.dtype).tiny
        return jnp.where(power > 0, self.both / jnp.sqrt(jnp.maximum(power, tiny)), 0)


@pytree
class Search:
    """Where a search stands.

    Attributes:
        parameters: the best pose so far.
        candidate: the next one to be looked at.
        normal: the normal equations of the best pose that was looked at.
        ncc: there.
        damping: of the next step, relative to the diagonal.
        moved: voxels that the last step moved the corners by, at most.
        count: passes over the volumes.
        done: whether a step was small enough.
    """

    parameters: jax.Array
    candidate: jax.Array
    normal: Normal
    ncc: jax.Array
    damping: jax.Array
    moved: jax.Array
    count: jax.Array
    done: jax.Array


def normal_equations(pair: Pair, matrix_of: MatrixOf, parameters: jax.Array) -> Normal:
    """The normal equations of a pose, by one pass over the volumes."""
    d = pair.fixed.ndim
    unit = from_unit(pair.fixed.shape).astype(pair.fixed.dtype)

    def entries(p):
        return (matrix_of(p) @ unit)[:d]

    gram = moments(pair, entries(parameters))
    into = jax.jacfwd(entries)(parameters).reshape(d * (d + 1), -1)
    return _reduce(gram, into, d)


def _reduce(gram: jax.Array, into: jax.Array, d: int) -> Normal:
    weight = gram[-1, -1]
    means = gram[-1] / jnp.maximum(weight, 1)
    centred = gram - weight * jnp.outer(means, means)
    jacobian = slice(0, -3)
    return Normal(
        hessian=into.T @ centred[jacobian, jacobian] @ into,
        toward_warped=into.T @ centred[jacobian, -3],
        toward_fixed=into.T @ centred[jacobian, -2],
        warped=jnp.maximum(centred[-3, -3], 0),
        fixed=jnp.maximum(centred[-2, -2], 0),
        both=centred[-3, -2],
        slopes=jnp.diagonal(centred)[d : d * (d + 1) : d + 1],
        weight=weight,
    )


def ecc_step(normal: Normal, damping: jax.Array) -> jax.Array:
    """The step that maximises the correlation of f with the linearised g.

    Evangelidis & Psarakis, IEEE Trans. Pattern Anal. Mach. Intell. 30, 1858 (2008),
    doi:10.1109/TPAMI.2008.113, equations 19 to 21, with Levenberg's damping.
    """
    diagonal = jnp.maximum(jnp.diagonal(normal.hessian), 1e-30)
    scale = 1 / jnp.sqrt(diagonal)
    scaled = normal.hessian * jnp.outer(scale, scale)
    scaled = scaled + (damping + RIDGE) * jnp.eye(scale.size, dtype=scale.dtype)
    factor = jax.scipy.linalg.cho_factor(scaled)
    sides = jnp.stack([normal.toward_warped, normal.toward_fixed], 1) * scale[:, None]
    solved = jax.scipy.linalg.cho_solve(factor, sides)
    own = normal.warped - sides[:, 0] @ solved[:, 0]
    cross = normal.both - sides[:, 0] @ solved[:, 1]
    # Where the linearised images do not correlate: the step of least squares.
    gain = jnp.where(cross > 0, own / jnp.where(cross > 0, cross, 1), 1)
    return scale * (gain * solved[:, 1] - solved[:, 0])


def search(
    pair: Pair,
    matrix_of: MatrixOf,
    start: jax.Array,
    *,
    tolerance: float,
    most: int,
) -> Search:
    """Climb to the nearest maximum of the correlation.

    A step is taken if it raises the correlation, else tried again, shorter. The last
    one, which moves no corner by more than `tolerance` voxels, is taken untried.
    """
    smaller = min(pair.fixed.size, pair.moving.size)
    points = jnp.asarray(corners(pair.fixed.shape), pair.fixed.dtype)

    def place(parameters):
        matrix = matrix_of(parameters)
        return points @ matrix[:-1, :-1].T + matrix[:-1, -1]

    def advance(state: Search) -> Search:
        found = normal_equations(pair, matrix_of, state.candidate)
        overlaps = found.weight > LEAST_OVERLAP * smaller
        better = overlaps & (found.ncc > state.ncc)
        parameters = jnp.where(better, state.candidate, state.parameters)
        normal = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), found, state.normal
        )
        damping = state.damping * jnp.where(better, EASE, STIFFEN)
        damping = jnp.maximum(damping, LEAST_DAMPING)
        candidate = parameters + ecc_step(normal, damping)
        moved = _farthest(place(candidate) - place(parameters))
        small = moved < tolerance
        return Search(
            parameters=jnp.where(small, candidate, parameters),
            candidate=candidate,
            normal=normal,
            ncc=jnp.where(better, found.ncc, state.ncc),
            damping=damping,
            moved=moved,
            count=state.count + 1,
            done=small | (damping > MOST_DAMPING),
        )

    first = Search(
        parameters=start,
        candidate=start,
        normal=_nothing(start, pair.fixed.ndim),
        ncc=jnp.asarray(-jnp.inf, start.dtype),
        damping=jnp.asarray(FIRST_DAMPING / EASE, start.dtype),
        moved=jnp.asarray(jnp.inf, start.dtype),
        count=jnp.asarray(0),
        done=jnp.asarray(False),
    )
    return jax.lax.while_loop(
        lambda state: ~state.done & (state.count < most), advance, first
    )


def _nothing(parameters: jax.Array, ndim: int) -> Normal:
    """The normal equations before any pass: no step follows from them."""
    zero = jnp.zeros((), parameters.dtype)
    n = parameters.size
    return Normal(
        hessian=jnp.eye(n, dtype=parameters.dtype),
        toward_warped=jnp.zeros_like(parameters),
        toward_fixed=jnp.zeros_like(parameters),
        warped=zero,
        fixed=zero,
        both=zero,
        slopes=jnp.zeros(ndim, parameters.dtype),
        weight=zero,
    )


def _farthest(displacements: jax.Array) -> jax.Array:
    return jnp.sqrt((displacements**2).sum(-1).max())


def corners(shape: Sequence[int]) -> list[tuple[float, ...]]:
    """Of a volume, in its voxels."""
    return list(itertools.product(*((0.0, n - 1.0) for n in shape)))
