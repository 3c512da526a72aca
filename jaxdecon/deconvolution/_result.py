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
        best_iteration: updates, at least one, after which the data residual was least;
            with a rule that ranks estimates, after which its score was.
        history: data residual (mean deviance per voxel) of the start and after every
            update; NaN where a stopping rule ended the run before.
        status: one of `Status`.
        keep: which estimate `value` is, "last" or "best".
        scores: the rule's score of the same estimates, where it ranks them.
    """

    value: jax.Array
    iterations: jax.Array
    best_iteration: jax.Array
    history: jax.Array
    status: jax.Array
    keep: str = static(default="last")
    scores: jax.Array | None = None

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
                kept = f"; that after {best} is kept" if self.scores is not None else ""
                return f"stopped by its rule after {done} iterations{kept}"
            case Status.NOT_FINITE:
                return f"NaN or infinite values after {done} iterations"
            case Status.RESIDUAL_GREW:
                least = int(np.argmin(history))
                found = (
                    f"the data residual was least, {history[least]:.4g}, after {least} "
                    f"of {done} iterations and ended at {history[-1]:.4g}"
                )
                return f"{found}: {self._advice(least)}"

    def _advice(self, least: int) -> str:
        kept = int(self.best_iteration) if self.keep == "best" else None
        text = "the estimate is leaving the data"
        if kept is not None:
            text += f"; that after {kept} is kept"
        if least == 0:
            text += (
                " from the first update on. Use the matched back projector, or an "
                "unmatched one with a larger `alpha`, a coarser `resolution` or "
                "`restore_flux`"
            )
        elif kept is None:
            text += f'. Stop at {least}, or use keep="best" (--keep-best)'
        return text

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
        if worst == Status.RESIDUAL_GREW:
            warnings.warn(self.message, OverIterationWarning, stacklevel=3)
        return self
