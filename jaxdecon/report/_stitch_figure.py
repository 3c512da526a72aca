"""The figure of a mosaic: where tiles are, which links hold them, how well."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..registration._links import Links, Placement
from ._figure import LINES, _new_figure, _size
from ._psf_figure import _label

NOMINAL, SOLVED = LINES[0], LINES[1]
REJECTED, UNUSED = "#cc0000", "#999999"
MOST_NAMES = 60
"""Tiles up to which each has its number."""
SEVERAL = 0.25
"""Of a tile along z: starts that differ by more are layers, drawn from the side."""


def stitch_figure(
    placement: Placement,
    links: Links,
    nominal: ArrayLike,
    shapes: ArrayLike,
    *,
    voxel_size: Sequence[float | None] | None = None,
    title: str = "",
) -> Any:
    """A mosaic: the layout of its tiles, their links, and how far the links agree.

    Outlines of the tiles in y and x, dashed where the stage says, solid where they are;
    tiles that no link holds are hatched. Links run between centres, coloured by their
    correlation; rejected ones are dashed and red, unusable ones dotted. If there are
    several layers, also from the side. Last, what the links say minus where the tiles
    are.

    Args:
        placement: of `solve_links`.
        links: between the tiles.
        nominal: (tiles, 3) positions by the stage, voxels.
        shapes: (tiles, 3).
        voxel_size: µm along z, y, x; None: unknown, drawn in voxels.
        title: of the figure; the placement's message stands below it.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
        ValueError: shapes that do not fit.
    """
    nominal, shapes = np.asarray(nominal, float), np.asarray(shapes, float)
    _check(placement, links, nominal, shapes)
    size, unit = _size(voxel_size)
    scaled = [a * size for a in (nominal, placement.positions, shapes)]
    layered = np.ptp(scaled[0][:, 0]) > SEVERAL * scaled[2][:, 0].max()
    planes = [(1, 2), (0, 2)] if layered else [(1, 2)]
    figure, panels = _panels(scaled, planes)
    for axes, plane in zip(panels, planes, strict=False):
        _tiles(axes, placement, scaled, plane)
        shown = _links(axes, placement, links, scaled, plane)
        names = [f"{'zyx'[a]} ({unit})" for a in plane]
        _label(axes, names[1], names[0], _heading(plane))
        if shown is not None and plane == (1, 2):
            bar = figure.colorbar(shown, ax=axes, shrink=0.7, pad=0.02)
            bar.ax.tick_params(labelsize=6)
            bar.set_label("correlation of the link", fontsize=7)
    _residuals(panels[-1], placement, links)
    _key(figure)
    message = textwrap.fill(placement.message, 120)
    heading = f"{title}\n" if title else ""
    figure.suptitle(f"{heading}{message}", fontsize=9)
    return figure


def _check(placement: Placement, links: Links, nominal, shapes) -> None:
    count = len(placement.positions)
    for name, value in (("nominal", nominal), ("shapes", shapes)):
        if value.shape != (count, 3):
            raise ValueError(f"`{name}` has shape {value.shape}; {(count, 3)} needed.")
    if len(links) != len(placement.rejected):
        raise ValueError(
            f"`links` are {len(links)}, and the placement is of "
            f"{len(placement.rejected)}."
        )


def _panels(scaled, planes) -> tuple[Any, list[Any]]:
    """A panel per plane, as wide as what it shows, and one for the residuals."""
    nominal, _, shapes = scaled
    extent = (nominal + shapes).max(0) - nominal.min(0)
    heights = [float(np.clip(7 * extent[a] / extent[b], 1.2, 8)) for a, b in planes]
    figure = _new_figure(11, sum(heights) + 1.3)
    left, right = figure.subfigures(1, 2, width_ratios=(7, 3))
    panels = left.subplots(len(planes), 1, height_ratios=heights, squeeze=False)
    return figure, [*panels.ravel(), right.subplots()]


def _heading(plane: tuple[int, int]) -> str:
    return "from above" if plane == (1, 2) else "from the side"


def _tiles(axes, placement: Placement, scaled, plane) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    nominal, found, shapes = (a[:, plane] for a in scaled)
    lone = np.zeros(len(nominal), bool)
    lone[[g[0] for g in placement.components if len(g) == 1]] = len(nominal) > 1
    styles: tuple[tuple[np.ndarray, Any, dict[str, Any]], ...] = (
        (nominal, slice(None), {"edgecolors": NOMINAL, "linestyles": "--"}),
        (found, slice(None), {"edgecolors": SOLVED}),
        (found, lone, {"edgecolors": SOLVED, "hatch": "////", "alpha": 0.6}),
    )
    for places, which, style in styles:
        boxes = [
            Rectangle((x, y), width, height)
            for (y, x), (height, width) in zip(
                places[which].tolist(), shapes[which].tolist(), strict=True
            )
        ]
        axes.add_collection(
            PatchCollection(boxes, facecolors="none", linewidths=0.9, **style)
        )
    if len(nominal) <= MOST_NAMES and plane == (1, 2):
        for number, (y, x) in enumerate(found):
            axes.annotate(
                str(number), (x, y), (3, -8), textcoords="offset points", fontsize=6
            )
    axes.autoscale_view()
    axes.set_aspect("equal")
    if plane == (1, 2):
        axes.invert_yaxis()


def _links(axes, placement: Placement, links: Links, scaled, plane) -> Any:
    """Lines between centres; those to be used are returned, for their colours."""
    from matplotlib.collections import LineCollection

    _, found, shapes = (a[:, plane] for a in scaled)
    ends = (found + shapes / 2)[links.pairs][..., ::-1]
    used = links.usable & ~placement.rejected
    shown = None
    if used.any():
        shown = LineCollection(list(ends[used]), cmap="viridis_r", linewidths=1.8)
        shown.set_array(links.ncc[used])
        shown.set_clim(0, 1)
        axes.add_collection(shown)
    others: tuple[tuple[np.ndarray, dict[str, Any]], ...] = (
        (~links.usable, {"colors": UNUSED, "linestyles": ":", "linewidths": 0.8}),
        (placement.rejected, {"colors": REJECTED, "linestyles": "--"}),
    )
    for which, style in others:
        axes.add_collection(LineCollection(list(ends[which]), **style))
    return shown


def _residuals(axes, placement: Placement, links: Links) -> None:
    """How many links are how far off."""
    used = links.usable & ~placement.rejected
    lengths = np.linalg.norm(placement.residual[used], axis=1)
    if lengths.size:
        axes.hist(lengths, bins=min(40, max(8, lengths.size // 4)), color=SOLVED)
        axes.axvline(placement.rms, color="black", lw=0.8, ls=":")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_box_aspect(0.8)
    heading = f"used links: rms residual {placement.rms:.2g} voxels (dotted)"
    _label(axes, "link minus placement (voxels)", "links", heading)


def _key(figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines = [
        Line2D([], [], color=NOMINAL, ls="--", label="nominal"),
        Line2D([], [], color=SOLVED, label="solved"),
        Line2D([], [], color="#31688e", lw=1.8, label="link"),
        Line2D([], [], color=UNUSED, ls=":", label="too little in common"),
        Line2D([], [], color=REJECTED, ls="--", label="rejected link"),
        Patch(fill=False, edgecolor=SOLVED, hatch="////", label="no link holds it"),
    ]
    figure.legend(
        handles=lines, loc="outside lower left", ncols=6, fontsize=7, frameon=False
    )
