"""Measures of a PSF."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_psf


def fwhm(psf: ArrayLike) -> jax.Array:
    """Full width at half maximum along each axis, without a fit.

    Along the line through the brightest voxel, the two half-maximum crossings are
    interpolated linearly (the definition of Guo et al. 2020).

    Args:
        psf: (z, y, x) or (y, x); need not be centred or normalised.

    Returns:
        One width in voxels per axis; NaN where the PSF is cut before it falls to half
        of its maximum. Differentiable in the PSF.

    Raises:
        ValueError: PSF all zero, negative or not finite.

    Example:
        >>> import jaxdecon as jd
        >>> jd.psf.fwhm(jd.psf.gaussian((31, 31, 31), (8.0, 4.0, 4.0))).round(1)
        Array([8., 4., 4.], dtype=float32)

    References:
        Guo et al., Nature Biotechnology 38, 1337 (2020), doi:10.1038/s41587-020-0560-x.
    """
    return _fwhm(check_psf("psf", psf))


@jax.jit
def _fwhm(psf: jax.Array) -> jax.Array:
    peak = jnp.unravel_index(jnp.argmax(psf), psf.shape)
    widths = []
    for axis, n in enumerate(psf.shape):
        others = tuple(p for a, p in enumerate(peak) if a != axis)
        line = jnp.moveaxis(psf, axis, 0)[(slice(None), *others)]
        before = _crossing(line[::-1], n - 1 - peak[axis])
        widths.append(before + _crossing(line, peak[axis]))
    return jnp.stack(widths)


def _crossing(line: jax.Array, peak: jax.Array) -> jax.Array:
    """Distance from the peak, forwards, at which the line falls to half of it."""
    half = line[peak] / 2
    index = jnp.arange(line.size)
    below = (index > peak) & (line < half)
    after = jnp.argmax(below)
    upper, lower = line[after - 1], line[after]
    whole = (after - 1 - peak).astype(line.dtype)
    distance = whole + (upper - half) / (upper - lower)
    return jnp.where(below.any(), distance, jnp.nan)
