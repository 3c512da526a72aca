"""One call from image and PSF to a deconvolved image."""

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import (
    as_float_array,
    check_choice,
    check_count,
    check_finite,
    check_image,
    check_positive,
    check_psf,
    check_values,
    is_traced,
)
from ..fourier import unwrap_kernel
from ..operators import BOUNDARIES, Convolution
from ._accelerated import Accelerated
from ._back_projector import back_projector as make_back_projector
from ._driver import KEEP, estimate, run
from ._flux import FluxPreserving
from ._problem import Problem
from ._result import Result
from ._richardson_lucy import RichardsonLucy
from ._scheme import Scheme

PEDESTAL_SHARE = 0.25
"""Share of a PSF's energy in its least value above which it looks like a pedestal."""


def richardson_lucy(
    image: ArrayLike,
    psf: ArrayLike,
    *,
    iterations: int,
    back_projector: str | ArrayLike = "matched",
    background: ArrayLike = 0.0,
    boundary: str = "extend",
    init: str | ArrayLike = "image",
    keep: Literal["last", "best"] = "last",
    restore_flux: bool = False,
    accelerated: bool = False,
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
) -> jax.Array:
    """Deconvolve an image with a PSF by Richardson-Lucy.

    Differentiable in image, PSF, background and back projector; works under `jit`,
    `vmap` (channels, time points, batches) and `grad`. For the history of the run, a
    stopping rule or another forward model use `deconvolve`.

    Args:
        image: (z, y, x) or (y, x), non-negative. Integers are taken as float32.
        psf: centred on n // 2, any size; divided by its sum (with a warning if that
            is not near 1).
        iterations: 10-50 with the matched back projector, 1-3 with an unmatched one.
        back_projector: "matched", "gaussian", "butterworth", "wiener",
            "wiener-butterworth", or a kernel centred on n // 2, divided by its sum.
        background: camera offset and stray light, in the image's units; a number or
            an array that broadcasts against the image. Not part of the result.
        boundary: what lies outside the field: "extend" (unknown light), "periodic",
            "reflect", "edge"; see `operators.Convolution.from_psf`.
        init: "image", "constant", or an array to start from, of the image's shape.
        keep: "last", or "best": the estimate with the least data residual.
        restore_flux: scale the result so that it predicts as much light as the data
            have. The matched scheme does so by itself after every update; unmatched
            ones drift by some per cent.
        accelerated: extrapolate between updates (`Accelerated`): far fewer of them.
        alpha: see `jaxdecon.back_projector`; as `beta`, `order` and `resolution`.
        beta: see `jaxdecon.back_projector`.
        order: see `jaxdecon.back_projector`.
        resolution: see `jaxdecon.back_projector`.

    Returns:
        The deconvolved image, of the image's shape; non-negative.

    Raises:
        TypeError: complex or non-numeric input.
        ValueError: NaN, infinite or negative values; a PSF that is zero or of other
            dimensionality than the image; unknown options.

    Warns:
        OverIterationWarning: an unmatched back projector was iterated until the data
            residual grew, with the numbers (not while tracing).

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9, 9), 3.0)
        >>> image = jax.numpy.ones((16, 16, 16)).at[8, 8, 8].set(100.0)
        >>> jd.richardson_lucy(image, psf, iterations=5).shape
        (16, 16, 16)

    References:
        See `RichardsonLucy` and `jaxdecon.back_projector`.
    """
    image = check_image("image", image)
    psf = check_psf("psf", psf, image.ndim).astype(image.dtype)
    check_count("iterations", iterations)
    check_choice("boundary", boundary, BOUNDARIES)
    check_choice("keep", keep, KEEP)
    background = _check_background(background, image)
    _warn_about_psf(psf)
    kernel = _back_projection_kernel(
        psf, back_projector, alpha=alpha, beta=beta, order=order, resolution=resolution
    )
    start, initial = _check_init(init, image)
    unmatched = kernel is not None and not is_traced(image, psf, kernel)
    result = _richardson_lucy(
        image,
        psf,
        kernel,
        background,
        initial,
        iterations=iterations,
        boundary=boundary,
        start=start,
        keep=keep,
        accelerated=accelerated,
        restore_flux=restore_flux,
        watch=unmatched or keep == "best",
    )
    if isinstance(result, Result):
        return result.raise_for_status().value
    return result


@functools.partial(
    jax.jit,
    static_argnames=(
        *("iterations", "boundary", "start", "keep"),
        *("accelerated", "restore_flux", "watch"),
    ),
)
def _richardson_lucy(
    image,
    psf,
    kernel,
    background,
    initial,
    *,
    iterations: int,
    boundary: str,
    start: str,
    keep: str,
    accelerated: bool,
    restore_flux: bool,
    watch: bool,
) -> Any:
    """The whole solve as one program: the image alone, or a `Result` to watch it."""
    operator = Convolution.from_psf(psf / psf.sum(), image.shape, boundary=boundary)
    scheme = _compose(
        operator,
        kernel,
        initial,
        start=start,
        accelerated=accelerated,
        restore_flux=restore_flux,
    )
    problem = Problem(data=image, operator=operator, background=background)
    if watch:
        return run(problem, scheme, iterations=iterations, keep=keep)
    return operator.image_region(estimate(problem, scheme, iterations=iterations))


def _compose(
    operator: Convolution, kernel, initial, *, start, accelerated, restore_flux
) -> Scheme:
    scheme: Any = RichardsonLucy(
        back_projector=None if kernel is None else operator.back_projection(kernel),
        initial=None if initial is None else operator.lift(initial),
        start=start,
    )
    scheme = FluxPreserving(scheme=scheme) if restore_flux else scheme
    return Accelerated(scheme=scheme) if accelerated else scheme


def richardson_lucy_scheme(
    operator: Convolution,
    psf: ArrayLike,
    *,
    back_projector: str | ArrayLike = "matched",
    start: Literal["image", "constant"] = "image",
    accelerated: bool = False,
    restore_flux: bool = False,
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
) -> Scheme:
    """The scheme that `richardson_lucy` runs, for use with `deconvolve`.

    Args:
        operator: the blur, `Convolution.from_psf(psf, ...)`.
        psf: the PSF of which the back projector is made.
        back_projector: as for `richardson_lucy`; as are the others.
        start: "image" or "constant".
        accelerated: wrap in `Accelerated`.
        restore_flux: wrap in `FluxPreserving`.
        alpha: see `jaxdecon.back_projector`; as `beta`, `order` and `resolution`.
        beta: see `jaxdecon.back_projector`.
        order: see `jaxdecon.back_projector`.
        resolution: see `jaxdecon.back_projector`.

    Returns:
        A scheme.

    Raises:
        ValueError: as `richardson_lucy`.

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (32, 32))
        >>> scheme = jd.deconvolution.richardson_lucy_scheme(
        ...     blur, psf, back_projector="wiener-butterworth")
        >>> jd.deconvolve(jax.numpy.ones((32, 32)), blur, scheme, iterations=2).message
        'did 2 iterations; data residual 0'
    """
    psf = check_psf("psf", psf, len(operator.range))
    check_choice("start", start, ("image", "constant"))
    kernel = _back_projection_kernel(
        psf, back_projector, alpha=alpha, beta=beta, order=order, resolution=resolution
    )
    return _compose(
        operator,
        kernel,
        None,
        start=start,
        accelerated=accelerated,
        restore_flux=restore_flux,
    )


def wiener(
    image: ArrayLike,
    psf: ArrayLike,
    *,
    noise: ArrayLike,
    background: ArrayLike = 0.0,
    boundary: str = "reflect",
) -> jax.Array:
    """Deconvolve by one linear filter, scaled to keep the flux::

        x = (1 + noise) conj(F) / (|F|^2 + noise) (y - b)

    Fast and linear, and so it rings and goes below zero where Richardson-Lucy does
    not.

    Args:
        image: (z, y, x) or (y, x), non-negative.
        psf: centred on n // 2; divided by its sum.
        noise: power of the noise over that of the object, > 0, e.g. 0.01.
        background: subtracted first.
        boundary: "reflect" or "edge": the image is continued before filtering;
            "periodic": it is filtered on its own grid.

    Returns:
        The filtered image, of the image's shape; has negative values.

    Raises:
        ValueError: as `richardson_lucy`.
    """
    image = check_image("image", image)
    psf = check_psf("psf", psf, image.ndim).astype(image.dtype)
    check_positive("noise", noise)
    check_choice("boundary", boundary, ("reflect", "edge", "periodic"))
    background = _check_background(background, image)
    _warn_about_psf(psf)
    noise = jnp.asarray(noise, image.dtype)
    return _wiener(image - background, psf, noise, boundary=boundary)


@functools.partial(jax.jit, static_argnames="boundary")
def _wiener(signal, psf, noise, *, boundary: str) -> jax.Array:
    operator = Convolution.from_psf(psf / psf.sum(), signal.shape, boundary=boundary)
    otf = operator.transfer
    gain = (1 + noise) * otf.conj() / (abs(otf) ** 2 + noise)
    return dataclasses.replace(operator, transfer=gain)(signal)


def _check_background(background: ArrayLike, image: jax.Array) -> jax.Array:
    array = as_float_array("background", background)
    check_values("background", array)
    try:
        fits = jnp.broadcast_shapes(array.shape, image.shape) == image.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`background` has shape {array.shape}, which does not broadcast against "
            f"the image's {image.shape}."
        )
    return array.astype(image.dtype)


def _warn_about_psf(psf: jax.Array) -> None:
    """Say what will be done to, or may be wrong with, a PSF."""
    if is_traced(psf):
        return
    values = np.asarray(psf)
    total = float(values.sum(dtype=np.float64))
    if abs(total - 1) > 0.01:
        warnings.warn(
            f"`psf` sums to {total:.6g}, not 1; it is divided by its sum.",
            stacklevel=3,
        )
    share = float(values.min()) * values.size / total
    if share > PEDESTAL_SHARE:
        warnings.warn(
            f"`psf` nowhere falls below {values.min() / values.max():.1%} of its "
            f"maximum, and this pedestal holds {share:.0%} of its energy: remove the "
            f"background (`jaxdecon.psf.from_measured`), or use a larger array if the "
            f"PSF was cut.",
            stacklevel=3,
        )


def _back_projection_kernel(psf, back_projector, **options) -> jax.Array | None:
    """The kernel with unit sum; None for the matched one, whose operator is A^T."""
    if isinstance(back_projector, str):
        if back_projector == "matched":
            return None
        kernel = make_back_projector(psf, back_projector, **options)
        return unwrap_kernel(kernel).astype(psf.dtype)
    kernel = as_float_array("back_projector", back_projector)
    check_finite("back_projector", kernel)
    if kernel.ndim != psf.ndim:
        raise ValueError(
            f"`back_projector` has shape {kernel.shape}; {psf.ndim} axes are needed."
        )
    too_large = any(k > p for k, p in zip(kernel.shape, psf.shape, strict=True))
    if too_large:
        raise ValueError(
            f"`back_projector` has shape {kernel.shape}, larger than the PSF's "
            f"{psf.shape}: pad the PSF with zeros, or crop the back projector."
        )
    if not is_traced(kernel) and not np.asarray(kernel).sum() > 0:
        raise ValueError("`back_projector` must have a positive sum.")
    return (kernel / kernel.sum()).astype(psf.dtype)


def _check_init(init: Any, image: jax.Array) -> tuple[str, jax.Array | None]:
    if isinstance(init, str):
        return check_choice("init", init, ("image", "constant")), None
    initial = check_image("init", init)
    if initial.shape != image.shape:
        raise ValueError(
            f"`init` has shape {initial.shape}; the image's, {image.shape}, is needed."
        )
    return "image", initial.astype(image.dtype)
