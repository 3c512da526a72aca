"""The joint histogram of two volumes, and the information that it holds."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

SAMPLES = 65536
"""Voxels, at most, from which the range of values is found."""
MOST_BINS = 32
TAIL = 0.001
"""Share of the voxels at either end whose values do not widen the bins."""
TINY = 1e-9
"""Probability that every pair of values has at least."""


def bin_count(size: int) -> int:
    """Bins for so many voxels: few voxels, few bins."""
    return min(MOST_BINS, max(8, round(2 * size**0.2)))


def to_bins(volume: jax.Array, weight: jax.Array | None, bins: int) -> jax.Array:
    """Values as places among bins of equal width, from 1 to bins - 2.

    The darkest and the brightest share, `TAIL`, is in the outermost ones.
    """
    step = math.ceil(max(1, volume.size / SAMPLES) ** (1 / volume.ndim))
    every = (slice(None, None, step),) * volume.ndim
    values = volume[every].ravel()
    if weight is not None:
        values = jnp.where(weight[every].ravel() > 0, values, jnp.nan)
    low, high = jnp.nanquantile(values, jnp.array([TAIL, 1 - TAIL])).astype(
        volume.dtype
    )
    width = jnp.maximum(high - low, jnp.finfo(volume.dtype).tiny) / (bins - 3)
    return 1 + jnp.clip((volume - low) / width, 0, bins - 3)


def windows(values: jax.Array, bins: int) -> tuple[jax.Array, jax.Array]:
    """(bins, n): how much values belong to every bin, and the derivative of it.

    Cubic B-splines, so that the information has two derivatives.
    """
    away = values.ravel() - jnp.arange(bins, dtype=values.dtype)[:, None]
    far = jnp.abs(away)
    tail = jnp.maximum(2 - far, 0)
    near = far < 1
    belongs = jnp.where(near, 2 / 3 - away**2 + far**3 / 2, tail**3 / 6)
    steep = jnp.where(near, away * (1.5 * far - 2), -jnp.sign(away) * tail**2 / 2)
    return belongs, steep


def joint_counts(fixed, warped, weight, bins: int) -> jax.Array:
    """(bins, bins) of weights: rows for the fixed image, columns for the other."""
    rows, columns = windows(fixed, bins)[0], windows(warped, bins)[0]
    return jnp.matmul(rows * weight.ravel(), columns.T, precision="highest")


class Information(NamedTuple):
    """What a joint histogram says.

    Attributes:
        mutual: mutual information, nats.
        score: (bins, bins), the logarithms that it is a mean of.
        curvature: (bins,), for every value of the fixed image: the expected square of
            their slope along the values of the other.
        ratio: the correlation ratio, 0 to 1: the share of the warped image's variance
            that the fixed one explains, by whatever function; its root.
    """

    mutual: jax.Array
    score: jax.Array
    curvature: jax.Array
    ratio: jax.Array

    def derivative(self, warped, fixed) -> tuple[jax.Array, jax.Array]:
        """By every warped value, of the information times the weight; the curvature."""
        bins = len(self.score)
        rows, steep = windows(fixed, bins)[0], windows(warped, bins)[1]
        along = jnp.matmul(self.score.T, rows, precision="highest")
        slope, curvature = (along * steep).sum(0), self.curvature @ rows
        return slope.reshape(warped.shape), curvature.reshape(warped.shape)


def information(counts: jax.Array) -> Information:
    """Mutual information and its derivatives.

    References:
        Viola & Wells, Int. J. Comput. Vis. 24, 137 (1997),
        doi:10.1023/A:1007958904918; Thévenaz & Unser, IEEE Trans. Image Process. 9,
        2083 (2000), doi:10.1109/83.887976; Roche et al., MICCAI (1998),
        doi:10.1007/BFb0056301 (correlation ratio).
    """
    joint = counts / jnp.maximum(counts.sum(), 1) + TINY
    rows, columns = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    score = jnp.log(joint / (rows * columns))
    between = (joint[:, 1:] + joint[:, :-1]) / 2
    curvature = (between * jnp.diff(score, axis=1) ** 2).sum(1) / rows[:, 0]
    least = 0.05 * (rows[:, 0] @ curvature) + TINY
    return Information(
        mutual=(joint * score).sum(),
        score=score,
        curvature=jnp.maximum(curvature, least),
        ratio=_ratio(joint, rows),
    )


def _ratio(joint: jax.Array, rows: jax.Array) -> jax.Array:
    places = jnp.arange(joint.shape[1], dtype=joint.dtype)
    mean = (joint @ places).sum()
    total = (joint @ (places - mean) ** 2).sum()
    explained = (rows[:, 0] * (joint @ places / rows[:, 0] - mean) ** 2).sum()
    return jnp.sqrt(explained / jnp.maximum(total, TINY))
