"""Shifts of many pairs of crops at once, with how exact each is."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import as_float_array
from .._core._pytree import pytree
from ._correlation import significance
from ._pairs_filter import Crop, flattened
from ._pairs_peaks import best_shift
from ._pairs_refine import refine

LEAST_NCC = 0.1
"""Correlation, without what varies slowly, below which a shift is not used."""
LEAD = 1.5
"""Standard errors that a correlation must be above the best that chance would find."""
FARTHEST = 3.0
"""Voxels that the subvoxel shift may be away from the best whole one."""
SETTLED = 0.05
"""Voxels that the last pass may go."""


@pytree
class PairShifts:
    """Shifts s of pairs of crops, with `moving(p + s)` like `fixed(p)`.

    Attributes:
        shift: (pairs, d), voxels.
        covariance: (pairs, d, d), of the noise of the shift, voxels squared.
        ncc: (pairs,) correlation over the overlap, without slow variations and softened
            by a Gaussian window of 1 voxel.
        overlap: (pairs,) voxels that count.
        significance: (pairs,) standard errors that the correlation is away from zero.
        usable: (pairs,) whether there is anything in common to go by.
    """

    shift: jax.Array
    covariance: jax.Array
    ncc: jax.Array
    overlap: jax.Array
    significance: jax.Array
    usable: jax.Array


def register_pairs(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    fixed_size: ArrayLike | None = None,
    moving_size: ArrayLike | None = None,
    expected: ArrayLike | None = None,
    search: int | Sequence[int] = 8,
    least_ncc: float = LEAST_NCC,
) -> PairShifts:
    """Translations between pairs of crops, each to a fraction of a voxel.

    Phase correlation without slow variations gives peaks; those within the search
    radius, each with every shift that it can mean there, are ranked by the correlation
    over the true overlap; Gauss-Newton refines the best. Gain and offset of every crop
    are its own. Pairs without common texture come back as not usable.

    Args:
        fixed: (pairs, z, y, x) or (pairs, y, x); each crop begins at index 0.
        moving: of the same shape.
        fixed_size: (pairs, d) shapes of the crops; None: all of the array.
        moving_size: likewise.
        expected: (pairs, d) shifts in whole voxels; None: 0.
        search: voxels, in all or per axis, that a shift may be away from it.
        least_ncc: correlation below which a pair is not usable.

    Returns:
        The shifts.

    Raises:
        ValueError: shapes that differ or do not fit.

    References:
        Kuglin & Hines, Proc. Int. Conf. Cybernetics and Society, 163 (1975);
        Preibisch et al., Bioinformatics 25, 1463 (2009),
        doi:10.1093/bioinformatics/btp184.
    """
    first, second = as_float_array("fixed", fixed), as_float_array("moving", moving)
    if first.ndim not in (3, 4) or first.shape != second.shape:
        raise ValueError(
            f"`fixed` has shape {first.shape} and `moving` {second.shape}; one shape "
            f"for both is needed, (pairs, z, y, x) or (pairs, y, x)."
        )
    pairs, *shape = first.shape
    rows = (pairs, len(shape))
    size = _rows("fixed_size", fixed_size, shape, rows)
    other_size = _rows("moving_size", moving_size, shape, rows)
    start = _rows("expected", expected, 0, rows)
    reach = (search,) * len(shape) if isinstance(search, int) else tuple(search)
    if len(reach) != len(shape) or min(reach) < 0:
        raise ValueError(
            f"`search` is {search}; a number of voxels, 0 or more, or {len(shape)} of "
            f"them are needed."
        )
    reach = tuple(0 if n == 1 else int(r) for r, n in zip(reach, shape, strict=True))
    crops = Crop(first, size), Crop(second, other_size)
    one_by_one = jax.default_backend() == "cpu"
    found = _register(*crops, start, reach=reach, turns=one_by_one)
    return dataclasses.replace(found, usable=found.usable & (found.ncc >= least_ncc))


def _rows(name: str, value: ArrayLike | None, default, shape) -> jax.Array:
    rows = jnp.asarray(default if value is None else value, jnp.int32)
    try:
        return jnp.broadcast_to(rows, shape)
    except ValueError:
        raise ValueError(
            f"`{name}` has shape {rows.shape}; {shape} is needed."
        ) from None


@functools.partial(jax.jit, static_argnames=("reach", "turns"))
def _register(fixed: Crop, moving: Crop, expected, *, reach, turns) -> PairShifts:
    def one(pair):
        fixed, moving, expected = pair
        return _register_one(fixed, moving, expected, reach)

    # Large products of matrices are threaded on a CPU, batches of them are not.
    pairs = (fixed, moving, expected)
    return jax.lax.map(one, pairs) if turns else jax.vmap(one)(pairs)


def _register_one(fixed: Crop, moving: Crop, expected, reach) -> PairShifts:
    fixed, moving = flattened(fixed), flattened(moving)
    start = best_shift(fixed, moving, expected, reach)
    fine = refine(fixed, moving, start.astype(fixed.values.dtype))
    sure = significance(fine.ncc, fine.cells)
    near = (jnp.abs(fine.shift - start) < FARTHEST).all() & (fine.step < SETTLED)
    known = jnp.isfinite(fine.shift).all() & jnp.isfinite(fine.covariance).all()
    chance = _best_by_chance(fine.grain, reach)
    return PairShifts(
        shift=fine.shift,
        covariance=fine.covariance,
        ncc=fine.ncc,
        overlap=fine.overlap,
        significance=sure,
        usable=near & known & (sure >= chance + LEAD),
    )


def _best_by_chance(grain: jax.Array, reach: tuple[int, ...]) -> jax.Array:
    """The largest of as many standard normal numbers as shifts are independent."""
    shifts = 1.0
    for r in reach:
        shifts *= 2 * r + 1
    return jnp.sqrt(2 * jnp.log(jnp.maximum(shifts / grain, 2)))
