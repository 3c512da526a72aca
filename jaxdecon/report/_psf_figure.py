"""The figure of a PSF: planes, profiles, and which frequencies it lets through."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._figure import LINES, _new_figure, _size

LEAST_SHOWN = 1e-4
"""Gain `|OTF|` at the dark end of the scale."""
SUPPORT, THEORY = "#56b4e9", "#ffffff"
LEAST_DRAWN = 0.002
"""Intensity, relative to the maximum, beyond whose reach the planes are cut."""
BOTH_ALIKE = 0.02
"""Largest difference between profiles along x and y that are drawn as one."""


def psf_figure(
    psf: np.ndarray,
    *,
    voxel_size: Sequence[float | None] | None = None,
    cutoffs: Sequence[float] | None = None,
    title: str = "",
) -> Any:
    """A PSF: central planes (square-root scale), profiles, OTF support.

    Below the planes: the profiles through the centre along z and x (and y, where it
    differs from x) with their widths, and `|OTF|` on a logarithmic scale in the planes
    k_y = 0 and k_z = 0, with the outline of its support (`jaxdecon.psf.otf_support`).

    Args:
        psf: (z, y, x) or (y, x), centred on n // 2.
        voxel_size: µm per axis; None: unknown.
        cutoffs: of the optics, cycles per µm and axis (`jaxdecon.psf.cutoffs`), drawn
            as dashed lines; None: unknown.
        title: of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing; the message names the extra.
        ValueError: unusable PSF; `cutoffs` without voxel size, or not one per axis.
    """
    from ..psf import otf_support

    psf = np.asarray(psf)
    size, unit = _size(voxel_size)
    size = size[-psf.ndim :]
    _check_cutoffs(cutoffs, psf.ndim, unit)
    rows = psf.ndim - 1
    figure = _new_figure(10, 3.3 * rows)
    panels = figure.subplots(rows, 3, squeeze=False).ravel()
    planes = ((1, 2), (0, 2), (0, 1)) if psf.ndim == 3 else ((0, 1),)
    for axes, plane in zip(panels, planes, strict=False):
        _plane(axes, psf, plane, size, unit)
    _profiles(panels[len(planes)], psf, size, unit)
    spectra = dict(zip(planes[1::-1], panels[len(planes) + 1 :], strict=True))
    gain = abs(np.fft.fftshift(np.fft.fftn(psf / psf.sum(dtype=float))))
    support = np.asarray(otf_support(psf).mask)
    for plane, axes in spectra.items():
        _spectrum(axes, gain, support, plane, size, unit)
        if cutoffs is not None:
            _limits(axes, cutoffs, plane, psf.ndim)
    _legend(panels[len(planes) + 1])
    figure.suptitle(title, fontsize=10)
    return figure


def _check_cutoffs(cutoffs, ndim: int, unit: str) -> None:
    if cutoffs is None:
        return
    if len(cutoffs) != ndim:
        raise ValueError(f"`cutoffs` is {cutoffs}; one per axis, {ndim}, is needed.")
    if unit == "voxels":
        raise ValueError(
            "`cutoffs` are per µm, and `voxel_size` is not known; give it."
        )


def _names(ndim: int) -> str:
    return "zyx"[-ndim:]


def _slice(stack: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    """The plane through n // 2 of every other axis."""
    index = (slice(None) if a in plane else n // 2 for a, n in enumerate(stack.shape))
    return stack[tuple(index)]


def _positions(n: int, step: float) -> np.ndarray:
    return (np.arange(n) - n // 2) * step


def _extent(rows: np.ndarray, columns: np.ndarray) -> tuple[float, ...]:
    """Edges of the pixels at these positions, for an image drawn upwards."""
    edges = []
    for positions in (columns, rows):
        half = (positions[1] - positions[0]) / 2 if positions.size > 1 else 0.5
        edges += [positions[0] - half, positions[-1] + half]
    return tuple(edges)


def _label(axes, horizontal: str, vertical: str, title: str = "") -> None:
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(horizontal, fontsize=7)
    axes.set_ylabel(vertical, fontsize=7)
    axes.tick_params(labelsize=6)


def _plane(axes, psf, plane, size, unit) -> None:
    from matplotlib.colors import PowerNorm

    names = _names(psf.ndim)
    rows, columns = (_positions(psf.shape[a], size[a]) for a in plane)
    shown = axes.imshow(
        _slice(psf, plane) / psf.max(),
        cmap="gray",
        norm=PowerNorm(0.5, 0, 1),
        extent=_extent(rows, columns),
        origin="lower",
        interpolation="nearest",
    )
    _bar(axes, shown, ticks=(0, 0.01, 0.1, 0.25, 0.5, 1))
    vertical, horizontal = (_reach(psf, a) * size[a] for a in plane)
    axes.set_xlim(-horizontal, horizontal)
    axes.set_ylim(-vertical, vertical)
    vertical, horizontal = (f"{names[a]} ({unit})" for a in plane)
    across = [f"{names[a]} = 0" for a in range(psf.ndim) if a not in plane]
    _label(axes, horizontal, vertical, ", ".join([*across, "intensity / maximum"]))


def _reach(psf: np.ndarray, axis: int) -> float:
    """Voxels from the centre beyond which there is nothing to see along an axis."""
    others = tuple(a for a in range(psf.ndim) if a != axis)
    visible = np.flatnonzero(psf.max(others) > LEAST_DRAWN * psf.max())
    return abs(visible - psf.shape[axis] // 2).max() + 0.5


def _bar(axes, shown, ticks=None) -> None:
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8, ticks=ticks)
    bar.ax.tick_params(labelsize=6, which="both")


def _profiles(axes, psf, size, unit) -> None:
    from ..psf import fwhm

    widths = np.asarray(fwhm(psf)) * size
    names = _names(psf.ndim)
    drawn = [
        a for a in range(psf.ndim) if names[a] != "y" or not _y_is_like_x(psf, size)
    ]
    for colour, axis in zip(LINES[1:], drawn, strict=False):
        line = _line(psf, axis)
        label = "x, y" if names[axis] == "x" and len(drawn) < psf.ndim else names[axis]
        width = (
            "no FWHM: cut" if np.isnan(widths[axis]) else f"{widths[axis]:.3g} {unit}"
        )
        axes.plot(
            _positions(line.size, size[axis]),
            line / psf.max(),
            ".-",
            color=colour,
            lw=1,
            ms=3,
            label=f"{label}: {width}",
        )
    axes.set_xlim(*_profile_limits(widths, psf.shape, size))
    axes.set_ylim(0, 1.05)
    axes.axhline(0.5, color="#bbbbbb", lw=0.6, zorder=0)
    axes.legend(fontsize=6, frameon=False, title="FWHM", title_fontsize=6)
    _label(axes, f"position ({unit})", "intensity / maximum", "profiles")


def _line(psf: np.ndarray, axis: int) -> np.ndarray:
    """The profile through n // 2 of the other axes."""
    middle = (n // 2 for a, n in enumerate(psf.shape) if a != axis)
    return np.moveaxis(psf, axis, 0)[:, *middle]


def _y_is_like_x(psf: np.ndarray, size: Sequence[float]) -> bool:
    """Whether the central profiles along y and x cannot be told apart."""
    reach = min(psf.shape[-2:]) // 2
    near = [
        _line(psf, axis)[n // 2 - reach : n // 2 + reach]
        for axis, n in ((psf.ndim - 2, psf.shape[-2]), (psf.ndim - 1, psf.shape[-1]))
    ]
    difference = abs(near[0] - near[1]).max(initial=0)
    return bool(np.isclose(size[-2], size[-1]) and difference <= BOTH_ALIKE * psf.max())


def _profile_limits(widths, shape, size) -> tuple[float, float]:
    """Wide enough for every profile's main lobe, but not much wider."""
    whole = max(n * s for n, s in zip(shape, size, strict=True)) / 2
    known = widths[np.isfinite(widths)]
    reach = min(whole, 2.5 * known.max()) if known.size == widths.size else whole
    return -reach, reach


def _spectrum(axes, gain, support, plane, size, unit) -> None:
    """|OTF| in a plane through zero frequency, with the outline of its support."""
    from matplotlib.colors import LogNorm

    names = _names(gain.ndim)
    rows, columns = (
        _positions(gain.shape[a], 1 / (gain.shape[a] * size[a])) for a in plane
    )
    shown = axes.imshow(
        np.maximum(_slice(gain, plane), LEAST_SHOWN),
        cmap="magma",
        norm=LogNorm(LEAST_SHOWN, 1),
        extent=_extent(rows, columns),
        origin="lower",
        interpolation="nearest",
        aspect="equal" if names[plane[0]] == "y" else "auto",
    )
    _bar(axes, shown)
    _outline(axes, _slice(support, plane), rows, columns)
    per = "voxel" if unit == "voxels" else unit
    vertical, horizontal = (f"k_{names[a]} (cycles per {per})" for a in plane)
    across = [f", k_{names[a]} = 0" for a in range(gain.ndim) if a not in plane]
    _label(axes, horizontal, vertical, "|OTF|" + "".join(across))


def _outline(axes, mask, rows, columns) -> None:
    """The border between frequencies inside and outside the support."""
    if min(mask.shape) > 1 and not mask.all():
        axes.contour(columns, rows, mask, levels=[0.5], colors=SUPPORT, linewidths=1)
    axes.plot([], [], color=SUPPORT, lw=1, label="support")


def _limits(axes, cutoffs, plane, ndim: int) -> None:
    """Dashed: the theoretical cut-offs, an ellipse across the optical axis."""
    style = {"color": THEORY, "lw": 0.9, "ls": "--"}
    vertical, horizontal = (cutoffs[a] for a in plane)
    limits = axes.axis()
    axes.plot([], [], label="cut-offs of the optics", **style)
    if _names(ndim)[plane[0]] == "y":
        angle = np.linspace(0, 2 * np.pi, 181)
        axes.plot(horizontal * np.cos(angle), vertical * np.sin(angle), **style)
    else:
        for sign in (-1, 1):
            axes.axhline(sign * vertical, **style)
            axes.axvline(sign * horizontal, **style)
    axes.axis(limits)


def _legend(axes) -> None:
    axes.legend(
        fontsize=6,
        loc="upper right",
        labelcolor="white",
        facecolor="black",
        edgecolor="none",
        framealpha=0.7,
    )
