"""Acceleration of any scheme by extrapolation along its last step."""

from typing import Any

import jax
import jax.numpy as jnp

from .._core._pytree import pytree
from .._core._sum import total
from ._problem import Problem
from ._scheme import Scheme, with_estimate


@pytree
class AcceleratedState:
    """State of `Accelerated`.

    Attributes:
        inner: state of the wrapped scheme, at the latest estimate.
        direction: the latest estimate minus the one before.
        step: what the latest update did to the point it started from.
        momentum: how far to extrapolate, in [0, 1].
        count: updates done.
    """

    inner: Any
    direction: jax.Array
    step: jax.Array
    momentum: jax.Array
    count: jax.Array

    @property
    def estimate(self) -> jax.Array:
        """The object so far."""
        return self.inner.estimate


@pytree
class Accelerated:
    """Vector extrapolation after Biggs and Andrews, around a multiplicative scheme::

        p = x + a (x - x_previous),  x <- update(p),  g = update(p) - p,
        a <- <g, g_previous> / <g_previous, g_previous>, in [0, 1]

    Some twenty accelerated Richardson-Lucy updates do the work of well over a hundred
    plain ones, at little more than their price. They reach the overfitted regime as
    much sooner.

    Attributes:
        scheme: the scheme to accelerate.
        momenta: a, of every update, known before; None: as above. Blocks of one volume
            need the same ones, or their faces show.

    References:
        Biggs & Andrews, Applied Optics 36, 1766 (1997), doi:10.1364/AO.36.001766.
    """

    scheme: Scheme
    momenta: jax.Array | None = None

    def init(self, problem: Problem) -> AcceleratedState:
        """The wrapped scheme's start, at rest."""
        inner = self.scheme.init(problem)
        rest = jnp.zeros_like(inner.estimate)
        return AcceleratedState(
            inner=inner,
            direction=rest,
            step=rest,
            momentum=total(rest),
            count=jnp.asarray(0),
        )

    def update(self, problem: Problem, state: AcceleratedState) -> AcceleratedState:
        """Extrapolate, then update."""
        before = state.estimate
        point = jnp.maximum(before + state.momentum * state.direction, 0)
        inner = self.scheme.update(problem, with_estimate(state.inner, point))
        step = inner.estimate - point
        return AcceleratedState(
            inner=inner,
            direction=inner.estimate - before,
            step=step,
            momentum=self._next(state, step),
            count=state.count + 1,
        )

    def _next(self, state: AcceleratedState, step: jax.Array) -> jax.Array:
        """How far to extrapolate before the next update."""
        if self.momenta is not None:
            return self.momenta[state.count]
        size = total(state.step * state.step)
        alignment = total(step * state.step) / jnp.where(size > 0, size, 1)
        return jnp.clip(alignment, 0, 1)
