"""One call from two volumes to the pose of one in the other."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_image, is_traced
from ..geometry import MODELS
from ..geometry._matrix import check_matrix, scaling
from ._guesses import by_moments, by_projections
from ._levels import Setting
from ._metrics import METRICS as METRICS
from ._metrics import Compare, Metric, as_metric
from ._moments import Pair
from ._multiresolution import Found, register_from, register_from_anywhere
from ._phase import check_pair
from ._pyramid import Level, plan_levels
from ._result import Registration
from ._starts import right_angles, turns
from ._verdict import finish

STARTS = ("auto", "turns", "moments", "projections", "centre", "identity")
COARSEST = 20
"""Voxels along the longest axis of the smaller volume, on the coarsest level."""


def register(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    model: str | Sequence[str] = "affine",
    metric: str | Compare = "ncc",
    start: str = "auto",
    initial: ArrayLike | None = None,
    fixed_voxel_size: float | Sequence[float] | None = None,
    moving_voxel_size: float | Sequence[float] | None = None,
    mask: ArrayLike | None = None,
    moving_mask: ArrayLike | None = None,
    robust: bool = False,
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
            axis, translation) or "affine"; or several, ever freer, of which each
            starts where the one before ended, e.g. ("rigid", "affine").
        metric: "ncc", normalised cross-correlation; "local-ncc", the same in windows of
            a few voxels, for uneven illumination; "ssd", squares of differences, for
            volumes with the same brightness; "mi", mutual information, for another
            channel or modality; or a function of the warped volume, the fixed one and
            the weight of every voxel (0 where they do not overlap), which returns a
            number to raise, differentiable by JAX. It sees volumes of the units given,
            on several levels of a pyramid, and is driven by L-BFGS (Optax), the others
            by second order.
        start: "auto": turns by up to some 30 degrees and any shift; "turns": all 24
            turns by right angles (four in the plane) and any shift; "moments": centres
            of mass on each other, principal axes aligned or not; "projections": the
            best turns and shifts of maximum projections; "centre": the centres on each
            other; "identity": origins on each other.
        initial: a matrix to start from instead, from fixed to moving voxels.
        fixed_voxel_size: µm, one number or one per axis; None: those of both volumes
            are alike and cubes. A rigid motion is one in µm.
        moving_voxel_size: likewise; None: as the fixed one's.
        mask: of the fixed volume, of its shape; only where it is above zero does it
            count.
        moving_mask: of the moving one.
        robust: let voxels count by how well their surroundings correlate at the pose of
            the level before: what only one of the volumes shows counts little.
        iterations: passes over the volumes on every level, at most; of a function,
            steps of up to a dozen evaluations.

    `matrix` and `score` (with "ncc" also `ncc`) are differentiable in both volumes and
    `initial`, by the implicit function theorem: the cost does not depend on the number
    of passes. Masks, the weights of `robust` and the choice of the start are taken as
    given, and of the other results there are no derivatives.

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
    models = _stages(model)
    driven = as_metric(metric)
    check_choice("start", start, STARTS)
    check_count("iterations", iterations, 1)
    sizes = _voxel_sizes(fixed.ndim, fixed_voxel_size, moving_voxel_size)
    weights = _weight("mask", mask, fixed), _weight("moving_mask", moving_mask, moving)
    scaled = _scaled((fixed, moving), weights, driven)
    pair = Pair(
        fixed=scaled[0],
        moving=scaled[1],
        fixed_weight=weights[0],
        moving_weight=weights[1],
    )
    setting = Setting(
        model=models[0],
        metric=driven,
        robust=bool(robust),
        levels=_levels(fixed.shape, moving.shape, sizes),
        fixed_shape=fixed.shape,
        fixed_size=sizes[0],
        moving_size=sizes[1],
        most=iterations,
    )
    with jax.default_matmul_precision("highest"):
        found = _search(pair, setting, start, initial)
        for later in models[1:]:
            setting = dataclasses.replace(setting, model=later)
            found = _after(found, register_from(pair, found.matrix[None], setting))
        return finish(pair, found, setting)


def _search(pair: Pair, setting: Setting, start: str, initial) -> Found:
    given = _given_starts(pair, setting, start, initial)
    if given is not None:
        return register_from(pair, given, setting)
    vectors = jnp.asarray(_turns(setting, start), pair.fixed.dtype)
    return register_from_anywhere(pair, vectors, setting)


def _after(first: Found, second: Found) -> Found:
    """A stage that began where another ended, and knows what that one saw."""
    return dataclasses.replace(
        second,
        counts=jnp.concatenate([first.counts, second.counts]),
        history=jnp.concatenate([first.history, second.history]),
        evidence=first.evidence,
        rival=first.rival,
        mirrored=first.mirrored | second.mirrored,
    )


def _turns(setting: Setting, start: str) -> np.ndarray:
    """Rotation vectors to try."""
    ndim = len(setting.fixed_shape)
    vectors = turns(ndim) if start == "auto" else right_angles(ndim)
    return np.zeros_like(vectors[:1]) if setting.model == "translation" else vectors


def _stages(model: str | Sequence[str]) -> tuple[str, ...]:
    models = (model,) if isinstance(model, str) else tuple(model)
    if not models:
        raise ValueError(f"`model` is empty; one of {MODELS} or several are needed.")
    for each in models:
        check_choice("model", each, MODELS)
    return models


def _levels(fixed_shape, moving_shape, sizes) -> tuple[Level, ...]:
    """Of the pyramid; the one after the coarsest is left out, which is exact enough."""
    first, *others = plan_levels(fixed_shape, moving_shape, sizes, COARSEST)
    return (first, *(others[1:] if len(others) > 1 else others))


def _scaled(volumes, weights, metric: Metric) -> list[jax.Array]:
    """With mean 0 and variance 1: sums of squares keep their digits, for any units.

    What has no weight has the mean.
    """
    if metric.units == "neither":
        return list(volumes)
    shares = [
        jnp.ones_like(v) if w is None else w
        for v, w in zip(volumes, weights, strict=True)
    ]
    means, widths, found = [], [], []
    for v, w in zip(volumes, shares, strict=True):
        means.append(jnp.where(w > 0, v, 0).sum() / w.sum())
        away = jnp.where(w > 0, v - means[-1], 0)
        widths.append(jnp.sqrt((away**2).sum() / w.sum()))
    if metric.units == "both":
        means, widths = means[:1] * 2, widths[:1] * 2
    for v, w, mean, width in zip(volumes, shares, means, widths, strict=True):
        found.append(jnp.where(w > 0, v - mean, 0) / width)
    return found


def _weight(name: str, mask: ArrayLike | None, volume: jax.Array) -> jax.Array | None:
    if mask is None:
        return None
    values = mask if is_traced(mask) else np.asarray(mask, np.float32)
    weight = check_image(name, values, least=None)
    if weight.shape != volume.shape:
        raise ValueError(
            f"`{name}` has shape {weight.shape}; the volume's, {volume.shape}, is "
            f"needed."
        )
    if not is_traced(weight) and not (np.asarray(weight) > 0).any():
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


def _given_starts(
    pair: Pair, setting: Setting, start: str, initial: ArrayLike | None
) -> jax.Array | None:
    """(k, d + 1, d + 1): matrices to start from; None if many turns are to be tried."""
    d, sizes = pair.fixed.ndim, (setting.fixed_size, setting.moving_size)
    if initial is not None:
        matrix = jnp.asarray(initial, pair.fixed.dtype)
        if not is_traced(initial):
            check_matrix("initial", initial)
        if matrix.shape != (d + 1, d + 1):
            raise ValueError(
                f"`initial` has shape {matrix.shape}; {(d + 1, d + 1)} is needed."
            )
        return matrix[None]
    if start == "moments":
        found = by_moments(jax.lax.stop_gradient(pair), sizes)
        return found[:1] if setting.model == "translation" else found
    if start == "projections":
        if d == 2:
            raise ValueError('`start` is "projections"; of planes there are none.')
        return by_projections(
            jax.lax.stop_gradient(pair),
            sizes,
            turned=setting.model != "translation",
            outlined=setting.metric.edges,
        )
    if start not in ("centre", "identity"):
        return None
    scale = np.divide(*sizes)
    matrix = np.diag([*scale, 1.0])
    if start == "centre":
        middle_f, middle_m = (
            (np.asarray(v.shape) - 1) / 2 for v in (pair.fixed, pair.moving)
        )
        matrix[:-1, -1] = middle_m - scale * middle_f
    return jnp.asarray(matrix, pair.fixed.dtype)[None]
