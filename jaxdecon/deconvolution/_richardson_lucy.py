"""Richardson-Lucy deconvolution with matched or unmatched back projectors."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from .._core._pytree import pytree, static
from .._core._sum import mean, total
from ..operators import LinearOperator
from ._priors import Prior
from ._problem import Problem

FLOOR = 1e-5
"""Least estimate and least prediction, as a share of their means.

Far below anything visible, far above what rounding adds to a dark voxel; it keeps
divisions finite and lets a voxel that an unmatched back projector drove below zero
recover.
"""

MATCHED_SENSITIVITY = 1e-3
UNMATCHED_SENSITIVITY = 0.3
"""Sensitivities, as shares of the typical one, below which voxels are updated less.

At and beyond the border of the field a voxel is seen in part. Dividing by its share
completes the correction; for an unmatched back projector, whose kernel has negative
lobes, that is sound only while most of the kernel lies inside.
"""


@pytree
class RichardsonLucyState:
    """State of `RichardsonLucy`.

    Attributes:
        estimate: the object so far, on the operator's domain.
        gain: inverse of the back projection of ones; a number or on the domain.
        floor: least value of the estimate.
        guard: least value of the prediction, where it divides.
    """

    estimate: jax.Array
    gain: jax.Array
    floor: jax.Array
    guard: jax.Array


@pytree
class RichardsonLucy:
    """Multiplicative maximum-likelihood update, for Poisson data::

        x <- x (1 + B(y / (A x + b) - 1) / B(1))

    with forward operator A, background b and back projector B. B = A^T is the
    classical scheme (the form above equals x A^T(y / (A x + b)) / A^T(1)). An unmatched
    B (Guo et al. 2020) reaches the resolution limit in 1-2 updates, and leaves the data
    if iterated much further. Written with y / (A x + b) - 1, light that no detector
    sees gets no correction, instead of one that rounding or the negative lobes of B
    decide. Other noise takes the place of y / (A x + b) - 1 through the problem's
    likelihood.

    A penalty w U enters through its gradient, split into positive parts U+ - U-::

        x <- x (1 + B(...) / B(1) + w U-) / (1 + w U+)

    which has the same fixed points as adding w U to the likelihood, and, unlike the
    one-step-late form, stays positive for any weight.

    Attributes:
        back_projector: operator from image to object; None: the adjoint.
        prior: penalty on the object, e.g. `TotalVariation(weight=0.01)`.
        initial: object to start from, on the operator's domain; None: `start`.
        start: "image" (the data without background, beyond the field continued by its
            outermost voxels) or "constant" (their mean).

    References:
        Richardson, JOSA 62, 55 (1972), doi:10.1364/JOSA.62.000055; Lucy, Astron. J. 79,
        745 (1974), doi:10.1086/111605; normalisation by A^T(1): Bertero & Boccacci,
        Astron. Astrophys. 437, 369 (2005), doi:10.1051/0004-6361:20052717; split
        gradients: Lantéri et al., Inverse Problems 18, 1397 (2002),
        doi:10.1088/0266-5611/18/5/313; unmatched
        back projectors: Guo et al., Nature Biotechnology 38, 1337 (2020),
        doi:10.1038/s41587-020-0560-x.
    """

    back_projector: LinearOperator | None = None
    prior: Prior | None = None
    initial: jax.Array | None = None
    start: str = static(default="image")

    def init(self, problem: Problem) -> RichardsonLucyState:
        """The start, and the normaliser."""
        signal = jax.tree.map(lambda y: jnp.maximum(y, 0), problem.excess)
        estimate = self._start(problem, signal)
        floor = FLOOR * mean(estimate)
        data = jnp.stack([mean(abs(leaf)) for leaf in jax.tree.leaves(problem.data)])
        return RichardsonLucyState(
            estimate=jnp.maximum(estimate, floor),
            gain=self._gain(problem.operator, estimate.dtype),
            floor=floor,
            guard=jnp.maximum(FLOOR * data.mean(), jnp.finfo(data.dtype).tiny),
        )

    def update(
        self, problem: Problem, state: RichardsonLucyState
    ) -> RichardsonLucyState:
        """One multiplicative update."""
        predicted = problem.predict(state.estimate)
        factor = 1 + problem.likelihood.correction(
            self.back(problem), problem.data, predicted, state.gain, state.guard
        )
        return self.apply(state, factor)

    def back(self, problem: Problem) -> LinearOperator:
        """The back projector in use."""
        return self.back_projector or problem.operator.T

    def apply(
        self, state: RichardsonLucyState, factor: jax.Array
    ) -> RichardsonLucyState:
        """The state after multiplying by a factor, with the penalty's part in it."""
        if self.prior is not None:
            up, down = self.prior.split(state.estimate)
            factor = (factor + self.prior.weight * down) / (1 + self.prior.weight * up)
        estimate = jnp.maximum(state.estimate * factor, state.floor)
        return dataclasses.replace(state, estimate=estimate)

    def _start(self, problem: Problem, signal: Any) -> jax.Array:
        if self.initial is not None:
            return self.initial
        estimate = problem.operator.lift(signal)
        return estimate if self.start == "image" else _flat(estimate)

    def _gain(self, operator: LinearOperator, dtype: Any) -> jax.Array:
        if self.back_projector is None:
            sensitivity, least = operator.sensitivity(dtype), MATCHED_SENSITIVITY
        else:
            sensitivity = self.back_projector.T.sensitivity(dtype)
            least = UNMATCHED_SENSITIVITY
        # What a voxel in the middle of the field has; the maximum would do, but has
        # no derivative where many voxels tie.
        tiny = jnp.finfo(sensitivity.dtype).tiny  # where nothing is seen at all
        typical = total(sensitivity**2) / jnp.maximum(total(sensitivity), tiny)
        return 1 / jnp.maximum(sensitivity, jnp.maximum(least * typical, tiny))


def _flat(estimate: jax.Array) -> jax.Array:
    return jnp.full_like(estimate, mean(estimate))
