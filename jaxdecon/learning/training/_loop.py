"""The loop over steps, which waits for none of them."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..networks._network import Network
from ..pairs._batches import batch_indices, batches
from ..pairs._pairs import PairSource
from ._checkpoints import Checkpoints, Snapshot
from ._devices import Placement
from ._history import History
from ._log import Log
from ._operators import Operators
from ._result import Fit
from ._step import TrainState, step
from ._trouble import culprit
from ._validation import Validation

LAG = 2
"""Steps after which a loss is looked at: until then the device has other work."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done; see `fit`."""

    source: PairSource
    operators: Operators
    placement: Placement
    validation: Validation | None
    optimizer: Any
    loss: Any
    steps: int
    batch: int
    validate_every: int
    patience: int | None
    checkpoint_every: int
    prefetch: int
    progress: Callable[[int, dict[str, float]], None] | None
    key: jax.Array


class Loop:
    """A training under way.

    Args:
        plan: what is to be done.
        graphdef: the network's structure.
        state: to begin with.
    """

    def __init__(self, plan: Plan, graphdef: Any, state: TrainState):
        self.plan, self.graphdef, self.state = plan, graphdef, state
        self.checkpoints: Checkpoints | None = None
        self.log = Log(None)
        self.done, self.history = 0, History()
        self.best = plan.placement.copy(state.parameters)
        self.trouble = ""
        self._pending: collections.deque = collections.deque()

    def keep(self, checkpoints: Checkpoints) -> None:
        """Keep checkpoints, and go on from the last that is there already."""
        self.checkpoints = checkpoints
        snapshot = checkpoints.last(self.state, self.best)
        if snapshot is None:
            return
        self.done, self.state = snapshot.step, snapshot.state
        self.best = snapshot.best
        self.history = History.resumed(snapshot.history)

    def run(self) -> Fit:
        """All steps, as long as all goes well."""
        plan = self.plan
        if self.done < plan.steps and not self._is_enough():
            stream = batches(
                plan.source,
                plan.batch,
                key=plan.key,
                prefetch=plan.prefetch,
                start=self.done,
                count=plan.steps - self.done,
            )
            with contextlib.closing(stream):  # pyright: ignore[reportArgumentType]
                for pair in stream:
                    self._step(pair)
                    if self.trouble or self._is_enough():
                        break
        self._settle(0)
        return self._fit()

    def _step(self, pair: Any) -> None:
        plan = self.plan
        numbers = self._numbers(self.done)
        batch = plan.operators.batch(pair, numbers, plan.placement)
        self.state, loss = step(
            self.state,
            batch,
            plan.loss,
            graphdef=self.graphdef,
            optimizer=plan.optimizer,
            placement=plan.placement,
        )
        self.done += 1
        self._pending.append((self.done, loss))
        self._settle(LAG)
        last = self.done == plan.steps
        if last or self.done % plan.validate_every == 0:
            self._validate()
        if last or self.done % plan.checkpoint_every == 0 or self._is_enough():
            self._save()

    def _numbers(self, done: int) -> np.ndarray:
        """Of the pairs in the batch of a step."""
        plan = self.plan
        return batch_indices(len(plan.source), plan.batch, done, key=plan.key)

    def _settle(self, most: int) -> None:
        """Look at losses until no more than `most` are open."""
        while len(self._pending) > most and not self.trouble:
            number, loss = self._pending.popleft()
            value = float(loss)
            if not np.isfinite(value):
                self._fail(number)
                return
            self.history.add_loss(number, value)
            self._tell(number, loss=value)

    def _tell(self, number: int, **values: float) -> None:
        self.log.add(number, values)
        if self.plan.progress is not None:
            self.plan.progress(number, values)

    def _fail(self, number: int) -> None:
        plan, self.done = self.plan, number - 1
        what = culprit(
            plan.source,
            self._numbers(self.done),
            plan.operators,
            self.state,
            plan.loss,
            self.graphdef,
        )
        self.trouble = f"stopped at step {number}: not finite is {what}"

    def _validate(self) -> None:
        self._settle(0)
        if self.plan.validation is None or self.trouble:
            return
        losses = self.plan.validation.losses(self.state, self.plan.loss, self.graphdef)
        mean = float(np.mean(losses, dtype=float))
        if not np.isfinite(mean):
            what = self.plan.validation.describe(np.flatnonzero(~np.isfinite(losses)))
            self.trouble = f"stopped after step {self.done}: not finite is {what}"
            return
        self.history.add_validation(self.done, mean)
        if self.history.waited == 0:
            self.best = jax.tree.map(jnp.copy, self.state.parameters)
        self._tell(self.done, validation=mean)

    def _is_enough(self) -> bool:
        patience = self.plan.patience
        return patience is not None and self.history.waited >= patience

    def _save(self) -> None:
        self._settle(0)
        if self.checkpoints is None or self.trouble:
            return
        snapshot = Snapshot(
            step=self.done,
            state=self.state,
            best=self.best,
            history=self.history.arrays(),
        )
        self.checkpoints.save(snapshot)

    def _fit(self) -> Fit:
        status, how = self._outcome()
        validated = self.history.best
        last = self._network(self.state.parameters)
        best_step, best = validated or (self.done, self.history.last)
        network = self._network(self.best) if validated else last
        by = "best by the validation" if validated else "last one"
        return Fit(
            network=network,
            last=last,
            history=self.history.arrays(),
            best_step=best_step,
            best=best,
            steps=self.done,
            seconds=self.history.seconds,
            status=status,
            message=f"{how}; the network is that after step {best_step}, the {by}.",
        )

    def _outcome(self) -> tuple[str, str]:
        if self.trouble:
            return "not finite", self.trouble
        if self.done < self.plan.steps:
            waited = self.history.waited
            return (
                "stopped early",
                f"stopped early after step {self.done}: {waited} validations without "
                f"improvement",
            )
        return "done", f"did {self.done} steps"

    def _network(self, parameters: Any) -> Network:
        here = jax.devices()[0]
        parts = (parameters, self.state.rest)
        if self.plan.placement.mesh is not None:
            parts = jax.device_put(parts, here)
        return nnx.merge(self.graphdef, *parts)
