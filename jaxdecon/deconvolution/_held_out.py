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
from ._stopping import Verdict


@pytree
class HeldOutMemory:
    """Memory of `HeldOut`.

    Attributes:
        training: the problem with the photons that are fitted.
        held_out: the other photons, scaled as if they were all.
        shadow: state of the scheme on the training problem.
        least: least deviance of the held-out photons so far.
        since: updates since then.
    """

    training: Problem
    held_out: Any
    shadow: Any
    least: jax.Array
    since: jax.Array


@pytree
class HeldOut:
    """Stop once photons that the scheme has not seen are predicted worse.

    Every photon goes to a training image with probability `share`, else to a held-out
    one; of Poisson data both are Poisson and independent. A shadow of the scheme runs
    on the training image, beside the scheme itself on all data. While the shadow learns
    structure its prediction of the held-out image improves; when it learns noise, it
    worsens. The estimate of all data at the best count is kept.

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
        leaves, tree = jax.tree.flatten(problem.data)
        keys = jax.random.split(self.key, len(leaves))
        pairs = [
            split_photons(leaf, key=key, share=self.share)
            for leaf, key in zip(leaves, keys, strict=True)
        ]
        training = [first / self.share for first, _ in pairs]
        held_out = [second / (1 - self.share) for _, second in pairs]
        fitted = Problem(
            data=tree.unflatten(training),
            operator=problem.operator,
            background=problem.background,
            likelihood=problem.likelihood,
        )
        shadow = self.scheme.init(fitted)
        return HeldOutMemory(
            training=fitted,
            held_out=tree.unflatten(held_out),
            shadow=shadow,
            least=jnp.asarray(jnp.inf, shadow.estimate.dtype),
            since=jnp.asarray(0),
        )

    def update(
        self, problem: Problem, before: Any, after: Any, memory: HeldOutMemory
    ) -> Verdict:
        """Judge the shadow where it stands, then let it make the same update."""
        predicted = problem.predict(memory.shadow.estimate)
        judged = dataclasses.replace(memory.training, data=memory.held_out)
        score = judged.residual(predicted)
        since = jnp.where(score < memory.least, 0, memory.since + 1)
        memory = dataclasses.replace(
            memory,
            shadow=self.scheme.update(memory.training, memory.shadow),
            least=jnp.minimum(score, memory.least),
            since=since,
        )
        return Verdict(since >= self.patience, score, memory)
