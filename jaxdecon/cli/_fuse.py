"""`jaxdecon fuse`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ._console import progress_bar, say, start_jax
from ._fuse_frames import Frames, read_frames
from ._fuse_job import Convert, FuseJob, FuseSettings, write_series
from ._fuse_watch import Watch
from ._inputs import parse_background, parse_resolution
from ._optics import PsfEnergy, PsfFiles, PsfSource, parse_voxel_size
from ._psf_options import Optics, with_optics

UNMATCHED_ITERATIONS, MATCHED_ITERATIONS = 2, 15


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
    targets = _targets(output, watch, figure, projections, poses_file, overwrite)
    sizes = _per_view("--voxel-size", voxel_size, len(views), parse_voxel_size)
    sources = (
        []
        if method != "deconvolve" and psf is None and not optics.given()
        else (_sources(psf, optics, psf_energy, len(views)))
    )
    settings = FuseSettings(
        background=parse_background(background),
        channel=channel,
        poses=_checked(poses, refine, smooth, watch),
        smooth=smooth,
        options={
            "iterations": _iterations(iterations, back_projector, update),
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

    angles = _per_view("--deskew", deskew, len(views), lambda angle: angle)

    def make_job(frames: Frames) -> FuseJob:
        frames = frames.deskewed(angles) if deskew else frames
        extra = _poses(frames, matrix, turn) | _sizes(frames)
        options = {**settings.options, **extra}
        _check_channel(frames, channel)
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


def _targets(output, watch, figure, projections, poses_file, overwrite) -> dict:
    """Outputs that can be written, by what they are."""
    from .. import io, report

    if watch is not None:
        if not watch.is_dir():
            raise FileNotFoundError(f"--watch {watch} is no folder.")
        if any(part is not None for part in (figure, projections, poses_file)):
            raise ValueError(
                "--figure, --projections and --poses-file are for finished runs: leave "
                "them out with --watch."
            )
        Path(output).mkdir(exist_ok=True)
        return {}
    if figure is not None or projections is not None:
        report.check_plots()
    io.format_of(output)
    targets = {"output": Path(output), "figure": figure, "poses": poses_file}
    for target in targets.values():
        if target is not None:
            io.check_target(target, overwrite=overwrite)
    return {**targets, "projections": projections}


def _per_view(name: str, values: Any, count: int, parse: Any) -> list[Any]:
    values = values or [None]
    if len(values) not in (1, count):
        raise ValueError(
            f"{name} is given {len(values)} times for {count} views; give it once, or "
            f"once per view."
        )
    parsed = [parse(value) for value in values]
    return parsed * count if len(parsed) == 1 else parsed


def _sources(psf, optics: Optics, energy: float, count: int) -> list[PsfSource]:
    """Where the PSFs of every view come from: files by view, then by channel."""
    files = psf or []
    if len(files) > 1 and len(files) % count:
        raise ValueError(
            f"--psf is given {len(files)} times for {count} views; give it once for "
            f"all, or for every view once, or once per channel."
        )
    share = max(len(files) // count, 1)
    parts = [files[i * share : (i + 1) * share] or files for i in range(count)]
    return [PsfSource(files=part, optics=optics, energy=energy) for part in parts]


def _checked(poses: str, refine: bool, smooth: float, watch: Path | None) -> str:
    from .._core._check import check_choice
    from ..fusion import POSES

    if not smooth >= 0:
        raise ValueError(f"--smooth is {smooth}; 0 or more time points are needed.")
    if smooth > 0 and watch is not None:
        raise ValueError("--smooth needs all time points; leave it out with --watch.")
    if smooth > 0 and poses == "once":
        raise ValueError("--smooth has nothing to smooth with --poses once.")
    return check_choice("--poses", poses, POSES)


def _iterations(given: int | None, back_projector: str, update: str) -> int:
    if given is not None:
        return given
    slow = back_projector in ("matched", "compound") or update == "compound"
    return MATCHED_ITERATIONS if slow else UNMATCHED_ITERATIONS


def _check_channel(frames: Frames, channel: int) -> None:
    if not 0 <= channel < frames.channels:
        raise ValueError(f"--channel is {channel}; there are {frames.channels}.")


def _sizes(frames: Frames) -> dict[str, Any]:
    """Voxel sizes for `jaxdecon.fuse`, where the files say them."""
    sizes = [image.voxel_size for image in frames.sample]
    if any(None in size for size in sizes):
        say("voxel sizes not complete: taken as alike, and as cubes")
        return {}
    return {"voxel_sizes": sizes, "psf_voxel_sizes": [min(sizes[0])] * len(sizes)}


def _poses(frames: Frames, matrices, turns) -> dict[str, Any]:
    """Given poses, or rough ones."""
    from .. import io
    from ..geometry import turned

    first, *others = frames.sample
    if matrices and turns:
        raise ValueError("give --matrix or --turn, not both.")
    for name, given in (("--matrix", matrices), ("--turn", turns)):
        if given and len(given) != len(others):
            raise ValueError(
                f"{name} is given {len(given)} times for {len(others) + 1} views; once "
                f"for every view but the first is needed."
            )
    known = None not in first.voxel_size
    if matrices:
        sizes = [i.voxel_size if known else None for i in frames.sample]
        found = [
            io.read_matrix(path, fixed_voxel_size=sizes[0], moving_voxel_size=size)
            for path, size in zip(matrices, sizes[1:], strict=True)
        ]
        return {"matrices": [np.eye(4), *found]}
    if not turns:
        return {}
    rough = [
        turned(
            angle,
            shape=first.volume_shape,
            to_shape=other.volume_shape,
            voxel_size=first.known_voxel_size if known else None,
            to_voxel_size=other.known_voxel_size if known else None,
        )
        for angle, other in zip(turns, others, strict=True)
    ]
    return {"initial": [None, *rough]}


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
