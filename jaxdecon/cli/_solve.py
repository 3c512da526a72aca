"""Deconvolve one volume with given settings, and say how it went."""

import dataclasses
import warnings
from typing import Any, Literal

from ._console import say


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
    offset: float | None = None
    auto: bool = False
    explain: bool = False
    learned: Any = None
    """A `Learned`, where --back-projector is a file."""

    def __post_init__(self) -> None:
        from .._core import _check as check
        from ..deconvolution import KINDS, STOPS
        from ..operators import BOUNDARIES

        if self.learned is None:
            check.check_choice("--back-projector", self.back_projector, KINDS)
        check.check_choice("--boundary", self.boundary, BOUNDARIES)
        check.check_count("--iterations", self.iterations, 1)
        check.check_choice("--start", self.start, ("image", "constant"))
        check.check_positive("--alpha", self.alpha)
        if self.stop is not None:
            check.check_choice("--stop", self.stop, STOPS)
        if self.gain is not None:
            check.check_positive("--gain", self.gain)

    def back_projection(self, *psfs: Any) -> Any:
        """The kind of back projector, or the kernel from a file for these PSFs."""
        return (
            self.back_projector if self.learned is None else self.learned.kernel(*psfs)
        )

    @property
    def memory_options(self) -> dict[str, Any]:
        """What memory depends on besides shapes, for `needed_memory`."""
        if self.auto:  # the largest of what may be chosen
            return {"boundary": self.boundary, "accelerated": True}
        return {
            "boundary": self.boundary,
            "matched": self.back_projector == "matched",
            "keep_best": self.keep == "best",
            "accelerated": self.accelerated,
            "halves": self.stop in ("held-out", "rehearsal", "consensus"),
        }


def deconvolve_volume(volume, psf, settings: Settings, progress, label: str) -> Any:
    """The `Result` for one volume; `label` goes before what is said of it."""
    from .. import deconvolution as decon
    from .._core._check import check_image

    image = check_image("image", volume)
    background = _background(volume, settings, label)
    check_memory(volume.shape, psf.shape, **settings.memory_options)
    image, background = _as_counts(image, background, settings)
    _check_stop(image, settings)
    operator = _blur(psf, image.shape, settings.boundary)
    scheme = decon.richardson_lucy_scheme(
        operator,
        psf,
        back_projector=settings.back_projection(psf),
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
    tell(result, label)
    if settings.gain is None:
        return result
    return dataclasses.replace(result, value=result.value * settings.gain)


def _blur(psf: Any, shape, boundary: str) -> Any:
    """Blur by a PSF, or by a field of them."""
    from ..operators import Convolution, VaryingConvolution
    from ..psf import PSFField

    if isinstance(psf, PSFField):
        return VaryingConvolution.from_field(psf, shape, boundary=boundary)
    return Convolution.from_psf(psf, shape, boundary=boundary)


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


def tell(result: Any, label: str) -> None:
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
    offset = settings.offset or 0.0
    counts = to_counts(image, gain=settings.gain, offset=offset)
    return counts, max(background - offset, 0) / settings.gain


def _check_stop(image, settings: Settings) -> None:
    """Refuse rules that need photon counts where there are none."""
    from ..deconvolution import check_stop

    try:
        check_stop(settings.stop, image, None)
    except ValueError as error:
        raise ValueError(f"{error} Here: give --gain and --offset.") from None


def needed_memory(shape, psf_shape, *, halves: bool = False, **options: Any) -> int:
    """Bytes that a volume needs at a time.

    Args:
        shape: of the volume.
        psf_shape: of the PSF.
        halves: whether a stopping rule runs a second scheme, or halves of the photons.
        options: of `memory_needed`.
    """
    from ..deconvolution import memory_needed

    return memory_needed(shape, psf_shape, **options) * (2 if halves else 1)


def check_memory(shape, psf_shape, **options: Any) -> None:
    """Refuse what cannot fit, before it is tried; arguments as for `needed_memory`."""
    from .._core._memory import available_memory

    needed, free = needed_memory(shape, psf_shape, **options), available_memory()
    if free is not None and needed > free:
        raise MemoryError(
            f"{too_large(shape, psf_shape, needed, free)}: use --boundary periodic, "
            f"a smaller --psf-energy, or crop the image."
        )


def too_large(shape, psf_shape, needed: int, free: int) -> str:
    """That a volume needs more memory than there is."""
    return (
        f"deconvolving {'x'.join(map(str, shape))} with a PSF of "
        f"{'x'.join(map(str, psf_shape))} needs about {needed / 2**30:.1f} GiB, "
        f"and {free / 2**30:.1f} GiB are free"
    )
