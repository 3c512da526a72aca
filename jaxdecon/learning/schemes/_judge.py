"""Whether what was learned may replace the published settings."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ...deconvolution import Scheme
from ._training_images import Exercises
from ._tune import log_error
from ._unrolled import seen_after

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of the way from the published settings that are tried, the longest first."""
SHARPNESS = 30.0
"""Of the search's view of the worst: changes of the error that differ by more than
1 / 30 are told apart."""


class Judge:
    """Relative errors of kernels after the updates."""

    def __init__(self, scheme: Callable[[jax.Array], Scheme], iterations: int):
        """Of the scheme that is made of a kernel, after so many updates."""

        @jax.jit
        def error(kernel, problem, truth):
            seen = seen_after(scheme(kernel), problem, iterations=iterations)
            return log_error(seen, truth)

        self._error = error

    def logs(self, kernel: jax.Array, exercises: Exercises) -> np.ndarray:
        """Logarithm of the error, image by image."""
        pairs = zip(exercises.problems, exercises.truths, strict=True)
        return np.array([float(self._error(kernel, *pair)) for pair in pairs])

    def by_kind(self, kernel: jax.Array, exercises: Exercises) -> dict[str, float]:
        """Geometric mean over the images of every kind of object."""
        logs, kinds = self.logs(kernel, exercises), np.array(exercises.kinds)
        names = dict.fromkeys(exercises.kinds)
        return {name: float(np.exp(logs[kinds == name].mean())) for name in names}


def soft_worst(changes: jax.Array) -> jax.Array:
    """A smooth stand-in for the largest: no kind is to pay for another's gain."""
    mean = jax.nn.logsumexp(SHARPNESS * changes) - np.log(changes.size)
    return mean / SHARPNESS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What is kept of what was learned; `worse` are the kinds that forbade more."""

    parameters: Any
    share: float
    errors: dict[str, float]
    worse: list[str]
    message: str


def choose(family: Any, learned: Any, tried: Any, before: dict[str, float]) -> Choice:
    """The longest way from the published settings that makes no kind worse.

    Args:
        family: of kernels; says what lies between its start and other parameters.
        learned: the parameters at the end of the way.
        tried: from parameters to errors on the objects of the test, by kind.
        before: errors of the published settings.
    """
    worse: list[str] = []
    for share in SHARES:
        parameters = learned if share == 1 else family.between(learned, share)
        if parameters is None:
            break
        errors = tried(parameters)
        now = [kind for kind in before if not errors[kind] <= before[kind]]
        worse = worse or now
        if not now:
            return Choice(
                parameters=parameters,
                share=share,
                errors=errors,
                worse=worse,
                message=_message(share, before, errors, worse),
            )
    return Choice(
        parameters=None,
        share=0.0,
        errors=before,
        worse=worse,
        message=_message(0.0, before, before, worse),
    )


def _message(share: float, before: dict, errors: dict, worse: list[str]) -> str:
    ratios = [errors[kind] / before[kind] for kind in before]
    low, high = 100 * (1 - max(ratios)), 100 * (1 - min(ratios))
    gain = f"errors on held-out objects {low:.1f} to {high:.1f} % below published"
    if share == 1:
        return gain
    why = f"what was learned did worse than the published settings on {_and(worse)}"
    if share == 0:
        return f"{why}: these are the published settings"
    return f"{why}: taken back to {share:.0%} of the way; {gain}"


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
