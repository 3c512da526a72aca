"""`jaxdecon psf --from-beads`: a PSF, or a field of them, from images of beads."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ._console import say
from ._psf_beads_options import BeadOptions, integers
from ._psf_beads_tables import node_lines, write_beads, write_nodes
from ._psf_summary import summary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write: files, share of a PSF's energy, whether to replace files."""

    psf: str | None
    figure: str | None
    energy: float
    overwrite: bool


def psf_from_beads(
    path: str, beads: BeadOptions, given: Any, shape: str | None, outputs: Outputs
) -> None:
    """Measure, tell, write.

    Args:
        path: of the file; its time points are pooled.
        beads: how.
        given: voxel size that the user gave, µm; None: that of the file.
        shape: of the PSF, as text.
        outputs: where to.
    """
    result, size = _measure(path, beads, given, shape)
    for message in result.messages:
        say(f"beads: {message}")
    if beads.cells is None:
        kernel = _cut_to_energy(np.asarray(result.psf), outputs.energy, shape)
        _tell(result, kernel, size)
    else:
        kernel = None
        for line in node_lines(result, size):
            say(line)
        say(f"PSFs differ from their mean by up to {result.field.variation:.1%}")
    for write, target in zip((write_beads, write_nodes), beads.tables, strict=False):
        write(target, result, size, overwrite=outputs.overwrite)
    if outputs.psf is not None:
        _write(outputs.psf, result, kernel, size, overwrite=outputs.overwrite)
    if outputs.figure is not None:
        _draw(path, result, kernel, size, outputs)


def _measure(
    path: str, beads: BeadOptions, given: Any, shape: str | None
) -> tuple[Any, tuple[float | None, ...]]:
    """What beads show, a `DistilledPSF` or a `DistilledField`, and the voxel size."""
    from .. import psf

    images, size = _read(path, given)
    if beads.bead_diameter is not None and None in size:
        raise ValueError(
            f"{path} does not say its voxel size, and --bead-diameter needs it: give "
            f"--voxel-size."
        )
    found = [psf.find_beads(image, **beads.finding()) for image in images]
    for each in found:
        say(f"beads: {each.summary()}")
    options: dict[str, Any] = {
        "shape": integers("--shape", shape),
        "voxel_size": None if None in size else size,
        "diameter": beads.bead_diameter,
    }
    if beads.min_beads is not None:
        options["min_beads"] = beads.min_beads
    if beads.cells is None:
        return psf.distil(images, found, **options), size
    result = psf.distil_field(
        images,
        found,
        grid=beads.cells,
        fill="neighbours" if beads.fill_holes else "refuse",
        curvature="kept" if beads.keep_curvature else "removed",
        **options,
    )
    return result, size


def _cut_to_energy(kernel: np.ndarray, energy: float, shape: str | None) -> np.ndarray:
    """The part of a PSF with that share of its energy, unless its shape was given."""
    from ..psf import crop_to_energy

    if shape is not None or energy >= 1:
        return kernel
    kept = np.asarray(crop_to_energy(kernel, energy))
    return kept / kept.sum()


def _tell(result: Any, kernel: np.ndarray, size: tuple[float | None, ...]) -> None:
    """The measures of one PSF."""
    for line in summary(kernel, size, None):
        say(line)
    say(
        f"of {len(result.fits)} beads, signal-to-noise ratio {result.snr:.0f}; they "
        f"differ from their mean by {result.scatter:.1%}"
    )
    say(
        f"ellipticity {result.ellipticity:.3f}, long axis at "
        f"{np.degrees(result.orientation):.0f} degrees from x towards y; asymmetry "
        f"{result.asymmetry:.1%}"
    )


def _draw(path: str, result: Any, kernel: Any, size: Any, outputs: Outputs) -> None:
    from .. import report

    if kernel is None:
        figure = report.psf_field_figure(result, voxel_size=size, title=Path(path).name)
    else:
        title = f"{Path(path).name}: PSF of {len(result.fits)} beads"
        figure = report.psf_figure(kernel, voxel_size=size, title=title)
    save_png(figure, outputs.figure, overwrite=outputs.overwrite)


def save_png(figure: Any, path: Any, *, overwrite: bool) -> None:
    """A figure as a file, whole or not at all."""
    from ..io import atomic_target

    with atomic_target(Path(path), overwrite=overwrite) as partial:
        figure.savefig(partial, format="png")


def write_psf(path: str, kernel: np.ndarray, size: Any, *, overwrite: bool) -> None:
    """A PSF as an image."""
    from .. import io

    image = io.Image(data=kernel, axes="zyx"[-kernel.ndim :], voxel_size=size)
    io.write(path, image, overwrite=overwrite)


def _write(path: str, result: Any, kernel: Any, size: Any, *, overwrite: bool) -> None:
    """The PSF as an image, or a field (no kernel)."""
    from .. import io

    if kernel is not None:
        write_psf(path, kernel, size, overwrite=overwrite)
        return
    io.write_psf_field(
        path,
        result.field.psfs,
        result.field.positions,
        voxel_size=size,
        image_shape=result.beads[0].shape,
        overwrite=overwrite,
    )


def _read(path: str, given: Any) -> tuple[list[np.ndarray], tuple[float | None, ...]]:
    """Volumes of a file, 2D where z has length one, and their voxel size."""
    from .. import io

    image = io.read(path)
    if image.sizes.get("c", 1) > 1:
        raise ValueError(
            f"{path} has {image.sizes['c']} channels, and each has a PSF of its own: "
            f"give a file with one."
        )
    if given is not None and len(given) != len(image.spatial_axes):
        raise ValueError(
            f"--voxel-size has {len(given)} numbers; {path} has axes "
            f"{image.spatial_axes!r}."
        )
    volumes = [volume for _, volume in image.volumes()]
    size = tuple(given or image.voxel_size)
    if image.sizes.get("z") == 1:
        return [v[0] for v in volumes], size[1:]
    return volumes, size
