"""`jaxdecon fuse`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from ._blocks import BlockOptions
from ._blocks_shown import has_journal
from ._console import say, start_jax
from ._fuse_blocks import FINE, Fine, fuse_in_blocks, needs_blocks
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
from ._fuse_job import Convert, FuseJob, FuseSettings
from ._fuse_watch import Watch
from ._fuse_write import write_fused
from ._inputs import parse_background, parse_resolution
from ._optics import PsfEnergy, PsfFiles, parse_voxel_size
from ._outputs import OutputScale, OutputType, Overwrite
from ._psf_options import Optics, with_options


@with_options(optics=Optics, in_blocks=BlockOptions)
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
    dtype: OutputType = "float32",
    scale: OutputScale = 1.0,
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
    overwrite: Overwrite = False,
    fine: Fine = "auto",
    in_blocks: BlockOptions = BlockOptions(),
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

    Views larger than memory, to OME-Zarr: look at the plan, then do it, and if it was
    stopped, do the rest:

        jaxdecon fuse A.ome.zarr B.ome.zarr --psf beadA.tif --psf beadB.tif --dry-run
        jaxdecon fuse A.ome.zarr B.ome.zarr --psf beadA.tif --psf beadB.tif
    """
    from .._core._check import check_choice

    if len(views) < 2:
        raise ValueError(f"there is {len(views)} view; two or more are needed.")
    check_choice("--fine", fine, FINE)
    if watch is not None and (in_blocks.asked or fine != "auto"):
        raise ValueError("--watch fuses whole volumes: leave out what asks for blocks.")
    replaced = overwrite or has_journal(Path(output))  # looked at when that is read
    targets = fuse_targets(output, watch, figure, projections, poses_file, replaced)
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
    in_blocks.share_devices()
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
    if needs_blocks(job, targets, in_blocks, fine):
        fuse_in_blocks(
            job, targets["output"], convert, in_blocks, fine, overwrite=overwrite
        )
        return
    if smooth > 0:
        job.follow_smoothly()
    write_fused(job, targets, convert, overwrite=overwrite)
