"""Gradient consensus: follow a gradient only where two halves of the photons agree."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree
from .._core._sum import mean
from ..metrics import split_photons
from ._problem import Problem
from ._richardson_lucy import RichardsonLucy, RichardsonLucyState
from ._stopping import Verdict


@pytree
class ConsensusState:
    """State of `GradientConsensus`.

    Attributes:
        inner: state of the Richardson-Lucy scheme.
        updates: done so far.
        agreement: share of the voxels in the field that the last update changed.
        deviances: of the two halves, before the last update.
        rose: whether both were larger than an update before.
    """

    inner: RichardsonLucyState
    updates: jax.Array
    agreement: jax.Array
    deviances: jax.Array
    rose: jax.Array

    @property
    def estimate(self) -> jax.Array:
        """The object so far."""
        return self.inner.estimate


@pytree
class GradientConsensus:
    """Richardson-Lucy that changes only voxels on whose change independent data agree.

    At every update the photons are split at random into two halves, and each half
    gives a relative change of every voxel, g1 and g2. The change that all photons
    give is made where::

        A^T A (g1 g2) > 0

    that is, where the two halves, averaged over the PSF, want to change the object in
    the same direction. What they do not agree on is noise, and is left alone: dim
    places stop early, bright ones go on. Run it with the rule `Agreement`.

    The back projections are linear, so that one more of them, of the difference of
    the halves, gives both: g1 g2 = g^2 - d^2. An update costs ten transforms instead
    of four, and the splitting.

    Needs photon counts: counts = (image - offset) / gain.

    Attributes:
        scheme: whose changes are made, with matched or unmatched back projector.
        key: of `jax.random.key`, for the splitting.

    References:
        Manton & York, Gradient consensus (2023), doi:10.5281/zenodo.10278919.
    """

    scheme: RichardsonLucy
    key: jax.Array

    def init(self, problem: Problem) -> ConsensusState:
        """The start of the scheme; all agree on it."""
        inner = self.scheme.init(problem)
        return ConsensusState(
            inner=inner,
            updates=jnp.asarray(0),
            agreement=jnp.ones((), inner.estimate.dtype),
            deviances=jnp.full(2, jnp.inf, inner.estimate.dtype),
            rose=jnp.asarray(False),
        )

    def update(self, problem: Problem, state: ConsensusState) -> ConsensusState:
        """The scheme's update, where the halves agree."""
        inner = state.inner
        predicted = problem.predict(inner.estimate)

        def change(data):
            return problem.likelihood.correction(
                self.scheme.back(problem), data, predicted, inner.gain, inner.guard
            )

        whole = change(problem.data)
        halves = self._halves(problem.data, jax.random.fold_in(self.key, state.updates))
        # Both halves, doubled, give `whole` plus and minus what their difference gives.
        apart = change(halves) - whole
        product = whole**2 - apart**2
        agree = problem.operator.adjoint(problem.operator(product)) > 0
        proposed = self.scheme.apply(inner, 1 + whole)
        estimate = jnp.where(agree, proposed.estimate, inner.estimate)
        deviances = _deviances(problem, halves, predicted)
        return ConsensusState(
            inner=dataclasses.replace(inner, estimate=estimate),
            updates=state.updates + 1,
            agreement=_share(problem, agree),
            deviances=deviances,
            rose=(deviances > state.deviances).all(),
        )

    def _halves(self, data: Any, key: jax.Array) -> Any:
        leaves, tree = jax.tree.flatten(data)
        keys = jax.random.split(key, len(leaves))
        pairs = zip(leaves, keys, strict=True)
        return tree.unflatten([2 * split_photons(y, key=k)[0] for y, k in pairs])


@pytree
class Agreement:
    """Stop once both halves are explained worse, or agree on hardly any voxel.

    For `GradientConsensus`, also inside wrappers. As its authors do, an update after
    which the deviances of both halves of the photons have grown is the last; or one
    that changed less than a share of the field of view.

    Attributes:
        share: of the voxels.
    """

    ranks: ClassVar[bool] = False
    share: ArrayLike = 0.01

    def init(self, problem: Problem, state: Any) -> None:
        """Nothing to remember."""

    def update(
        self, problem: Problem, before: Any, after: Any, memory: None
    ) -> Verdict:
        """Look at what the last update changed."""
        while not isinstance(after, ConsensusState):
            after = after.inner
        stop = after.rose | (after.agreement < self.share)
        return Verdict(stop, after.agreement, memory)


def _deviances(problem: Problem, half: Any, predicted: Any) -> jax.Array:
    """Of a half of the photons, and of the other half."""
    other = jax.tree.map(lambda y, h: 2 * y - h, problem.data, half)
    halves = [dataclasses.replace(problem, data=data) for data in (half, other)]
    return jnp.stack([p.residual(predicted) for p in halves])


def _share(problem: Problem, agree: jax.Array) -> jax.Array:
    return mean(problem.operator.image_region(agree.astype(jnp.float32)))
