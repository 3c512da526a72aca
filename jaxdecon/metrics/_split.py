"""Split the photons of an image into two independent images."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import as_float_array, check_values, is_traced


def split_photons(
    image: ArrayLike, *, key: jax.Array, share: ArrayLike = 0.5
) -> tuple[jax.Array, jax.Array]:
    """Send every photon to one of two images, at random (binomial splitting).

    Of a Poisson image both parts are Poisson and independent of each other.

    Args:
        image: photon counts, any shape.
        key: of `jax.random.key`.
        share: probability of going to the first image, in (0, 1).

    Returns:
        Two images whose sum is `image`.

    Raises:
        ValueError: negative or fractional values, which are no photon counts (not
            looked at while tracing); a share outside (0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> first, second = split_photons(jnp.full((8, 8), 20), key=jax.random.key(0))
        >>> bool((first + second == 20).all())
        True
    """
    counts = as_float_array("image", image)
    check_values("image", counts)
    if not is_traced(counts) and not _are_whole(np.asarray(counts)):
        raise ValueError(
            "`image` has values that are not whole numbers; photon counts are needed: "
            "(image - offset) / gain, rounded, with the camera's offset and its units "
            "per photon."
        )
    if not is_traced(share) and not 0 < np.asarray(share) < 1:
        raise ValueError(f"`share` is {share}; a number between 0 and 1 is needed.")
    first = jax.random.binomial(key, counts, jnp.asarray(share, counts.dtype))
    first = first.astype(counts.dtype)
    return first, counts - first


def _are_whole(values: np.ndarray) -> bool:
    return np.array_equal(values, np.round(values))
