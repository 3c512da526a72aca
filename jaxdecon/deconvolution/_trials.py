"""Try schemes on a simulation of the data, whose object is known."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from .._core._pytree import pytree, static
from .._core._sum import total
from ..operators import Convolution, VaryingConvolution
from ._comparison import OMW_ALPHA
from ._compose import richardson_lucy_scheme
from ._driver import run
from ._pilot import PATIENCE
from ._problem import Problem
from ._scheme import Scheme
from ._stopping import Streak, Verdict

MOST_MATCHED, MOST_UNMATCHED = 80, 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A scheme, and how it did on a simulation of the data.

    Attributes:
        back_projector: kind.
        start: "image" or "constant".
        accelerated: whether it extrapolates between updates.
        resolution: limit of the back projector in voxels; None: of no meaning to it.
        alpha: Wiener constant of the back projector.
        iterations: after which it was nearest to the object.
        error: its relative distance from the object there, in the square mean.
    """

    back_projector: str
    start: Literal["image", "constant"]
    accelerated: bool = False
    resolution: tuple[float, ...] | None = None
    alpha: float = 0.05
    iterations: int = 0
    error: float = math.nan

    def scheme(self, operator: Convolution | VaryingConvolution, psf: Any) -> Scheme:
        """The scheme for an operator and its PSF, or field."""
        return richardson_lucy_scheme(
            operator,
            psf,
            back_projector=self.back_projector,
            start=self.start,
            accelerated=self.accelerated,
            restore_flux=not self.matched,
            alpha=self.alpha,
            resolution="fwhm" if self.resolution is None else self.resolution,
        )

    @property
    def matched(self) -> bool:
        """Whether the back projector is the adjoint."""
        return self.back_projector == "matched"

    def __str__(self) -> str:
        parts = [f"{self.back_projector}{', accelerated' * self.accelerated}"]
        parts += [f"from {'the image' if self.start == 'image' else 'a constant'}"]
        if self.resolution is not None:
            limit = " x ".join(f"{r:.3g}" for r in self.resolution)
            parts += [f"resolution {limit} voxels"]
        return ", ".join(parts)


def candidates(widths: Sequence[float], finest: Sequence[float]) -> Iterator[Trial]:
    """What is tried, for a PSF's FWHM and its finest periods, in voxels."""
    yield Trial(back_projector="matched", start="constant", accelerated=True)
    yield Trial(back_projector="matched", start="image", accelerated=True)
    limits = [tuple(finest)]
    if all(w >= 2 for w in widths):  # False for NaN: a PSF that is cut before
        limits.insert(0, tuple(widths))
    for limit in limits:
        yield Trial(
            back_projector="wiener-butterworth", start="constant", resolution=limit
        )
    yield Trial(
        back_projector="wiener-butterworth", start="image", resolution=limits[0]
    )
    yield Trial(back_projector="omw", start="constant", alpha=OMW_ALPHA)


def rehearse(trial: Trial, problem: Problem, psf: Any, truth: jax.Array) -> Trial:
    """The trial with the count at which it comes nearest to the truth, and how near.

    Args:
        trial: to be made.
        problem: with simulated data and a `Convolution`.
        psf: of that.
        truth: the object of the simulation, inside the field.
    """
    scheme: Any = trial.scheme(problem.operator, psf)  # pyright: ignore
    most = MOST_MATCHED if trial.matched else MOST_UNMATCHED
    result = run(problem, scheme, Nearness(truth=truth), iterations=most)
    count = int(result.best_iteration)
    error = jnp.sqrt(distance(result.value, truth))
    return dataclasses.replace(trial, iterations=count, error=float(error))


@pytree
class Nearness:
    """Stop once a known object is no longer approached.

    Attributes:
        truth: the object, inside the field.
        patience: updates without improvement after which to stop.
    """

    ranks: ClassVar[bool] = True
    truth: jax.Array
    patience: int = static(default=PATIENCE)

    def init(self, problem: Problem, state: Any) -> Streak:
        """Nothing was seen yet."""
        return Streak.start(state.estimate.dtype)

    def update(
        self, problem: Problem, before: Any, after: Any, memory: Streak
    ) -> Verdict:
        """Judge the estimate before the update."""
        seen = problem.operator.image_region(before.estimate)
        score = distance(seen, self.truth)
        memory = memory.add(score)
        return Verdict(memory.since >= self.patience, score, memory)


def distance(value: jax.Array, truth: jax.Array) -> jax.Array:
    """Squared, relative to the truth's square."""
    return total((value - truth) ** 2) / total(truth**2)
