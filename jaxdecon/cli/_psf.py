"""`jaxdecon psf`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ._console import say, start_jax
from ._inputs import parse_background
from ._optics import PsfEnergy, PsfSource, VoxelSize, parse_voxel_size, share_kept
from ._outputs import Overwrite
from ._psf_beads import Outputs, psf_from_beads, save_png, write_psf
from ._psf_beads_options import BeadOptions, check_bead_options
from ._psf_models import cutoffs, describe
from ._psf_options import Optics, option, with_options
from ._psf_summary import summary

STACK_SIZE = 65
"""Voxels along each axis of the stack that a modelled PSF is for, if not given."""
ENERGY = 0.999


@with_options(optics=Optics, beads=BeadOptions)
def psf(
    measured: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A measured PSF.")
    ] = None,
    optics: Optics = Optics(),
    beads: BeadOptions = BeadOptions(),
    psf_energy: PsfEnergy = ENERGY,
    voxel_size: VoxelSize = None,
    target_voxel_size: Annotated[
        str | None,
        typer.Option(help="Resample FILE to this, µm as z,y,x."),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            help="Voxels as z,y,x. With the optics: the stack that the PSF is for "
            f"(default {STACK_SIZE} along each axis). With FILE: the output, cropped "
            "or padded with zeros about its centre."
        ),
    ] = None,
    background: Annotated[
        str,
        typer.Option(help="To subtract from FILE, or auto (the median of its border)."),
    ] = "auto",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write the PSF. The suffix decides: .ome.zarr, .ome.tif, "
            ".tif (ImageJ), .npy (without voxel size); .npz for a field (--grid).",
        ),
    ] = None,
    figure: Annotated[
        str | None, typer.Option(help="PNG with planes, profiles and OTF support.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a PSF from the optics, or measure, prepare and convert one from a file.

    Prints its widths, the cut-offs of the optics and the support of its OTF.

        jaxdecon psf --na 1.2 --wavelength 0.52 --index 1.33 --voxel-size 0.2,0.1,0.1 \\
            -o psf.ome.tif

        jaxdecon psf bead.tif --figure bead.png

    Convert one as it is:

        jaxdecon psf psf.ome.tif --background 0 --psf-energy 1 -o psf.npy

    From an image of many beads, one PSF, or one for every part of the field:

        jaxdecon psf beads.tif --from-beads -o psf.ome.tif
        jaxdecon psf beads.tif --from-beads --grid 1,3,3 -o field.npz --table beads.csv
    """
    others = _not_for_beads(optics, target_voxel_size, background)
    check_bead_options(beads, measured, output, others)
    _check_targets(measured, output, figure, beads, overwrite=overwrite)
    given = parse_voxel_size(voxel_size)
    if beads.from_beads:
        start_jax()
        outputs = Outputs(
            psf=output, figure=figure, energy=psf_energy, overwrite=overwrite
        )
        psf_from_beads(str(measured), beads, given, shape, outputs)
        return
    target = parse_voxel_size(target_voxel_size, "--target-voxel-size")
    if measured is None:
        _check_made(given, target, background)
    source = PsfSource(
        files=[measured] if measured else None,
        optics=optics,
        energy=psf_energy,
        background=parse_background(background),
        file_voxel_size=given if measured else None,
        files_name="" if measured is None else measured,
        fields=False,
    )
    size = given or ()
    if measured is not None:
        size = _size_of_file(measured, given, target)
    wanted = parse_shape(shape, len(size))
    start_jax()
    if measured is None:
        kernel = source.get(0, 1, wanted or (STACK_SIZE,) * len(size), size, say)
        limits = cutoffs(optics.of_channel(0, 1))
    else:
        kernel = source.get(0, 1, (1,) * len(size), size, say)
        kernel, limits = _of_shape(kernel, wanted), None
    for line in summary(kernel, size, limits):
        say(line)
    if output is not None:
        write_psf(output, kernel, size, overwrite=overwrite)
    if figure is not None:
        title = describe(optics) if measured is None else Path(measured).name
        if limits is not None and limits[1]:
            title += f"\ncut-offs are those {limits[1]}"
        _save_figure(figure, kernel, size, limits, title, overwrite=overwrite)


def _check_targets(measured, output, figure, beads, *, overwrite: bool) -> None:
    from .. import io, report

    if output is not None and beads.grid is None:
        io.format_of(output, writing=True)
    if figure is not None:
        report.check_plots()
    for target in (output, figure, *beads.tables):
        if target is None:
            continue
        if measured is not None and Path(target).resolve() == Path(measured).resolve():
            raise ValueError(f"{target} is the input; it is not overwritten.")
        io.check_target(Path(target), overwrite=overwrite)


def _not_for_beads(optics: Optics, target_voxel_size, background: str) -> list[str]:
    """Options given that --from-beads has no use for."""
    others = [option(name) for name in optics.given()]
    if target_voxel_size is not None:
        others.append("--target-voxel-size")
    return [*others, "--background"] if background != "auto" else others


def _check_made(given, target, background) -> None:
    """Refuse what only makes sense for a file; the voxel size is needed."""
    if given is None:
        raise ValueError("give a FILE to measure, or --voxel-size and the optics.")
    for name, value in (("target-voxel-size", target), ("background", background)):
        if value not in (None, "auto"):
            raise ValueError(f"--{name} is for a FILE; a modelled PSF does not use it.")


def _size_of_file(path, given, target) -> tuple[float | None, ...]:
    """Voxel size that the PSF in a file will have, as far as it is known."""
    from .. import io

    image = io.read(path)
    for name, sizes in (("voxel-size", given), ("target-voxel-size", target)):
        if sizes is not None and len(sizes) != len(image.spatial_axes):
            raise ValueError(
                f"--{name} has {len(sizes)} numbers; {path} has axes "
                f"{image.spatial_axes!r}."
            )
    size = given or image.voxel_size
    if target is not None and None in size:
        raise ValueError(
            f"{path} does not say its voxel size, and --target-voxel-size needs it; "
            f"give --voxel-size, too."
        )
    return target or size


def parse_shape(text: str | None, ndim: int) -> tuple[int, ...] | None:
    """Positive integers of "65,65,65"."""
    if text is None:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) != ndim or min(shape, default=0) < 1:
        raise ValueError(f"--shape is {text!r}; {ndim} positive integers are needed.")
    return shape


def _of_shape(kernel: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """The PSF in an array of this shape, with unit sum; says what is lost."""
    if shape is None or shape == kernel.shape:
        return kernel
    result = about_centre(kernel, shape)
    say(f"psf: brought to --shape, which keeps {share_kept(kernel, result)}")
    return result / result.sum()


def about_centre(psf: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cropped or padded with zeros, so that n // 2 stays n // 2 along every axis."""
    result = np.zeros(shape, psf.dtype)
    into, taken = [], []
    for old, new in zip(psf.shape, shape, strict=True):
        before, after = min(old // 2, new // 2), min((old + 1) // 2, (new + 1) // 2)
        into.append(slice(new // 2 - before, new // 2 + after))
        taken.append(slice(old // 2 - before, old // 2 + after))
    result[tuple(into)] = psf[tuple(taken)]
    return result


def _save_figure(path, kernel, size, limits, title, *, overwrite: bool) -> None:
    from .. import report

    figure = report.psf_figure(
        kernel,
        voxel_size=size,
        cutoffs=None if limits is None else limits[0][-kernel.ndim :],
        title=title,
    )
    save_png(figure, path, overwrite=overwrite)
