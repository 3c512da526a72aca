"""The subvoxel shift of two crops by Gauss-Newton, and how exact it is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ._normal import correlation
from ._pairs_filter import (
    Crop,
    overlap_weight,
    separable,
    softened,
    softened_with_slopes,
)

PASSES = 6
LONGEST = 1.0
"""Voxels that one step may go along an axis."""
LEAST_SLOPE = 0.02
"""Share of the slopes' power that both crops must have in common along a direction for
its step; directions that say less are left very uncertain."""
BLOCK, LEAST_BLOCK = 16, 8
"""Voxels whose residuals may depend on each other."""
UNKNOWN = 1e6
"""Variance, voxels squared, along an axis of one plane."""
EXACT = 1e-6
"""Variance that no shift is below."""


class Fine(NamedTuple):
    """A shift and what is known of it.

    Attributes:
        shift: (d,).
        covariance: (d, d), voxels squared.
        ncc: over the overlap.
        overlap: voxels that count.
        cells: of them, as many as vary independently.
        grain: voxels that vary together.
        step: voxels that the last pass went.
    """

    shift: jax.Array
    covariance: jax.Array
    ncc: jax.Array
    overlap: jax.Array
    cells: jax.Array
    grain: jax.Array
    step: jax.Array


class Sight(NamedTuple):
    """Both crops at a shift; the moving one as bright as the fixed."""

    fixed: jax.Array
    moving: jax.Array
    weight: jax.Array
    ncc: jax.Array


def refine(fixed: Crop, moving: Crop, start: jax.Array) -> Fine:
    """The shift near a start at which two crops differ least.

    Residuals r = a g - f are weighed by the slopes of f alone, which lets the noise of
    the shifted crop, however interpolated, cancel; a is the ratio of both standard
    deviations, which noise of like strength leaves unbiased. The normal matrix A is
    that of the slopes of f with those of g, in which the noise of neither counts. The
    covariance of the shift is A^-1 B A^-1, with B the sum over blocks of squares of
    what each block contributes (White, Econometrica 48, 817 (1980),
    doi:10.2307/1912934): honest if noise varies in space or is correlated.
    """
    soft, slopes = softened_with_slopes(fixed, jnp.zeros_like(start))

    def look(shift) -> Sight:
        weight = separable(overlap_weight(fixed, moving, shift))
        return _look(soft, softened(moving, shift), weight)

    def inverse_at(shift):
        weight = separable(overlap_weight(fixed, moving, shift))
        return _inverse(weight, slopes, softened_with_slopes(moving, shift)[1])

    inverse = inverse_at(start)

    def advance(state, _):
        shift, _ = state
        sight = look(shift)
        step = inverse @ _sums(sight.weight * (sight.moving - sight.fixed), slopes)
        step = jnp.clip(step, -LONGEST, LONGEST)
        return (shift - step, jnp.abs(step).max()), None

    (shift, step), _ = jax.lax.scan(
        advance, (start, jnp.asarray(jnp.inf, start.dtype)), length=PASSES
    )
    sight, inverse = look(shift), inverse_at(shift)
    weight = sight.weight
    scores = slopes * (weight * (sight.moving - sight.fixed))
    cells, grain = _cells(sight.fixed, weight, slopes)
    covariance = inverse @ _scatter(scores) @ inverse.T
    return Fine(
        shift=shift,
        covariance=_with_planes(covariance, soft.shape),
        ncc=sight.ncc,
        overlap=weight.sum(),
        cells=cells,
        grain=grain,
        step=step,
    )


def _look(f: jax.Array, g: jax.Array, weight: jax.Array) -> Sight:
    total = jnp.maximum(weight.sum(), 1)
    f = f - (weight * f).sum() / total
    g = g - (weight * g).sum() / total
    power_f, power_g = (weight * f**2).sum(), (weight * g**2).sum()
    gain = jnp.sqrt(power_f / jnp.maximum(power_g, 1e-20))
    ncc = correlation(power_f, power_g, (weight * f * g).sum())
    return Sight(f, gain * g, weight, ncc)


def _sums(weighted: jax.Array, slopes: jax.Array) -> jax.Array:
    """(d,): sums of the slopes times a volume."""
    d = slopes.shape[0]
    return jnp.matmul(slopes.reshape(d, -1), weighted.ravel(), precision="highest")


def _inverse(weight, slopes, seen_slopes) -> jax.Array:
    """Of the normal matrix, symmetric and positive definite."""
    d = slopes.shape[0]
    own, flat_slopes = (slopes * weight).reshape(d, -1), slopes.reshape(d, -1)
    alone = jnp.matmul(own, flat_slopes.T, precision="highest")
    powers = [(weight * s**2).sum(range_of(slopes)) for s in (slopes, seen_slopes)]
    gain = jnp.sqrt(powers[0] / jnp.maximum(powers[1], 1e-20))
    both = jnp.matmul(own, seen_slopes.reshape(d, -1).T, precision="highest") * gain
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diagonal(alone), 1e-20))
    scaled = 0.5 * (both + both.T) * jnp.outer(scale, scale)
    values, vectors = jnp.linalg.eigh(scaled)
    inverse = (vectors / jnp.maximum(values, LEAST_SLOPE)) @ vectors.T
    return inverse * jnp.outer(scale, scale)


def range_of(slopes: jax.Array) -> tuple[int, ...]:
    """The axes of space."""
    return tuple(range(1, slopes.ndim))


def _scatter(scores: jax.Array) -> jax.Array:
    """(d, d): squares of the sums over blocks, more if few blocks decide."""
    sums = _blocks(scores)
    parts = (sums**2 / jnp.maximum((sums**2).sum(1, keepdims=True), 1e-30)).sum(0)
    count = parts.sum() ** 2 / jnp.maximum((parts**2).sum(), 1e-20)
    d = scores.shape[0]
    scatter = jnp.matmul(sums, sums.T, precision="highest")
    return scatter * count / jnp.maximum(count - d - 1, 0.1)


def _blocks(volumes: jax.Array) -> jax.Array:
    """(volumes, blocks): sums over blocks."""
    sizes, padding, split = volumes.shape[1:], [(0, 0)], [volumes.shape[0]]
    for n in sizes:
        block = BLOCK if n >= 4 * BLOCK else min(LEAST_BLOCK, n)
        padding.append((0, -n % block))
        split += [-(-n // block), block]
    within = tuple(range(2, len(split), 2))
    sums = jnp.pad(volumes, padding).reshape(split).sum(within)
    return sums.reshape(volumes.shape[0], -1)


def _cells(values, weight, slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many voxels of the overlap count as independent, and how many vary together.

    As for whole volumes (`_verdict`): fewer if a few blobs in the dark decide.
    """
    total = jnp.maximum(weight.sum(), 1)
    power = (weight * values**2).sum()
    steep = (weight * slopes**2).sum(range_of(slopes))
    length = jnp.sqrt(jnp.pi * power / jnp.maximum(steep, 1e-20))
    length = jnp.clip(length, 1, jnp.asarray(weight.shape, length.dtype))
    peaks = (weight * values**4).sum() * total / jnp.maximum(power**2, 1e-20)
    grain = jnp.prod(length)
    return total / grain * jnp.minimum(3 / jnp.maximum(peaks, 1e-20), 1), grain


def _with_planes(covariance: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Nothing is known of the shift along axes of one plane."""
    flat = jnp.asarray([n == 1 for n in shape])
    covariance = jnp.where(flat[:, None] | flat, 0, covariance)
    return covariance + jnp.diag(jnp.where(flat, UNKNOWN, EXACT)).astype(
        covariance.dtype
    )
