"""Volumes seen through windows: local means, local contrast, local correlation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ._moments import Pair

STEPS = (1, 2, 3)
"""Strides of the filters that make the window: together a standard deviation of 3.7
voxels."""
UNSEEN = 4
"""Voxels along the borders, where windows are cut off, that do not count besides."""
LEAST_CUT = 24
"""Voxels along an axis that may lose them."""
FLOOR = 0.03
"""Of the mean variance; local variances below it are not made up for."""


def window(volume: jax.Array) -> jax.Array:
    """Means over a bell-shaped window, as far as axes are long enough."""
    for axis, n in enumerate(volume.shape):
        means = jnp.asarray(_means(n), volume.dtype)
        volume = jnp.moveaxis(jnp.tensordot(means, volume, (1, axis)), 0, axis)
    return volume


@functools.cache
def _means(n: int) -> np.ndarray:
    """(n, n): the matrix of the window along an axis."""
    steps = [step for step in STEPS if n > 4 * step]
    return functools.reduce(lambda m, step: _binomial(n, step) @ m, steps, np.eye(n))


def _binomial(n: int, step: int) -> np.ndarray:
    """The matrix of (1, 4, 6, 4, 1) / 16 with a stride; border values are repeated."""
    rows, matrix = np.arange(n), np.zeros((n, n))
    for k, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        np.add.at(matrix, (rows, np.clip(rows + k * step, 0, n - 1)), weight / 16)
    return matrix


def normalise_locally(volume: jax.Array, weight: jax.Array | None) -> jax.Array:
    """Local means removed, local contrast made equal.

    The correlation of two such volumes is a mean over windows of their correlation in
    each, and knows no uneven illumination.
    """
    ones = jnp.ones_like(volume) if weight is None else weight
    share = jnp.maximum(window(ones), 1e-6)
    centred = volume - window(volume * ones) / share
    variance = window(centred**2 * ones) / share
    least = FLOOR * (variance * ones).sum() / jnp.maximum(ones.sum(), 1)
    return centred / jnp.sqrt(variance + least)


def local_agreement(warped, fixed, weight) -> jax.Array:
    """Fourth powers of the local correlation of two volumes, 0 where that is negative.

    Args:
        warped: the one.
        fixed: the other.
        weight: of every voxel.
    """
    share = jnp.maximum(window(weight), 1e-6)
    g, f = (v - window(v * weight) / share for v in (warped, fixed))
    gg, ff, gf = (window(a * b * weight) / share for a, b in ((g, g), (f, f), (g, f)))
    least = [
        FLOOR * (v**2 * weight).sum() / jnp.maximum(weight.sum(), 1) for v in (g, f)
    ]
    squares = jnp.maximum(gf, 0) ** 2 / ((gg + least[0]) * (ff + least[1]))
    return squares**2


def localised(pair: Pair) -> Pair:
    """Both volumes of a pair, normalised locally."""
    return Pair(
        fixed=normalise_locally(pair.fixed, pair.fixed_weight),
        moving=normalise_locally(pair.moving, pair.moving_weight),
        fixed_weight=pair.fixed_weight,
        moving_weight=pair.moving_weight,
        fixed_margin=_without_ends(pair.fixed, pair.fixed_margin),
        moving_margin=_without_ends(pair.moving, pair.moving_margin),
    )


def _without_ends(volume: jax.Array, margin: tuple[int, ...] | None):
    margin = (0,) * volume.ndim if margin is None else margin
    return tuple(
        m + (UNSEEN if n >= LEAST_CUT else 0)
        for m, n in zip(margin, volume.shape, strict=True)
    )
