"""What a deconvolution returns."""

import enum
import warnings

import jax
import numpy as np

from .._core._check import is_traced
from .._core._pytree import pytree, static


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
        keep: which estimate `value` is, "last" or "best".
    """

    value: jax.Array
    iterations: jax.Array
    best_iteration: jax.Array
    history: jax.Array
    status: jax.Array
    keep: str = static(default="last")

    @property
    def message(self) -> str:
        """The status in words, with the numbers; of a batch, that of its worst."""
        if np.ndim(self.status):
            return self._worst()
        done, best = int(self.iterations), int(self.best_iteration)
        history = np.asarray(self.history)[: done + 1]
        match Status(int(self.status)):
            case Status.ITERATIONS:
                return f"did {done} iterations; data residual {history[-1]:.4g}"
            case Status.STOPPED:
                return f"stopped by its rule after {done} iterations"
            case Status.NOT_FINITE:
                return f"NaN or infinite values after {done} iterations"
            case Status.RESIDUAL_GREW:
                found = (
                    f"the data residual was least, {history[best]:.4g}, after {best} "
                    f"of {done} iterations and ended at {history[-1]:.4g}"
                )
                return f"{found}: {self._advice(best)}"

    def _advice(self, best: int) -> str:
        if self.keep == "best":
            start = " (the start itself)" if best == 0 else ""
            return f"the estimate after {best}{start} is kept"
        if best == 0:
            return (
                "the estimate is leaving the data. Use the matched back projector, or "
                "an unmatched one with a larger `alpha`, a coarser `resolution` or "
                "`restore_flux`"
            )
        return (
            f"the estimate is leaving the data. Stop at {best}, or use "
            f'keep="best" (--keep-best)'
        )

    def _worst(self) -> str:
        """Message of the element of a batch with the gravest status."""
        statuses = np.asarray(self.status)
        index = np.unravel_index(np.argmax(statuses), statuses.shape)
        element = jax.tree.map(lambda leaf: leaf[index], self)
        place = ", ".join(str(int(i)) for i in index)
        return f"batch element {place}: {element.message}"

    def raise_for_status(self) -> "Result":
        """Raise if the estimate is not finite, warn if it left the data.

        Returns:
            The result itself, so that calls chain.

        Raises:
            FloatingPointError: the estimate has NaN or infinite values.
        """
        if is_traced(self.status):
            return self
        worst = int(np.max(np.asarray(self.status)))
        if worst == Status.NOT_FINITE:
            raise FloatingPointError(self.message)
        if worst == Status.RESIDUAL_GREW and self.keep == "last":
            warnings.warn(self.message, OverIterationWarning, stacklevel=3)
        return self
