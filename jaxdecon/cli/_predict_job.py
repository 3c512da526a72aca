"""Predict one image, volume by volume, and say what speaks against it."""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._blocks import BlockOptions, work_in_blocks
from ._console import progress_bar, say
from ._job import OnDemand
from ._job_blocks import source_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to predict, whatever the image.

    Attributes:
        model: a `jaxdecon.learning.Model`.
        repair: iterations back to the data.
        check: whether to judge.
        tile: voxels at a time; None: all.
        batch: tiles at a time.
        background: in units of the image; None: measured.
        noise: of the camera; None: measured.
        dtype: of the result.
        scale: factor on the result.
    """

    model: Any
    repair: int
    check: bool
    tile: Any
    batch: int
    background: float | None
    noise: Any
    dtype: str
    scale: float

    def __post_init__(self) -> None:
        from .._core._check import check_count

        check_count("--repair", self.repair)
        check_count("--batch", self.batch, 1)
        views = self.model.config.views
        if views != 1:
            raise ValueError(
                f"the model is for {views} views, and this command for images of one: "
                f"use `jaxdecon.learning.predict`."
            )


def camera_noise(
    gain: float | None, offset: float | None, read_noise: float | None
) -> Any:
    """The noise of a camera that is known; None: not known."""
    from ..learning import CameraNoise

    if gain is None:
        if offset is not None or read_noise is not None:
            raise ValueError("--offset and --read-noise need --gain, too.")
        return None
    return CameraNoise.of(gain=gain, offset=offset or 0.0, read_noise=read_noise or 0.0)


class PredictJob:
    """Predicts one image, a volume whenever its result is asked for one.

    Args:
        image: what to predict.
        path: of it.
        source: of its PSFs; None: that of the training.
        settings: how.
        maps: where to write "trust" and "residual".
        figure: where to draw the first volume; None: nowhere.
        resized: whether the user corrected the voxel size in the file.
    """

    def __init__(self, *, image, path, source, settings, maps, figure, resized):
        self.image, self.path, self.source = image, path, source
        self.settings, self.maps, self.figure = settings, maps, figure
        self.name, self.shape, self.resized = path.name, image.shape, resized
        self._written: dict[str, np.ndarray] = {}
        self._shown: tuple[np.ndarray, Any] | None = None

    def run(self, target: Path, blocks: BlockOptions, *, overwrite: bool) -> None:
        """Write the prediction to `target`, in blocks where it has to be."""
        for note in self.image.notes:
            say(f"{self.name}: {note}")
        self.settings.model.check_voxel_size(self._spatial(self.image.voxel_size))
        if self._needs_blocks(target, blocks):
            self._run_in_blocks(target, blocks, overwrite=overwrite)
        else:
            self._run_whole(target, overwrite=overwrite)

    def _run_whole(self, target: Path, *, overwrite: bool) -> None:
        from .. import io

        self._psf(0)
        result = self.image.replace(data=OnDemand(self, np.dtype(self.settings.dtype)))
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, progress_bar() as self._bar:
            self._begin(folder)
            io.write(target, result, overwrite=overwrite)
            for name, path in self.maps.items():
                written = self.image.replace(data=self._written[name])
                io.write(path, written, overwrite=overwrite)
            self._written.clear()
        if self.figure is not None and self._shown is not None:
            save_figure(self.figure, *self._shown, self._spatial(self.image.voxel_size))
        seconds = time.perf_counter() - began
        rate = np.prod(self.shape) / seconds / 1e6
        say(f"{target}: {seconds:.1f} s, {rate:.2f} Mvoxel/s in all, with file access")

    def _begin(self, folder: str) -> None:
        """Maps are kept on disk until the result, which they come with, is written."""
        count = int(np.prod(self.shape[: -len(self.image.spatial_axes)]))
        self._task = self._bar.add_task("predicting", total=count, speed="")
        for name in self.maps:
            self._written[name] = np.lib.format.open_memmap(
                Path(folder) / f"{name}.npy", "w+", np.float32, self.shape
            )

    def volume(self, index: tuple[int, ...]) -> np.ndarray:
        """The prediction of the volume at `index` of the leading axes."""
        from .. import io

        volume = self.image.volume(index)
        volume = volume.squeeze(0) if self._is_plane else volume
        found = self._predict(volume, dict(zip(self.image.axes, index, strict=False)))
        self._tell(found, index)
        if found.repaired is not None:
            say(
                f"  written: the result after {self.settings.repair} iterations back "
                f"to the data; verdict and maps are of the network's own"
            )
        for name, values in self._written.items():
            values[index] = self._map(found, name).reshape(self.image.volume_shape)
        if self.figure is not None and not any(index):
            self._shown = (volume, found)
        self._bar.advance(self._task)
        value = np.asarray(found.best).reshape(self.image.volume_shape)
        return io.convert(value, self.settings.dtype, scale=self.settings.scale)

    def _predict(self, volume: np.ndarray, place: dict[str, int]) -> Any:
        from ..learning import predict

        s = self.settings
        return predict(
            s.model,
            volume,
            psf=self._psf(place.get("c", 0)),
            voxel_size=self._spatial(self.image.voxel_size),
            background=s.background,
            noise=s.noise,
            tile=s.tile,
            batch=s.batch,
            repair=s.repair,
            check=s.check,
        )

    def _tell(self, found: Any, index: tuple[int, ...]) -> None:
        place = zip(self.image.axes, index, strict=False)
        text = " ".join(f"{axis} {i}" for axis, i in place)
        say(f"{f'{text}: ' if text else ''}{found.verdict}")
        for reason in found.reasons:
            say(f"  {reason}")

    def _map(self, found: Any, name: str) -> np.ndarray:
        values = getattr(found, name)
        if values is None:
            raise ValueError(
                f"there is no {name} map without a PSF: give --psf or the optics."
            )
        return np.asarray(values, np.float32)

    def _psf(self, channel: int) -> Any:
        """The PSF of a channel; None: the training's."""
        if self.source is None:
            return None
        channels = self.image.sizes.get("c", 1)
        shape = self._spatial(self.image.volume_shape)
        size = self._spatial(self.image.voxel_size)
        return self.source.get(channel, channels, shape, size, say)

    def _spatial(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[int(self._is_plane) :])

    @property
    def _is_plane(self) -> bool:
        """Whether z is there and has length one: then it is a 2D image."""
        return self.image.sizes.get("z") == 1

    def _needs_blocks(self, target: Path, options: BlockOptions) -> bool:
        """Whether blocks are asked for, or memory is short.

        Raises:
            ValueError: blocks were asked for, and cannot serve.
            MemoryError: they are needed, and cannot serve.
        """
        from .._core._memory import available_memory
        from ..volumes._predict_blocks import memory_needed

        hindrance = self._hindrance(target)
        if options.asked:
            if hindrance:
                raise ValueError(f"{self.name} cannot be done in blocks: {hindrance}.")
            return True
        needed = memory_needed(self.settings.model.config, self.image.volume_shape)
        free = options.memory_bytes or available_memory()
        if free is None or needed <= free or self.settings.tile is not None:
            return False
        why = (
            f"predicting {'x'.join(map(str, self.image.volume_shape))} needs about "
            f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
        )
        if hindrance:
            raise MemoryError(
                f"{why}: give --tile; or to do it in blocks, {hindrance}."
            )
        say(f"{self.name}: {why}: in blocks")
        return True

    def _hindrance(self, target: Path) -> str:
        """What has to be changed before it can be done in blocks; "" if nothing."""
        from .. import io

        if io.format_of(target, writing=True) != "OME-Zarr":
            return "end --output in .ome.zarr"
        asked = {**self.maps, "figure": self.figure, "repair": self.settings.repair}
        given = [f"--{name}" for name, value in asked.items() if value]
        if given:
            return f"leave out {', '.join(given)}, for which a whole volume is needed"
        return ""

    def _run_in_blocks(
        self, target: Path, options: BlockOptions, *, overwrite: bool
    ) -> None:
        from .. import volumes

        psfs = [self._psf(c) for c in range(self.image.sizes.get("c", 1))]
        work = functools.partial(
            volumes.predict,
            source_of(self),
            target,
            self.settings.model,
            psf=psfs if len(psfs) > 1 else psfs[0],
            background=self.settings.background,
            dtype=self.settings.dtype,
            scale=self.settings.scale,
        )
        work_in_blocks(work, options, target, overwrite=overwrite)
        if not options.dry_run:
            say("unchecked: nothing is judged in blocks; predict a part without them")


def save_figure(path: str, volume: np.ndarray, found: Any, size: Any) -> None:
    """Image, result, maps and verdict, as a PNG."""
    from .. import report
    from ..io import atomic_target

    figure = report.prediction_figure(volume, found, voxel_size=size)
    with atomic_target(Path(path), overwrite=True) as partial:
        figure.savefig(partial, format="png")
