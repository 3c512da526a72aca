"""`jaxdecon deconvolve`."""

from pathlib import Path
from typing import Annotated

import typer

from ._blocks import BlockOptions
from ._blocks_shown import has_journal
from ._console import start_jax
from ._found_psf import FoundPSFs, is_complete
from ._inputs import (
    expand,
    parse_background,
    parse_resolution,
    plan_outputs,
    with_voxel_size,
)
from ._job import Job
from ._learned import Learned, is_file
from ._optics import (
    PsfEnergy,
    PsfFiles,
    PsfSource,
    VoxelSize,
    parse_voxel_size,
)
from ._outputs import (
    OutputFiles,
    OutputScale,
    OutputSuffix,
    OutputType,
    Overwrite,
    is_given,
    suffix_of,
)
from ._psf_options import Optics, option, with_options
from ._solve import Settings

MATCHED_ITERATIONS, UNMATCHED_ITERATIONS = 20, 2
MOST_MATCHED, MOST_UNMATCHED = 150, 15
"""Iterations that a stopping rule may use, if no number is given."""


CHOSEN = (
    "iterations",
    "back_projector",
    "accelerated",
    "resolution",
    "alpha",
    "keep_best",
    "stop",
    "restore_flux",
    "start",
)
"""Options that --auto sets."""


@with_options(optics=Optics, in_blocks=BlockOptions)
def deconvolve(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images: TIFF, OME-Zarr, HDF5 (file.h5:/path), N5, BigDataViewer, "
            ".npy; a folder of TIFF files; quoted patterns: '*.tif' for many images, "
            "'z{z}.tif' for the planes of one.",
        ),
    ],
    psf: PsfFiles = None,
    optics: Optics = Optics(),
    psf_energy: PsfEnergy = 0.995,
    output: OutputFiles = None,
    suffix: OutputSuffix = ".ome.tif",
    series: Annotated[
        bool, typer.Option("--series", help="Join the inputs as one time series.")
    ] = False,
    voxel_size: VoxelSize = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Choose the scheme and its iterations by a rehearsal on a simulation "
            "of the image, and check the PSF against it.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="--auto, with its evidence, trials and reason."),
    ] = False,
    estimate_psf: Annotated[
        bool,
        typer.Option(
            "--estimate-psf",
            help="Find the PSF in the image: beads, the optics in its metadata, its "
            "spherical aberration. With --auto this is done if no PSF is given.",
        ),
    ] = False,
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations",
            "-n",
            help=f"Default: {UNMATCHED_ITERATIONS}; matched: {MATCHED_ITERATIONS}; "
            f"learned: those it was made for. With --stop the most: "
            f"{MOST_UNMATCHED}; matched: {MOST_MATCHED}.",
        ),
    ] = None,
    back_projector: Annotated[
        str,
        typer.Option(
            help="wiener-butterworth, omw, wiener, butterworth, gaussian (1-3 "
            "iterations) or matched (10-50); or a file of `jaxdecon tune`: "
            "learned.npz.",
        ),
    ] = "wiener-butterworth",
    accelerated: Annotated[
        bool,
        typer.Option(help="Extrapolate between iterations: needs far fewer of them."),
    ] = False,
    resolution: Annotated[
        str,
        typer.Option(help="Resolution limit: fwhm, fwhm/sqrt2, or voxels as z,y,x."),
    ] = "fwhm",
    alpha: Annotated[float, typer.Option(help="Wiener constant.")] = 0.05,
    background: Annotated[
        str,
        typer.Option(help="Offset in the image's units, or auto (its darkest parts)."),
    ] = "auto",
    boundary: Annotated[
        str,
        typer.Option(help="Beyond the field: extend, periodic, reflect or edge."),
    ] = "extend",
    keep_best: Annotated[
        bool,
        typer.Option(
            "--keep-best",
            help="Keep the iteration nearest to the data (always, if not matched).",
        ),
    ] = False,
    stop: Annotated[
        str | None,
        typer.Option(
            help="When to stop: change, discrepancy, held-out, rehearsal or consensus. "
            "All but the first need photon counts, or --gain and --offset.",
        ),
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(help="Camera: units per photon. Noise is then judged in photons."),
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(help="Camera: units without light (0, or measured with --auto)."),
    ] = None,
    restore_flux: Annotated[
        bool,
        typer.Option(help="Let the result predict as much light as was recorded."),
    ] = True,
    start: Annotated[
        str, typer.Option(help="image, or constant (for few photons).")
    ] = "image",
    dtype: OutputType = "float32",
    scale: OutputScale = 1.0,
    figure: Annotated[
        str | None, typer.Option(help="PNG with before and after of the first volume.")
    ] = None,
    overwrite: Overwrite = False,
    in_blocks: BlockOptions = BlockOptions(),
) -> None:
    """Deconvolve images: all channels and time points, one after the other.

    From the optics:

        jaxdecon deconvolve cell.tif --na 1.4 --wavelength 0.52 --index 1.518

    As the image itself suggests, with reasons:

        jaxdecon deconvolve cell.tif --psf bead.tif --explain

    With a measured PSF, into one OME-Zarr:

        jaxdecon deconvolve 'run/*.tif' --series --psf bead.tif -o run.ome.zarr

    A volume larger than memory: look at the plan, then do it, and if it was stopped, do
    the rest:

        jaxdecon deconvolve brain.ome.zarr --psf bead.tif -o sharp.ome.zarr --dry-run
        jaxdecon deconvolve brain.ome.zarr --psf bead.tif -o sharp.ome.zarr
    """
    from .. import io, report

    auto = auto or explain
    if auto:
        _refuse_chosen(context)
    elif offset is not None and gain is None:
        raise ValueError("--offset needs --gain, the camera's units per photon.")
    files = expand(inputs)
    suffix = suffix_of(context, suffix, blocks=in_blocks.asked)
    targets = plan_outputs(files, output, suffix, series=series)
    for target in targets:
        io.format_of(target, writing=True)
        if not has_journal(target):  # else it is looked at when that is read
            io.check_target(target, overwrite=overwrite)
        if target.resolve() in [file.resolve() for file in files]:
            raise ValueError(f"{target} is an input; it is not overwritten.")
    if figure is not None:
        report.check_plots()
        io.check_target(Path(figure), overwrite=overwrite)
    learned = _learned(context, back_projector)
    count = _iterations(iterations, back_projector, learned, stop)
    settings = Settings(
        back_projector=back_projector,
        learned=learned,
        iterations=count,
        accelerated=accelerated,
        resolution=parse_resolution(resolution),
        alpha=alpha,
        background=parse_background(background),
        boundary=boundary,
        keep="best"
        if keep_best or _may_leave(back_projector, learned, count)
        else "last",
        restore_flux=restore_flux,
        start=start,  # pyright: ignore[reportArgumentType]  # checked there
        stop=stop,
        gain=gain,
        offset=offset,
        auto=auto,
        explain=explain,
    )
    finds = not psf and (estimate_psf or (auto and not is_complete(optics)))
    if estimate_psf and optics.through_depth:
        raise ValueError("--through-depth needs a known depth: no --estimate-psf.")
    if estimate_psf and psf:
        raise ValueError(
            "--estimate-psf is for images without --psf: leave out either."
        )
    source = PsfSource(files=psf, optics=optics, energy=psf_energy, check=not finds)
    images = [io.read(file) for file in files]
    images = [io.stack_time(images)] if series else images
    in_blocks.share_devices()
    start_jax()
    given = parse_voxel_size(voxel_size)
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        job = Job(
            image=with_voxel_size(image, given, files[number]),
            name=files[number].name,
            source=source,
            settings=settings,
            dtype=dtype,
            scale=scale,
            figure=figure if number == 0 else None,
            path=None if series else files[number],
            resized=given is not None,
        )
        if finds:
            job.source = FoundPSFs(job, optics, psf_energy)
        job.run(target, in_blocks, overwrite=overwrite)


def _learned(context: typer.Context, back_projector: str) -> Learned | None:
    """What is in a file of --back-projector; None for a kind."""
    if not is_file(back_projector):
        return None
    given = [
        option(name) for name in ("alpha", "resolution") if is_given(context, name)
    ]
    if given:
        raise ValueError(
            f"{' and '.join(given)} cannot change the back projector in "
            f"{back_projector}: leave out either."
        )
    return Learned(back_projector)


def _may_leave(back_projector: str, learned: Learned | None, count: int) -> bool:
    """Whether so many iterations may leave the data, so that the best are kept."""
    if learned is not None:
        return count > learned.iterations
    return back_projector != "matched"


def _iterations(
    given: int | None, back_projector: str, learned: Learned | None, stop: str | None
) -> int:
    if given is not None:
        if learned is not None:
            learned.say_iterations(given)
        return given
    if learned is not None and stop is None:
        return learned.iterations
    if back_projector == "matched":
        return MATCHED_ITERATIONS if stop is None else MOST_MATCHED
    return UNMATCHED_ITERATIONS if stop is None else MOST_UNMATCHED


def _refuse_chosen(context: typer.Context) -> None:
    """An error for options that --auto sets."""
    given = [option(name) for name in CHOSEN if is_given(context, name)]
    if given:
        raise ValueError(f"--auto chooses {', '.join(given)}: leave out either.")
