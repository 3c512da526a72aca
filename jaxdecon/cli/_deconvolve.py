"""`jaxdecon deconvolve`."""

import dataclasses
import glob
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from ._console import progress_bar, say, start_jax
from ._optics import (
    NA,
    Index,
    Model,
    PsfEnergy,
    PsfFiles,
    PsfSource,
    VoxelSize,
    Wavelength,
    parse_voxel_size,
)

MATCHED_ITERATIONS, UNMATCHED_ITERATIONS = 20, 2


def deconvolve(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images (TIFF, OME-Zarr, .npy), or quoted patterns such as '*.tif'.",
        ),
    ],
    psf: PsfFiles = None,
    na: NA = None,
    wavelength: Wavelength = None,
    index: Index = None,
    model: Model = "widefield",
    psf_energy: PsfEnergy = 0.995,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Output file, or a folder for several inputs. The suffix decides: "
            ".ome.zarr, .ome.tif, .tif (ImageJ), .npy.",
        ),
    ] = None,
    suffix: Annotated[
        str, typer.Option(help="Suffix of outputs that are not named.")
    ] = ".ome.tif",
    series: Annotated[
        bool, typer.Option("--series", help="Join the inputs as one time series.")
    ] = False,
    voxel_size: VoxelSize = None,
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
            help="wiener-butterworth, wiener, butterworth, gaussian (1-3 iterations) "
            "or matched (10-50).",
        ),
    ] = "wiener-butterworth",
    accelerated: Annotated[
        bool,
        typer.Option(help="Extrapolate between iterations: needs far fewer of them."),
    ] = False,
    resolution: Annotated[
        str,
        typer.Option(help="Resolution limit: fwhm, fwhm/sqrt2, or voxels as z,y,x."),
    ] = "fwhm",
    alpha: Annotated[float, typer.Option(help="Wiener constant.")] = 0.05,
    background: Annotated[
        str,
        typer.Option(help="Offset in the image's units, or auto (its 1 % quantile)."),
    ] = "auto",
    boundary: Annotated[
        str,
        typer.Option(help="Beyond the field: extend, periodic, reflect or edge."),
    ] = "extend",
    keep_best: Annotated[
        bool,
        typer.Option("--keep-best", help="Keep the iteration nearest to the data."),
    ] = False,
    restore_flux: Annotated[
        bool,
        typer.Option(help="Keep the total intensity, which unmatched ones let drift."),
    ] = True,
    dtype: Annotated[
        str, typer.Option(help="float32, uint16 or uint8; never wrapped or clipped.")
    ] = "float32",
    scale: Annotated[float, typer.Option(help="Factor on the output.")] = 1.0,
    figure: Annotated[
        str | None, typer.Option(help="PNG with before and after of the first volume.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
) -> None:
    """Deconvolve images: all channels and time points, one after the other.

    From the optics:

        jaxdecon deconvolve cell.tif --na 1.4 --wavelength 0.52 --index 1.518

    With a measured PSF, into one OME-Zarr:

        jaxdecon deconvolve 'run/*.tif' --series --psf bead.tif -o run.ome.zarr
    """
    from .. import io

    files = expand(inputs)
    targets = plan_outputs(files, output, suffix, series=series)
    for target in targets:
        io.check_target(target, overwrite=overwrite)
        io.format_of(target)
    if figure is not None:
        io.check_target(Path(figure), overwrite=overwrite)
    settings = Settings(
        back_projector=back_projector,
        iterations=_iterations(iterations, back_projector),
        accelerated=accelerated,
        resolution=parse_resolution(resolution),
        alpha=alpha,
        background=parse_background(background),
        boundary=boundary,
        keep="best" if keep_best else "last",
        restore_flux=restore_flux,
    )
    source = PsfSource(
        files=psf,
        na=na,
        wavelengths=wavelength,
        index=index,
        model=model,
        energy=psf_energy,
    )
    images = [io.read(file) for file in files]
    images = [io.stack_time(images)] if series else images
    start_jax()
    given = parse_voxel_size(voxel_size)
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        job = Job(
            image=with_voxel_size(image, given, files[number]),
            source=source,
            settings=settings,
            dtype=dtype,
            scale=scale,
            figure=figure if number == 0 else None,
        )
        job.run(target, overwrite=overwrite)


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


class Job:
    """Deconvolves one image, a volume whenever its result is asked for one."""

    def __init__(self, *, image, source, settings, dtype, scale, figure):
        self.image, self.source, self.settings = image, source, settings
        self.dtype, self.scale, self.figure = dtype, scale, figure
        self.shape, self._done = image.shape, 0

    def run(self, target: Path, *, overwrite: bool) -> None:
        """Write the deconvolved image to `target`."""
        from .. import io

        for note in self.image.notes:
            say(f"{target.name}: {note}")
        result = self.image.replace(data=_OnDemand(self, np.dtype(self.dtype)))
        began = time.perf_counter()
        with progress_bar() as self._bar:
            volumes = int(np.prod(self.shape[: -len(self.image.spatial_axes)]))
            total = volumes * self.settings.iterations
            self._task = self._bar.add_task("deconvolving", total=total, speed="")
            io.write(target, result, overwrite=overwrite)
        seconds = time.perf_counter() - began
        rate = np.prod(self.shape) / seconds / 1e6
        say(f"{target}: {seconds:.1f} s, {rate:.2f} Mvoxel/s in all, with file access")

    def volume(self, index: tuple[int, ...]) -> np.ndarray:
        """The deconvolved volume at `index` of the leading axes."""
        from .. import io

        volume = self.image.volume(index)
        psf = self._psf(index)
        advance = self._advance(volume.size)
        result = deconvolve_volume(volume, psf, self.settings, advance)
        if self.figure is not None and not any(index):
            save_figure(self.figure, volume, result, psf, self.image.voxel_size)
        return io.convert(np.asarray(result.value), self.dtype, scale=self.scale)

    def _psf(self, index: tuple[int, ...]) -> np.ndarray:
        place = dict(zip(self.image.axes, index, strict=False))
        channels = self.image.sizes.get("c", 1)
        shape, size = self.image.volume_shape, self.image.voxel_size
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

    def __getitem__(self, index: Any) -> np.ndarray:
        leading = len(self.shape) - len(self._job.image.spatial_axes)
        if index is Ellipsis:
            places = list(np.ndindex(*self.shape[:leading]))
            volumes = [self._job.volume(place) for place in places]
            return np.stack(volumes).reshape(self.shape)
        return self._job.volume(tuple(int(i) for i in index))


def deconvolve_volume(volume, psf, settings: Settings, progress) -> Any:
    """The `Result` for one volume."""
    from .. import deconvolution as decon
    from .._core._check import check_image
    from ..operators import Convolution

    image = check_image("image", volume)
    background = settings.background
    if background is None:
        background = decon.estimate_background(volume)
        say(f"background: {background:.6g} (1 % quantile)")
    check_memory(volume.shape, psf.shape, settings)
    operator = Convolution.from_psf(psf, image.shape, boundary=settings.boundary)
    scheme = decon.richardson_lucy_scheme(
        operator,
        psf,
        back_projector=settings.back_projector,
        accelerated=settings.accelerated,
        restore_flux=settings.restore_flux,
        alpha=settings.alpha,
        resolution=settings.resolution,
    )
    result = decon.deconvolve(
        image,
        operator,
        scheme,
        iterations=settings.iterations,
        background=background,
        keep=settings.keep,
        progress=progress,
    )
    if result.raise_for_status().status != decon.Status.RESIDUAL_GREW:
        say(result.message)
    return result


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
    )
    available = available_memory()
    if available is not None and needed > available:
        raise MemoryError(
            f"deconvolving {'x'.join(map(str, shape))} with a PSF of "
            f"{'x'.join(map(str, psf_shape))} needs about {needed / 2**30:.1f} GiB, "
            f"and {available / 2**30:.1f} GiB are free: use --boundary periodic, "
            f"a smaller --psf-energy, or crop the image."
        )


def save_figure(path, volume, result, psf, voxel_size) -> None:
    """Before and after, as a PNG."""
    from .. import report
    from ..io import atomic_target

    figure = report.deconvolution_figure(
        {"raw": volume, "deconvolved": np.asarray(result.value)},
        psf,
        voxel_size=voxel_size,
        histories={"this run": np.asarray(result.history)},
    )
    with atomic_target(Path(path), overwrite=True) as partial:
        figure.savefig(partial, format="png")


def expand(inputs: list[str]) -> list[Path]:
    """Files of the inputs; patterns are expanded, in natural order."""
    files: list[Path] = []
    for entry in inputs:
        if Path(entry).exists():
            files.append(Path(entry))
            continue
        found = sorted(glob.glob(entry, recursive=True), key=_natural)
        if not found:
            raise FileNotFoundError(f"no file {entry}.")
        files.extend(Path(f) for f in found)
    return files


def _natural(name: str) -> list[Any]:
    return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]


def plan_outputs(files, output, suffix, *, series: bool) -> list[Path]:
    """An output for every input, or one for a series."""
    from ..io import format_of

    sources = files[:1] if series else files
    for file in sources:
        format_of(file)
    if output is not None and (_is_image(output) or not Path(output).is_dir()):
        if len(sources) > 1:
            raise ValueError(
                f"--output {output} is one file for {len(sources)} inputs; give a "
                f"folder that exists, or --series."
            )
        return [Path(output)]
    return [
        (file.parent if output is None else Path(output))
        / f"{_stem(file)}_deconvolved{suffix}"
        for file in sources
    ]


def _is_image(path: str) -> bool:
    from ..io import FORMATS

    return path.lower().rstrip("/").endswith(tuple(FORMATS))


def _stem(file: Path) -> str:
    from ..io import FORMATS

    for suffix in sorted(FORMATS, key=len, reverse=True):
        if file.name.lower().endswith(suffix):
            return file.name[: -len(suffix)]
    return file.stem


def with_voxel_size(image, given, name):
    """The image with the voxel size that the user gave, saying what it replaces."""
    if given is None:
        return image
    if len(given) != len(image.spatial_axes):
        raise ValueError(
            f"--voxel-size has {len(given)} numbers; {name} has axes "
            f"{image.spatial_axes!r}."
        )
    pairs = list(zip(image.voxel_size, given, strict=True))
    if any(old is not None and abs(new / old - 1) > 0.01 for old, new in pairs):
        say(f"{name}: voxel size {image.voxel_size} µm in the file, {given} used")
    return image.replace(voxel_size=given, notes=())


def parse_resolution(text: str) -> Any:
    """A name, or numbers separated by commas."""
    if text.startswith("fwhm"):
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--resolution is {text!r}; fwhm, fwhm/sqrt2 or voxels as z,y,x are needed."
        ) from None


def parse_background(text: str) -> float | None:
    """A number, or None for "auto"."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--background is {text!r}; a number or auto.") from None


def _iterations(given: int | None, back_projector: str) -> int:
    if given is not None:
        return given
    return MATCHED_ITERATIONS if back_projector == "matched" else UNMATCHED_ITERATIONS
