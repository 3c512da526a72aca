"""Deconvolve a volume larger than memory."""

from collections.abc import Sequence
from typing import Any, Unpack

import jax
import numpy as np
from numpy.typing import ArrayLike

from .._core._check import check_choice, check_count, check_psf
from ..deconvolution import Likelihood, Poisson, Prior
from ..deconvolution._compose import STARTS
from ..deconvolution._inputs import back_projection_kernel, warn_about_psf
from ..deconvolution._priors import check_prior
from ..deconvolution._varying import back_projection_field, check_blur
from ..operators import BOUNDARIES
from ..operators._varying_parts import parts_of
from ..psf import PSFField
from ._agree import agreed, sample_backgrounds
from ._blocks import Shape
from ._deconvolve_blocks import Deconvolve, Method, digest
from ._deconvolve_optics import Optics
from ._halo import Halo, deconvolution_halo
from ._how import How, Options
from ._outcome import Run
from ._plan import Plan
from ._run import Job, run
from ._source import Source
from ._targets import make_target, target_path


def deconvolve(
    source: Any,
    target: Any,
    psf: ArrayLike | PSFField | Sequence[ArrayLike | PSFField],
    *,
    iterations: int,
    halo: Halo = "auto",
    skip_below: float | None = None,
    back_projector: str | ArrayLike | PSFField = "matched",
    background: str | float | Sequence[float] = 0.0,
    boundary: str = "extend",
    init: str = "image",
    restore_flux: bool = False,
    accelerated: bool = False,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
    dtype: str = "float32",
    scale: float = 1.0,
    **how: Unpack[How],
) -> Run | Plan:
    """Deconvolve an image of any size by Richardson-Lucy, block by block, to a file.

    Every block is computed together with a halo, and equals the same part of the
    deconvolved whole to within 1e-3 of its maximum. What depends on the whole image
    (background, amount of light, acceleration) is measured on a few bright blocks and
    is the same for all, so that their faces do not show. A killed run is taken up
    again by the same call, and ends with the same bytes.

    Args:
        source: a path (`io.read`), a Zarr array, an `Image` or an array; (z, y, x) or
            (y, x), with channels and time points before.
        target: a path that ends in .ome.zarr (or .zarr), or a Zarr array of the
            source's shape, which is written to in place.
        psf: centred on n // 2; divided by its sum. One for all channels, or a list. Or
            a `PSFField`, whose positions are voxels of the whole volume; it is taken
            apart once, to 1 %, and every block sees it from where it lies.
        iterations: of every block, the same.
        halo: voxels around a block, one number or one per axis; "auto": two to six
            radii of the PSF, by the number of iterations; "exact": as far as anything
            can reach.
        skip_below: blocks whose image nowhere reaches it are written as 0. Where the
            source has a pyramid it is looked for there, and they are not even read;
            a coarse voxel is the mean of many. None: blocks that nowhere exceed the
            background.
        back_projector: as for `richardson_lucy`.
        background: in the image's units, one for all channels or one for each; "auto":
            the level of the darkest parts of every channel.
        boundary: beyond the volume: "extend", "reflect" or "edge".
        init: "image" or "constant".
        restore_flux: let the result predict as much light as was recorded.
        accelerated: extrapolate between updates.
        prior: penalty on the object.
        likelihood: of the noise; None: `Poisson()`.
        alpha: see `jaxdecon.back_projector`; as `beta`, `order` and `resolution`.
        beta: see `jaxdecon.back_projector`.
        order: see `jaxdecon.back_projector`.
        resolution: see `jaxdecon.back_projector`.
        dtype: of the result; values that do not fit are an error.
        scale: factor on the result.
        how: block, engine, memory, resume, ...: how to run; see `How`.

    Returns:
        A `Run`; with `dry_run` the `Plan`.

    Raises:
        ValueError: unusable options or data; a journal that belongs to another run
            (`RunRefused`), or a run that is under way.
        FileExistsError: the target is there.
        MemoryError: not even the smallest block fits.
        BlocksFailed: some blocks could not be done; the rest are.
        OSError: disk full, source gone; what is done stays done.

    Example:
        >>> import tempfile, pathlib, numpy as np, jaxdecon as jd
        >>> image = np.random.default_rng(0).poisson(20, (32, 48, 48)).astype("uint16")
        >>> psf = jd.psf.gaussian((9, 9, 9), 3.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = pathlib.Path(folder) / "sharp.ome.zarr"
        ...     run = jd.volumes.deconvolve(image, target, psf, iterations=3, block=32)
        ...     jd.io.read(target).shape, run.blocks
        ((32, 48, 48), 4)
    """
    options = Options(**how)
    check_count("iterations", iterations, 1)
    check_choice("boundary", boundary, [b for b in BOUNDARIES if b != "periodic"])
    check_choice("init", init, STARTS)
    opened = Source(source)
    ndim = len(opened.shape)
    check_prior(prior, ndim)
    given = [_psf(p, ndim) for p in _per_channel("psf", psf, opened)]
    kind = {"alpha": alpha, "beta": beta, "order": order, "resolution": resolution}
    kernels = [_kernel(p, back_projector, kind) for p in given]
    psfs = [p if isinstance(p, PSFField) else p / p.sum() for p in given]
    levels = _backgrounds(background, opened)
    noise = Poisson() if likelihood is None else likelihood
    reach = np.max(
        [
            deconvolution_halo(halo, _envelope(p), _envelope(k), iterations)
            for p, k in zip(psfs, kernels, strict=True)
        ],
        0,
    )
    where = (opened.shape, boundary)
    blurs, backs = ([on_host(v, *where) for v in part] for part in (psfs, kernels))
    count = max(len(psfs), len(levels or psfs))
    operation = Deconvolve(
        source=opened,
        optics=tuple(
            Optics(
                psf=blurs[i % len(blurs)],
                kernel=backs[i % len(backs)],
                background=np.float32(0 if levels is None else levels[i % len(levels)]),
                likelihood=noise,
                prior=prior,
            )
            for i in range(count)
        ),
        method=Method(
            iterations=iterations,
            boundary=boundary,
            accelerated=accelerated,
            start=init,
        ),
        halo=tuple(int(n) for n in reach),
        skip_below=skip_below,
    )
    request = {
        "iterations": iterations,
        "boundary": boundary,
        "accelerated": accelerated,
        "init": init,
        "restore_flux": restore_flux,
        "halo": list(operation.halo),
        "psf": digest(psfs),
        "back_projector": digest(kernels),
        "background": "auto" if levels is None else list(levels),
        "noise": digest([noise, prior]),
    }

    def prepare(operation: Deconvolve, grid: Any) -> Deconvolve:
        if levels is None:
            operation = operation.with_backgrounds(sample_backgrounds(opened))
        return agreed(operation, grid, restore_flux=restore_flux)

    job = Job(
        operation=operation,
        target=make_target(target, opened.image, opened.shape, dtype, scale),
        path=target_path(target),
        sources=(opened,),
        request=request,
        skip_below=skip_below,
        prepare=prepare,
    )
    return run(job, options)


def _psf(psf: ArrayLike | PSFField, ndim: int) -> Any:
    """A PSF of as many axes as the volume (which may be one plane), or a field."""
    if isinstance(psf, PSFField):
        return check_blur(psf, ndim, np.float32)
    psf = np.asarray(psf)
    psf = psf[None] if (psf.ndim, ndim) == (2, 3) else psf
    checked = check_psf("psf", psf, ndim).astype(np.float32)
    warn_about_psf(checked)
    return checked


def _kernel(psf: Any, back_projector: Any, options: dict[str, Any]) -> Any:
    if isinstance(psf, PSFField):
        return back_projection_field(psf, back_projector, **options)
    return back_projection_kernel(psf, back_projector, **options)


def _envelope(kernel: Any) -> Any:
    """The largest magnitude that any kernel of a field has at each voxel."""
    if not isinstance(kernel, PSFField):
        return kernel
    return abs(np.asarray(kernel.psfs)).max(tuple(range(kernel.ndim)))


def on_host(kernel: Any, shape: Shape, boundary: str) -> Any:
    """Arrays that travel to other processes; a field is taken apart."""
    if isinstance(kernel, PSFField):
        kernel = parts_of(kernel, shape, boundary=boundary)
    return jax.tree.map(np.asarray, kernel)


def _per_channel(name: str, values: Any, source: Source) -> list[Any]:
    """One value for all channels, or one for each."""
    given = list(values) if isinstance(values, list | tuple) else [values]
    channels = source.image.sizes.get("c", 1)
    if len(given) not in (1, channels):
        raise ValueError(
            f"there are {len(given)} of `{name}` and {channels} channels; one for all, "
            f"or one for each, is needed."
        )
    return given


def _backgrounds(background: Any, source: Source) -> tuple[float, ...] | None:
    """Per channel, or one for all; None if they are to be measured."""
    if isinstance(background, str):
        check_choice("background", background, ("auto",))
        return None
    found = [float(b) for b in _per_channel("background", background, source)]
    if not all(np.isfinite(b) and b >= 0 for b in found):
        raise ValueError(f"`background` is {background}; zero or more is needed.")
    return tuple(found)
