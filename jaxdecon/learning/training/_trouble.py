"""Which pair it was, when a loss is not finite."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..pairs._batches import load_batch
from ..pairs._pairs import Pair, PairSource
from ._devices import Placement
from ._operators import Operators
from ._step import TrainState, gradient_power, sample_losses


def culprit(
    source: PairSource,
    numbers: Sequence[int] | np.ndarray,
    operators: Operators,
    state: TrainState,
    loss: Any,
    graphdef: Any,
) -> str:
    """In words, what was not finite in a step that changed nothing.

    Every pair of the batch is looked at by itself, with the parameters as they were.
    """
    here = jax.devices()[0]
    state, loss = jax.device_put((state, loss), here)
    found = []
    for number in map(int, numbers):
        what = _wrong(source, number, operators, state, loss, graphdef)
        if what:
            found.append(f"{what} {source.describe(number)}")
    if not found:
        names = ", ".join(source.describe(int(number)) for number in numbers)
        return (
            f"the loss, the gradient or the optimiser's update of the batch of "
            f"{names}, but of no pair alone: is the rate too high?"
        )
    return " and ".join(found)


def _wrong(source, number, operators, state, loss, graphdef) -> str:
    pair = load_batch(source, [number])
    batch = operators.batch(pair, [number], Placement())
    values = sample_losses(
        state.parameters,
        state.rest,
        batch,
        loss,
        graphdef=graphdef,
        placement=Placement(),
    )
    if not np.isfinite(values).all():
        return f"{_inputs(pair)}the loss of"
    power = gradient_power(state, batch, loss, graphdef=graphdef)
    return "" if np.isfinite(power) else "the gradient of the loss of"


def _inputs(pair: Pair) -> str:
    bad = [n for n, part in zip(("images", "truth"), pair, strict=True) if _bad(part)]
    return f"(NaN or infinite values in its {' and '.join(bad)}) " if bad else ""


def _bad(part: Any) -> bool:
    return not np.isfinite(np.asarray(part)).all()
