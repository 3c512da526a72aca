"""The figure that compares back projectors."""

from typing import Any

import numpy as np

from ..deconvolution import BackProjectorComparison
from ._figure import LINES, _new_figure

COLOURS = (*LINES[1:], LINES[0], "#000000")


def back_projector_figure(
    comparison: BackProjectorComparison, *, title: str = ""
) -> Any:
    """Back projectors of a PSF: their profiles, and what one update lets through.

    A row for every axis that differs (z and x; y like x): the kernels along it, and the
    transmission `|B F|` of a blurred object's frequencies, with the recommended
    resolution limit and the cut-off of the OTF. Flat up to the limit is ideal.

    Args:
        comparison: of `jaxdecon.deconvolution.compare_back_projectors`.
        title: of the figure; the advice stands below it.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    ndim = len(comparison.resolution)
    axes = (0, 2) if ndim == 3 else (1,)
    figure = _new_figure(10, 3.0 * len(axes) + 0.8)
    grid = figure.subplots(len(axes), 2, squeeze=False)
    for (left, right), axis in zip(grid, axes, strict=True):
        name = "zyx"[-ndim:][axis]
        for colour, kind in zip(COLOURS, comparison.kernels, strict=False):
            _kernel(left, comparison.kernels[kind], axis, colour, kind)
            _transmission(right, comparison.transmission[kind], axis, colour)
        left.set_xlabel(f"{name} (voxels)", fontsize=7)
        left.set_ylabel("kernel / maximum", fontsize=7)
        right.set_xlabel(f"k_{name} (cycles per voxel)", fontsize=7)
        right.set_ylabel("transmission |B F|", fontsize=7)
        limit, cutoff = 1 / comparison.resolution[axis], comparison.cutoffs[axis]
        right.axvline(limit, color="k", lw=0.8, label="resolution limit")
        right.axvline(cutoff, color="k", lw=0.8, ls="--", label="cut-off of the OTF")
        for panel in (left, right):
            panel.tick_params(labelsize=6)
    for panel in grid[0]:
        panel.legend(fontsize=6, frameon=False)
    heading = f"{title}\n" if title else ""
    figure.suptitle(f"{heading}{comparison.advice}", fontsize=8)
    return figure


def _kernel(panel, kernel, axis, colour, label) -> None:
    line = _through_centre(kernel, axis)
    position = np.arange(line.size) - line.size // 2
    panel.plot(position, line / line.max(), color=colour, lw=1, label=label)


def _transmission(panel, gain, axis, colour) -> None:
    line = _through_centre(gain, axis)
    middle = line.size // 2
    half = line[middle:]
    panel.plot(np.arange(half.size) / line.size, half, color=colour, lw=1)


def _through_centre(volume: np.ndarray, axis: int) -> np.ndarray:
    centre = [n // 2 for n in volume.shape]
    return np.moveaxis(volume, axis, 0)[:, *np.delete(centre, axis)]
