"""How well a PSF explains the spectrum of one image: a likelihood without an object.

If the object is a random field of the power spectrum S(|k|), the same in all
directions, the periodogram of a tapered block of its image has the mean

    m(k) = FT( acf(w) * IFT( S |H|^2 ) ) + noise,

with the autocorrelation of the taper w: exact for a crop of a larger field, nothing
wraps around (the debiased Whittle likelihood). S is a sum of power laws and Gaussians
with weights of zero or more, fitted in every block together with the level of the
noise. The score of a PSF is the sum over frequencies of ln m + I / m. What tells PSFs
apart is that objects are taken to lie in no preferred direction, and PSFs do.

References:
    Sykulski et al., Biometrika 106, 251 (2019), doi:10.1093/biomet/asy071; the fit of
    the weights: Févotte, Bertin & Durrieu, Neural Comput. 21, 793 (2009),
    doi:10.1162/neco.2008.04-08-771.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._pytree import pytree
from ...fourier import frequency_grid, next_fast_len, transfer_function

POWERS = (1.0, 2.0, 3.0, 4.0)
"""Object spectra are mixtures of |k| to minus these,"""
WIDTHS = (0.0, 0.7, 1.0, 1.4, 2.0, 3.0)
"""and of those of Gaussian specks so wide (standard deviations, voxels along x)."""
FIT_STEPS = 80
SLOWEST = 2.0
"""Frequencies below so many periods per block are left away: shading, the mean."""
LEAST_BLOCK = 20
"""Voxels along an axis from which on blocks are cut in two."""

Shape = tuple[int, ...]


@pytree
class Blocks:
    """Periodograms of the overlapping blocks of an image.

    Attributes:
        periodograms: (block, *half-spectrum), of unit mean for white noise of unit
            variance.
        taper: (*block shape), of unit sum of squares.
        counted: weight of each frequency in a score: 0 or how many it stands for.
        spacing: relative voxel sizes, (axis,).
    """

    periodograms: jax.Array
    taper: jax.Array
    counted: jax.Array
    spacing: jax.Array

    @classmethod
    def of(cls, image: jax.Array, spacing: Sequence[float]) -> "Blocks":
        """Cut an image into blocks that overlap by half, and transform them."""
        shape = tuple(n if n < 2 * LEAST_BLOCK else n // 2 for n in image.shape)
        parts = jnp.stack([image[b] for b in block_slices(image.shape, shape)])
        taper = jnp.asarray(_taper(shape), image.dtype)
        each = tuple(range(1, parts.ndim))
        middle = (parts * taper).sum(each, keepdims=True) / taper.sum()
        spectra = jnp.fft.rfftn((parts - middle) * taper, axes=each)
        counted = jnp.asarray(_counted(shape, np.asarray(taper)), image.dtype)
        return cls(
            periodograms=abs(spectra) ** 2,
            taper=taper,
            counted=counted,
            spacing=jnp.asarray(spacing, image.dtype),
        )


def _taper(shape: Shape) -> np.ndarray:
    """A Hann window along every axis, with unit sum of squares."""
    windows = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in shape]
    taper = functools.reduce(np.multiply.outer, windows)
    return taper / np.sqrt((taper**2).sum())


def block_slices(shape: Shape, block: Shape):
    """Blocks that begin at 0, a half, and so on, up to the end."""
    starts = [
        np.linspace(0, n - b, 1 if n == b else 3).astype(int)
        for n, b in zip(shape, block, strict=True)
    ]
    for corner in itertools.product(*starts):
        yield tuple(slice(a, a + n) for a, n in zip(corner, block, strict=True))


def _counted(shape: Shape, taper: np.ndarray) -> np.ndarray:
    """How many independent frequencies each one stands for."""
    k = frequency_grid(shape)
    periods = np.sqrt(sum((f * n) ** 2 for f, n in zip(k, shape, strict=True)))
    twice = np.where((k[-1] == 0) | (k[-1] == 0.5), 1.0, 2.0)
    # Neighbours in the spectrum of a tapered block tell the same in part.
    independent = 1 / (taper.size * (taper**4).sum())
    return 0.5 * independent * np.where(periods < SLOWEST, 0.0, twice)


@functools.partial(jax.jit, static_argnums=0)
def spectral_scores(
    model: Callable[[jax.Array], jax.Array], blocks: Blocks, vectors: jax.Array
) -> jax.Array:
    """Negative log-likelihoods (vector, block) of a PSF's parameters."""
    return jax.lax.map(lambda vector: _score(model(vector), blocks), vectors)


def _score(psf: jax.Array, blocks: Blocks) -> jax.Array:
    means = _mean_periodograms(psf, blocks)

    def one(seen):
        counted = blocks.counted
        level = (counted * seen).sum() / counted.sum()
        weights = jnp.full(len(means), level / len(means), seen.dtype)

        def improve(weights, _):
            mean = jnp.tensordot(weights, means, 1)
            pull = jnp.tensordot(means, counted * seen / mean**2, seen.ndim)
            push = jnp.tensordot(means, counted / mean, seen.ndim)
            return weights * jnp.sqrt(pull / push), None

        weights, _ = jax.lax.scan(improve, weights, length=FIT_STEPS)
        mean = jnp.tensordot(weights, means, 1)
        return (counted * (jnp.log(mean) + seen / mean)).sum()

    return jax.lax.map(one, blocks.periodograms)


def _mean_periodograms(psf: jax.Array, blocks: Blocks) -> jax.Array:
    """(component, *half-spectrum): of the power laws behind the PSF, and of noise."""
    shape = blocks.taper.shape
    reach = zip(shape, psf.shape, strict=True)
    grid = tuple(next_fast_len(n + max(n, m)) for n, m in reach)
    axes = zip(frequency_grid(grid), blocks.spacing, strict=True)
    squared = sum((f / s) ** 2 for f, s in axes)
    lowest = 0.25 / (jnp.asarray(shape) * blocks.spacing).max()
    power = abs(transfer_function(psf, grid)) ** 2
    padded = jnp.fft.rfftn(blocks.taper, s=tuple(2 * n for n in shape))
    overlap = jnp.fft.irfftn(abs(padded) ** 2, s=tuple(2 * n for n in shape))
    laws = [(squared + lowest**2) ** (-exponent / 2) for exponent in POWERS]
    laws += [jnp.exp(-((2 * np.pi * width) ** 2) * squared) for width in WIDTHS]
    made = []
    for law in laws:
        mean = _periodogram(jnp.fft.irfftn(law * power, s=grid), overlap)
        made.append(mean / jnp.maximum((blocks.counted * mean).sum(), 1e-30))
    made.append(jnp.ones_like(made[0]) / blocks.counted.sum())
    return jnp.stack(made).astype(blocks.taper.dtype)


def _periodogram(covariance: jax.Array, overlap: jax.Array) -> jax.Array:
    """The mean periodogram of a block, from the covariance at all lags within it.

    On the grid of lags, twice the block, every other frequency is one of the block's.
    """
    for axis, n in enumerate(overlap.shape):
        ahead = jax.lax.slice_in_dim(covariance, 0, n // 2, axis=axis)
        size = covariance.shape[axis]
        behind = jax.lax.slice_in_dim(covariance, size - n // 2, size, axis=axis)
        covariance = jnp.concatenate([ahead, behind], axis)
    fine = jnp.fft.rfftn(covariance * overlap).real
    return jnp.maximum(fine[tuple(slice(None, None, 2) for _ in overlap.shape)], 0)
