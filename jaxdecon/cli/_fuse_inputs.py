"""What the arguments of `jaxdecon fuse` mean: outputs, PSFs, poses."""

from pathlib import Path
from typing import Any

import numpy as np

from ._console import say
from ._fuse_frames import Frames
from ._optics import PsfSource
from ._psf_options import Optics

UNMATCHED_ITERATIONS, MATCHED_ITERATIONS = 2, 15


def fuse_targets(output, watch, figure, projections, poses_file, overwrite) -> dict:
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
    io.format_of(output, writing=True)
    targets = {"output": Path(output), "figure": figure, "poses": poses_file}
    for target in targets.values():
        if target is not None:
            io.check_target(target, overwrite=overwrite)
    return {**targets, "projections": projections}


def per_view(name: str, values: Any, count: int, parse: Any) -> list[Any]:
    """One value per view, of one for all or one for each."""
    values = values or [None]
    if len(values) not in (1, count):
        raise ValueError(
            f"{name} is given {len(values)} times for {count} views; give it once, or "
            f"once per view."
        )
    parsed = [parse(value) for value in values]
    return parsed * count if len(parsed) == 1 else parsed


def psf_sources(psf, optics: Optics, energy: float, count: int) -> list[PsfSource]:
    """Where the PSFs of every view come from: files by view, then by channel."""
    files = psf or []
    if len(files) > 1 and len(files) % count:
        raise ValueError(
            f"--psf is given {len(files)} times for {count} views; give it once for "
            f"all, or for every view once, or once per channel."
        )
    share = max(len(files) // count, 1)
    parts = [files[i * share : (i + 1) * share] or files for i in range(count)]
    return [
        PsfSource(files=part, optics=optics, energy=energy, fields=False)
        for part in parts
    ]


def checked_poses(poses: str, refine: bool, smooth: float, watch: Path | None) -> str:
    """How poses are found over time, if the options fit together."""
    from .._core._check import check_choice
    from ..fusion import POSES

    if not smooth >= 0:
        raise ValueError(f"--smooth is {smooth}; 0 or more time points are needed.")
    if smooth > 0 and watch is not None:
        raise ValueError("--smooth needs all time points; leave it out with --watch.")
    if smooth > 0 and poses == "once":
        raise ValueError("--smooth has nothing to smooth with --poses once.")
    return check_choice("--poses", poses, POSES)


def iterations_or_default(given: int | None, back_projector: str, update: str) -> int:
    """The iterations given, or those that the back projector needs."""
    if given is not None:
        return given
    slow = back_projector in ("matched", "compound") or update == "compound"
    return MATCHED_ITERATIONS if slow else UNMATCHED_ITERATIONS


def check_channel(frames: Frames, channel: int) -> None:
    """Refuse a channel that is not there."""
    if not 0 <= channel < frames.channels:
        raise ValueError(f"--channel is {channel}; there are {frames.channels}.")


def voxel_sizes_of(frames: Frames) -> dict[str, Any]:
    """Voxel sizes for `jaxdecon.fuse`, where the files say them."""
    sizes = [image.voxel_size for image in frames.sample]
    if any(None in size for size in sizes):
        say("voxel sizes not complete: taken as alike, and as cubes")
        return {}
    return {"voxel_sizes": sizes, "psf_voxel_sizes": [min(sizes[0])] * len(sizes)}


def given_poses(frames: Frames, matrices, turns) -> dict[str, Any]:
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
