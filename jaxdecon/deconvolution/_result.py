"""What a deconvolution returns."""

import enum
import warnings

import jax
import numpy as np

from .._core._check import is_traced
from .._core._pytree import pytree


class Status(enum.IntEnum):
    """How a deconvolution ended."""

    ITERATIONS = 0
    """All iterations were run."""
    STOPPED = 1
    """The stopping rule was met."""
    RESIDUAL_GREW = 2
    """The data residual passed through a minimum and grew again."""
    NOT_FINITE = 3
    """The estimate has NaN or infinite values."""


class OverIterationWarning(UserWarning):
    """The estimate left the data: its data residual grew with further updates."""


@pytree
class Result:
    """A deconvolved image and how it was reached; arrays only, so it survives `jit`.

    Attributes:
        value: the object inside the field of view, of the image's shape where the
            operator keeps its grid, else on the operator's domain.
        iterations: updates done.
        best_iteration: updates after which the data residual was least.
        history: data residual (mean Poisson deviance per voxel) of the start and
            after every update; NaN where a stopping rule ended the run before.
        status: one of `Status`.
    """

    value: jax.Array
    iterations: jax.Array
    best_iteration: jax.Array
    history: jax.Array
    status: jax.Array

    @property
    def message(self) -> str:
        """The status in words, with the numbers."""
        done = int(self.iterations)
        history = np.asarray(self.history)[: done + 1]
        match Status(int(self.status)):
            case Status.ITERATIONS:
                return f"did {done} iterations; data residual {history[-1]:.4g}"
            case Status.STOPPED:
                return f"stopped by its rule after {done} iterations"
            case Status.NOT_FINITE:
                return f"NaN or infinite values after {done} iterations"
            case Status.RESIDUAL_GREW:
                return self._growth(int(self.best_iteration), history)

    def _growth(self, best: int, history: np.ndarray) -> str:
        done, last = len(history) - 1, history[-1]
        found = (
            f"the data residual was least, {history[best]:.4g}, after {best} of {done} "
            f"iterations and ended at {last:.4g}: the estimate is leaving the data. "
        )
        if best == 0:
            return found + (
                "Use the matched back projector, or an unmatched one with a larger "
                "`alpha` or a coarser `resolution`"
            )
        return found + f'Use {best} iterations, or keep="best" (--keep-best)'

    def raise_for_status(self) -> "Result":
        """Raise if the estimate is not finite, warn if it left the data.

        Returns:
            The result itself, so that calls chain.

        Raises:
            FloatingPointError: the estimate has NaN or infinite values.
        """
        if is_traced(self.status):
            return self
        if self.status == Status.NOT_FINITE:
            raise FloatingPointError(self.message)
        if self.status == Status.RESIDUAL_GREW:
            warnings.warn(self.message, OverIterationWarning, stacklevel=3)
        return self
