"""Beads as a camera sees them: a PSF, blurred by the bead, moved by parts of a voxel.

By cosine series, which continue the PSF beyond its array as mirrors would: nothing
wraps around, and a PSF that is cut while still bright (as widefield ones are) rings
little.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


@functools.cache
def analysis(n: int) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II), (frequency, voxel)."""
    return _basis(n, np.arange(n), np).T


def _basis(n: int, places, numpy) -> np.ndarray:
    """Values at any places, in voxels, of the cosines, (place, frequency)."""
    k = numpy.arange(n)
    scale = numpy.where(k == 0, np.sqrt(1 / n), np.sqrt(2 / n))
    return scale * numpy.cos(np.pi / n * k * (places[:, None] + 0.5))


def _slope(n: int, places: jax.Array) -> jax.Array:
    """Derivatives of `_basis` with respect to the places."""
    k = jnp.arange(n)
    scale = np.sqrt(2 / n) * np.pi / n * k
    return -scale * jnp.sin(np.pi / n * k * (places[:, None] + 0.5))


def sphere_transfer(shape: Sequence[int], diameter: Sequence[float]) -> np.ndarray:
    """What a homogeneous sphere does to each cosine; diameters in voxels per axis."""
    k = np.meshgrid(*(np.arange(n) / (2 * n) for n in shape), indexing="ij")
    squares = sum((d * f) ** 2 for d, f in zip(diameter, k, strict=True))
    q = np.maximum(np.pi * np.sqrt(squares), 1e-2)  # there the cosines' error is 1e-5
    return 3 * (np.sin(q) - q * np.cos(q)) / q**3


def spectra(psfs: jax.Array, transfer: jax.Array) -> jax.Array:
    """Cosine coefficients of PSFs (..., z, y, x), blurred by the bead."""
    matrices = [analysis(n) for n in psfs.shape[-3:]]
    return separable(psfs, matrices) * transfer


def render(spectrum: jax.Array, position: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Images (..., z, y, x) with the PSF's centre at `position` from n // 2, voxels."""
    return separable(spectrum, _synthesis(spectrum, position, shape)[0])


def render_slopes(
    spectrum: jax.Array, position: jax.Array, shape: Sequence[int]
) -> jax.Array:
    """Derivatives (3, z, y, x) of `render` with respect to the position."""
    values, slopes = _synthesis(spectrum, position, shape)
    turns = ([*values[:a], slopes[a], *values[a + 1 :]] for a in range(3))
    return -jnp.stack([separable(spectrum, matrices) for matrices in turns])


def _synthesis(spectrum, position, shape):
    sizes = spectrum.shape[-3:]
    places = [
        jnp.arange(m) - m // 2 + n // 2 - p
        for m, n, p in zip(shape, sizes, position, strict=True)
    ]
    pairs = list(zip(sizes, places, strict=True))
    return [_basis(n, p, jnp) for n, p in pairs], [_slope(n, p) for n, p in pairs]


def separable(volumes: jax.Array, matrices) -> jax.Array:
    """One matrix along each of the last three axes."""
    z, y, x = (jnp.asarray(m, volumes.dtype) for m in matrices)
    along_x = jnp.einsum("...zyx,ix->...zyi", volumes, x, precision="highest")
    along_y = jnp.einsum("...zyi,jy->...zji", along_x, y, precision="highest")
    return jnp.einsum("...zji,kz->...kji", along_y, z, precision="highest")
