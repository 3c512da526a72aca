"""Joint Richardson-Lucy: every view in turn, or all from one estimate."""

from collections.abc import Iterator
from typing import Any

import jax

from .._core._pytree import pytree, static
from ..deconvolution import (
    Prior,
    Problem,
    RichardsonLucy,
    RichardsonLucyState,
    Scheme,
)
from ..operators import LinearOperator, Views

UPDATES = ("alternating", "additive", "compound")


@pytree
class AlternatingState:
    """State of `AlternatingRichardsonLucy`.

    Attributes:
        estimate: the object so far, on the operators' domain.
        gains: of every view, the inverse of its back projection of ones.
        floor: least value of the estimate.
        guards: of every view, the least value of its prediction, where it divides.
    """

    estimate: jax.Array
    gains: tuple[jax.Array, ...]
    floor: jax.Array
    guards: tuple[jax.Array, ...]


@pytree
class AlternatingRichardsonLucy:
    """Richardson-Lucy over several views, one after the other.

    An iteration is one update (as of `RichardsonLucy`) by every view, each of which
    begins with the estimate that the one before has left: the order of the published
    dual-view program. A view changes what it sees, and no more: each update is divided
    by the view's own back projection of ones.

    The problem's data are a tuple of images and its operator is a `Views`. The additive
    update is `RichardsonLucy` itself, for such a problem.

    Attributes:
        back_projectors: from image to object, one per view; None: the adjoints.
        prior: penalty on the object, applied with every view's update.
        initial: object to start from, on the operators' domain; None: `start`.
        start: "image" (the mean of the views) or "constant".

    References:
        Wu et al., Nature Biotechnology 31, 1032 (2013), doi:10.1038/nbt.2713; Guo et
        al., Nature Biotechnology 38, 1337 (2020), doi:10.1038/s41587-020-0560-x.
    """

    back_projectors: tuple[LinearOperator, ...] | None = None
    prior: Prior | None = None
    initial: jax.Array | None = None
    start: str = static(default="image")

    def init(self, problem: Problem) -> AlternatingState:
        """The start, and the normaliser of every view."""
        whole = RichardsonLucy(initial=self.initial, start=self.start).init(problem)
        states = [
            RichardsonLucy(back_projector=back, initial=whole.estimate).init(part)
            for part, back in self._parts(problem)
        ]
        return AlternatingState(
            estimate=whole.estimate,
            gains=tuple(state.gain for state in states),
            floor=whole.floor,
            guards=tuple(state.guard for state in states),
        )

    def update(self, problem: Problem, state: AlternatingState) -> AlternatingState:
        """One update by every view."""
        estimate = state.estimate
        parts = zip(self._parts(problem), state.gains, state.guards, strict=True)
        for (part, back), gain, guard in parts:
            scheme = RichardsonLucy(back_projector=back, prior=self.prior)
            before = RichardsonLucyState(
                estimate=estimate, gain=gain, floor=state.floor, guard=guard
            )
            estimate = scheme.update(part, before).estimate
        return AlternatingState(
            estimate=estimate,
            gains=state.gains,
            floor=state.floor,
            guards=state.guards,
        )

    def _parts(
        self, problem: Problem
    ) -> Iterator[tuple[Problem, LinearOperator | None]]:
        """Every view as a problem of its own, and its back projector."""
        operators: Any = problem.operator
        count = len(operators.operators)
        backs = self.back_projectors or (None,) * count
        views = zip(
            problem.data, operators.operators, problem.backgrounds, backs, strict=True
        )
        for data, operator, background, back in views:
            part = Problem(
                data=data,
                operator=operator,
                background=background,
                likelihood=problem.likelihood,
            )
            yield part, back


def joint_scheme(
    update: str,
    back_projectors: tuple[LinearOperator, ...] | None,
    **options: Any,
) -> Scheme:
    """The scheme of an update's name.

    Args:
        update: one of `UPDATES`; "compound" is "alternating" by its scheme, and differs
            by its back projectors.
        back_projectors: from image to object, one per view; None: the adjoints.
        options: `prior`, `initial` and `start` of the scheme.
    """
    if update != "additive":
        return AlternatingRichardsonLucy(back_projectors=back_projectors, **options)
    back = None
    if back_projectors is not None:
        back = Views([projector.T for projector in back_projectors]).T
    return RichardsonLucy(back_projector=back, **options)
