"""How exact a pose is, and whether to believe it."""

import jax
import jax.numpy as jnp

from ..geometry._warp import overlap as overlap_of
from ._correlation import significance
from ._gauss_newton import Normal, corners
from ._moments import Pair
from ._multiresolution import Found, Setting, pose
from ._result import Registration, judge

CORRELATED = 256 / 70
"""Neighbours, along every axis, whose noise is one noise after the softening filter:
the square of the sum of (1, 4, 6, 4, 1) over the sum of their squares."""
ELSEWHERE = 3.0
"""Voxels of the coarsest level between poses that are not the same."""


@jax.jit
def finish(pair: Pair, found: Found, setting: Setting) -> Registration:
    """The pose with its uncertainty and whether to believe it."""
    normal, d = found.search.normal, pair.fixed.ndim
    smaller = min(pair.fixed.size, pair.moving.size)
    scale_f, scale_m = (
        jnp.asarray(s) for s in (setting.fixed_size, setting.moving_size)
    )
    covariance = _covariance(normal) * CORRELATED**d
    best, rival = _best_and_rival(found, pair, setting)
    inside = overlap_of(pair.moving.shape, found.matrix, pair.fixed.shape)
    voxels = jnp.prod(scale_f) / jnp.prod(scale_m)
    scale = jnp.where(pair.fixed.size == smaller, 1.0, voxels)
    share = scale * inside.mean() * pair.fixed.size / smaller
    return Registration(
        matrix=found.matrix,
        ncc=normal.ncc,
        overlap=jnp.minimum(share, 1.0),
        iterations=found.counts,
        uncertainty=_corner_error(covariance, found, pair, setting),
        covariance=covariance,
        status=judge(
            matrix=found.matrix,
            physical=found.matrix[:d, :d] * scale_m[:, None] / scale_f[None, :],
            done=found.search.done,
            ncc=normal.ncc,
            sure=significance(normal.ncc, _independent(normal)),
            overlap=share,
            best=best,
            rival=rival,
        ),
    )


def _independent(normal: Normal) -> jax.Array:
    """How many voxels of the overlap count as independent of each other.

    Of content with a Gaussian autocorrelation, whose length follows from the power of
    its slopes.
    """
    length = jnp.sqrt(normal.warped / jnp.maximum(normal.slopes, 1e-30))
    return normal.weight / jnp.prod(jnp.maximum(length * jnp.pi**0.5, 1))


def _covariance(normal: Normal) -> jax.Array:
    """Of the parameters: residual variance times the inverse of the normal matrix."""
    gain = normal.both / jnp.maximum(normal.warped, 1e-30)
    left = jnp.maximum(normal.fixed - gain * normal.both, 0)
    variance = left / jnp.maximum(normal.weight - normal.hessian.shape[0], 1)
    diagonal = jnp.maximum(jnp.diagonal(normal.hessian), 1e-30)
    scale = 1 / jnp.sqrt(diagonal)
    scaled = normal.hessian * jnp.outer(scale, scale)
    inverse = jnp.linalg.inv(scaled + 1e-6 * jnp.eye(scale.size, dtype=scale.dtype))
    return variance / jnp.maximum(gain**2, 1e-30) * inverse * jnp.outer(scale, scale)


def _corner_error(covariance, found: Found, pair: Pair, setting: Setting) -> jax.Array:
    """Root mean square displacement of the corners, voxels of the moving volume."""
    points = jnp.asarray(corners(pair.fixed.shape), pair.fixed.dtype)

    def places(parameters):
        matrix = pose(parameters, found.base, setting)
        return points @ matrix[:-1, :-1].T + matrix[:-1, -1]

    slopes = jax.jacfwd(places)(found.search.parameters)
    variance = jnp.einsum("pai,ij,paj->p", slopes, covariance, slopes)
    return jnp.sqrt(jnp.maximum(variance.mean(), 0))


def _best_and_rival(found: Found, pair: Pair, setting: Setting):
    """Significance on the coarsest level, of the best pose and of one elsewhere."""
    points = jnp.asarray(corners(pair.fixed.shape), pair.fixed.dtype)
    places = found.rival_matrices[:, :-1, :-1] @ points.T
    places = places + found.rival_matrices[:, :-1, -1:]
    scores = significance(found.rivals, found.rival_weights)
    scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    best = scores.argmax()
    apart = jnp.sqrt(((places - places[best]) ** 2).sum(1)).max(1)
    factor = max(setting.levels[0].moving)
    others = jnp.where(apart > ELSEWHERE * factor, scores, -jnp.inf)
    return scores[best], others.max()
