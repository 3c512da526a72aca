"""What beads show beyond a fitted model, voxel by voxel, as far as it is not noise."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._fit_engine import Fit, Scene
from ._fit_likelihood import LEAST_PHOTONS, half_deviance
from ._fit_render import analysis, render, separable, spectra

SHELLS = 12
"""Of spatial frequency, each with a gain of its own."""
LEAST_SIGMAS = 3.0
"""Gain of log-likelihood on what was kept aside, in standard errors."""


def with_residual(
    estimate: Any, scene: Scene, fit: Fit, photons: Any, key: jax.Array
) -> Any:
    """The estimate with a residual, if held-out beads confirm it."""
    psf, excess = estimate.psf, estimate.gain / photons.gain
    confirmed, said = _confirmed(scene, fit, psf, excess, key)
    if not confirmed:
        return dataclasses.replace(
            estimate,
            residual=jnp.zeros_like(psf),
            message=f"{estimate.message}; no residual: {said}",
        )
    better = _corrected(psf, _residual(scene, fit, scene.counts, psf, excess))
    return dataclasses.replace(
        estimate,
        psf=better,
        residual=better - psf,
        message=f"{estimate.message}; with a residual: {said}",
    )


def _confirmed(scene: Scene, fit: Fit, psf, excess, key) -> tuple[bool, str]:
    """Whether a residual from one half explains the other, and in words.

    Halves are beads, every other one; or, of a single bead, photons.
    """
    if len(scene.counts) > 1:
        half = np.arange(len(scene.counts)) % 2
        parts = [(scene.counts, fit.own, half == side) for side in (0, 1)]
        pairs, what = [(parts[0], parts[1]), (parts[1], parts[0])], "other beads"
    else:
        one, two = (
            (counts, fit.own.at[:, 3:].multiply(0.5), np.array([True]))
            for counts in _thinned(scene.counts, key)
        )
        pairs, what = [(one, two), (two, one)], "photons kept aside of the same bead"
    gains = []
    for (counts, own, mask), (kept, kept_own, kept_mask) in pairs:
        source = dataclasses.replace(fit, own=own)
        residual = _residual(scene, source, counts, psf, excess, mask)
        corrected = _corrected(psf, residual)
        gains.append(
            _gains(scene, kept[kept_mask], kept_own[kept_mask], psf, corrected)
        )
    gains = np.concatenate([np.asarray(g, float).ravel() for g in gains])
    total, error = gains.sum(), np.sqrt(gains.size) * gains.std()
    said = f"{what} are {total:+.3g} +- {error:.2g} more likely with it"
    return bool(total > LEAST_SIGMAS * error), said


def _thinned(counts: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Photons, each dealt to one of two images."""
    whole = jnp.maximum(jnp.round(counts), 0)
    first = jax.random.binomial(key, whole, 0.5).astype(counts.dtype)
    return first, whole - first


def _gains(scene: Scene, counts, own, psf, corrected) -> jax.Array:
    """Log-likelihood that the corrected PSF gains, in every voxel of every bead."""

    def lost(psf):
        spectrum = spectra(psf, scene.transfer)

        def one(bead):
            counts, own = bead
            image = render(spectrum, own[:3], counts.shape)
            expected = _lit(counts, image, own, scene.floor)
            return half_deviance(jnp.maximum(counts + scene.floor, 0), expected)

        return jax.lax.map(one, (counts, own))

    return lost(psf) - lost(corrected)


def _lit(counts, image, own, floor) -> jax.Array:
    """Expected counts, with the photons and background that fit this image best."""
    photons, background = own[3], own[4]
    for _ in range(3):
        expected = photons * image + background + floor
        weight = 1 / jnp.maximum(expected, LEAST_PHOTONS)
        columns = jnp.stack([image.ravel(), jnp.ones(image.size, image.dtype)])
        weighted = columns * weight.ravel()
        photons, background = jnp.linalg.solve(
            weighted @ columns.T, weighted @ counts.ravel()
        )
    return jnp.maximum(photons * image + background + floor, LEAST_PHOTONS)


def _residual(scene: Scene, fit: Fit, counts, psf, excess, mask: Any = None):
    """Residual of the beads, moved back to the PSF's grid, less what is noise.

    A weighted mean of the beads' residuals per photon; in every shell of spatial
    frequency it is multiplied by signal / (signal + noise), as Wiener would.
    """
    mask = np.ones(len(counts), bool) if mask is None else mask
    spectrum = spectra(psf, scene.transfer)
    total, weight, noise = jnp.zeros_like(psf), 0.0, 0.0
    for bead in np.flatnonzero(mask):
        own = fit.own[bead]
        expected = scene.expected(spectrum, own)
        variance = jnp.maximum(expected + scene.floor, LEAST_PHOTONS)
        share = own[3] ** 2 / variance.mean()
        misfit = (counts[bead] - expected) / own[3]
        total = total + share * _moved_back(misfit, own[:3], psf.shape)
        weight, noise = weight + share, noise + share  # share^2 times 1 / share
    level = excess * noise / weight**2 * counts[0].size / psf.size
    return _shrunk(total / weight, level)


def _moved_back(image, position, shape) -> jax.Array:
    """An image, without the motion of its bead, on the PSF's grid; 0 outside."""
    centred = render(
        separable(image, [analysis(n) for n in image.shape]), -position, image.shape
    )
    margins = [
        (n // 2 - m // 2, n - m - (n // 2 - m // 2))
        for n, m in zip(shape, image.shape, strict=True)
    ]
    return jnp.pad(centred, margins)


def _shrunk(residual: jax.Array, noise: jax.Array) -> jax.Array:
    """Shell by shell, by how much its power is above that of the noise, which is flat.

    However uneven its variance is over the voxels: independent noise has the mean of
    it in every orthonormal coefficient.
    """
    matrices = [analysis(n) for n in residual.shape]
    waves = separable(residual, matrices)
    k = np.meshgrid(*(np.arange(n) / n for n in residual.shape), indexing="ij")
    radius = np.sqrt(sum(f**2 for f in k) / len(k))
    shell = np.minimum((radius * SHELLS).astype(int), SHELLS - 1)
    count = np.maximum(np.bincount(shell.ravel(), minlength=SHELLS), 1)
    power = jnp.zeros(SHELLS, waves.dtype).at[shell].add(waves**2) / count
    gain = jnp.clip(1 - noise / jnp.maximum(power, 1e-30), 0)[shell]
    return separable(gain * waves, [m.T for m in matrices])


def _corrected(psf: jax.Array, residual: jax.Array) -> jax.Array:
    better = jnp.maximum(psf + residual, 0)
    return better / better.sum()
