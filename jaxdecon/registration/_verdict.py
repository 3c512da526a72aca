"""How exact a pose is, and whether to believe it."""

import dataclasses

import jax
import jax.numpy as jnp

from ..geometry._warp import overlap as overlap_of
from ._correlation import significance
from ._gauss_newton import corner_places, look, rows_of
from ._levels import Setting, at_level, matrix_of_level, pose
from ._metrics import Correlation
from ._moments import Pair
from ._multiresolution import Found
from ._normal import Normal
from ._result import Registration, judge

CORRELATED = 256 / 70
"""Neighbours, along every axis, whose noise is one noise after the softening filter:
the square of the sum of (1, 4, 6, 4, 1) over the sum of their squares."""


@jax.jit
def finish(pair: Pair, found: Found, setting: Setting) -> Registration:
    """The pose with its uncertainty and whether to believe it."""
    pair = jax.lax.stop_gradient(pair)
    normal, metric, d = found.search.normal, setting.metric, pair.fixed.ndim
    scale_f, scale_m = (
        jnp.asarray(s, pair.fixed.dtype)
        for s in (setting.fixed_size, setting.moving_size)
    )
    covariance = _covariance(normal, metric.variance(normal)) * CORRELATED**d
    share = _overlap(pair, found.matrix, jnp.prod(scale_f) / jnp.prod(scale_m))
    ncc, association = _agreement(pair, found, setting)
    return Registration(
        matrix=found.matrix,
        score=found.score,
        ncc=ncc,
        overlap=share,
        iterations=found.counts,
        history=found.history,
        uncertainty=_corner_error(covariance, found, pair, setting),
        covariance=covariance,
        status=judge(
            matrix=found.matrix,
            physical=found.matrix[:d, :d] * scale_m[:, None] / scale_f[None, :],
            mirrored=found.mirrored,
            done=found.search.done,
            association=association,
            sure=significance(association, _independent(pair, found, normal)),
            overlap=share,
            best=found.evidence,
            rival=found.rival,
        ),
        metric=setting.metric.name,
    )


def _overlap(pair: Pair, matrix: jax.Array, voxels: jax.Array) -> jax.Array:
    """Share of the smaller volume; a fixed voxel has the size of `voxels` moving."""
    inside = overlap_of(pair.moving.shape, matrix, pair.fixed.shape)
    size = pair.fixed.size
    smaller = jnp.minimum(size * voxels, pair.moving.size) / voxels
    share = inside.mean(dtype=matrix.dtype) * size / smaller
    return jnp.minimum(share, 1.0)


def _agreement(pair: Pair, found: Found, setting: Setting):
    """Correlation over the overlap, and how far one volume says what the other is."""
    metric, normal, level = setting.metric, found.search.normal, setting.levels[-1]
    if type(metric) is Correlation and not setting.robust:
        return found.score, normal.ncc
    fine = at_level(_standard(pair), level)
    base = jax.lax.stop_gradient(found.base)
    matrix_of = matrix_of_level(base, level, setting)
    parameters = found.search.parameters
    plain = look(Correlation(), fine, matrix_of, parameters).ncc
    rows = rows_of(matrix_of(parameters), fine.fixed.shape)
    return plain, metric.association(metric.prepare(fine), rows, normal)


def _standard(pair: Pair) -> Pair:
    """Both volumes with mean 0 and variance 1, whatever their units."""
    fixed, moving = (
        (v - v.mean()) / jnp.maximum(v.std(), jnp.finfo(v.dtype).tiny)
        for v in (pair.fixed, pair.moving)
    )
    return dataclasses.replace(pair, fixed=fixed, moving=moving)


def _independent(pair: Pair, found: Found, normal: Normal) -> jax.Array:
    """How many voxels of the overlap count as independent of each other.

    Of content with a Gaussian autocorrelation, whose length follows from the power of
    its slopes; it is no longer than the volume. If the content is a few blobs in the
    dark, a few of them decide: so many fewer voxels count as the kurtosis exceeds that
    of normal values.
    """
    # Slopes, and so lengths, are those along the moving volume's voxels.
    magnification = jnp.abs(jnp.linalg.det(found.matrix[:-1, :-1]))
    length = jnp.sqrt(jnp.pi * normal.warped / jnp.maximum(normal.slopes, 1e-30))
    length = jnp.clip(length, 1, jnp.asarray(pair.moving.shape))
    cells = normal.weight * magnification / jnp.prod(length)
    return cells * jnp.minimum(3 / jnp.maximum(found.peaks, 1e-30), 1)


def _covariance(normal: Normal, variance: jax.Array) -> jax.Array:
    """Of the parameters: the residual's variance times the normal matrix' inverse."""
    diagonal = jnp.maximum(jnp.diagonal(normal.hessian), 1e-30)
    scale = 1 / jnp.sqrt(diagonal)
    scaled = normal.hessian * jnp.outer(scale, scale)
    inverse = jnp.linalg.inv(scaled + 1e-6 * jnp.eye(scale.size, dtype=scale.dtype))
    return variance * inverse * jnp.outer(scale, scale)


def _corner_error(covariance, found: Found, pair: Pair, setting: Setting) -> jax.Array:
    """Root mean square displacement of the corners, voxels of the moving volume."""
    base = jax.lax.stop_gradient(found.base)
    places = corner_places(pair, lambda p: pose(p, base, setting))
    slopes = jax.jacfwd(places)(found.search.parameters)
    variance = jnp.einsum("pai,ij,paj->p", slopes, covariance, slopes)
    return jnp.sqrt(jnp.maximum(variance.mean(), 0))
