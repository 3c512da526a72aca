"""The noise of dark voxels, from the voxels that lie below the background."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def with_dark_noise(
    images: Sequence[jax.Array],
    backgrounds: Sequence[jax.Array],
    known: Sequence[jax.Array] | None = None,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Views on a background of photons that is as noisy as their dark voxels are.

    A camera's offset of a hundred units has the noise of its electronics, not that of
    a hundred photons; a background of light has that of its photons. What lies below
    the background is noise alone, and tells: its mean square is the variance s of dark
    voxels. Photons whose mean is s have that variance, too, so that a view less its
    background plus s is nearly a Poisson variable on a background of s (Snyder et al.
    1995, see `MixedPoisson`).

    Args:
        images: the views.
        backgrounds: of each, a number or an array that broadcasts against it.
        known: of each, the variance of dark voxels; None: measured.

    Returns:
        Data and backgrounds for the likelihood `Poisson`.
    """
    excess = [y - b for y, b in zip(images, backgrounds, strict=True)]
    if known is None:
        known = [jax.lax.stop_gradient(_below_zero(y)) for y in excess]
    noise = tuple(known)
    return tuple(y + s for y, s in zip(excess, noise, strict=True)), noise


def _below_zero(y: jax.Array) -> jax.Array:
    below = jnp.minimum(y, 0)
    return (below**2).sum() / jnp.maximum((y < 0).sum(), 1)
