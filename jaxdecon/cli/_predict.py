"""`jaxdecon predict`."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ._blocks import BlockOptions, voxels
from ._blocks_shown import has_journal
from ._console import start_jax
from ._inputs import expand, parse_background, plan_outputs, with_voxel_size
from ._optics import PsfEnergy, PsfFiles, PsfSource, VoxelSize, parse_voxel_size
from ._outputs import (
    OutputFiles,
    OutputScale,
    OutputSuffix,
    OutputType,
    Overwrite,
    suffix_of,
)
from ._predict_job import PredictJob, Settings, camera_noise
from ._psf_options import Optics, with_options


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptics(Optics):
    """Optics, whose model is not called --model: here that is the network's file."""

    model_option: ClassVar[str] = "--psf-model"
    model: Annotated[
        str | None,
        typer.Option(
            "--psf-model",
            help="widefield (the default), confocal, light-sheet, gibson-lanni or "
            "gaussian.",
            rich_help_panel="PSF",
        ),
    ] = None


@with_options(optics=ImageOptics, in_blocks=BlockOptions)
def predict(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images as they were taken: TIFF, OME-Zarr, HDF5 (file.h5:/path), N5, "
            ".npy; quoted patterns: '*.tif'.",
        ),
    ],
    network: Annotated[
        str,
        typer.Option("--model", "-m", help="File of `jaxdecon train`: model.npz."),
    ],
    psf: PsfFiles = None,
    optics: ImageOptics = ImageOptics(),
    psf_energy: PsfEnergy = 0.995,
    output: OutputFiles = None,
    suffix: OutputSuffix = ".ome.tif",
    trust: Annotated[
        str | None,
        typer.Option(
            help="Also write the trust map: 0.5 is typical of held-out data, 0.01 rare."
        ),
    ] = None,
    residual: Annotated[
        str | None,
        typer.Option(
            help="Also write what the data say against it, in standard deviations."
        ),
    ] = None,
    repair: Annotated[
        int,
        typer.Option(
            help="Iterations that pull the result back to the data (3-10); the "
            "repaired result is written."
        ),
    ] = 0,
    check: Annotated[
        bool, typer.Option(help="Judge the result by its data and the training.")
    ] = True,
    tile: Annotated[
        str | None,
        typer.Option(
            help="Voxels to compute at a time, as z,y,x or one number; default: all."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Tiles to compute at a time.")] = 1,
    voxel_size: VoxelSize = None,
    background: Annotated[
        str,
        typer.Option(
            help="Offset in the image's units; auto: for the network as in training, "
            "for the checks the image's darkest parts."
        ),
    ] = "auto",
    gain: Annotated[
        float | None,
        typer.Option(help="Camera: units per photon; default: measured in the noise."),
    ] = None,
    offset: Annotated[
        float | None, typer.Option(help="Camera: units without light.")
    ] = None,
    read_noise: Annotated[
        float | None, typer.Option(help="Camera: standard deviation, in units.")
    ] = None,
    dtype: OutputType = "float32",
    scale: OutputScale = 1.0,
    figure: Annotated[
        str | None,
        typer.Option(help="PNG of image, result, maps and verdict of the first."),
    ] = None,
    overwrite: Overwrite = False,
    in_blocks: BlockOptions = BlockOptions(),
) -> None:
    """Predict images with a trained network, and say whether to believe it.

    All channels and time points, one after the other; the voxel size in the file is
    compared with that of the training. Without a PSF that of the training is used:

        jaxdecon predict cell.tif --model model.npz --trust trust.ome.tif

    With the optics of this image, and three iterations back to the data:

        jaxdecon predict cell.tif --model model.npz --na 1.1 --wavelength 0.52 \\
            --index 1.33 --repair 3 --figure cell.png

    A volume larger than memory, which is not judged:

        jaxdecon predict brain.ome.zarr --model model.npz -o sharp.ome.zarr --blocks
    """
    from .. import io, learning, report

    files = expand(inputs)
    suffix = suffix_of(context, suffix, blocks=in_blocks.asked)
    targets = plan_outputs(files, output, suffix, series=False, what="predicted")
    maps = {"trust": trust, "residual": residual}
    extra = {name: Path(path) for name, path in maps.items() if path is not None}
    drawn = None if figure is None else Path(figure)
    _check_outputs(files, targets, extra, drawn, overwrite=overwrite)
    if drawn is not None:
        report.check_plots()
    if extra and not check:
        raise ValueError(
            f"--{next(iter(extra))} needs the checks: leave out --no-check."
        )
    settings = Settings(
        model=learning.load_model(network),
        repair=repair,
        check=check,
        tile=None if tile is None else voxels("--tile", tile),
        batch=batch,
        background=parse_background(background),
        noise=camera_noise(gain, offset, read_noise),
        dtype=dtype,
        scale=scale,
    )
    given = bool(psf or optics.given())
    source = PsfSource(files=psf, optics=optics, energy=psf_energy) if given else None
    in_blocks.share_devices()
    start_jax()
    size = parse_voxel_size(voxel_size)
    for number, (file, target) in enumerate(zip(files, targets, strict=True)):
        job = PredictJob(
            image=with_voxel_size(io.read(file), size, file),
            path=file,
            source=source,
            settings=settings,
            maps=extra,
            figure=figure if number == 0 else None,
            resized=size is not None,
        )
        job.run(target, in_blocks, overwrite=overwrite)


def _check_outputs(
    files: list[Path],
    targets: list[Path],
    extra: dict[str, Path],
    figure: Path | None,
    *,
    overwrite: bool,
) -> None:
    """Refuse outputs that cannot be written, before any work."""
    from .. import io

    if extra and len(files) > 1:
        raise ValueError(
            f"--{next(iter(extra))} is one file for {len(files)} inputs; predict them "
            f"one at a time."
        )
    images = [*targets, *extra.values()]
    everything = images if figure is None else [*images, figure]
    for target in everything:
        if target is not figure:
            io.format_of(target, writing=True)
        if not has_journal(target):  # else it is looked at when that is read
            io.check_target(target, overwrite=overwrite)
        if target.resolve() in [file.resolve() for file in files]:
            raise ValueError(f"{target} is an input; it is not overwritten.")
    if len({target.resolve() for target in everything}) < len(everything):
        raise ValueError("two outputs have one name; each needs one of its own.")
