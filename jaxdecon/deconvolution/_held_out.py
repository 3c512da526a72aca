"""Stop where photons that were kept aside are predicted best."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree, static
from ..metrics import split_photons
from ._problem import Problem
from ._scheme import Scheme
from ._stopping import Streak, Verdict


@pytree
class HeldOutMemory:
    """Memory of `HeldOut`.

    Attributes:
        training: the problem with the photons that are fitted.
        unseen: the problem with the other photons.
        shadow: state of the scheme on the training problem.
        streak: how long ago the score was least.
    """

    training: Problem
    unseen: Problem
    shadow: Any
    streak: Streak


@pytree
class HeldOut:
    """Stop once photons that the scheme has not seen are predicted worse.

    Every photon goes to a training image with probability `share`, else to a held-out
    one; of Poisson data both are Poisson and independent. A shadow of the scheme runs
    on the training image, beside the scheme itself on all data. While the shadow learns
    structure its prediction of the held-out image improves; when it learns noise, it
    worsens. The estimate of all data at the best count is kept.

    What the PSF does not transmit this rule cannot see: it judges predicted images,
    not objects. `Rehearsal` judges objects.

    Needs photon counts: counts = (image - offset) / gain. Doubles time and memory.

    Attributes:
        scheme: the scheme that is run; the same as is given to `deconvolve`.
        key: of `jax.random.key`, for the splitting.
        share: of the photons that are fitted.
        patience: updates without improvement after which to stop.

    References:
        Cross-validation of deconvolutions: Reeves & Mersereau, IEEE Trans. Image
        Process. 1, 119 (1992), doi:10.1109/83.128036.
    """

    ranks: ClassVar[bool] = True
    scheme: Scheme
    key: jax.Array
    share: ArrayLike = 0.9
    patience: int = static(default=2)

    def init(self, problem: Problem, state: Any) -> HeldOutMemory:
        """Split the photons, and start the shadow."""
        training, unseen = split_problem(problem, self.key, self.share)
        shadow = self.scheme.init(training)
        streak = Streak.start(shadow.estimate.dtype)
        return HeldOutMemory(
            training=training, unseen=unseen, shadow=shadow, streak=streak
        )

    def update(
        self, problem: Problem, before: Any, after: Any, memory: HeldOutMemory
    ) -> Verdict:
        """Judge the shadow where it stands, then let it make the same update."""
        score = _misfit(memory.unseen, memory.shadow)
        streak = memory.streak.add(score)
        shadow = self.scheme.update(memory.training, memory.shadow)
        memory = dataclasses.replace(memory, shadow=shadow, streak=streak)
        return Verdict(streak.since >= self.patience, score, memory)


@pytree
class Unseen:
    """Stop a scheme that runs on some photons once it predicts others worse.

    Attributes:
        problem: with the other photons.
        patience: updates without improvement after which to stop.
    """

    ranks: ClassVar[bool] = True
    problem: Problem
    patience: int = static(default=2)

    def init(self, problem: Problem, state: Any) -> Streak:
        """Nothing was seen yet."""
        return Streak.start(state.estimate.dtype)

    def update(
        self, problem: Problem, before: Any, after: Any, memory: Streak
    ) -> Verdict:
        """Judge the estimate before the update."""
        score = _misfit(self.problem, before)
        memory = memory.add(score)
        return Verdict(memory.since >= self.patience, score, memory)


def split_problem(
    problem: Problem, key: jax.Array, share: ArrayLike
) -> tuple[Problem, Problem]:
    """Two problems with independent photons, scaled as if each had all of them."""
    leaves, tree = jax.tree.flatten(problem.data)
    keys = jax.random.split(key, len(leaves))
    pairs = [
        split_photons(leaf, key=key, share=share)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    share = jnp.asarray(share, leaves[0].dtype)
    first = tree.unflatten([a / share for a, _ in pairs])
    second = tree.unflatten([b / (1 - share) for _, b in pairs])
    return (
        dataclasses.replace(problem, data=first),
        dataclasses.replace(problem, data=second),
    )


def _misfit(problem: Problem, state: Any) -> jax.Array:
    return problem.residual(problem.predict(state.estimate))
