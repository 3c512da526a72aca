"""Losses as they come in, and what they say."""

import dataclasses
import time
from collections.abc import Mapping

import numpy as np

KINDS = {
    "step": np.int64,
    "loss": np.float32,
    "seconds": np.float64,
    "validation_step": np.int64,
    "validation": np.float32,
}
"""Entries, and their types."""


@dataclasses.dataclass
class History:
    """Records of a training, also of earlier runs that it goes on with.

    Attributes:
        columns: lists by name; see `Fit.history`.
        began: on the clock, less the seconds of earlier runs.
    """

    columns: dict[str, list] = dataclasses.field(
        default_factory=lambda: {name: [] for name in KINDS}
    )
    began: float = dataclasses.field(default_factory=time.monotonic)

    @classmethod
    def resumed(cls, arrays: Mapping[str, np.ndarray]) -> "History":
        """As an earlier run left it."""
        columns = {name: list(arrays[name]) for name in KINDS}
        spent = columns["seconds"][-1] if columns["seconds"] else 0.0
        return cls(columns, time.monotonic() - spent)

    @property
    def seconds(self) -> float:
        """Since the start of the training, pauses between runs not counted."""
        return time.monotonic() - self.began

    def add_loss(self, step: int, loss: float) -> None:
        """The loss of a batch, before it made step number `step`, counted from 1."""
        self._add(step=step, loss=loss, seconds=self.seconds)

    def add_validation(self, step: int, loss: float) -> None:
        """After `step` steps."""
        self._add(validation_step=step, validation=loss)

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self.columns[name].append(KINDS[name](value))

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and loss of the first of the lowest validation losses."""
        losses = self.columns["validation"]
        if not losses:
            return None
        place = int(np.argmin(losses))
        return int(self.columns["validation_step"][place]), float(losses[place])

    @property
    def waited(self) -> int:
        """Validations since the best."""
        losses = self.columns["validation"]
        return len(losses) - 1 - int(np.argmin(losses)) if losses else 0

    @property
    def last(self) -> float:
        """The loss of the last batch; NaN: there is none."""
        return float(self.columns["loss"][-1]) if self.columns["loss"] else np.nan

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name."""
        return {n: np.array(self.columns[n], kind) for n, kind in KINDS.items()}
