"""Deconvolve one image, volume by volume, with progress."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ._console import progress_bar, say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to deconvolve a volume."""

    back_projector: str
    iterations: int
    accelerated: bool
    resolution: Any
    alpha: float
    background: float | None
    boundary: str
    keep: Literal["last", "best"]
    restore_flux: bool
    start: Literal["image", "constant"]
    stop: str | None = None
    gain: float | None = None
    offset: float = 0.0

    def __post_init__(self) -> None:
        from .._core import _check as check
        from ..deconvolution import KINDS, STOPS
        from ..operators import BOUNDARIES

        check.check_choice("--back-projector", self.back_projector, KINDS)
        check.check_choice("--boundary", self.boundary, BOUNDARIES)
        check.check_count("--iterations", self.iterations, 1)
        check.check_choice("--start", self.start, ("image", "constant"))
        check.check_positive("--alpha", self.alpha)
        if self.stop is not None:
            check.check_choice("--stop", self.stop, STOPS)
        if self.gain is not None:
            check.check_positive("--gain", self.gain)


class Job:
    """Deconvolves one image, a volume whenever its result is asked for one."""

    def __init__(self, *, image, name, source, settings, dtype, scale, figure):
        self.image, self.source, self.settings = image, source, settings
        self.name = name
        self.dtype, self.scale, self.figure = dtype, scale, figure
        self.shape, self._done = image.shape, 0
        self._shown: tuple | None = None  # the first volume, for the figure

    def run(self, target: Path, *, overwrite: bool) -> None:
        """Write the deconvolved image to `target`."""
        from .. import io

        for note in self.image.notes:
            say(f"{self.name}: {note}")
        self._psf((0,) * (len(self.shape) - len(self.image.spatial_axes)))
        result = self.image.replace(data=_OnDemand(self, np.dtype(self.dtype)))
        began = time.perf_counter()
        with progress_bar() as self._bar:
            volumes = int(np.prod(self.shape[: -len(self.image.spatial_axes)]))
            total = volumes * self.settings.iterations
            self._task = self._bar.add_task("deconvolving", total=total, speed="")
            io.write(target, result, overwrite=overwrite)
        if self.figure is not None and self._shown is not None:
            save_figure(self.figure, self._shown, self.image.voxel_size)
        seconds = time.perf_counter() - began
        rate = np.prod(self.shape) / seconds / 1e6
        say(f"{target}: {seconds:.1f} s, {rate:.2f} Mvoxel/s in all, with file access")

    def volume(self, index: tuple[int, ...]) -> np.ndarray:
        """The deconvolved volume at `index` of the leading axes."""
        from .. import io

        volume = self.image.volume(index)
        flat = volume.squeeze(0) if self._is_plane else volume
        psf = self._psf(index)
        advance = self._advance(volume.size)
        result = deconvolve_volume(
            flat, psf, self.settings, advance, self._label(index)
        )
        if self.figure is not None and not any(index):
            self._shown = (flat, result, psf)
        value = np.asarray(result.value).reshape(volume.shape)
        return io.convert(value, self.dtype, scale=self.scale)

    def _label(self, index: tuple[int, ...]) -> str:
        """What to put before messages about a volume: "t 3 c 0: "."""
        place = zip(self.image.axes, index, strict=False)
        text = " ".join(f"{axis} {i}" for axis, i in place)
        return f"{text}: " if text else ""

    @property
    def _is_plane(self) -> bool:
        """Whether z is there and has length one: then it is a 2D image."""
        return self.image.sizes.get("z") == 1

    def _psf(self, index: tuple[int, ...]) -> np.ndarray:
        place = dict(zip(self.image.axes, index, strict=False))
        channels = self.image.sizes.get("c", 1)
        shape, size = self.image.volume_shape, self.image.voxel_size
        if self._is_plane:
            shape, size = shape[1:], size[1:]
        return self.source.get(place.get("c", 0), channels, shape, size, say)

    def _advance(self, voxels: int) -> Callable[[int], None]:
        began, before = time.perf_counter(), self._done

        def advance(count: int) -> None:
            self._done = before + count
            rate = voxels * count / (time.perf_counter() - began) / 1e6
            speed = f"{rate:.2f} Mvoxel·iterations/s"
            self._bar.update(self._task, completed=self._done, speed=speed)

        return advance


class _OnDemand:
    """Volumes of a job as an array; computed when a volume is sliced."""

    def __init__(self, job: Job, dtype: np.dtype):
        self._job, self.shape, self.dtype = job, job.shape, dtype

    def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
        return self._job.volume(tuple(int(i) for i in index))


def deconvolve_volume(volume, psf, settings: Settings, progress, label: str) -> Any:
    """The `Result` for one volume; `label` goes before what is said of it."""
    from .. import deconvolution as decon
    from .._core._check import check_image
    from ..operators import Convolution

    image = check_image("image", volume)
    background = _background(volume, settings, label)
    check_memory(volume.shape, psf.shape, settings)
    image, background = _as_counts(image, background, settings)
    _check_stop(image, settings)
    operator = Convolution.from_psf(psf, image.shape, boundary=settings.boundary)
    scheme = decon.richardson_lucy_scheme(
        operator,
        psf,
        back_projector=settings.back_projector,
        accelerated=settings.accelerated,
        restore_flux=settings.restore_flux,
        start=settings.start,
        alpha=settings.alpha,
        resolution=settings.resolution,
        stop=settings.stop,
    )
    rule = None if settings.stop is None else decon.stopping_rule(settings.stop, scheme)
    result = decon.deconvolve(
        image,
        operator,
        scheme,
        iterations=settings.iterations,
        stop=rule,
        background=background,
        keep=settings.keep,
        progress=progress,
    )
    _tell(result, label)
    if settings.gain is None:
        return result
    return dataclasses.replace(result, value=result.value * settings.gain)


def _background(volume, settings: Settings, label: str) -> float:
    """The background, found if it is not given; warns if nothing is above it."""
    from ..deconvolution import estimate_background

    background = settings.background
    if background is None:
        background = estimate_background(volume)
        say(f"{label}background {background:.6g} (darkest parts)")
    if volume.max() <= background:
        warnings.warn(
            f"{label}nothing in the image is above the background of {background:.6g}; "
            f"the result is empty",
            stacklevel=3,
        )
    return background


def _tell(result: Any, label: str) -> None:
    """How it went: a line, a warning or an error."""
    from ..deconvolution import Status

    if result.status == Status.NOT_FINITE:
        raise FloatingPointError(f"{label}{result.message}")
    if result.status == Status.RESIDUAL_GREW:
        warnings.warn(f"{label}{result.message}", stacklevel=3)
    else:
        say(f"{label}{result.message}")


def _as_counts(image, background, settings: Settings) -> tuple[Any, float]:
    """Image and background in photons, if the gain is known."""
    from ..deconvolution import to_counts

    if settings.gain is None:
        return image, background
    counts = to_counts(image, gain=settings.gain, offset=settings.offset)
    return counts, max(background - settings.offset, 0) / settings.gain


def _check_stop(image, settings: Settings) -> None:
    """Refuse rules that need photon counts where there are none."""
    from ..deconvolution import check_stop

    try:
        check_stop(settings.stop, image, None)
    except ValueError as error:
        raise ValueError(f"{error} Here: give --gain and --offset.") from None


def check_memory(shape, psf_shape, settings: Settings) -> None:
    """Refuse what cannot fit, before it is tried."""
    from .. import deconvolution as decon
    from ._info import available_memory

    needed = decon.memory_needed(
        shape,
        psf_shape,
        boundary=settings.boundary,
        matched=settings.back_projector == "matched",
        keep_best=settings.keep == "best",
        accelerated=settings.accelerated,
    )
    if settings.stop in ("held-out", "rehearsal", "consensus"):
        needed *= 2  # a shadow of the scheme, or the halves, beside it
    available = available_memory()
    if available is not None and needed > available:
        raise MemoryError(
            f"deconvolving {'x'.join(map(str, shape))} with a PSF of "
            f"{'x'.join(map(str, psf_shape))} needs about {needed / 2**30:.1f} GiB, "
            f"and {available / 2**30:.1f} GiB are free: use --boundary periodic, "
            f"a smaller --psf-energy, or crop the image."
        )


def save_figure(path, shown, voxel_size) -> None:
    """Before and after, as a PNG; `shown` is the volume, its result and the PSF."""
    volume, result, psf = shown
    from .. import report
    from ..io import atomic_target

    figure = report.deconvolution_figure(
        {"raw": volume, "deconvolved": np.asarray(result.value)},
        psf,
        voxel_size=voxel_size[-volume.ndim :],
        histories={"this run": np.asarray(result.history)},
    )
    with atomic_target(Path(path), overwrite=True) as partial:
        figure.savefig(partial, format="png")
