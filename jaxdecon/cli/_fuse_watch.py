"""Fuse time points while a microscope writes them."""

import dataclasses
import glob
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._console import say
from ._fuse_frames import Frames, match, read_frames
from ._fuse_job import Convert, FuseJob, origin_of

POLL = 0.5
"""Seconds between looks at the folder."""
GIVE_UP = 60.0
"""Seconds without change after which a file that cannot be read is given up."""


class Watch:
    """Time points of a folder, each fused into a file of its own once it is complete.

    What is there already is not done again, so that a run that was stopped goes on
    where it was.
    """

    def __init__(
        self,
        folder: Path,
        patterns: Sequence[str],
        output: Path,
        *,
        voxel_sizes: Sequence[Any],
        make_job: Any,
        convert: Convert,
        suffix: str = ".ome.zarr",
    ):
        self.folder, self.patterns, self.output = folder, patterns, output
        self.voxel_sizes, self._make_job = voxel_sizes, make_job
        self.convert, self.suffix = convert, suffix
        self.skipped: dict[str, str] = {}
        self.done = 0
        self._sizes: dict[str, tuple[tuple[int, ...], float]] = {}
        self._job: FuseJob | None = None

    def run(self, *, idle: float | None) -> None:
        """Until nothing has come for `idle` seconds; None: until interrupted."""
        say(f"watching {self.folder}; Ctrl-C ends")
        quiet_since = time.monotonic()
        try:
            while idle is None or time.monotonic() - quiet_since < idle:
                ready = self._ready()
                if not ready:
                    time.sleep(POLL)
                    continue
                self._fuse(*ready[0])
                self._say_how_far_behind(len(self._ready()))
                quiet_since = time.monotonic()
        except KeyboardInterrupt:
            say("interrupted")
        self._summary()

    def target(self, key: str) -> Path:
        """The file of a time point."""
        return self.output / f"fused_{key}{self.suffix}"

    def _waiting(self) -> list[tuple[str, tuple[Path, ...]]]:
        """Time points with files of all views that are not done."""
        lists = [
            [Path(f) for f in sorted(glob.glob(str(self.folder / pattern)))]
            for pattern in self.patterns
        ]
        if not any(lists):
            return []
        return [
            (key, tuple(f for f in files if f is not None))
            for key, files in match(lists)
            if None not in files
            and key not in self.skipped
            and not self.target(key).exists()
        ]

    def _ready(self) -> list[tuple[str, tuple[Path, ...]]]:
        """Those whose files did not grow since the last look, and can be read."""
        ready = []
        for key, files in self._waiting():
            sizes = tuple(_size(file) for file in files)
            before, since = self._sizes.get(key, (None, time.monotonic()))
            if sizes != before:
                self._sizes[key] = (sizes, time.monotonic())
                continue
            if time.monotonic() - since < POLL:
                continue
            if self._readable(key, files, since):
                ready.append((key, files))
        return ready

    def _readable(self, key: str, files, since: float) -> bool:
        try:
            self._frames(files).volumes(0, 0)
        except (ValueError, OSError, MemoryError) as error:
            if time.monotonic() - since > GIVE_UP:
                self._skip(key, str(error))
            return False
        return True

    def _frames(self, files: Sequence[Path]) -> Frames:
        return read_frames([str(file) for file in files], self.voxel_sizes)

    def _fuse(self, key: str, files: Sequence[Path]) -> None:
        from .. import io

        frames, began = self._frames(files), time.perf_counter()
        job = self._prepared(frames)
        try:
            volumes = [job.fuse(0, c) for c in range(frames.channels)]
        except (ValueError, RuntimeError, OSError) as error:
            self._skip(key, str(error))
            return
        if any(v is None for v in volumes):
            self._skip(key, job.notes.get(0, "not fused"))
            return
        image = self._image(frames, job, volumes)
        io.write(self.target(key), image)
        self.done += 1
        say(f"{self.target(key).name}: {time.perf_counter() - began:.1f} s")

    def _prepared(self, frames: Frames) -> FuseJob:
        """The job of the run, for the files of a time point."""
        job = self._job or self._make_job(frames)
        if self._job is None and job.settings.poses == "once":
            job.known = self._earlier_poses()
        job.begin(
            dataclasses.replace(job.frames, files=frames.files, images=frames.images)
        )
        self._job = job
        return job

    def _earlier_poses(self) -> Any:
        """Those of a time point that was fused before this run."""
        from .. import io

        for path in sorted(self.output.glob(f"fused_*{self.suffix}")):
            record = io.read(path).metadata.get("fusion", {}).get("time_points")
            if record and record[0]:
                return record[0]["matrices"]
        return None

    def _image(self, frames: Frames, job: FuseJob, volumes: Sequence[Any]) -> Any:
        from .. import io

        first = frames.sample[0]
        known = None not in first.voxel_size
        data = [self.convert(np.asarray(v.image)) for v in volumes]
        return io.Image(
            data=np.stack(data) if "c" in first.axes else data[0],
            axes="czyx" if "c" in first.axes else "zyx",
            voxel_size=job.grid.voxel_size if known else (),
            origin=origin_of(job.grid, first) if known else (),
            channels=first.channels,
            metadata={"fusion": job.metadata()},
        )

    def _skip(self, key: str, reason: str) -> None:
        self.skipped[key] = reason
        say(f"time point {key} skipped: {reason}")

    def _say_how_far_behind(self, waiting: int) -> None:
        if waiting:
            say(f"{waiting} time points behind the microscope")

    def _summary(self) -> None:
        say(f"{self.done} time points fused, {len(self.skipped)} skipped")
        if self.skipped:
            report = self.output / "skipped.json"
            report.write_text(json.dumps(self.skipped, indent=1))
            say(f"reasons in {report}")


def _size(file: Path) -> int:
    """Bytes of a file, or of all files in a folder (OME-Zarr)."""
    if file.is_dir():
        return sum(f.stat().st_size for f in file.rglob("*") if f.is_file())
    return file.stat().st_size
