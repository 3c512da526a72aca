"""The learning curves of a training."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._figure import LINES, _new_figure

BATCHES, MEAN, HELD_OUT = LINES[0], LINES[1], LINES[2]
SHARE = 0.02
"""Of the steps, over which losses are averaged."""


def training_figure(fit: Any, *, title: str = "") -> Any:
    """The loss of every batch, its running mean, and the loss on held-out pairs.

    Args:
        fit: of `jaxdecon.learning.fit`, or its `history`.
        title: of the figure; the outcome stands below it, where `fit` has one.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig(path)` writes it.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
        ValueError: there are no losses.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> history = {"step": np.arange(1, 4), "loss": np.array([3.0, 2.0, 1.5])}
        >>> jd.report.training_figure(history).axes[0].get_ylabel()
        'loss'
    """
    history: Mapping[str, Any] = fit if isinstance(fit, Mapping) else fit.history
    outcome = "" if isinstance(fit, Mapping) else fit.message
    steps, losses = np.asarray(history["step"]), np.asarray(history["loss"], float)
    if not losses.size:
        raise ValueError("`fit` has no losses: no step was made.")
    figure = _new_figure(7, 4)
    panel = figure.subplots()
    panel.plot(steps, losses, ".", ms=2, alpha=0.4, color=BATCHES, label="batches")
    width = max(round(SHARE * losses.size), 1)
    if width > 1:
        panel.plot(
            *_running_mean(steps, losses, width),
            color=MEAN,
            lw=1.2,
            label=f"mean of {width}",
        )
    held_out = np.asarray(history.get("validation", ()), float)
    if held_out.size:
        _held_out(panel, np.asarray(history["validation_step"]), held_out)
    if losses.min() > 0 and (not held_out.size or held_out.min() > 0):
        panel.set_yscale("log")
    panel.set_xlabel("step", fontsize=8)
    panel.set_ylabel("loss", fontsize=8)
    panel.tick_params(labelsize=7, which="both")
    panel.legend(fontsize=7, frameon=False)
    figure.suptitle("\n".join(filter(None, (title, outcome))), fontsize=8, wrap=True)
    return figure


def _running_mean(
    steps: np.ndarray, losses: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of so many losses, at the last of them."""
    sums = np.cumsum(np.concatenate([[0.0], losses]))
    return steps[width - 1 :], (sums[width:] - sums[:-width]) / width


def _held_out(panel: Any, steps: np.ndarray, losses: np.ndarray) -> None:
    panel.plot(steps, losses, "o-", ms=3, lw=1, color=HELD_OUT, label="held out")
    best = int(np.argmin(losses))
    panel.plot(
        steps[best],
        losses[best],
        "o",
        ms=8,
        mfc="none",
        color=HELD_OUT,
        label=f"best: {losses[best]:.4g} after step {steps[best]}",
    )
