"""The figure of PSFs over the field of view: what they are, and how they change."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._figure import LINES, _new_figure, _size

GAP = 1
"""Voxels between PSFs of a montage."""
LEAST_DRAWN = 0.01
"""Intensity, relative to the maximum, beyond whose reach PSFs are cut."""
EXAGGERATED = 5.0
"""Ellipses are drawn with their elongation times that."""
LEAST_RANGE = 0.05
"""Half of the least range of a map's colours, as a share of its mean: noise shall not
look like a trend."""
TEXT: dict[str, Any] = {
    "fontsize": 6,
    "bbox": {"fc": "white", "ec": "none", "alpha": 0.75, "pad": 1.2},
}
STATUS_COLOURS = {
    "good": LINES[1],
    "overlaps": LINES[2],
    "saturated": LINES[4],
    "unlike the others": "#e69f00",
    "at the border": LINES[3],
}
"""Of spots; other reasons are grey."""


def psf_field_figure(
    result: Any, *, voxel_size: Sequence[float | None] | None = None, title: str = ""
) -> Any:
    """PSFs from beads over the field of view.

    Above: the central planes of the PSFs of all cells, each divided by its maximum
    (square-root scale), and where the beads are and what became of every spot. Below:
    maps of the widths, of the ellipticity (lines along the long axes; ellipses five
    times as elongated as the PSFs) and of the depth of best focus. Of several layers of
    cells along z the middle one is shown.

    Args:
        result: a `jaxdecon.psf.DistilledField`.
        voxel_size: µm per axis; None: unknown.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
    """
    size, unit = _size(voxel_size)
    view = _View(result, size[-result.field.ndim :], unit)
    if view.deep:
        panels, maps = (_plane_montage, _side_montage, _spots), MAPS
    else:
        panels, maps = (_plane_montage, _spots), MAPS[1:3]
    figure = _new_figure(13 if view.deep else 9, 6.6)
    above, below = figure.subfigures(2, 1)
    wide = {"width_ratios": [1, 0.7, 1.3] if view.deep else [1, 1.3]}
    tops = above.subplots(1, len(panels), gridspec_kw=wide)
    for axes, draw in zip(tops, panels, strict=True):
        draw(axes, view)
    for axes, draw in zip(below.subplots(1, len(maps)), maps, strict=True):
        draw(axes, view)
    parts = [title] if title else []
    if view.layers > 1:
        parts.append(f"layer {view.layer + 1} of {view.layers} along z")
    figure.suptitle(", ".join(parts), fontsize=10)
    return figure


class _View:
    """One layer of a field of PSFs, in physical units."""

    def __init__(self, result: Any, size: Sequence[float], unit: str):
        self.result, self.size, self.unit = result, np.asarray(size, float), unit
        self.deep = result.field.ndim == 3
        self.layers = result.field.nodes[0] if self.deep else 1
        self.layer = self.layers // 2
        psfs = np.asarray(result.field.psfs)
        self.psfs = psfs[self.layer] if self.deep else psfs
        self.shape = result.beads[0].shape

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Of the field, as Matplotlib wants it, y downwards."""
        height, width = self.shape[-2:] * self.size[-2:]
        return (0, width, height, 0)

    def map(self, name: str) -> np.ndarray:
        """A column of the table in the layer, (y, x, ...)."""
        values = self.result.map(name)
        return values[self.layer] if self.deep else values

    def places(self, positions: np.ndarray) -> np.ndarray:
        """(y, x) of positions in voxels."""
        return (np.asarray(positions)[..., -2:] + 0.5) * self.size[-2:]

    @property
    def nodes(self) -> np.ndarray:
        """(y, x) of the nodes, (rows, columns, 2)."""
        return self.places(self.map("position"))


def _label(axes, view: _View, title: str) -> None:
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(f"x ({view.unit})", fontsize=7)
    axes.set_ylabel(f"y ({view.unit})", fontsize=7)
    axes.tick_params(labelsize=6)


def _plane_montage(axes, view: _View) -> None:
    middle = view.psfs.shape[2] // 2
    planes = view.psfs[:, :, middle] if view.deep else view.psfs
    _montage(axes, planes, view.size[-2:], "y, x" + (" at z = 0" if view.deep else ""))


def _side_montage(axes, view: _View) -> None:
    planes = view.psfs[:, :, :, view.psfs.shape[3] // 2]
    _montage(axes, planes, view.size[[0, 2]], "z, x at y = 0")


def _montage(axes, planes: np.ndarray, size: np.ndarray, what: str) -> None:
    """Planes (rows, columns, n, m) side by side, as they lie in the field."""
    from matplotlib.colors import PowerNorm

    planes = planes / planes.max((2, 3), keepdims=True)
    planes = _trimmed(planes)
    rows, columns, *_ = planes.shape
    gaps = ((0, 0), (0, 0), (0, GAP), (0, GAP))
    padded = np.pad(planes, gaps, constant_values=np.nan)
    _, _, n, m = padded.shape
    whole = padded.transpose(0, 2, 1, 3).reshape(rows * n, columns * m)
    extent = (0, columns * m * size[1], rows * n * size[0], 0)
    norm = PowerNorm(0.5, 0, 1)
    shown = axes.imshow(
        whole[:-GAP, :-GAP],
        cmap="inferno",
        norm=norm,
        extent=extent,
        interpolation="nearest",
    )
    bar = axes.figure.colorbar(
        shown, ax=axes, shrink=0.8, ticks=(0, 0.05, 0.25, 0.5, 1)
    )
    bar.ax.tick_params(labelsize=6)
    axes.set_title(f"PSFs: {what}, intensity / maximum", fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def _trimmed(planes: np.ndarray) -> np.ndarray:
    """About n // 2 of the last axes, without what is dark everywhere."""
    slices: list[slice] = [slice(None), slice(None)]
    for axis in (2, 3):
        others = tuple(a for a in range(4) if a != axis)
        visible = np.flatnonzero(planes.max(others) > LEAST_DRAWN)
        middle = planes.shape[axis] // 2
        reach = int(abs(visible - middle).max())
        slices.append(slice(max(middle - reach, 0), middle + reach + 1))
    return planes[tuple(slices)]


def _spots(axes, view: _View) -> None:
    """Where the spots are, by what became of them."""
    beads = view.result.beads
    places = view.places(np.concatenate([b.positions for b in beads]))
    status = np.array([s for b in beads for s in b.status])
    for reason in sorted(set(status), key=lambda s: s != "good"):
        y, x = places[status == reason].T
        axes.scatter(
            x,
            y,
            s=14 if reason == "good" else 12,
            marker="o" if reason == "good" else "x",
            lw=0.9,
            color=STATUS_COLOURS.get(reason, "#999999"),
            label=f"{reason}: {y.size}",
        )
    left, right, bottom, top = view.extent
    for edge in np.linspace(left, right, view.nodes.shape[1] + 1)[1:-1]:
        axes.axvline(edge, color="#cccccc", lw=0.7, zorder=0)
    for edge in np.linspace(top, bottom, view.nodes.shape[0] + 1)[1:-1]:
        axes.axhline(edge, color="#cccccc", lw=0.7, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.legend(fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _label(axes, view, "spots, and the cells of the field")


def _map(axes, view: _View, values: np.ndarray, title: str, colours: str) -> None:
    """A value per cell, in colour and in figures."""
    known = values[np.isfinite(values)]
    middle = known.mean()
    reach = max(np.ptp(known) / 2, LEAST_RANGE * abs(middle))
    centre = (known.max() + known.min()) / 2
    shown = axes.imshow(
        values,
        extent=view.extent,
        cmap=colours,
        vmin=centre - reach,
        vmax=centre + reach,
        aspect="equal",
    )
    axes.figure.colorbar(shown, ax=axes, shrink=0.7).ax.tick_params(labelsize=6)
    for place, value in zip(view.nodes.reshape(-1, 2), values.ravel(), strict=True):
        text = f"{value:#.3g}" if np.isfinite(value) else "filled"
        axes.text(place[1], place[0], text, ha="center", va="center", **TEXT)
    _label(axes, view, title)


def _width_z(axes, view: _View) -> None:
    values = view.map("fwhm")[..., 0] * view.size[0]
    _map(axes, view, values, f"FWHM along z ({view.unit})", "viridis")


def _width_yx(axes, view: _View) -> None:
    widths = (view.map("fwhm")[..., -2:] * view.size[-2:]).mean(-1)
    _map(axes, view, widths, f"FWHM across, mean of y and x ({view.unit})", "viridis")


def _ellipticity(axes, view: _View) -> None:
    """A map with an ellipse per cell."""
    from matplotlib.patches import Ellipse

    values, angles = view.map("ellipticity"), view.map("orientation")
    shown = axes.imshow(values, extent=view.extent, cmap="summer", vmin=1, alpha=0.8)
    axes.figure.colorbar(shown, ax=axes, shrink=0.7).ax.tick_params(labelsize=6)
    _, width, height, _ = view.extent
    step = min(width / values.shape[1], height / values.shape[0])
    cells = zip(view.nodes.reshape(-1, 2), values.ravel(), angles.ravel(), strict=True)
    for (y, x), value, angle in cells:
        if not np.isfinite(value):
            continue
        stretch = min(1 + EXAGGERATED * (value - 1), 6.0)
        long, short = 0.3 * step * np.sqrt(stretch), 0.3 * step / np.sqrt(stretch)
        axes.add_patch(
            Ellipse(
                (x, y),
                long,
                short,
                angle=np.degrees(angle),
                fc="none",
                ec="black",
                lw=1.5,
            )
        )
        axes.text(x, y + 0.38 * step, f"{value:.3f}", ha="center", **TEXT)
    _label(axes, view, "ellipticity (ellipses: 5 x elongation)")


def _curvature(axes, view: _View) -> None:
    """Depth of best focus over the field, with the beads that say so."""
    bent = view.result.curvature
    if not bent.determined:
        axes.text(
            0.5, 0.5, bent.message, ha="center", va="center", fontsize=7, wrap=True
        )
        axes.set_axis_off()
        return
    height, width = view.shape[-2:]
    lines = np.linspace(0, height - 1, 61), np.linspace(0, width - 1, 61)
    grid = np.stack(np.meshgrid(*lines, indexing="ij"), -1)
    depth = bent.shift(grid) * view.size[0]
    shown = axes.imshow(depth, extent=view.extent, cmap="viridis", aspect="equal")
    axes.figure.colorbar(shown, ax=axes, shrink=0.7).ax.tick_params(labelsize=6)
    y, x = view.places(grid).transpose(2, 0, 1)
    contours = axes.contour(x, y, depth, colors="white", linewidths=0.7)
    axes.clabel(contours, fontsize=5)
    beads = view.places(np.array([f.position for f in view.result.fits]))
    axes.scatter(beads[:, 1], beads[:, 0], s=4, color="white")
    _label(axes, view, f"depth of best focus ({view.unit}), without tilt")


MAPS = (_width_z, _width_yx, _ellipticity, _curvature)
