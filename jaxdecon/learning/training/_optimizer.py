"""Optimisers of optax by their names, with the schedules that people use."""

import functools
import inspect
from typing import Any

import optax

from ..._core._check import check_choice, check_count, check_positive

RATE = 1e-3
SCHEDULES = ("cosine", "constant", "linear")
WARM_UP = 0.05
"""Share of the steps in which the rate grows from nothing, at most `MOST_WARM_UP`."""
MOST_WARM_UP = 200
LEAST_RATE = 0.01
"""What is left of the rate at the end of a schedule."""


def make_optimizer(
    name: str = "adam",
    *,
    steps: int,
    rate: float = RATE,
    schedule: str = "cosine",
    clip: float | None = 1.0,
) -> optax.GradientTransformation:
    """An optimiser with a schedule of its rate.

    The rate grows from zero in the first 5 % of the steps (200 at most) and falls, as a
    cosine or a straight line, to a hundredth at the last.

    Args:
        name: of an optimiser of optax that needs a learning rate only: "adam", "adamw",
            "sgd", "lion", ...
        steps: of the training.
        rate: greatest learning rate.
        schedule: "cosine", "linear" or "constant".
        clip: the gradient's greatest global norm; None: any.

    Raises:
        ValueError: unknown names; a rate that is not positive.

    Example:
        >>> import jaxdecon as jd
        >>> optimizer = jd.learning.make_optimizer("adamw", steps=500, rate=2e-3)
    """
    check_count("steps", steps, 1)
    check_positive("rate", rate)
    check_choice("schedule", schedule, SCHEDULES)
    if clip is not None:
        check_positive("clip", clip)
    return _made(name, int(steps), float(rate), schedule, clip)


@functools.lru_cache(maxsize=32)  # the same functions: no program is compiled again
def _made(name: str, steps: int, rate: float, schedule: str, clip: float | None) -> Any:
    optimizer = _named(name)(rate_of(steps, rate, schedule))
    if clip is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(clip), optimizer)


def rate_of(steps: int, rate: float, schedule: str) -> Any:
    """The learning rate as a function of the step."""
    warm_up = min(round(WARM_UP * steps), MOST_WARM_UP)
    left = max(steps - warm_up, 1)
    after = {
        "cosine": optax.cosine_decay_schedule(rate, left, LEAST_RATE),
        "linear": optax.linear_schedule(rate, LEAST_RATE * rate, left),
        "constant": optax.constant_schedule(rate),
    }[schedule]
    if not warm_up:
        return after
    rise = optax.linear_schedule(rate / warm_up, rate, warm_up)
    return optax.join_schedules([rise, after], [warm_up])


def _named(name: str) -> Any:
    make = getattr(optax, name, None) if isinstance(name, str) else None
    if not inspect.isfunction(make) or not _takes_a_rate(make):
        raise ValueError(
            f"`optimizer` is {name!r}; the name of one of optax that needs no more "
            f"than a learning rate is needed: adam, adamw, sgd, lion, ..."
        )
    return make


def _takes_a_rate(make: Any) -> bool:
    parameters = inspect.signature(make).parameters
    needed = [n for n, p in parameters.items() if p.default is p.empty]
    return needed == ["learning_rate"]
