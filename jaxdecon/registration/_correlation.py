"""Correlation of two volumes at all whole shifts at once, over their true overlap."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..fourier import next_fast_len


class ShiftMap(NamedTuple):
    """Correlation for all shifts.

    Attributes:
        ncc: at index s modulo its shape, that of fixed(p) with moving(p + s).
        weight: voxels that overlap there.
    """

    ncc: jax.Array
    weight: jax.Array


def correlate_shifts(fixed, moving, fixed_weight, moving_weight) -> ShiftMap:
    """Masked normalised cross-correlation by Fourier transforms.

    Args:
        fixed: (z, y, x) or (y, x).
        moving: of any size.
        fixed_weight: 0 to 1, of every voxel.
        moving_weight: likewise.

    References:
        Padfield, IEEE Trans. Image Process. 21, 2706 (2012),
        doi:10.1109/TIP.2011.2181402.
    """
    sizes = zip(fixed.shape, moving.shape, strict=True)
    shape = tuple(next_fast_len(n + m - 1) for n, m in sizes)
    # Small means first: the sums of squares then keep their digits.
    fixed = fixed - (fixed * fixed_weight).sum() / fixed_weight.sum()
    moving = moving - (moving * moving_weight).sum() / moving_weight.sum()

    def spectrum(x):
        return jnp.fft.rfftn(x, s=shape)

    def inner(a, b):
        return jnp.fft.irfftn(a.conj() * b, s=shape)

    ones_f, ones_m = spectrum(fixed_weight), spectrum(moving_weight)
    f, m = spectrum(fixed * fixed_weight), spectrum(moving * moving_weight)
    weight = jnp.maximum(inner(ones_f, ones_m), 0)
    safe = jnp.maximum(weight, 1)
    sum_f, sum_m = inner(f, ones_m), inner(ones_f, m)
    power_f = inner(spectrum(fixed**2 * fixed_weight), ones_m) - sum_f**2 / safe
    power_m = inner(ones_f, spectrum(moving**2 * moving_weight)) - sum_m**2 / safe
    both = inner(f, m) - sum_f * sum_m / safe
    power = jnp.maximum(power_f, 0) * jnp.maximum(power_m, 0)
    least = 1e-8 * power.max()
    ncc = jnp.where(power > least, both / jnp.sqrt(jnp.maximum(power, least)), 0)
    return ShiftMap(ncc=jnp.clip(ncc, -1, 1), weight=weight)


def significance(ncc: jax.Array, weight: jax.Array) -> jax.Array:
    """How unlikely a correlation is by chance: Fisher's z times the root of the size.

    Makes a good correlation over much of the volumes beat a better one over little.
    """
    return jnp.arctanh(jnp.clip(ncc, -0.9999, 0.9999)) * jnp.sqrt(weight)


def shift_of(index: jax.Array, shape: tuple[int, ...], fixed_shape) -> jax.Array:
    """The shift at a flat index of a map: from -(n - 1) of the fixed volume upwards."""
    at = jnp.stack(jnp.unravel_index(index, shape))
    sizes, fixed = jnp.asarray(shape), jnp.asarray(fixed_shape)
    return jnp.where(at > sizes - fixed, at - sizes, at)
