"""Fuse one time point of several views in blocks."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ._blocks import BlockOptions, work_in_blocks
from ._console import say
from ._fuse_job import Convert, FuseJob

FINE = ("auto", "pose", "field", "none")
Fine = Annotated[
    str,
    typer.Option(
        help="Register regions all over the views at full resolution, for: pose, one "
        "better pose; field, a smooth displacement, for specimens that deform; none. "
        "auto: pose, where poses were found on reduced copies. Asks for blocks, too.",
        rich_help_panel="Larger than memory",
    ),
]
DECONVOLVED, BLENDED = (17, 300 * 2**20), (8, 110 * 2**20)
"""For every view, volumes of the fused grid that are held at a time, and bytes of
programs (measured on CPUs with two and four views)."""
SCATTERED = 260
"""Volumes besides, for every turned view whose exact adjoint is used."""


def needs_blocks(
    job: FuseJob, targets: dict[str, Any], options: BlockOptions, fine: str
) -> bool:
    """Whether views are to be fused in blocks: it was asked for, or memory is short.

    Raises:
        ValueError: blocks were asked for, and cannot serve.
        MemoryError: they are needed, and cannot serve.
    """
    if options.asked or fine != "auto":
        hindrance = _hindrance(job, targets, options)
        if hindrance:
            raise ValueError(f"the views cannot be fused in blocks: {hindrance}.")
        return True
    free, needed = _memory(options), memory_needed(job)
    if free is None or needed <= free:
        return False
    why = (
        f"fusing {len(job.frames.sample)} views to "
        f"{'x'.join(map(str, _grid_shape(job)))} needs about {needed / 2**30:.1f} GiB, "
        f"and {free / 2**30:.1f} GiB are free"
    )
    hindrance = _hindrance(job, targets, options)
    if hindrance:
        raise MemoryError(
            f"{why}: to do it in blocks, {hindrance}; or crop the views, or give more "
            f"--memory."
        )
    say(f"{why}: in blocks")
    return True


def _hindrance(job: FuseJob, targets: dict[str, Any], options: BlockOptions) -> str:
    """What has to be changed before views can be fused in blocks; "" if nothing."""
    from .. import io

    settings, frames, target = job.settings, job.frames, targets["output"]
    if io.format_of(target, writing=True) != "OME-Zarr":
        return "end --output in .ome.zarr"
    for name in ("figure", "projections"):
        if targets[name] is not None:
            return f"leave out --{name}, which needs a whole volume"
    if targets["poses"] is not None:
        return f"leave out --poses-file: the poses are written to {target}.poses.json"
    if options.skip_below is not None:
        return "leave out --skip-below: blocks that no view shows are skipped anyway"
    if settings.options["boundary"] == "periodic":
        return "choose another --boundary than periodic"
    if settings.options["refine"]:
        return "leave out --refine; --fine pose finds better poses"
    if settings.smooth > 0:
        return "leave out --smooth, since all blocks share one time point's poses"
    if frames.straight:
        return "leave out --deskew, and straighten the scans before"
    if frames.images is None:
        return "give one file per view: one time point, or all of them"
    if frames.count > 1 and settings.poses != "once":
        return "give --poses once, since all blocks share the first time point's poses"
    if not _same_psfs(job):
        return "give one PSF per view for all channels, or a channel at a time"
    return ""


def _same_psfs(job: FuseJob) -> bool:
    """Whether all channels have the same PSFs."""
    first, *others = [job.psfs(c) or [] for c in range(job.frames.channels)]
    return all(
        a.shape == b.shape and (a == b).all()
        for other in others
        for a, b in zip(first, other, strict=True)
    )


def _memory(options: BlockOptions) -> float | None:
    """Bytes that may be used; None if not known."""
    from .._core._memory import available_memory

    return available_memory() if options.memory is None else options.memory_bytes


def memory_needed(job: FuseJob) -> int:
    """Bytes that fusing whole views takes, by a model of what was measured."""
    options, views = job.settings.options, len(job.frames.sample)
    deconvolved = options["method"] == "deconvolve"
    volumes, programs = DECONVOLVED if deconvolved else BLENDED
    volumes *= views
    exact = options["back_projector"] == "matched" and options["update"] != "compound"
    if deconvolved and exact:
        volumes += SCATTERED * (views - 1)
    return views * programs + 4 * volumes * math.prod(_grid_shape(job))


def _grid_shape(job: FuseJob) -> tuple[int, ...]:
    """Of the result, as far as it is known before the views are registered."""
    from ..geometry import common_grid

    options, images = job.settings.options, job.frames.sample
    grid = common_grid(
        [image.volume_shape for image in images],
        _rough_poses(job),
        voxel_sizes=options.get("voxel_sizes"),
        region="union" if options["region"] == "union" else "first",
    )
    return grid.shape


def _rough_poses(job: FuseJob) -> list[np.ndarray]:
    """Given or rough poses; where there are none, the views begin at one place."""
    options, first = job.settings.options, job.frames.sample[0]
    if options.get("matrices") is not None:
        return [np.asarray(m, float) for m in options["matrices"]]
    rough = options.get("initial") or [None] * len(job.frames.sample)
    found = []
    for image, known in zip(job.frames.sample, rough, strict=True):
        scale = np.eye(4)
        if None not in first.voxel_size:
            np.fill_diagonal(
                scale, [*np.divide(first.voxel_size, image.voxel_size), 1.0]
            )
        found.append(scale if known is None else np.asarray(known, float))
    return found


def fuse_in_blocks(
    job: FuseJob,
    target: Path,
    convert: Convert,
    options: BlockOptions,
    fine: str,
    *,
    overwrite: bool,
) -> None:
    """Fuse a job's views in blocks."""
    from .. import volumes

    settings = job.settings
    given = {
        name: value
        for name, value in settings.options.items()
        if name not in ("refine", "voxel_sizes")  # the images know their voxel sizes
    }
    work: Callable[..., Any] = functools.partial(
        volumes.fuse,
        [_source(job, view) for view in range(len(job.frames.sample))],
        target,
        job.psfs(settings.channel),
        background="auto" if settings.background is None else settings.background,
        channel=settings.channel,
        fine=None if fine == "none" else fine,
        dtype=convert.dtype,
        scale=convert.scale,
        **given,
    )
    work_in_blocks(work, options, target, overwrite=overwrite)
    if not options.dry_run:
        say(f"poses in {target}.poses.json")


def _source(job: FuseJob, view: int) -> Any:
    """The path, where that alone says all: others can open it, and use its pyramid."""
    path, image = job.frames.files[0][view], job.frames.sample[view]
    if path is None or job.frames.voxel_sizes[view] is not None:
        return image
    plain = path.is_file() or path.name.lower().endswith((".zarr", ".n5"))
    return path if plain else image
