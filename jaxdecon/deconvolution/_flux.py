"""Keep the amount of light that an unmatched back projector lets drift."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from .._core._pytree import pytree
from .._core._sum import total
from ._problem import Problem
from ._scheme import Scheme, with_estimate


@pytree
class FluxPreservingState:
    """State of `FluxPreserving`.

    Attributes:
        inner: state of the wrapped scheme.
        sensitivity: adjoint of ones; a number or on the operator's domain.
        total: light in the data, without background.
    """

    inner: Any
    sensitivity: jax.Array
    total: jax.Array

    @property
    def estimate(self) -> jax.Array:
        """The object so far."""
        return self.inner.estimate


@pytree
class FluxPreserving:
    """After every update, scale the estimate to predict as much light as was recorded.

    Matched Richardson-Lucy without background does so by itself; unmatched back
    projectors drift by some per cent. The predicted light is <A^T 1, x>, so the
    scaling costs no transform.

    Attributes:
        scheme: the scheme whose estimates are scaled.
    """

    scheme: Scheme

    def init(self, problem: Problem) -> FluxPreservingState:
        """The wrapped scheme's start, and the light to keep."""
        excess = jax.tree.leaves(problem.excess)
        inner = self.scheme.init(problem)
        return FluxPreservingState(
            inner=inner,
            sensitivity=problem.operator.sensitivity(inner.estimate.dtype),
            total=jnp.stack([total(y) for y in excess]).sum(),
        )

    def update(
        self, problem: Problem, state: FluxPreservingState
    ) -> FluxPreservingState:
        """Update, then scale."""
        inner = self.scheme.update(problem, state.inner)
        predicted = total(inner.estimate * state.sensitivity)
        usable = (predicted > 0) & (state.total > 0)
        scale = jnp.where(usable, state.total / jnp.where(usable, predicted, 1), 1)
        inner = with_estimate(inner, inner.estimate * scale)
        return dataclasses.replace(state, inner=inner)
