"""Fuse all time points and channels, and write what comes of it."""

import json
from typing import Any

from ._console import progress_bar, say
from ._fuse_job import Convert, FuseJob, write_series


def write_fused(
    job: FuseJob, targets: dict[str, Any], convert: Convert, *, overwrite: bool
) -> None:
    """The fused volumes and what goes with them."""
    from .. import io, report

    frames = job.frames
    for target in (targets["output"], targets["figure"], targets["poses"]):
        if target is not None:  # a run in blocks may have written it
            io.check_target(target, overwrite=overwrite)
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
