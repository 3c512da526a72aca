"""The figure of a fusion: its views and results, and which directions each resolves."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from ..metrics import bead_widths
from ._back_projector_figure import COLOURS
from ._figure import _new_figure
from ._projections import _checked, _contrasted, _sizes, projections
from ._psf_figure import _label
from ._registration_figure import PLANES, _panels, _show

SPOTS = 50
"""Points of a volume that are measured, the brightest."""
MAXIMA = 50_000
"""Of a volume in which spots are looked for; where there are more, it is noise."""
MIDDLE = 192
"""Voxels along each axis, about the centre, that widths and spectra are of."""
LOW = 3
"""Lowest frequencies, whose mean power is 1."""
LEAST_POWER = 1e-7
"""Relative to the lowest frequencies, at the lower end of the scale."""
COLUMN = 2.6
"""Inches for a volume."""


def fusion_figure(
    volumes: Mapping[str, ArrayLike],
    *,
    voxel_size: Sequence[float | None] | None = None,
    title: str = "",
) -> Any:
    """Views and what was made of them: projections, widths of points, spectra.

    A column per volume with its maximum projections xy, below it xz and beside it zy,
    with its own contrast; NaN is black. Below, the widths of point-like structures
    along z, y and x (`median_widths`), and the power of every volume's frequencies
    along z and along x, relative to the lowest ones: the direction that a view
    resolves worse falls to its floor of noise earlier. Both are of the middle of the
    volumes, at most 192 voxels along each axis.

    Args:
        volumes: name -> (z, y, x), all on one grid, in the order to be drawn.
        voxel_size: µm per axis; None: unknown, drawn as cubes.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
        ValueError: no volume, or volumes that are not 3D, not of one shape, or without
            a finite value; unusable sizes.
    """
    stacks = {n: _checked(f"volumes[{n!r}]", v) for n, v in volumes.items()}
    shape = _shape(stacks)
    size, unit = _sizes(voxel_size)
    figure, columns, below = _parts(len(stacks), shape, size)
    for part, colour, (name, stack) in zip(
        columns, _colours(), stacks.items(), strict=False
    ):
        _draw(part, stack, size, unit)
        part.suptitle(name, fontsize=9, color=colour)
    middles = {name: _filled(stack[_middle(shape)]) for name, stack in stacks.items()}
    left, right = below.subplots(1, 2)
    _widths(left, middles, size, unit)
    _spectra(right, middles, size, unit)
    figure.suptitle(title, fontsize=10)
    return figure


def median_widths(
    volume: ArrayLike, voxel_size: Sequence[float | None] | None = None
) -> tuple[float, float, float]:
    """Full widths at half maximum of a volume's points: medians along z, y and x.

    Of the 50 brightest isolated spots (`jaxdecon.metrics.bead_widths`), along each
    axis those whose width can be told. Where there are no beads or other points, they
    are the widths of structures, and no measure of resolution.

    Args:
        volume: (z, y, x); NaN is taken for background.
        voxel_size: µm per axis; None: unknown.

    Returns:
        In µm, or in voxels if the size is unknown; NaN where no spot has a width.

    Raises:
        ValueError: a volume that is not 3D, or without a finite value; unusable sizes.

    Example:
        >>> import jaxdecon as jd
        >>> bead = jd.psf.gaussian((25, 25, 25), (6.0, 4.0, 4.0))
        >>> [round(width, 2) for width in jd.report.median_widths(bead, (0.1,) * 3)]
        [0.6, 0.4, 0.4]
    """
    stack = _filled(_checked("volume", volume))
    return _medians(_spots(stack, _sizes(voxel_size)[0]))


def _filled(stack: np.ndarray) -> np.ndarray:
    """With background, the median, in place of NaN."""
    gaps = np.isnan(stack)
    return np.where(gaps, 0 if gaps.all() else np.nanmedian(stack), stack)


def _spots(stack: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """Widths of the brightest spots, (n, 3), NaN where they cannot be told."""
    if 0 < _maxima(stack) <= MAXIMA:
        ignored = np.errstate(divide="ignore", invalid="ignore")
        with contextlib.suppress(ValueError), ignored:  # after smoothing, none is left
            return bead_widths(stack, voxel_size=size, count=SPOTS).widths
    return np.full((0, 3), np.nan)


def _maxima(stack: np.ndarray) -> int:
    """How many voxels exceed their six neighbours, and an eighth of the brightest."""
    level = np.median(stack)
    height = stack - level
    found = height > height.max() / 8
    for axis in range(3):
        lines, peaks = (np.moveaxis(a, axis, 0) for a in (height, found))
        peaks[1:] &= lines[1:] > lines[:-1]
        peaks[:-1] &= lines[:-1] >= lines[1:]
    return int(found.sum())


def _medians(widths: np.ndarray) -> tuple[float, float, float]:
    columns = (column[np.isfinite(column)] for column in widths.T)
    z, y, x = (float(np.median(c)) if c.size else math.nan for c in columns)
    return z, y, x


def _shape(stacks: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """The one shape of all volumes."""
    shapes = {name: stack.shape for name, stack in stacks.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(
            f"`volumes` have shapes {shapes}; one volume or more, all on one grid, are "
            f"needed: bring them there first, e.g. with `jaxdecon.warp`."
        )
    return next(iter(shapes.values()))


def _middle(shape: Sequence[int]) -> tuple[slice, ...]:
    starts = (max(0, (n - MIDDLE) // 2) for n in shape)
    return tuple(slice(start, start + MIDDLE) for start in starts)


def _colours() -> Iterator[str]:
    return itertools.cycle(COLOURS)


def _parts(count: int, shape, size) -> tuple[Any, Any, Any]:
    """The figure, a part for each volume, and one below them."""
    z, y, x = (n * s for n, s in zip(shape, size, strict=True))
    width = max(8.0, COLUMN * count)
    height = np.clip(width / count * (y + z) / (x + z), 1.5, 5)
    figure = _new_figure(width, height + 3.2)
    above, below = figure.subfigures(2, 1, height_ratios=(height + 0.4, 2.8))
    return figure, above.subfigures(1, count, squeeze=False)[0], below


def _draw(part, stack: np.ndarray, size, unit: str) -> None:
    """xy, below it xz and beside it zy, on one scale."""
    xy, xz, yz = _contrasted([*projections(stack).values()])
    images = (xy, xz, yz.T)
    panels = _panels(part, images, size)
    for axes, image, plane, inwards in zip(
        panels, images, PLANES, ("SE", "NE", "SW"), strict=True
    ):
        _show(axes, image, plane, size, unit)
        axes.set(anchor=inwards, xticks=[], yticks=[], xlabel="", ylabel="")
    panels[0].set_ylabel("y", fontsize=7)
    panels[1].set_ylabel("z", fontsize=7)
    panels[1].set_xlabel("x", fontsize=7)
    panels[2].set_xlabel("z", fontsize=7)
    _scale_bar(panels[0], xy.shape[1] * size[2], unit)


def _scale_bar(axes, extent: float, unit: str) -> None:
    """Of 1, 2 or 5 times a power of ten, at most a third of the width."""
    from matplotlib.patheffects import withStroke

    power = 10.0 ** math.floor(math.log10(extent / 3))
    length = max(k * power for k in (0.5, 1, 2, 5) if k * power <= extent / 3)
    style = {
        "color": "white",
        "path_effects": [withStroke(linewidth=3, foreground="k")],
    }
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    x, y = left + 0.05 * (right - left), bottom + 0.06 * (top - bottom)
    axes.plot([x, x + length], [y, y], lw=2, solid_capstyle="butt", **style)
    axes.annotate(
        f"{length:g} {unit}",
        (x, y),
        (0, 3),
        textcoords="offset points",
        fontsize=6,
        **style,
    )


def _widths(axes, stacks, size, unit: str) -> None:
    """A bar per axis and volume, with its number."""
    thick = 0.84 / len(stacks)
    places = np.arange(3) - 0.42 + thick / 2
    for colour, (name, stack) in zip(_colours(), stacks.items(), strict=False):
        spots = _spots(stack, size)
        medians = _medians(spots)
        count = np.isfinite(spots).any(1).sum()
        label = f"{name} (n = {count})"
        heights = np.nan_to_num(medians)
        bars = axes.bar(places, heights, 0.9 * thick, color=colour, label=label)
        numbers = ["–" if math.isnan(m) else f"{m:.3g}" for m in medians]
        axes.bar_label(bars, numbers, fontsize=6, padding=1)
        places = places + thick
    _label(axes, "", f"FWHM ({unit})", "median widths of the brightest isolated spots")
    axes.set_xticks(range(3), ["z", "y", "x"], fontsize=8)
    rows = math.ceil(len(stacks) / 3)
    axes.margins(y=0.12 + 0.1 * rows)
    axes.legend(fontsize=6, frameon=False, ncols=3, loc="upper center")


def _spectra(axes, stacks, size, unit: str) -> None:
    """Solid along z, dashed along x."""
    for colour, (name, stack) in zip(_colours(), stacks.items(), strict=False):
        axes.plot([], [], color=colour, lw=1, label=name)
        for axis, style in ((0, "-"), (2, "--")):
            power = _power(stack, axis)
            frequency = np.fft.rfftfreq(stack.shape[axis], size[axis])
            seen = (power > 0) & (frequency > 0)
            axes.plot(frequency[seen], power[seen], style, color=colour, lw=1)
    axes.set_yscale("log")
    low, _ = axes.get_ylim()
    axes.set_ylim(bottom=max(low, LEAST_POWER))
    axes.legend(fontsize=6, frameon=False)
    per = "voxel" if unit == "voxels" else unit
    _label(
        axes,
        f"frequency along z (solid) or x (dashed), cycles per {per}",
        "power / that of the lowest",
        "spectra",
    )


def _power(stack: np.ndarray, axis: int) -> np.ndarray:
    """Mean over all frequencies of the other axes, as is over all lines (Parseval)."""
    lines = np.moveaxis(stack - stack.mean(), axis, -1)
    window = np.hanning(lines.shape[-1] + 2)[1:-1]
    power = (abs(np.fft.rfft(lines * window)) ** 2).mean((0, 1))
    lowest = power[1 : LOW + 1]
    return power / (lowest.mean() if lowest.any() else 1)
