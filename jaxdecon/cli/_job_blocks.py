"""Deconvolve one image in blocks."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree
from ..deconvolution import Poisson
from ._auto import make_plan
from ._blocks import BlockOptions, work_in_blocks
from ._blocks_shown import manifest_of
from ._console import say
from ._solve import Settings, needed_memory, too_large

MOST_PLANNED = 2**24
"""Voxels of the part of a volume on which a plan is made."""
LEAST_PLANNED = 32
"""Voxels along the edges of that part, where memory is short."""
LOOKS, EDGE = 3, 64
"""Places along every axis at which the brightest part is looked for, and how much of
each is read."""
DIGITS = 6
"""Of a measured offset and background: a repeated plan shall give the same numbers."""


@pytree
class AboveOffset:
    """Photon counts above the offset of a camera, which is left in the data.

    Attributes:
        offset: units of the image without light.
    """

    offset: Any

    def deviance(self, data: jax.Array, predicted: jax.Array) -> jax.Array:
        """That of the counts."""
        return Poisson().deviance(self._counts(data), predicted - self.offset)

    def variance(self, predicted: jax.Array) -> jax.Array:
        """That of the counts."""
        return Poisson().variance(predicted - self.offset)

    def correction(self, back, data, predicted, gain, guard) -> jax.Array:
        """B(y / m - 1) / B(1), with counts y and m."""
        predicted = jax.tree.map(lambda m: m - self.offset, predicted)
        counts = jax.tree.map(self._counts, data)
        return Poisson().correction(back, counts, predicted, gain, guard)

    def _counts(self, data: jax.Array) -> jax.Array:
        return jnp.maximum(data - self.offset, 0)


def needs_blocks(job: Any, target: Path, options: BlockOptions) -> bool:
    """Whether a job is to be done in blocks: it was asked for, or memory is short.

    Raises:
        ValueError: blocks were asked for, and cannot serve.
        MemoryError: they are needed, and cannot serve.
    """
    hindrance = _hindrance(job, target, options)
    if options.asked:
        if hindrance:
            raise ValueError(f"{job.name} cannot be done in blocks: {hindrance}.")
        return True
    free = _memory(options)
    shape, psf_shape = _shape(job), job.psf(0).shape
    needed = needed_memory(shape, psf_shape, **job.settings.memory_options)
    if free is None or needed <= free:
        return False
    why = too_large(shape, psf_shape, needed, int(free))
    if hindrance:
        raise MemoryError(
            f"{why}: to do it in blocks, {hindrance}; or use --boundary periodic, a "
            f"smaller --psf-energy, or crop the image."
        )
    say(f"{job.name}: {why}: in blocks")
    return True


def _hindrance(job: Any, target: Path, options: BlockOptions) -> str:
    """What has to be changed before a job can be done in blocks; "" if nothing."""
    from .. import io

    settings, image = job.settings, job.image
    if io.format_of(target, writing=True) != "OME-Zarr":
        return "end --output in .ome.zarr"
    if settings.stop is not None:
        return "leave out --stop, since all blocks need as many iterations"
    if settings.boundary == "periodic":
        return "choose another --boundary than periodic"
    if settings.keep == "best" and settings.back_projector == "matched":
        return "leave out --keep-best, since all blocks need as many iterations"
    if job.figure is not None:
        return "leave out --figure, which needs a whole volume"
    if settings.auto and image.sizes.get("c", 1) > 1:
        return "leave out --auto, which plans for one channel, or give one at a time"
    if job.path is None:
        return (
            "leave out --series, and give the files as one pattern: run_t{t}.tif "
            "(quoted)"
        )
    folder = getattr(image.data, "path", None)
    folder = folder if isinstance(folder, Path) else job.path
    if folder.is_dir() and folder.resolve() in target.resolve().parents:
        return f"write to a folder other than {folder}, which is read from"
    return ""


def _memory(options: BlockOptions) -> float | None:
    """Bytes that may be used; None if not known."""
    from .._core._memory import available_memory

    return available_memory() if options.memory is None else options.memory_bytes


def _shape(job: Any) -> tuple[int, ...]:
    """Of a volume, as it is deconvolved: planes without z."""
    return job.image.volume_shape[1 if job.is_plane else 0 :]


def deconvolve_in_blocks(
    job: Any, target: Path, options: BlockOptions, *, overwrite: bool
) -> None:
    """Do a job in blocks."""
    from .. import volumes

    psfs = [job.psf(channel) for channel in range(job.image.sizes.get("c", 1))]
    how = _planned(job, options) if job.settings.auto else _given(job.settings, psfs)
    work: Callable[..., Any] = functools.partial(
        volumes.deconvolve,
        source_of(job),
        target,
        psfs if len(psfs) > 1 else psfs[0],
        boundary=job.settings.boundary,
        dtype=job.dtype,
        scale=job.scale,
        **how,
    )
    work_in_blocks(work, options, target, overwrite=overwrite)
    if how["background"] == "auto" and not options.dry_run:
        levels = manifest_of(target)["shared"]["background"]
        known = ", ".join(f"{level:.6g}" for level in dict.fromkeys(levels))
        say(f"background {known} (darkest parts of some)")


def source_of(job: Any) -> Any:
    """The path, where that alone says all: others can open it, and use its pyramid."""
    path = job.path
    plain = path.is_file() or path.name.lower().endswith((".zarr", ".n5"))
    return path if plain and not job.resized else job.image


def _given(settings: Settings, psfs: Sequence[Any]) -> dict[str, Any]:
    """Arguments of `volumes.deconvolve` for what the user said."""
    offset = 0.0 if settings.gain is None else settings.offset or 0.0
    background = "auto" if settings.background is None else settings.background
    if not isinstance(background, str):
        background = max(background, offset)
    return {
        "iterations": settings.iterations,
        "back_projector": settings.back_projection(*psfs),
        "accelerated": settings.accelerated,
        "resolution": settings.resolution,
        "alpha": settings.alpha,
        "background": background,
        "init": settings.start,
        "restore_flux": settings.restore_flux,
        "likelihood": AboveOffset(offset=offset) if offset else None,
    }


def _planned(job: Any, options: BlockOptions) -> dict[str, Any]:
    """Arguments of `volumes.deconvolve` that a plan on a bright part suggests."""
    psf = job.psf(0)
    part = bright_part(job.image, psf.shape, job.settings, _memory(options))
    say(f"a bright part of {' x '.join(map(str, part.shape))} voxels:")
    plan = make_plan(part[0] if job.is_plane else part, psf, job.settings, "")
    choice, offset = plan.choice, _rounded(plan.offset)
    return {
        "iterations": choice.iterations,
        "back_projector": choice.back_projector,
        "accelerated": choice.accelerated,
        "resolution": "fwhm" if choice.resolution is None else choice.resolution,
        "alpha": choice.alpha,
        "background": max(_rounded(plan.background), offset, 0.0),
        "init": choice.start,
        "restore_flux": not choice.matched,
        "likelihood": AboveOffset(offset=offset) if offset else None,
    }


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


def bright_part(
    image: Any, psf_shape: Sequence[int], settings: Settings, memory: float | None
) -> np.ndarray:
    """The brightest of some parts of the first volume, as large as a plan needs.

    Args:
        image: lazily read.
        psf_shape: of the PSF.
        settings: what memory depends on.
        memory: bytes that may be used; None: not known.
    """
    shape = image.volume_shape
    first = (0,) * (len(image.shape) - len(shape))
    size = _part_shape(shape, psf_shape, settings, memory)
    places = [
        sorted({int(a) for a in np.linspace(0, n - s, LOOKS)})
        for n, s in zip(shape, size, strict=True)
    ]

    def light(corner: Sequence[int]) -> float:
        middle = [a + s // 2 for a, s in zip(corner, size, strict=True)]
        looked = [min(s, EDGE) for s in size]
        starts = [m - n // 2 for m, n in zip(middle, looked, strict=True)]
        return float(_cut(image, first, starts, looked).mean())

    corners = list(itertools.product(*places))
    best = max(corners, key=light) if len(corners) > 1 else corners[0]
    return _cut(image, first, best, size)


def _cut(image, first, starts: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
    box = [slice(a, a + n) for a, n in zip(starts, sizes, strict=True)]
    return np.asarray(image.data[(*first, *box)], image.dtype)


def _part_shape(shape, psf_shape, settings: Settings, memory: float | None):
    size = list(shape)

    def fits() -> bool:
        needed = needed_memory(
            size[-len(psf_shape) :], psf_shape, **settings.memory_options
        )
        return math.prod(size) <= MOST_PLANNED and (memory is None or needed <= memory)

    while not fits():
        axis = int(np.argmax(size))
        if size[axis] <= LEAST_PLANNED:
            break  # `make_plan` says that it does not fit
        size[axis] = max(size[axis] // 2, LEAST_PLANNED)
    return tuple(size)
