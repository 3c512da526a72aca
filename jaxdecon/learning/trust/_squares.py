"""How strongly the noise of an image is felt by every voxel of the object."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ..._core._sum import mean
from ...geometry._resample import smoothed
from ...operators import Composition, Convolution, Crop, LinearOperator, Views, Weight

PROBES = 32
"""Images of random signs where the squares of an operator are not known: what they give
is right within some 8 % (rms), which is an error of z."""
NEIGHBOURS = 2.0
"""Standard deviation, in voxels, over which what the probes give is averaged: what it
is compared with varies, the ratio of the two hardly."""
LEAST = 1e-6
"""Share of its mean below which a voxel is felt by no image."""


def squared(operator: LinearOperator) -> LinearOperator | None:
    """The operator whose matrix has the squares of an operator's; None: not known."""
    if isinstance(operator, Convolution):
        return _squared_blur(operator)
    if isinstance(operator, Weight):
        return dataclasses.replace(operator, values=operator.values**2)
    if isinstance(operator, Crop):
        return operator
    if isinstance(operator, Views):
        parts = [squared(part) for part in operator.operators]
        known = [part for part in parts if part is not None]
        return Views(known) if len(known) == len(parts) else None
    if isinstance(operator, Composition):
        return _squared_chain(operator)
    return None


def _squared_blur(blur: Convolution) -> LinearOperator | None:
    if blur.boundary not in ("extend", "periodic"):
        return None  # mirrored light reaches a voxel in two ways, whose sum is squared
    kernel = jnp.fft.irfftn(blur.transfer, s=blur.grid)
    return dataclasses.replace(blur, transfer=jnp.fft.rfftn(kernel**2))


def _squared_chain(chain: Composition) -> LinearOperator | None:
    """Known if one of the two leaves every voxel on its own."""
    if not any(isinstance(part, Weight | Crop) for part in (chain.outer, chain.inner)):
        return None
    outer, inner = squared(chain.outer), squared(chain.inner)
    if outer is None or inner is None:
        return None
    return Composition(outer=outer, inner=inner)


def noise_felt(
    operator: LinearOperator, weights: Any, key: jax.Array, probes: int = PROBES
) -> jax.Array:
    """(A^2)^T w: the variance of A^T n for noise n of variance w, on the domain.

    Exact where the squares are known. Else the mean of (A^T(s sqrt(w)))^2 over images s
    of random signs, averaged among neighbours relative to A^T w.

    Args:
        operator: A.
        weights: w, of the structure of its range.
        key: of the random signs.
        probes: how many.

    References:
        Estimating diagonals by random signs: Bekas et al., Appl. Numer. Math. 57, 1214
        (2007), doi:10.1016/j.apnum.2007.01.003.
    """
    squares = squared(operator)
    felt = (
        _by_probes(operator, weights, key, probes)
        if squares is None
        else squares.adjoint(weights)
    )
    return jnp.maximum(felt, LEAST * mean(abs(felt)))


def _by_probes(
    operator: LinearOperator, weights: Any, key: jax.Array, probes: int
) -> jax.Array:
    leaves, structure = jax.tree.flatten(weights)

    def probe(total, key):
        keys = jax.random.split(key, len(leaves))
        signed = [
            jnp.sqrt(leaf) * jax.random.rademacher(one, leaf.shape, leaf.dtype)
            for one, leaf in zip(keys, leaves, strict=True)
        ]
        return total + operator.adjoint(
            jax.tree.unflatten(structure, signed)
        ) ** 2, None

    like = jnp.maximum(operator.adjoint(weights), 0)
    found, _ = jax.lax.scan(probe, jnp.zeros_like(like), jax.random.split(key, probes))
    tiny = LEAST * mean(like)
    ratio = smoothed(found / probes, NEIGHBOURS) / (smoothed(like, NEIGHBOURS) + tiny)
    return jnp.maximum(ratio, 0) * like
