"""The figure of a prediction: what went in, came out, and what speaks against it."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._figure import _as_volume, _new_figure, _projections, _show, _size

WIDTH = 150
"""Letters in a line of the reasons."""
STRONGEST = 6.0
"""Standard deviations at which the colours of the residual end."""


def prediction_figure(
    image: np.ndarray,
    prediction: Any,
    *,
    voxel_size: Sequence[float | None] | None = None,
    title: str = "",
) -> Any:
    """A prediction, its image, and the maps that say where not to believe it.

    A row each (of a plane, in one row): the image, the prediction, the repaired one if
    there is one (maximum projections along z, y and x); the least trust along each
    axis, from 0 (dark) to 0.5, which is typical; the residual of largest magnitude, red
    where the data want more light, blue where they want less. Below them the verdict
    and its reasons.

    Args:
        image: (z, y, x) or (y, x); of several views the first.
        prediction: a `jaxdecon.learning.Prediction`.
        voxel_size: µm per axis; None: unknown.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig(path)` writes it.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    estimate = np.asarray(prediction.image)
    first = np.asarray(image)
    first = first[0] if first.ndim > estimate.ndim else first
    rows: list[tuple[str, Any, Any]] = [
        ("image", first, _light),
        ("prediction", estimate, _light),
        ("repaired", prediction.repaired, _light),
        ("least trust", prediction.trust, _trust),
        ("residual (standard deviations)", prediction.residual, _residual),
    ]
    rows = [row for row in rows if row[1] is not None]
    size, unit = _size(voxel_size)
    text = verdict_text(prediction)
    figure, parts, below = _parts(len(rows), 2 + text.count("\n"), estimate.ndim == 2)
    for part, (name, values, draw) in zip(parts, rows, strict=True):
        draw(part, name, _as_volume(np.asarray(values, np.float32)), size, unit)
    below.text(0.02, 0.95, text, fontsize=8, va="top")
    figure.suptitle(title, fontsize=10)
    return figure


def _parts(count: int, lines: int, plane: bool) -> tuple[Any, Any, Any]:
    """A figure, its parts for images, and that for lines of text below them.

    Volumes, with three projections, stand below one another; planes in a row.
    """
    rows, width = (1, max(2.8 * count, 8.0)) if plane else (count, 10.0)
    heights = [2.8 if plane else 2.4] * rows + [0.2 * lines + 0.1]
    figure = _new_figure(width, sum(heights) + 0.4)
    *parts, below = figure.subfigures(rows + 1, 1, height_ratios=heights)
    if plane:
        parts = np.ravel(parts[0].subfigures(1, count))
    return figure, parts, below


def verdict_text(prediction: Any) -> str:
    """The verdict, and a paragraph for every reason."""
    reasons = [
        textwrap.fill(reason, WIDTH, initial_indent="- ", subsequent_indent="  ")
        for reason in prediction.reasons
    ]
    return "\n".join([f"verdict: {prediction.verdict}", *reasons])


def _light(figure: Any, name: str, stack: np.ndarray, size: Any, unit: str) -> None:
    _projections(figure, name, stack, size, unit)


def _trust(figure: Any, name: str, stack: np.ndarray, size: Any, unit: str) -> None:
    _map(figure, name, stack, size, unit, np.min, "viridis", (0.0, 0.5))


def _residual(figure: Any, name: str, stack: np.ndarray, size: Any, unit: str) -> None:
    limits = (-STRONGEST, STRONGEST)
    _map(figure, name, stack, size, unit, _largest, "seismic", limits)


def _largest(stack: np.ndarray, axis: int) -> np.ndarray:
    """The value of largest magnitude along an axis."""
    where = np.expand_dims(abs(stack).argmax(axis), axis)
    return np.take_along_axis(stack, where, axis).squeeze(axis)


def _map(figure, name, stack, size, unit, project, colours, limits) -> None:
    columns = range(3) if len(stack) > 1 else range(1)
    grid = figure.subplots(1, len(columns), squeeze=False)[0]
    for axis, axes in zip(columns, grid, strict=True):
        _show(axes, project(stack, axis), axis, size, unit, limits)
        axes.images[0].set_cmap(colours)
    shown = grid[-1].images[0]
    figure.colorbar(shown, ax=list(grid), shrink=0.8).ax.tick_params(labelsize=6)
    figure.suptitle(name, fontsize=9)
