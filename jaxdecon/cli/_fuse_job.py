"""Fuse time points and channels of several views."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._console import say
from ._fuse_frames import Frames

CONVENTION = (
    "matrices are from voxels of the first view to those of each, on (z, y, x, 1); "
    "grid is from voxels of the fused volume to those of the first view"
)
LARGEST_PSF = 127
"""Voxels along an axis of a modelled PSF before it is cut to its energy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FuseSettings:
    """How to fuse."""

    background: float | None
    channel: int
    poses: str
    smooth: float
    options: dict[str, Any]
    """Of `jaxdecon.fuse`."""
    shown: bool = False
    """Whether views and their blend are kept for the figure."""


class FuseJob:
    """Fuses time points as they are asked for, in their order."""

    def __init__(self, frames: Frames, sources: Sequence[Any], settings: FuseSettings):
        self.frames, self.sources, self.settings = frames, sources, settings
        self.notes: dict[int, str] = {}
        self.records: dict[int, dict[str, Any]] = {}
        self.shown: dict[str, np.ndarray] = {}
        self._last: dict[int, Any] = {}  # fusions, by channel
        self._point: tuple[int, Any] | None = None
        self._smooth: Any = None
        self.known: Any = None  # poses of an earlier run, for poses found once
        self._psfs: dict[int, Any] = {}

    def begin(self, frames: Frames) -> None:
        """Go on with other files of the same series, from the poses found."""
        self.frames, self._point = frames, None
        self.notes, self.records = {}, {}

    @property
    def grid(self) -> Any:
        """Of the results, once one is there; else None."""
        return next(iter(self._last.values())).grid if self._last else None

    def fuse(self, time_point: int, channel: int, volumes: Any = None) -> Any:
        """The fusion of a channel at a time point; None if it was skipped."""
        leading = self.settings.channel
        if self._point is None or self._point[0] != time_point:
            views = volumes if channel == leading and volumes is not None else None
            self._point = (time_point, self._registered(time_point, views))
        fusion = self._point[1]
        if fusion is None or channel == leading:
            return fusion
        point = self._next(time_point, channel, matrices=list(fusion.matrices))
        return point.fusion

    def _registered(self, time_point: int, volumes: Any) -> Any:
        """The fusion of the channel whose poses all share."""
        began = time.perf_counter()
        note = self.frames.missing(time_point) if volumes is None else ""
        fusion = None
        if not note:
            given = {}
            if self._smooth is not None:
                given["matrices"] = list(self._smooth[time_point])
            try:
                channel = self.settings.channel
                point = self._next(time_point, channel, volumes=volumes, **given)
                fusion, note = point.fusion, point.note
            except (ValueError, OSError) as error:
                if not self._last and self.frames.count == 1:
                    raise
                note = str(error)
        self._tell(time_point, fusion, note, time.perf_counter() - began)
        return fusion

    def _next(self, time_point: int, channel: int, volumes: Any = None, **given: Any):
        from .. import fusion

        if volumes is None:
            volumes = self.frames.volumes(time_point, channel)
        backgrounds = [self._background(v) for v in volumes]
        options = {**self.settings.options, **given}
        if not self._last and self.known is not None:
            options.setdefault("matrices", list(self.known))
        point = fusion.fuse_next(
            volumes,
            self.psfs(channel),
            self._last.get(channel),
            poses=self.settings.poses,
            background=backgrounds,
            **options,
        )
        if point.fusion is not None:
            if self.settings.shown and not self.shown:
                self._keep(volumes, backgrounds, point.fusion)
            # The image itself is not needed again.
            self._last[channel] = dataclasses.replace(point.fusion, image=None)
        return point

    def _keep(self, volumes, backgrounds, fused) -> None:
        """Views on the grid, their blend and the result, for the figure."""
        from ..fusion import fuse
        from ..geometry import warp

        pairs = zip(volumes, backgrounds, fused.matrices, strict=True)
        for i, (volume, level, matrix) in enumerate(pairs):
            to_view = matrix @ fused.grid.matrix
            light = volume.astype(np.float32) - level
            self.shown[f"view {i}"] = np.asarray(warp(light, to_view, fused.grid.shape))
        if self.settings.options.get("method", "deconvolve") == "deconvolve":
            blended = fuse(
                volumes,
                None,
                method="blending",
                matrices=list(fused.matrices),
                background=backgrounds,
                grid=fused.grid,
            )
            self.shown["fused"] = np.asarray(blended.image)
            self.shown["fused and deconvolved"] = np.asarray(fused.image)
        else:
            self.shown["fused"] = np.asarray(fused.image)

    def _background(self, volume: np.ndarray) -> float:
        from ..deconvolution import estimate_background

        given = self.settings.background
        return float(estimate_background(volume)) if given is None else given

    def psfs(self, channel: int) -> list[np.ndarray] | None:
        """A PSF for every view, at the voxel size of the result."""
        if not self.sources:
            return None
        if channel not in self._psfs:
            size = self.step
            self._psfs[channel] = [
                source.get(
                    channel,
                    self.frames.channels,
                    self._psf_shape(image, size),
                    image.voxel_size if size is None else (size,) * 3,
                    say,
                )
                for source, image in zip(self.sources, self.frames.sample, strict=True)
            ]
        return self._psfs[channel]

    @property
    def step(self) -> float | None:
        """Voxel size of the result, µm; None if the files do not say."""
        size = self.frames.sample[0].voxel_size
        return None if None in size else min(size)

    @staticmethod
    def _psf_shape(image: Any, size: float | None) -> tuple[int, ...]:
        steps = image.voxel_size if size is not None else (1,) * 3
        pairs = zip(image.volume_shape, steps, strict=True)
        return tuple(min(int(n * s / (size or 1)), LARGEST_PSF) for n, s in pairs)

    def follow_smoothly(self) -> None:
        """Find all poses first, and make them run smoothly in time."""
        from .. import fusion

        settings, found = self.settings, {}
        quick = {
            k: v
            for k, v in settings.options.items()
            if k not in ("refine", "refine_model", "iterations", "method")
        }
        job = FuseJob(
            self.frames,
            self.sources,
            dataclasses.replace(
                settings, options={**quick, "method": "average"}, shown=False
            ),
        )
        for t in range(self.frames.count):
            fused = job.fuse(t, settings.channel)
            if fused is not None:
                found[t] = fused.matrices
        if not found:
            return
        times = np.arange(self.frames.count)
        known = np.array(sorted(found))
        nearest = known[abs(times[:, None] - known).argmin(1)]
        first = self.frames.sample[0]
        self._smooth = fusion.smooth_poses(
            np.stack([found[t] for t in nearest]),
            settings.smooth,
            model=str(settings.options.get("model", "rigid")),
            voxel_size=None if None in first.voxel_size else first.voxel_size,
            shape=first.volume_shape,
        )

    def _tell(self, time_point: int, fusion: Any, note: str, seconds: float) -> None:
        label = f"t {time_point}: " if self.frames.count > 1 else ""
        if note:
            self.notes[time_point] = note
            say(f"{label}{'skipped: ' if fusion is None else ''}{note}")
        if fusion is None:
            return
        ncc = ", ".join(f"{r:.3f}" for r in fusion.ncc[1:])
        fit = ", ".join(f"{r:.3g}" for r in fusion.residuals)
        text = f"{label}correlation with the first view {ncc}"
        if np.isfinite(fusion.residuals).all():
            text += f"; deviance per voxel {fit}"
        say(f"{text} ({seconds:.1f} s)")
        self.records[time_point] = {
            "matrices": fusion.matrices.tolist(),
            "ncc": fusion.ncc.tolist(),
            "exposures": fusion.exposures.tolist(),
            "residuals": [
                float(r) if np.isfinite(r) else None for r in fusion.residuals
            ],
            "notes": list(fusion.notes),
        }

    def metadata(self) -> dict[str, Any]:
        """Poses and what is to be known of them, as JSON can hold it."""
        times = [self.records.get(t) for t in range(self.frames.count)]
        return {
            "convention": CONVENTION,
            "grid": None if self.grid is None else self.grid.matrix.tolist(),
            "time_points": times,
            "notes": {str(t): note for t, note in self.notes.items()},
        }


class FusedVolumes:
    """The volumes of a job as an array; computed when one is sliced."""

    def __init__(self, job: FuseJob, convert: Any, metadata: dict, progress: Any):
        self._job, self._convert, self._progress = job, convert, progress
        self._metadata = metadata
        frames, shape = job.frames, job.grid.shape
        self._axes = [a for a in "tc" if a in axes_of(frames)]
        sizes = {"t": frames.count, "c": frames.channels}
        self.shape = (*(sizes[a] for a in self._axes), *shape)
        self.dtype = np.dtype(convert.dtype)

    def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
        place = dict(zip(self._axes, map(int, index), strict=True))
        fused = self._job.fuse(place.get("t", 0), place.get("c", 0))
        self._progress()
        self._metadata.update(self._job.metadata())
        if fused is None:
            return np.zeros(self.shape[-3:], self.dtype)
        return self._convert(np.asarray(fused.image))


@dataclasses.dataclass(frozen=True)
class Convert:
    """Into the type of the output; never wrapped or clipped."""

    dtype: str
    scale: float

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        from .. import io

        return io.convert(volume, self.dtype, scale=self.scale)


def axes_of(frames: Frames) -> str:
    """Axes of the result."""
    axes = frames.sample[0].axes
    return axes if frames.images is not None or "t" in axes else "t" + axes


def write_series(
    job: FuseJob, target: Path, convert: Convert, progress: Any, *, overwrite: bool
) -> None:
    """Write all time points and channels; `progress` is called after each."""
    from .. import io

    first = job.frames.sample[0]
    metadata: dict[str, Any] = {"fusion": {}}
    data = FusedVolumes(job, convert, metadata["fusion"], progress)
    known = None not in first.voxel_size
    image = io.Image(
        data=data,
        axes=axes_of(job.frames),
        voxel_size=job.grid.voxel_size if known else (),
        origin=origin_of(job.grid, first) if known else (),
        channels=first.channels,
        time_step=first.time_step,
        metadata=metadata,
    )
    io.write(target, image, overwrite=overwrite)


def origin_of(grid: Any, first: Any) -> tuple[float, ...]:
    """Where the result's first voxel is, µm, in the space of the first view."""
    offset = grid.matrix[:3, 3] * np.asarray(first.voxel_size)
    return tuple(float(o + s) for o, s in zip(first.origin, offset, strict=True))
