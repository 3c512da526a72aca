"""The noise of dark voxels, from the voxels that lie below the background."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..deconvolution import MixedPoisson


def with_dark_noise(
    images: Sequence[jax.Array], backgrounds: Sequence[jax.Array]
) -> tuple[tuple[jax.Array, ...], MixedPoisson]:
    """Views less their backgrounds, and a likelihood that knows how noisy these are.

    A camera's offset of a hundred units has the noise of its electronics, not that of
    a hundred photons; a background of light has that of its photons. What lies below
    the background is noise alone, and tells: its mean square is the variance of dark
    voxels. With `MixedPoisson` of that width a background of light gets the model
    A x + b, and an offset is subtracted.

    Args:
        images: the views.
        backgrounds: of each, a number or an array that broadcasts against it.
    """
    excess = tuple(y - b for y, b in zip(images, backgrounds, strict=True))
    variances = [_below_zero(y) for y in excess]
    width = jnp.sqrt(jnp.stack(variances).mean())
    return excess, MixedPoisson(read_noise=jax.lax.stop_gradient(width))


def _below_zero(y: jax.Array) -> jax.Array:
    below = jnp.minimum(y, 0)
    return (below**2).sum() / jnp.maximum((y < 0).sum(), 1)
