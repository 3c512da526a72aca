"""Figures: what went in, what came out, and whether to believe it."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LINES = ("#777777", "#0072b2", "#d55e00", "#009e73", "#cc79a7")


def deconvolution_figure(
    volumes: Mapping[str, np.ndarray],
    psf: np.ndarray,
    *,
    voxel_size: Sequence[float | None] | None = None,
    histories: Mapping[str, Any] | None = None,
    title: str = "",
) -> Any:
    """Before, after and perhaps more, side by side.

    A row per volume with its maximum projections along z, y and x on one grey scale
    per row; below, the line profile through the brightest voxel of the last volume
    but the first, the support of the OTF, and the data residual per iteration.

    Args:
        volumes: name -> (z, y, x) or (y, x), all of one shape.
        psf: that was used.
        voxel_size: µm per axis; None: unknown.
        histories: name -> data residual per iteration.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig(path)` writes it.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    stacks = {n: _as_volume(np.asarray(v)) for n, v in volumes.items()}
    size, unit = _size(voxel_size)
    figure = _new_figure(10, 2.4 * len(stacks) + 3)
    *above, below = figure.subfigures(len(stacks) + 1, 1)
    for part, (name, stack) in zip(above, stacks.items(), strict=True):
        _projections(part, name, stack, size, unit)
    axes = below.subplots(1, 3)
    _profile(axes[0], stacks, size, unit)
    _otf_support(axes[1], _as_volume(np.asarray(psf)))
    _residuals(axes[2], histories or {})
    figure.suptitle(title, fontsize=10)
    return figure


def check_plots() -> None:
    """Say what to install if figures cannot be made.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError('figures need matplotlib: pip install "jaxdecon[plots]"')


def _new_figure(width: float, height: float) -> Any:
    check_plots()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _as_volume(stack: np.ndarray) -> np.ndarray:
    return stack if stack.ndim == 3 else stack[None]


def _size(voxel_size: Sequence[float | None] | None) -> tuple[list[float], str]:
    """Voxel size (z, y, x) and its unit; voxels where any is unknown."""
    if voxel_size is None or any(s is None for s in voxel_size):
        return [1.0, 1.0, 1.0], "voxels"
    sizes = [float(s) for s in voxel_size if s is not None]
    return [1.0] * (3 - len(sizes)) + sizes, "µm"


def _projections(figure, name, stack, size, unit) -> None:
    limits = np.percentile(stack, (1, 99.9))
    columns = range(3) if len(stack) > 1 else range(1)
    grid = figure.subplots(1, len(columns), squeeze=False)
    for axis, axes in zip(columns, grid[0], strict=True):
        _show(axes, stack.max(axis), axis, size, unit, limits)
    figure.suptitle(name, fontsize=9)


def _show(axes, plane, projected, size, unit, limits=(None, None)) -> None:
    vertical, horizontal = (a for a in range(3) if a != projected)
    extent = (0, plane.shape[1] * size[horizontal], plane.shape[0] * size[vertical], 0)
    low, high = limits
    axes.imshow(plane, cmap="gray", extent=extent, vmin=low, vmax=high, aspect="equal")
    axes.set_xlabel(f"{'zyx'[horizontal]} ({unit})", fontsize=7)
    axes.set_ylabel(f"{'zyx'[vertical]} ({unit})", fontsize=7)
    axes.tick_params(labelsize=6)


def _profile(axes, stacks, size, unit) -> None:
    after = list(stacks.values())[min(1, len(stacks) - 1)]
    z, y, _ = np.unravel_index(np.argmax(after), after.shape)
    position = np.arange(after.shape[2]) * size[2]
    for colour, (name, stack) in zip(LINES, stacks.items(), strict=False):
        line = stack[z, y] - stack.min()
        axes.plot(position, line / (line.max() or 1), color=colour, label=name, lw=1)
    axes.set_title(f"line at z = {z}, y = {y}", fontsize=8)
    axes.set_xlabel(f"x ({unit})", fontsize=7)
    axes.set_ylabel("intensity / maximum", fontsize=7)
    axes.tick_params(labelsize=6)
    axes.set_ylim(0, 1.05 + 0.13 * len(stacks))
    axes.legend(fontsize=6, frameon=False, loc="upper right")


def _otf_support(axes, psf) -> None:
    """|OTF| on a logarithmic scale in the plane k_y = 0."""
    otf = abs(np.fft.fftshift(np.fft.fftn(psf / psf.sum())))
    plane = np.log10(np.maximum(otf[:, otf.shape[1] // 2], 1e-4))
    shown = axes.imshow(
        plane,
        extent=(-0.5, 0.5, 0.5, -0.5),
        cmap="magma",
        vmin=-3,
        vmax=0,
        aspect="auto",
    )
    axes.figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=6)
    axes.set_title("log10 |OTF|, k_y = 0", fontsize=8)
    axes.set_xlabel("k_x (cycles per voxel)", fontsize=7)
    axes.set_ylabel("k_z (cycles per voxel)", fontsize=7)
    axes.tick_params(labelsize=6)


def _residuals(axes, histories) -> None:
    for colour, (name, history) in zip(LINES[1:], histories.items(), strict=False):
        values = np.asarray(history)
        axes.plot(values, "o-", color=colour, ms=3, lw=1, label=name)
    if any(np.nanmax(history) > 0 for history in histories.values()):
        axes.set_yscale("log")
    axes.set_title("data residual", fontsize=8)
    axes.set_xlabel("iterations", fontsize=7)
    axes.set_ylabel("Poisson deviance per voxel", fontsize=7)
    axes.tick_params(labelsize=6, which="both")
    if histories:
        axes.legend(fontsize=6, frameon=False)
