"""A simulation of the data: an object like the one in the image, and its image."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ._accelerated import Accelerated
from ._driver import run
from ._held_out import Unseen, split_problem
from ._problem import Problem
from ._richardson_lucy import RichardsonLucy

SHARPER = 1.7
"""Updates of the pilot over those after which it predicts unseen photons best."""
PILOT_ITERATIONS = 60
PATIENCE = 3
SCHEME = Accelerated(scheme=RichardsonLucy(start="constant"))


def pilot_object(
    problem: Problem,
    key: jax.Array,
    *,
    iterations: int = PILOT_ITERATIONS,
    sharper: ArrayLike = SHARPER,
    patience: int = PATIENCE,
) -> tuple[jax.Array, jax.Array]:
    """An object that could have given the data, about as rough as the true one.

    By accelerated matched Richardson-Lucy from a constant: `sharper` times as many
    updates as after which photons that were held out are predicted best. Their number
    is returned as well.
    """
    training, unseen = split_problem(problem, key, 0.9)
    rule = Unseen(problem=unseen, patience=patience)
    tried = run(training, SCHEME, rule, iterations=iterations)
    count = jnp.ceil(jnp.asarray(sharper) * tried.best_iteration).astype(int)
    return iterate(problem, count), count


@jax.jit
def iterate(problem: Problem, count: jax.Array) -> jax.Array:
    """The pilot's estimate after a number of updates."""
    state = jax.lax.fori_loop(
        0, count, lambda _, s: SCHEME.update(problem, s), SCHEME.init(problem)
    )
    return state.estimate


def simulate(problem: Problem, pilot: jax.Array, key: jax.Array) -> Problem:
    """The problem with photons that the pilot could have sent."""
    leaves, tree = jax.tree.flatten(problem.predict(pilot))
    keys = jax.random.split(key, len(leaves))
    data = [
        jax.random.poisson(k, jnp.maximum(leaf, 0)).astype(leaf.dtype)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return dataclasses.replace(problem, data=tree.unflatten(data))
