"""`jaxdecon psf`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ._console import say, start_jax
from ._optics import (
    NA,
    Index,
    Model,
    PsfEnergy,
    PsfSource,
    VoxelSize,
    parse_voxel_size,
)


def psf(
    measured: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A measured PSF.")
    ] = None,
    na: NA = None,
    wavelength: Annotated[
        float | None,
        typer.Option(help="Emission wavelength, µm.", rich_help_panel="PSF"),
    ] = None,
    index: Index = None,
    model: Model = "widefield",
    psf_energy: PsfEnergy = 0.999,
    voxel_size: VoxelSize = None,
    target_voxel_size: Annotated[
        str | None,
        typer.Option(help="Resample a measured PSF to this, µm as z,y,x."),
    ] = None,
    shape: Annotated[
        str, typer.Option(help="Size of the stack that it is for, voxels as z,y,x.")
    ] = "65,65,65",
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Where to write the PSF.")
    ] = None,
    figure: Annotated[
        str | None, typer.Option(help="PNG with planes, profiles and OTF support.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
) -> None:
    """Make a PSF from the optics, or measure and prepare one from a file.

        jaxdecon psf --na 1.2 --wavelength 0.52 --index 1.33 --voxel-size 0.2,0.1,0.1 \\
            -o psf.ome.tif

        jaxdecon psf bead.tif --figure bead.png
    """
    from .. import io
    from ..psf import fwhm

    for target in (output, figure):
        if target is not None:
            io.check_target(Path(target), overwrite=overwrite)
    given = parse_voxel_size(voxel_size)
    target_size = parse_voxel_size(target_voxel_size)
    if measured is None and given is None:
        raise ValueError("give a FILE to measure, or --voxel-size and the optics.")
    source = PsfSource(
        files=[measured] if measured else None,
        na=na,
        wavelengths=[wavelength] if wavelength is not None else None,
        index=index,
        model=model,
        energy=psf_energy,
        file_voxel_size=given if measured else None,
    )
    start_jax()
    size = target_size or given or io.read(str(measured)).voxel_size
    stack = (1,) * len(size) if measured else parse_shape(shape, len(size))
    kernel = source.get(0, 1, stack, size, say)
    widths = np.asarray(fwhm(kernel))
    say(f"shape {kernel.shape}, FWHM {_join(widths)} voxels")
    if None not in size:
        say(f"FWHM {_join(widths * np.asarray(size, float))} µm")
    if output is not None:
        axes = "zyx"[-kernel.ndim :]
        image = io.Image(data=kernel, axes=axes, voxel_size=size)
        io.write(output, image, overwrite=overwrite)
    if figure is not None:
        _save_figure(figure, kernel, size)


def parse_shape(text: str, ndim: int) -> tuple[int, ...]:
    """Positive integers of "65,65,65"."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) != ndim or min(shape, default=0) < 1:
        raise ValueError(f"--shape is {text!r}; {ndim} positive integers are needed.")
    return shape


def _save_figure(path: str, kernel: np.ndarray, size) -> None:
    from .. import report
    from ..io import atomic_target

    figure = report.psf_figure(kernel, voxel_size=size)
    with atomic_target(Path(path), overwrite=True) as partial:
        figure.savefig(partial, format="png")


def _join(numbers) -> str:
    return " x ".join(f"{float(n):.3f}" for n in numbers)
