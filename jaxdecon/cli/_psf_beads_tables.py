"""Tables of beads, and of the PSFs over a field."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def node_lines(result: Any, size: Sequence[float | None]) -> Iterator[str]:
    """The table of a `DistilledField` as lines of text."""
    scale, unit = _scale(size)
    axes = "zyx"[-len(scale) :]
    named = [f"FWHM {a}" for a in axes]
    head = [f"cell ({','.join(axes)})", "beads", *named, "ellipticity", "angle"]
    rows = [[*head, "z shift", "SNR"]]
    rows += [
        [
            ",".join(map(str, node.index)),
            str(node.count),
            *(f"{w:.3f}" for w in node.fwhm * scale),
            f"{node.ellipticity:.3f}",
            f"{np.degrees(node.orientation):.0f}",
            f"{node.z_shift * scale[0]:.3f}",
            f"{node.snr:.0f}",
        ]
        for node in result.table
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield f"PSFs over the field, lengths in {unit}, angles in degrees from x towards y:"
    for row in rows:
        cells = (text.rjust(w) for text, w in zip(row, widths, strict=True))
        yield "  ".join(cells)


def write_beads(path: Path, result: Any, size: Any, *, overwrite: bool) -> None:
    """Every spot with its status, and how the good ones fit their PSF."""
    scale, unit = _scale(size)
    axes = "zyx"[-len(scale) :]
    fits = {(fit.image, fit.spot): fit for fit in result.fits}
    head = ["image", *(f"{a} (voxels)" for a in axes), "status", "height"]
    head += ["background", "noise", *(f"FWHM {a} ({unit})" for a in axes)]
    _write(
        path,
        [*head, "correlation", "weight"],
        _bead_rows(result.beads, fits, scale),
        overwrite=overwrite,
    )


def _bead_rows(beads, fits, scale) -> Iterator[list[Any]]:
    for number, found in enumerate(beads):
        for i, status in enumerate(found.status):
            fit = fits.get((number, i))
            place = found.positions[i] if fit is None else fit.position
            yield [
                number,
                *(f"{p:.3f}" for p in place),
                status,
                f"{found.heights[i]:.6g}",
                f"{found.backgrounds[i]:.6g}",
                f"{found.noise[i]:.6g}",
                *(f"{w:.4g}" for w in found.widths[i] * scale),
                "" if fit is None else f"{fit.correlation:.5f}",
                "" if fit is None else f"{fit.weight:.4f}",
            ]


def write_nodes(path: Path, result: Any, size: Any, *, overwrite: bool) -> None:
    """The PSFs of a field."""
    scale, unit = _scale(size)
    axes = "zyx"[-len(scale) :]
    head = [*(f"cell {a}" for a in axes), *(f"{a} (voxels)" for a in axes), "beads"]
    head += [*(f"FWHM {a} ({unit})" for a in axes), "ellipticity"]
    head += ["orientation (degrees)", "asymmetry", f"z shift ({unit})", "SNR"]
    rows = (
        [
            *node.index,
            *(f"{p:.2f}" for p in node.position),
            node.count,
            *(f"{w:.4g}" for w in node.fwhm * scale),
            f"{node.ellipticity:.4f}",
            f"{np.degrees(node.orientation):.1f}",
            f"{node.asymmetry:.4f}",
            f"{node.z_shift * scale[0]:.4g}",
            f"{node.snr:.1f}",
            f"{node.scatter:.4f}",
        ]
        for node in result.table
    )
    _write(path, [*head, "scatter"], rows, overwrite=overwrite)


def _scale(size: Sequence[float | None]) -> tuple[np.ndarray, str]:
    """Voxel size and its unit; voxels where any is unknown."""
    if any(s is None for s in size):
        return np.ones(len(size)), "voxels"
    return np.array(size, float), "µm"


def _write(path: Path, head, rows: Iterable[list[Any]], *, overwrite: bool) -> None:
    from ..io import atomic_target

    with (
        atomic_target(path, overwrite=overwrite) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
