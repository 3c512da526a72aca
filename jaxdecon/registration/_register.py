"""One call from two volumes to the pose of one in the other."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_image, is_traced
from ..geometry import MODELS
from ..geometry._matrix import check_matrix, scaling
from ._moments import Pair
from ._multiresolution import (
    Setting,
    register_from,
    register_from_anywhere,
)
from ._phase import check_pair
from ._pyramid import Level, plan_levels
from ._result import Registration
from ._starts import right_angles, turns
from ._verdict import finish

METRICS = ("ncc",)
STARTS = ("auto", "turns", "centre", "identity")
COARSEST = 20
"""Voxels along the longest axis of the coarsest level, at most."""


def register(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    model: str = "affine",
    metric: str = "ncc",
    start: str = "auto",
    initial: ArrayLike | None = None,
    fixed_voxel_size: float | Sequence[float] | None = None,
    moving_voxel_size: float | Sequence[float] | None = None,
    mask: ArrayLike | None = None,
    moving_mask: ArrayLike | None = None,
    iterations: int = 30,
) -> Registration:
    """Find the pose of a moving volume in a fixed one.

    Gauss-Newton on the enhanced correlation coefficient, coarse to fine. The
    correlation is that over the true overlap: what lies outside the moving volume
    counts for nothing. On the coarsest level many turns are tried, each with its best
    shift; the best six are refined, and the best of these is followed.

    Args:
        fixed: (z, y, x) or (y, x).
        moving: with as many axes, of any size.
        model: "translation", "rigid", "similarity", "9-parameter" (rotation, scale per
            axis, translation) or "affine".
        metric: "ncc", normalised cross-correlation.
        start: "auto": turns by up to some 30 degrees and any shift; "turns": all 24
            turns by right angles (four in the plane) and any shift; "centre": the
            centres on each other; "identity": origins on each other.
        initial: a matrix to start from instead, from fixed to moving voxels.
        fixed_voxel_size: µm, one number or one per axis; None: those of both volumes
            are alike and cubes. A rigid motion is one in µm.
        moving_voxel_size: likewise; None: as the fixed one's.
        mask: of the fixed volume, of its shape; only where it is above zero does it
            count.
        moving_mask: of the moving one.
        iterations: passes over the volumes on every level, at most.

    Returns:
        A `Registration`. Look at `converged` and `message`: a pose that is not to be
        believed says so, and why.

    Raises:
        ValueError: volumes of other dimensionality, constant, or with NaN; a mask of
            another shape or empty; a singular matrix; unknown options.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> rng = np.random.default_rng(0)
        >>> spots = np.zeros((48, 48, 48))
        >>> spots[tuple(rng.integers(8, 40, (3, 60)))] = 9
        >>> fixed = jd.operators.Convolution.from_psf(
        ...     jd.psf.gaussian((9, 9, 9), 4.0), spots.shape)
        >>> fixed = fixed.image_region(fixed.adjoint(spots))
        >>> matrix = np.eye(4); matrix[:3, 3] = (3.0, -2.5, 1.0)
        >>> moving = jd.warp(fixed, np.linalg.inv(matrix), order="cubic")
        >>> found = jd.register(fixed, moving, model="rigid")
        >>> bool(found.converged), bool(abs(found.matrix - matrix).max() < 0.05)
        (True, True)

    References:
        Evangelidis & Psarakis, IEEE Trans. Pattern Anal. Mach. Intell. 30, 1858 (2008),
        doi:10.1109/TPAMI.2008.113.
    """
    fixed, moving = check_pair(fixed, moving)
    check_choice("model", model, MODELS)
    check_choice("metric", metric, METRICS)
    check_choice("start", start, STARTS)
    check_count("iterations", iterations, 1)
    sizes = _voxel_sizes(fixed.ndim, fixed_voxel_size, moving_voxel_size)
    pair = Pair(
        fixed=_scaled(fixed),
        moving=_scaled(moving),
        fixed_weight=_weight("mask", mask, fixed),
        moving_weight=_weight("moving_mask", moving_mask, moving),
    )
    setting = Setting(
        model=model,
        levels=_levels(fixed.shape, moving.shape, sizes),
        fixed_shape=fixed.shape,
        fixed_size=sizes[0],
        moving_size=sizes[1],
        most=iterations,
    )
    given = _given_start(fixed, moving, start, initial, sizes)
    if given is not None:
        return finish(pair, register_from(pair, given[None], setting), setting)
    vectors = turns(fixed.ndim) if start == "auto" else right_angles(fixed.ndim)
    if model == "translation":
        vectors = np.zeros_like(vectors[:1])
    found = register_from_anywhere(pair, jnp.asarray(vectors, fixed.dtype), setting)
    return finish(pair, found, setting)


def _levels(fixed_shape, moving_shape, sizes) -> tuple[Level, ...]:
    """Of the pyramid; the one after the coarsest is left out, which is exact enough."""
    first, *others = plan_levels(fixed_shape, moving_shape, sizes, COARSEST)
    return (first, *(others[1:] if len(others) > 1 else others))


def _scaled(volume: jax.Array) -> jax.Array:
    """With mean 0 and variance 1: sums of squares keep their digits, for any units."""
    centred = volume - volume.mean()
    return centred / jnp.sqrt((centred**2).mean())


def _weight(name: str, mask: ArrayLike | None, volume: jax.Array) -> jax.Array | None:
    if mask is None:
        return None
    weight = check_image(
        name, np.asarray(mask, np.float32) if not is_traced(mask) else mask
    )
    if weight.shape != volume.shape:
        raise ValueError(
            f"`{name}` has shape {weight.shape}; the volume's, {volume.shape}, is "
            f"needed."
        )
    if not is_traced(weight) and not np.asarray(weight).any():
        raise ValueError(f"`{name}` leaves nothing of the volume.")
    return (weight > 0).astype(volume.dtype)


def _voxel_sizes(ndim: int, fixed: Any, moving: Any) -> tuple[tuple[float, ...], ...]:
    if fixed is None and moving is not None:
        raise ValueError(
            "`moving_voxel_size` is given and `fixed_voxel_size` is not; both are "
            "needed."
        )
    moving = fixed if moving is None else moving
    names = ("fixed_voxel_size", "moving_voxel_size")
    return tuple(
        tuple(np.diag(scaling(name, size, ndim))[:-1].tolist())
        for name, size in zip(names, (fixed, moving), strict=True)
    )


def _given_start(fixed, moving, start, initial, sizes) -> jax.Array | None:
    """The one matrix to start from; None if many are to be tried."""
    d = fixed.ndim
    if initial is not None:
        matrix = jnp.asarray(initial, fixed.dtype)
        if not is_traced(initial):
            check_matrix("initial", initial)
        if matrix.shape != (d + 1, d + 1):
            raise ValueError(
                f"`initial` has shape {matrix.shape}; {(d + 1, d + 1)} is needed."
            )
        return matrix
    if start not in ("centre", "identity"):
        return None
    scale = np.asarray(sizes[0]) / np.asarray(sizes[1])
    matrix = np.diag([*scale, 1.0])
    if start == "centre":
        middle_f, middle_m = ((np.asarray(v.shape) - 1) / 2 for v in (fixed, moving))
        matrix[:-1, -1] = middle_m - scale * middle_f
    return jnp.asarray(matrix, fixed.dtype)
