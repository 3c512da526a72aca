"""One call from image and PSF to a deconvolved image."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
from jax.typing import ArrayLike

from .._core._check import (
    check_choice,
    check_count,
    check_image,
    check_psf,
    is_traced,
)
from ..operators import BOUNDARIES, Convolution
from ._accelerated import Accelerated
from ._driver import KEEP, estimate, run
from ._flux import FluxPreserving
from ._inputs import (
    back_projection_kernel,
    check_background,
    check_init,
    warn_about_psf,
)
from ._problem import Problem
from ._result import Result
from ._richardson_lucy import RichardsonLucy
from ._scheme import Scheme


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
            ones drift by some per cent, and on lone points in the dark by a factor of
            two. With `boundary="extend"` the result also explains light that was
            blurred out of the field, so that its sum may exceed the image's.
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
    background = check_background(background, image)
    warn_about_psf(psf)
    kernel = back_projection_kernel(
        psf, back_projector, alpha=alpha, beta=beta, order=order, resolution=resolution
    )
    start, initial = check_init(init, image)
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
    kernel = back_projection_kernel(
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
