"""One level of a pyramid: coarse volumes, poses between their voxels, a search."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree, static
from ..geometry import Transform
from ._ascent import ascend
from ._gauss_newton import MatrixOf, Search, rows_of, search
from ._local import local_agreement
from ._metrics import Metric, Plain
from ._moments import Pair, warped_at
from ._pyramid import Factors, Level, reduce, soften

COARSE_TOLERANCE, FINE_TOLERANCE = 0.1, 0.05
"""Voxels of a level that the last step moves the corners by, at most."""


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


def at_level(pair: Pair, level: Level) -> Pair:
    """Coarse copies of the volumes; those of the finest level are softened."""
    fixed, fixed_weight, fixed_margin = _quiet(
        pair.fixed, pair.fixed_weight, level.fixed
    )
    moving, moving_weight, moving_margin = _quiet(
        pair.moving, pair.moving_weight, level.moving
    )
    return Pair(
        fixed=fixed,
        moving=moving,
        fixed_weight=fixed_weight,
        moving_weight=moving_weight,
        fixed_margin=fixed_margin,
        moving_margin=moving_margin,
    )


def _quiet(volume: jax.Array, weight: jax.Array | None, factors: Factors):
    """A coarse copy, or a softened one, its weights, and margins that were spoilt.

    What has no weight does not leak into what has.
    """
    coarser = max(factors) > 1

    def smooth(x):
        return (reduce(x, factors), None) if coarser else soften(x)

    if weight is None:
        values, margins = smooth(volume)
        return values, None, margins
    (total, margins), (share, _) = smooth(volume * weight), smooth(weight)
    values = jnp.where(share > 0, total / jnp.where(share > 0, share, 1), 0)
    return values, share if coarser else weight, margins


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


def matrix_of_level(base, level: Level, setting: Setting) -> MatrixOf:
    """From parameters to the matrix between the voxels of a level."""
    before, after = (jnp.asarray(np.linalg.inv(m), base.dtype) for m in level.between())
    return lambda parameters: before @ pose(parameters, base, setting) @ after


def trusted(pair: Pair, rows: jax.Array) -> Pair:
    """A pair whose voxels count by how well their surroundings agree at a pose."""
    warped, weight = warped_at(pair, rows)
    agreement = jax.lax.stop_gradient(local_agreement(warped, pair.fixed, weight))
    return dataclasses.replace(pair, fixed_weight=pair.weights()[0] * agreement)


def refine(fine: Pair, base, parameters, rank: int, setting: Setting) -> Search:
    """A search from where another one ended; of voxels that agree, if they are to."""
    if setting.robust:
        matrix = matrix_of_level(base, setting.levels[rank], setting)(parameters)
        fine = trusted(fine, rows_of(matrix, fine.fixed.shape))
    return search_level(setting.metric.prepare(fine), base, parameters, rank, setting)


def search_level(coarse: Pair, base, parameters, rank: int, setting: Setting) -> Search:
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
