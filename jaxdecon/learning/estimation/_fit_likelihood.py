"""One bead: its log-likelihood, slopes and Fisher information."""

import jax
import jax.numpy as jnp

from ._fit_render import render, render_slopes

LEAST_PHOTONS = 0.02
"""A voxel's expectation is not taken to be below: its noise would be nothing."""


def value_and_jacobian(model, theta) -> tuple[jax.Array, jax.Array]:
    """A PSF and its derivatives (parameter, z, y, x), in forward mode."""

    def along(direction):
        return jax.jvp(model, (theta,), (direction,))

    values, slopes = jax.vmap(along)(jnp.eye(theta.size, dtype=theta.dtype))
    return values[0], slopes


def normal_equations(counts, own, parts, floor):
    """Score, misfit, information and slope of one bead."""
    images = render(parts, own[:3], counts.shape)
    moved = render_slopes(parts[0], own[:3], counts.shape)
    photons = own[3]
    columns = jnp.concatenate(
        [
            photons * images[1:],
            photons * moved,
            images[:1],
            jnp.ones_like(images[:1]),
        ]
    )
    expected = photons * images[0] + own[4]
    variance = jnp.maximum(expected + floor, LEAST_PHOTONS)
    seen = jnp.maximum(counts + floor, 0)
    columns = columns.reshape(len(columns), -1)
    weighted = columns / variance.reshape(-1)
    information = jnp.matmul(weighted, columns.T, precision="highest")
    lacking = seen - variance
    slope = jnp.matmul(weighted, lacking.reshape(-1), precision="highest")
    score, misfit = half_deviance(seen, variance).sum(), (lacking**2 / variance).sum()
    return score, misfit, information, slope


def half_deviance(seen: jax.Array, expected: jax.Array) -> jax.Array:
    """Log-likelihood that Poisson data lack to a perfect fit, voxel by voxel."""
    ratio = jnp.where(seen > 0, seen / expected, 1)
    return seen * jnp.log(ratio) - (seen - expected)
