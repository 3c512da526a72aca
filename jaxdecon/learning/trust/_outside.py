"""What of an estimate lies outside the OTF's support: no data can vouch for it."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import as_float_array, check_finite
from ..._core._pytree import pytree
from ...fourier import embed_kernel, filter_real, next_fast_len
from ...geometry._resample import smoothed
from ...operators import Convolution, LinearOperator, Views
from ._scene import field_of

LEAST_GAIN = 0.01
"""Of the OTF, below which a frequency counts as outside: structure is seen there at a
hundredth of its contrast, in less than the noise of 10,000 photons."""
NOISE_QUANTILE, NOISE_FACTOR = 0.1, 9.0
"""As for `otf_support`: noise of a measured PSF hardly exceeds nine times the tenth
percentile of the gains."""
MIRRORED = 16
"""Voxels by which estimates are continued by their mirror image."""
NEIGHBOURS = 3.0
"""Standard deviation, in voxels, of the neighbourhood whose energy is compared."""
DARK = 0.1
"""Share of the mean energy below which a neighbourhood counts as dark: what is outside
the support is compared with that instead."""


@pytree
class OutsideSupport:
    """The part of an estimate that the operator does not let through.

    Attributes:
        share: of the estimate's energy (sum of squares) outside the support.
        map: that share around every voxel.
        fine: the part of the estimate outside the support.
    """

    share: jax.Array
    map: jax.Array
    fine: jax.Array


def outside_support(estimate: ArrayLike, *, operator: LinearOperator) -> OutsideSupport:
    """The share of an estimate's energy that only a prior can have put there.

    The support is where the gain, of the OTF, is at least 1 % of its largest (and
    above the noise of a measured PSF). Where blur varies, or several views are taken,
    it is the union over places and views: from the response of A^T A to points. True
    objects with fine structure have a share, too: compare with what is known of the
    like (a `TrainingRecord` does).

    Args:
        estimate: of the operator's field of view.
        operator: A.

    Example:
        >>> import jax, jaxdecon as jd
        >>> psf = jd.psf.gaussian((15, 15), 4.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (48, 48))
        >>> points = jax.numpy.zeros((48, 48)).at[::12, ::12].set(1.0)
        >>> fine = jd.learning.outside_support(points, operator=blur)
        >>> soft = jd.learning.outside_support(
        ...     blur(jax.numpy.ones(blur.domain)), operator=blur)
        >>> bool(fine.share > 0.5), bool(soft.share < 1e-4)
        (True, True)
    """
    array = as_float_array("estimate", estimate)
    check_finite("estimate", array)
    if array.shape != field_of(operator):
        raise ValueError(
            f"`estimate` has shape {array.shape}, but the field of view of `operator` "
            f"has {field_of(operator)}."
        )
    return outside_of(array, operator)


@jax.jit
def outside_of(estimate: jax.Array, operator: LinearOperator) -> OutsideSupport:
    """Share and map of an estimate that was checked."""
    wide, inside = _mirrored(estimate, MIRRORED)
    beyond = ~support_on(operator, wide.shape)
    fine = filter_real(wide, beyond.astype(wide.dtype))[inside]
    energy, most = (smoothed(x**2, NEIGHBOURS) for x in (fine, estimate))
    floor = DARK * jnp.square(estimate).mean() + jnp.finfo(wide.dtype).tiny
    share = jnp.square(fine).sum() / jnp.maximum(
        jnp.square(estimate).sum(), jnp.finfo(wide.dtype).tiny
    )
    around = jnp.clip(energy / jnp.maximum(most, floor), 0, 1)
    return OutsideSupport(share=share, map=around, fine=fine)


def _mirrored(x: jax.Array, reach: int) -> tuple[jax.Array, tuple[slice, ...]]:
    """An image continued by its mirror image to a fast grid, and its place there."""
    before = [min(reach, n) for n in x.shape]
    sizes = [next_fast_len(n + 2 * b) for n, b in zip(x.shape, before, strict=True)]
    margins = [
        (b, size - n - b) for n, b, size in zip(x.shape, before, sizes, strict=True)
    ]
    inside = tuple(slice(b, b + n) for n, b in zip(x.shape, before, strict=True))
    return jnp.pad(x, margins, mode="symmetric"), inside


def support_on(operator: LinearOperator, grid: tuple[int, ...]) -> jax.Array:
    """The frequencies of a periodic grid (their real-FFT half) that are let through."""
    field = field_of(operator)
    masks = [_support(operator, place, grid) for place in _places(operator, field)]
    return functools.reduce(jnp.logical_or, masks)


def _support(
    operator: LinearOperator, place: tuple[int, ...], grid: tuple[int, ...]
) -> jax.Array:
    """Where the square root of A^T A's transfer function, the gain, is large enough."""
    response = _response(operator, place)
    gain = jnp.sqrt(abs(jnp.fft.rfftn(embed_kernel(response, grid))))
    gain = gain / gain.max()
    noise = NOISE_FACTOR * jnp.quantile(gain, NOISE_QUANTILE)
    noise = jnp.where(noise < 0.5, noise, 0)  # a PSF narrower than the voxels
    return gain >= jnp.maximum(noise, LEAST_GAIN)


def _response(operator: LinearOperator, place: tuple[int, ...]) -> jax.Array:
    """A^T A of a point, moved to the centre n // 2 of the field of view."""
    field = field_of(operator)
    domain = jax.ShapeDtypeStruct(operator.domain, jnp.float32)
    point = jnp.zeros(field).at[place].set(1.0)
    (start,) = jax.linear_transpose(operator.image_region, domain)(point)
    response = operator.image_region(operator.adjoint(operator(start)))
    move = [n // 2 - p for n, p in zip(field, place, strict=True)]
    return jnp.roll(response, move, range(len(field)))


def _places(operator: Any, field: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The centre where blur is the same everywhere; quarters of the field elsewhere."""
    centre = tuple(n // 2 for n in field)
    if _stationary(operator):
        return [centre]
    quarters = itertools.product(*[(n // 4, (3 * n) // 4) for n in field])
    return [centre, *(tuple(int(i) for i in np.array(q)) for q in quarters)]


def _stationary(operator: Any) -> bool:
    if isinstance(operator, Views):
        return all(_stationary(part) for part in operator.operators)
    return isinstance(operator, Convolution)
