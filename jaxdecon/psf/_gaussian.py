"""The Gaussian PSF."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_positive, check_shape

FWHM_PER_SIGMA = float(2 * np.sqrt(2 * np.log(2)))
"""Full width at half maximum of a Gaussian, in standard deviations."""


def gaussian(shape: Sequence[int], fwhm: ArrayLike | Sequence[float]) -> jax.Array:
    """A sampled Gaussian, centred on n // 2, with unit sum.

    Args:
        shape: (z, y, x) or (y, x) of the result.
        fwhm: full width at half maximum in voxels, one number or one per axis;
            differentiable.

    Returns:
        The PSF, in JAX's default float (float32 unless x64 is enabled).

    Raises:
        ValueError: a width that is not positive, or not one per axis.

    Example:
        >>> gaussian((5, 5), 2.0).sum().round(5)
        Array(1., dtype=float32)
    """
    shape = check_shape("shape", shape)
    check_positive("fwhm", fwhm)
    widths = jnp.asarray(fwhm, float)
    if widths.ndim > 1 or widths.size not in (1, len(shape)):
        raise ValueError(f"`fwhm` is {fwhm}; one number or {len(shape)} are needed.")
    sigmas = jnp.broadcast_to(widths, len(shape)) / FWHM_PER_SIGMA
    psf = jnp.ones((), widths.dtype)
    for n, sigma in zip(shape, sigmas, strict=True):
        profile = jnp.exp(-0.5 * ((jnp.arange(n) - n // 2) / sigma) ** 2)
        psf = psf[..., None] * (profile / profile.sum())
    return psf
