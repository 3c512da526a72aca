"""`jaxdecon fuse`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from ._console import progress_bar, say, start_jax
from ._fuse_frames import Frames, read_frames
from ._fuse_inputs import (
    MATCHED_ITERATIONS,
    UNMATCHED_ITERATIONS,
    check_channel,
    checked_poses,
    fuse_targets,
    given_poses,
    iterations_or_default,
    per_view,
    psf_sources,
    voxel_sizes_of,
)
from ._fuse_job import Convert, FuseJob, FuseSettings, write_series
from ._fuse_watch import Watch
from ._inputs import parse_background, parse_resolution
from ._optics import PsfEnergy, PsfFiles, parse_voxel_size
from ._psf_options import Optics, with_optics


@with_optics
def fuse(
    views: Annotated[
        list[str],
        typer.Argument(
            metavar="VIEW...",
            help="A file per view (TIFF, OME-Zarr, .npy), with time points and "
            "channels or without; or a quoted pattern per view, 'A_*.tif', with a file "
            "for every time point.",
        ),
    ],
    psf: PsfFiles = None,
    optics: Optics = Optics(),
    psf_energy: PsfEnergy = 0.999,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Fused volume: .ome.zarr, .ome.tif, .tif or .npy; with --watch a "
            "folder.",
        ),
    ] = "fused.ome.zarr",
    voxel_size: Annotated[
        list[str] | None,
        typer.Option(
            help="µm as z,y,x, where files do not say or are wrong; once, or once per "
            "view.",
        ),
    ] = None,
    turn: Annotated[
        list[float] | None,
        typer.Option(
            help="Degrees about y from the first view to the second, third, ...: 90 or "
            "-90 for a diSPIM. Repeat it.",
            rich_help_panel="Poses",
        ),
    ] = None,
    deskew: Annotated[
        list[float] | None,
        typer.Option(
            help="Degrees between planes and scan, of stacks scanned obliquely: 45 for "
            "a diSPIM on a stage; negative where the scan runs against x. The voxel "
            "size along z is then the step of the scan. Once, or once per view.",
            rich_help_panel="Poses",
        ),
    ] = None,
    matrix: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pose of the second, third, ... view in the first, of `jaxdecon "
            "register`: then nothing is registered. Repeat it.",
            rich_help_panel="Poses",
        ),
    ] = None,
    pose_model: Annotated[
        str,
        typer.Option(
            help="rigid, similarity, 9-parameter or affine.", rich_help_panel="Poses"
        ),
    ] = "rigid",
    poses: Annotated[
        str,
        typer.Option(
            help="each: register every time point, from the pose of the last; once.",
            rich_help_panel="Poses",
        ),
    ] = "each",
    smooth: Annotated[
        float,
        typer.Option(
            help="Smooth poses over so many time points.", rich_help_panel="Poses"
        ),
    ] = 0.0,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Refine poses and brightness together with the object.",
            rich_help_panel="Poses",
        ),
    ] = False,
    channel: Annotated[
        int,
        typer.Option(help="Channel whose poses all share.", rich_help_panel="Poses"),
    ] = 0,
    method: Annotated[
        str,
        typer.Option(
            help="deconvolve; or, without: average, blending, content, maximum."
        ),
    ] = "deconvolve",
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations",
            "-n",
            help=f"Default: {UNMATCHED_ITERATIONS}; matched: {MATCHED_ITERATIONS}.",
        ),
    ] = None,
    back_projector: Annotated[
        str,
        typer.Option(
            help="wiener-butterworth, omw, wiener, butterworth, gaussian (1-3 "
            "iterations), matched or compound (10-20)."
        ),
    ] = "wiener-butterworth",
    update: Annotated[
        str, typer.Option(help="alternating, additive or compound.")
    ] = "alternating",
    alpha: Annotated[float, typer.Option(help="Wiener constant.")] = 0.05,
    resolution: Annotated[
        str,
        typer.Option(help="Resolution limit: fwhm, fwhm/sqrt2, or voxels as z,y,x."),
    ] = "fwhm",
    background: Annotated[
        str,
        typer.Option(help="Offset in the views' units, or auto (their darkest parts)."),
    ] = "auto",
    boundary: Annotated[
        str,
        typer.Option(help="Beyond the field: extend, periodic, reflect or edge."),
    ] = "extend",
    region: Annotated[
        str, typer.Option(help="first (view), union or intersection.")
    ] = "first",
    dtype: Annotated[
        str, typer.Option(help="float32, uint16 or uint8; never wrapped or clipped.")
    ] = "float32",
    scale: Annotated[float, typer.Option(help="Factor on the output.")] = 1.0,
    projections: Annotated[
        Path | None,
        typer.Option(
            help="Prefix of maximum projections (PNG) and a rotating one (GIF) of the "
            "first volume."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="PNG of views, fusion and deconvolved fusion, with widths."),
    ] = None,
    poses_file: Annotated[
        Path | None,
        typer.Option("--poses-file", help="JSON of all poses and how well they fit."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which the patterns are looked for as files arrive.",
            rich_help_panel="Live",
        ),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            help="With --watch: end when nothing has come for so many seconds.",
            rich_help_panel="Live",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
) -> None:
    """Register several views of a specimen and fuse them into one sharp volume.

    A diSPIM, from the optics, with a figure:

        jaxdecon fuse A.tif B.tif --turn 90 --model light-sheet --na 0.8 --index 1.33
          --wavelength 0.52 --sheet-fwhm 2 -o fused.ome.zarr --figure fused.png

    With measured PSFs, every one in the orientation of its view:

        jaxdecon fuse A.tif B.tif --psf beadA.tif --psf beadB.tif -o fused.ome.zarr

    While the microscope records:

        jaxdecon fuse 'A_*.tif' 'B_*.tif' --psf A.tif --psf B.tif --watch run -o fused

    A time point that cannot be registered takes the last good poses, and is told.
    """
    if len(views) < 2:
        raise ValueError(f"there is {len(views)} view; two or more are needed.")
    targets = fuse_targets(output, watch, figure, projections, poses_file, overwrite)
    sizes = per_view("--voxel-size", voxel_size, len(views), parse_voxel_size)
    sources = (
        []
        if method != "deconvolve" and psf is None and not optics.given()
        else (psf_sources(psf, optics, psf_energy, len(views)))
    )
    settings = FuseSettings(
        background=parse_background(background),
        channel=channel,
        poses=checked_poses(poses, refine, smooth, watch),
        smooth=smooth,
        options={
            "iterations": iterations_or_default(iterations, back_projector, update),
            "back_projector": back_projector,
            "update": update,
            "alpha": alpha,
            "resolution": parse_resolution(resolution),
            "boundary": boundary,
            "region": region,
            "method": method,
            "model": pose_model,
            "refine": refine,
        },
        shown=figure is not None,
    )
    convert = Convert(dtype, scale)
    start_jax()

    angles = per_view("--deskew", deskew, len(views), lambda angle: angle)

    def make_job(frames: Frames) -> FuseJob:
        frames = frames.deskewed(angles) if deskew else frames
        extra = given_poses(frames, matrix, turn) | voxel_sizes_of(frames)
        options = {**settings.options, **extra}
        check_channel(frames, channel)
        return FuseJob(frames, sources, dataclasses.replace(settings, options=options))

    if watch is not None:
        Watch(
            watch,
            views,
            Path(output),
            voxel_sizes=sizes,
            make_job=make_job,
            convert=convert,
        ).run(idle=idle)
        return
    job = make_job(read_frames(views, sizes))
    for note in job.frames.sample[0].notes:
        say(f"{views[0]}: {note}")
    if smooth > 0:
        job.follow_smoothly()
    _write(job, targets, convert, overwrite)


def _write(job: FuseJob, targets: dict, convert: Convert, overwrite: bool) -> None:
    """The fused volumes and what goes with them."""
    from .. import io, report

    frames = job.frames
    for time_point in range(frames.count):  # the first that works decides on the grid
        if job.fuse(time_point, job.settings.channel) is not None:
            break
    if job.grid is None:
        why = next(iter(job.notes.values()))
        raise RuntimeError(f"no time point could be fused: {why}")
    with progress_bar() as bar:
        task = bar.add_task("fusing", total=frames.count * frames.channels, speed="")
        write_series(
            job,
            targets["output"],
            convert,
            lambda: bar.advance(task),
            overwrite=overwrite,
        )
    say(f"wrote {targets['output']}")
    size = job.grid.voxel_size if None not in frames.sample[0].voxel_size else None
    if targets["figure"] is not None:
        figure = report.fusion_figure(job.shown, voxel_size=size)
        with io.atomic_target(targets["figure"], overwrite=overwrite) as partial:
            figure.savefig(partial, format="png")
        say(f"wrote {targets['figure']}")
    if targets["projections"] is not None:
        volume = next(iter(io.read(targets["output"]).volumes()))[1]
        for path in report.write_projections(
            targets["projections"], volume, voxel_size=size, overwrite=overwrite
        ):
            say(f"wrote {path}")
    if targets["poses"] is not None:
        with io.atomic_target(targets["poses"], overwrite=overwrite) as partial:
            partial.write_text(json.dumps(job.metadata(), indent=1))
        say(f"wrote {targets['poses']}")
    if job.notes:
        say(
            f"{len(job.notes)} of {frames.count} time points need a look: "
            f"{', '.join(str(t) for t in sorted(job.notes))}"
        )
