"""Phase correlation: the shift between two volumes."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_image, is_traced
from ..geometry._trilinear import sample
from ..geometry._warp import coordinates
from ._correlation import significance

FINE = 20
"""Parts of a voxel that the shift is found to."""
FLOOR = 1e-3
"""Of the largest cross-power: frequencies below it are noise, and not whitened up."""


def phase_correlation(fixed: ArrayLike, moving: ArrayLike) -> jax.Array:
    """The shift s with `moving(p + s)` most like `fixed(p)`.

    The phase of the cross-power spectrum gives a peak at the shift modulo the size;
    of the 2^d shifts that it can mean, the one is taken at which the volumes correlate
    best over their true overlap. Refined to 1/20 voxel by the Fourier transform at
    fractions of a voxel around the peak.

    Args:
        fixed: (z, y, x) or (y, x).
        moving: of the same shape.

    Returns:
        One shift per axis, in voxels: `matrix[:-1, -1]` of the pose.

    Raises:
        ValueError: shapes that differ; NaN; a constant volume.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> volume = np.random.default_rng(0).random((16, 32, 32))
        >>> jd.phase_correlation(volume[2:10, 4:28], volume[:8, 1:25]).round(1)
        Array([2., 3., 0.], dtype=float32)

    References:
        Kuglin & Hines, Proc. Int. Conf. Cybernetics and Society, 163 (1975);
        Guizar-Sicairos et al., Opt. Lett. 33, 156 (2008), doi:10.1364/OL.33.000156.
    """
    fixed, moving = check_pair(fixed, moving)
    if fixed.shape != moving.shape:
        raise ValueError(
            f"`fixed` has shape {fixed.shape} and `moving` {moving.shape}; phase "
            f"correlation needs equal ones: crop or pad, or use `register`."
        )
    return _phase_correlation(fixed, moving)


def check_pair(fixed: ArrayLike, moving: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Two volumes of as many axes, neither constant."""
    first = check_image("fixed", fixed, least=None)
    second = check_image("moving", moving, least=None)
    if first.ndim != second.ndim:
        raise ValueError(
            f"`fixed` has {first.ndim} axes and `moving` {second.ndim}; as many are "
            f"needed."
        )
    for name, volume in (("fixed", first), ("moving", second)):
        if not is_traced(volume) and not np.ptp(np.asarray(volume)):
            raise ValueError(f"`{name}` is constant; there is nothing to register.")
    dtype = jnp.result_type(first, second)
    return first.astype(dtype), second.astype(dtype)


@jax.jit
def _phase_correlation(fixed: jax.Array, moving: jax.Array) -> jax.Array:
    ones = jnp.ones_like(fixed)
    peak = jnp.fft.irfftn(_phase(fixed, moving, ones), s=fixed.shape).argmax()
    shift = _unwrap(fixed, moving, jnp.stack(jnp.unravel_index(peak, fixed.shape)))
    # Again for what is left, with one window on both: a window that stays while the
    # content moves draws the peak towards zero.
    seen, weight = _shifted(moving, shift)
    return shift + _refine(_phase(fixed, seen, weight), fixed.shape)


def _phase(fixed, moving, weight) -> jax.Array:
    """The cross-power spectrum, where there is power, with its magnitude made 1."""
    power = _spectrum(fixed, weight).conj() * _spectrum(moving, weight)
    size = abs(power)
    return power / jnp.maximum(size, FLOOR * size.max())


def _spectrum(volume: jax.Array, weight: jax.Array) -> jax.Array:
    """Of a volume under a window, without its mean: its borders do not correlate."""
    for axis, n in enumerate(volume.shape):
        if n > 3:
            window = np.hanning(n + 2)[1:-1] ** 0.5
            shape = [-1 if a == axis else 1 for a in range(volume.ndim)]
            weight = weight * jnp.asarray(window.reshape(shape), volume.dtype)
    mean = (volume * weight).sum() / jnp.maximum(weight.sum(), 1e-30)
    return jnp.fft.rfftn((volume - mean) * weight)


def _shifted(moving: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
    """moving(p + shift) for a whole shift, and where it is inside."""
    matrix = jnp.eye(moving.ndim + 1, dtype=moving.dtype)
    matrix = matrix.at[:-1, -1].set(shift.astype(moving.dtype))
    seen, inside = sample(moving, coordinates(matrix, moving.shape))
    return seen, inside.astype(moving.dtype)


def _unwrap(fixed, moving, shift) -> jax.Array:
    """Which of the shifts that a peak can mean correlates best."""
    choices = jnp.asarray(list(itertools.product((0, 1), repeat=fixed.ndim)))
    shifts = shift - choices * jnp.asarray(fixed.shape)

    def score(shift):
        seen, weight = _shifted(moving, shift)
        total = jnp.maximum(weight.sum(), 1)
        f = (fixed - (weight * fixed).sum() / total) * weight
        g = (seen - (weight * seen).sum() / total) * weight
        power = jnp.sqrt((f**2).sum() * (g**2).sum())
        ncc = jnp.where(power > 0, (f * g).sum() / jnp.where(power > 0, power, 1), 0)
        return significance(ncc, total)

    return shifts[jax.lax.map(score, shifts).argmax()]


def _refine(white: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The peak near zero, on a grid of 1/20 voxel that reaches 1.5 voxels."""
    offsets = (np.arange(3 * FINE + 1) - 1.5 * FINE) / FINE
    value = white
    for axis, n in enumerate(shape):
        last = axis == len(shape) - 1
        k = np.fft.rfftfreq(n) if last else np.fft.fftfreq(n)
        waves = np.exp(2j * np.pi * np.outer(offsets, k))
        if last:  # the other half of the spectrum is the conjugate of this one
            waves *= np.where((k == 0) | (k == 0.5), 1, 2)
        waves = jnp.asarray(waves, white.dtype)
        value = jnp.moveaxis(jnp.tensordot(waves, value, (1, axis)), 0, axis)
    at = jnp.stack(jnp.unravel_index(value.real.argmax(), value.shape))
    fine = jnp.asarray(offsets, value.real.dtype)[at]
    return jnp.where(jnp.asarray(shape) > 1, fine, 0)  # one plane has no shift
