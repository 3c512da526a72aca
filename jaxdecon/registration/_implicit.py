"""Derivatives of a pose that was found by a search, without those of the search."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ._moments import Pair

APART = 0.1
"""Voxels that the corners move by between slopes that are compared: linear
interpolation has kinks, whose part in the curvature is not seen at a point."""
Score = Callable[[jax.Array, Pair, jax.Array], jax.Array]
"""Of the rows from unit coordinates to voxels of the moving volume, the volumes, and
the rows at which weights are taken."""
Rows = Callable[[jax.Array, jax.Array], jax.Array]
"""From parameters about a base to those rows."""


def attach(
    score: Score,
    rows_of: Rows,
    found: jax.Array,
    value: jax.Array,
    pair: Pair,
    base: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """A maximum and the score there, with derivatives by what they follow from.

    At a maximum the slope is zero whatever the volumes: of H the matrix of second
    derivatives by the parameters p and t the volumes or the base,

        dp/dt = -H^-1 d(dS/dp)/dt,    dS/dt = the partial derivative.

    Second derivatives by the entries of the matrix follow from slopes that are a tenth
    of a voxel apart. Time is that of some 25 derivatives of the score, memory that of
    two, however long the search took.

    Args:
        score: to be differentiated.
        rows_of: the rows that parameters and a base stand for.
        found: parameters of the maximum.
        value: the score there.
        pair: the volumes; their weights are constants.
        base: a matrix.

    References:
        Blondel et al., NeurIPS (2022), arXiv:2105.15183 (implicit differentiation).
    """

    @jax.custom_vjp
    def known(found, value, pair, base):
        return found, value

    def forward(found, value, pair, base):
        return (found, value), (found, pair, base)

    def backward(saved, cotangents):
        found, pair, base = saved
        toward, weight = cotangents
        around = jax.lax.stop_gradient(rows_of(found, base))
        near = _near(lambda rows: score(rows, pair, around), around)

        def about(parameters, base):
            return near(rows_of(parameters, base))

        hessian = jax.hessian(about)(found, base)
        along = jnp.linalg.solve(hessian, toward)

        def change(score_of_parameters):
            slope = jax.jvp(score_of_parameters, (found,), (along,))[1]
            return weight * score_of_parameters(found) - slope

        by_pair = jax.grad(
            lambda pair: change(lambda p: score(rows_of(p, base), pair, around))
        )(pair)
        by_base = jax.grad(lambda base: change(lambda p: about(p, base)))(base)
        return jnp.zeros_like(found), jnp.zeros_like(weight), by_pair, by_base

    known.defvjp(forward, backward)
    return known(found, value, pair, base)


def _near(score: Callable[..., jax.Array], rows: jax.Array) -> Callable[..., jax.Array]:
    """The score of rows near given ones, less that of those: a quadratic form."""
    slope = jax.grad(score)

    def change(direction):
        step = APART / 2 * direction.reshape(rows.shape)
        return (slope(rows + step) - slope(rows - step)).ravel() / APART

    curvature = jax.lax.map(change, jnp.eye(rows.size, dtype=rows.dtype))
    curvature, steep = (curvature + curvature.T) / 2, slope(rows).ravel()

    def near(others):
        away = (others - rows).ravel()
        return away @ steep + away @ curvature @ away / 2

    return near
