"""Richardson and Lucy's update as a part of networks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..._core._pytree import pytree
from ...deconvolution import Problem, RichardsonLucy, RichardsonLucyState
from ...operators._base import is_shape

MOST = 2.0
"""Logarithm of the largest factor, either way, by which a network corrects a voxel."""


@pytree
class Data:
    """The data of one object, and what Richardson-Lucy needs for updates.

    Attributes:
        problem: data that are not negative, and their operator.
        state: the start.
    """

    problem: Problem
    state: RichardsonLucyState

    @classmethod
    def of(cls, images: jax.Array, operator: Any) -> "Data":
        """From (views, *spatial)."""
        views = tuple(jnp.maximum(images, 0))
        data = views[0] if is_shape(operator.range) else views
        problem = Problem(data=data, operator=operator, background=jnp.float32(0))
        return cls(problem=problem, state=RichardsonLucy().init(problem))

    def misfit(
        self, estimate: jax.Array, back: Callable[[Any], jax.Array] | None = None
    ) -> jax.Array:
        """A^T(y / A x - 1) / A^T(1), on the object's grid.

        Args:
            estimate: x.
            back: in place of A^T.
        """
        problem, state = self.problem, self.state
        predicted = problem.predict(estimate)
        back = problem.operator.adjoint if back is None else back
        return problem.likelihood.correction(
            back, problem.data, predicted, state.gain, state.guard
        )

    def update(self, estimate: jax.Array, factor: jax.Array) -> jax.Array:
        """The estimate times a factor, and not quite zero."""
        return jnp.maximum(estimate * factor, self.state.floor)

    def seen(self, x: jax.Array) -> jax.Array:
        """The part of an object that lies inside the images."""
        return self.problem.operator.image_region(x)


def factor(logarithm: jax.Array) -> jax.Array:
    """A correction of any size as a factor that is neither tiny nor huge."""
    return jnp.exp(MOST * jnp.tanh(logarithm.astype(jnp.float32) / MOST))


def squashed(misfit: jax.Array) -> jax.Array:
    """A relative misfit, which may be huge in the dark, as a feature in (-1, 1)."""
    return misfit / (1 + abs(misfit))


def features(*images: jax.Array, dtype: str) -> jax.Array:
    """Images of one shape as channels of a batch of one."""
    return jnp.stack(images)[None].astype(dtype)
