"""What a training leaves."""

import dataclasses

import numpy as np

from ..networks._network import Network


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A trained network, and how it came about.

    Attributes:
        network: the best by the validation; without one, `last`.
        last: the network after the last step; where a loss was not finite, as it was
            before that.
        history: `step` and `loss` (of the batch, before the step) and `seconds` (since
            the start); `validation_step` and `validation` (mean loss of the validation
            pairs, after so many steps).
        best_step: after which `network` was taken.
        best: its validation loss; without validation, the last loss.
        steps: that were made, earlier runs that were resumed included.
        seconds: that all of them took.
        status: "done", "stopped early" or "not finite".
        message: in words.
    """

    network: Network
    last: Network
    history: dict[str, np.ndarray]
    best_step: int
    best: float
    steps: int
    seconds: float
    status: str
    message: str

    def raise_for_status(self) -> "Fit":
        """Itself; where a loss was not finite, an error.

        Raises:
            FloatingPointError: a loss or gradient was not finite.
        """
        if self.status == "not finite":
            raise FloatingPointError(self.message)
        return self
