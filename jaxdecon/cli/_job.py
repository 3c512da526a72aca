"""Deconvolve one image, volume by volume, with progress."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._auto import make_plan, run_plan
from ._blocks import BlockOptions
from ._console import progress_bar, say
from ._job_blocks import deconvolve_in_blocks, needs_blocks
from ._solve import deconvolve_volume


class Job:
    """Deconvolves one image, a volume whenever its result is asked for one."""

    def __init__(
        self,
        *,
        image,
        name,
        source,
        settings,
        dtype,
        scale,
        figure,
        path=None,
        resized=False,
    ):
        """Nothing is read yet.

        Args:
            image: what to deconvolve.
            name: what to call it.
            source: of its PSFs.
            settings: how.
            dtype: of the result.
            scale: factor on the result.
            figure: where to draw the first volume; None: nowhere.
            path: of the image; None if it is made of several.
            resized: whether the user corrected the voxel size in the file.
        """
        self.image, self.settings = image, settings
        self.source: Any = source
        self.name, self.path, self.resized = name, path, resized
        self.dtype, self.scale, self.figure = dtype, scale, figure
        self.shape, self._done = image.shape, 0
        self._plans: dict[int, Any] = {}  # of the channels, with --auto
        self._shown: tuple | None = None  # the first volume, for the figure

    def run(self, target: Path, blocks: BlockOptions, *, overwrite: bool) -> None:
        """Write the deconvolved image to `target`, in blocks where it has to be."""
        for note in self.image.notes:
            say(f"{self.name}: {note}")
        if needs_blocks(self, target, blocks):
            deconvolve_in_blocks(self, target, blocks, overwrite=overwrite)
        else:
            self._run_whole(target, overwrite=overwrite)

    def _run_whole(self, target: Path, *, overwrite: bool) -> None:
        from .. import io

        self._prepare()
        result = self.image.replace(data=OnDemand(self, np.dtype(self.dtype)))
        began = time.perf_counter()
        with progress_bar() as self._bar:
            self._task = self._bar.add_task(
                "deconvolving", total=self._all_iterations(), speed=""
            )
            io.write(target, result, overwrite=overwrite)
        if self.figure is not None and self._shown is not None:
            save_figure(self.figure, self._shown, self.image.voxel_size)
        seconds = time.perf_counter() - began
        rate = np.prod(self.shape) / seconds / 1e6
        say(f"{target}: {seconds:.1f} s, {rate:.2f} Mvoxel/s in all, with file access")

    def volume(self, index: tuple[int, ...]) -> np.ndarray:
        """The deconvolved volume at `index` of the leading axes."""
        from .. import io

        volume, psf = self._volume(index), self.psf(self._channel(index))
        advance, label = self._advance(volume.size), self._label(index)
        plan = self._plan(index)
        if plan is None:
            result = deconvolve_volume(volume, psf, self.settings, advance, label)
        else:
            result = run_plan(plan, volume, psf, advance, label)
        if self.figure is not None and not any(index):
            self._shown = (volume, result, psf)
        value = np.asarray(result.value).reshape(self.image.volume_shape)
        return io.convert(value, self.dtype, scale=self.scale)

    def _prepare(self) -> None:
        """Make the first PSF, or a plan for every channel, before any output."""
        leading = self._leading
        self.psf(0)
        if not self.settings.auto:
            return
        for index in np.ndindex(leading):
            channel = self._channel(index)
            if channel in self._plans:
                continue
            volume = self._volume(index)
            if np.ptp(volume) > 0:  # else an empty frame: a later one may do
                self._plans[channel] = make_plan(
                    volume, self.psf(channel), self.settings, self._label(index)
                )

    def _all_iterations(self) -> int:
        return sum(
            plan.choice.iterations if plan else self.settings.iterations
            for plan in map(self._plan, np.ndindex(self._leading))
        )

    def _plan(self, index: tuple[int, ...]) -> Any:
        """The plan for a volume's channel; None without --auto, or if it is empty."""
        return self._plans.get(self._channel(index))

    @property
    def _leading(self) -> tuple[int, ...]:
        """Sizes of the axes before the spatial ones."""
        return tuple(self.shape[: -len(self.image.spatial_axes)])

    def _volume(self, index: tuple[int, ...]) -> np.ndarray:
        volume = self.image.volume(index)
        return volume.squeeze(0) if self.is_plane else volume

    def first_volume(self, channel: int) -> np.ndarray:
        """The first volume of a channel."""
        axes = self.image.axes[: len(self._leading)]
        return self._volume(tuple(channel if axis == "c" else 0 for axis in axes))

    def _channel(self, index: tuple[int, ...]) -> int:
        return dict(zip(self.image.axes, index, strict=False)).get("c", 0)

    def _label(self, index: tuple[int, ...]) -> str:
        """What to put before messages about a volume: "t 3 c 0: "."""
        place = zip(self.image.axes, index, strict=False)
        text = " ".join(f"{axis} {i}" for axis, i in place)
        return f"{text}: " if text else ""

    @property
    def is_plane(self) -> bool:
        """Whether z is there and has length one: then it is a 2D image."""
        return self.image.sizes.get("z") == 1

    def psf(self, channel: int) -> np.ndarray:
        """The PSF of a channel."""
        channels = self.image.sizes.get("c", 1)
        shape, size = self.image.volume_shape, self.image.voxel_size
        if self.is_plane:
            shape, size = shape[1:], size[1:]
        return self.source.get(channel, channels, shape, size, say)

    def _advance(self, voxels: int) -> Callable[[int], None]:
        began, before = time.perf_counter(), self._done

        def advance(count: int) -> None:
            self._done = before + count
            rate = voxels * count / (time.perf_counter() - began) / 1e6
            speed = f"{rate:.2f} Mvoxel·iterations/s"
            self._bar.update(self._task, completed=self._done, speed=speed)

        return advance


class OnDemand:
    """Volumes of a job as an array; computed when a volume is sliced."""

    def __init__(self, job: Any, dtype: np.dtype):
        self._job, self.shape, self.dtype = job, job.shape, dtype

    def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
        return self._job.volume(tuple(int(i) for i in index))


def save_figure(path, shown, voxel_size) -> None:
    """Before and after, as a PNG; `shown` is the volume, its result and the PSF."""
    volume, result, psf = shown
    from .. import report
    from ..io import atomic_target
    from ..psf import PSFField

    psf = np.asarray(psf.mean) if isinstance(psf, PSFField) else psf

    figure = report.deconvolution_figure(
        {"raw": volume, "deconvolved": np.asarray(result.value)},
        psf,
        voxel_size=voxel_size[-volume.ndim :],
        histories={"this run": np.asarray(result.history)},
    )
    with atomic_target(Path(path), overwrite=True) as partial:
        figure.savefig(partial, format="png")
