"""One call from image and PSF to a deconvolved image."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_image
from ..operators import BOUNDARIES
from ..operators._sharded import images_on_mesh
from ..operators._varying import blur_by
from ..operators._varying_parts import Parts
from ..psf import PSFField
from ._compose import Recipe, check_stop, with_stop
from ._driver import KEEP, estimate, run
from ._inputs import check_background, check_init, warn_about_psf
from ._likelihood import Likelihood, Poisson
from ._priors import Prior, check_prior
from ._problem import Problem
from ._result import Result
from ._stopping import StoppingRule
from ._varying import back_projection, check_blur, check_one_device, taken_apart


def richardson_lucy(
    image: ArrayLike,
    psf: ArrayLike | PSFField,
    *,
    iterations: int,
    back_projector: str | ArrayLike | PSFField = "matched",
    background: ArrayLike = 0.0,
    boundary: str = "extend",
    init: str | ArrayLike = "image",
    keep: Literal["auto", "last", "best"] = "auto",
    restore_flux: bool = False,
    accelerated: bool = False,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    stop: str | StoppingRule | None = None,
    key: jax.Array | None = None,
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
    mesh: Mesh | None = None,
) -> jax.Array:
    """Deconvolve an image with a PSF by Richardson-Lucy.

    Differentiable in image, PSF, background, back projector and weights; works under
    `jit`, `vmap` (channels, time points, batches) and `grad` (without `stop`). For the
    history of the run or another forward model use `deconvolve`.

    Args:
        image: (z, y, x) or (y, x), non-negative. Integers are taken as float32.
        psf: centred on n // 2, any size; divided by its sum (with a warning if that
            is not near 1). Or a `PSFField`, for blur that changes over the image; it is
            approximated to 1 % (`VaryingConvolution.from_field`; for another accuracy
            use `deconvolve`).
        iterations: 10-50 with the matched back projector, 1-3 with an unmatched one;
            with `stop`, the most to do.
        back_projector: "matched", "gaussian", "butterworth", "wiener",
            "wiener-butterworth", "omw", or a kernel centred on n // 2, divided by its
            sum. Of a field, every PSF gets a back projector of its own; a kernel is
            used everywhere, and a `PSFField` of kernels at its own nodes.
        background: camera offset and stray light, in the image's units; a number or
            an array that broadcasts against the image. Not part of the result.
        boundary: what lies outside the field: "extend" (unknown light), "periodic",
            "reflect", "edge"; see `operators.Convolution.from_psf`.
        init: "image", "constant", or an array to start from, of the image's shape.
        keep: "last", or "best": the estimate with the least data residual. "auto":
            the best with unmatched back projectors, which leave the data when iterated
            too often, and the last with the matched one, which cannot.
        restore_flux: scale the result so that it predicts as much light as the data
            have. The matched scheme does so by itself after every update; unmatched
            ones drift by some per cent, and on lone points in the dark by a factor of
            two. With `boundary="extend"` the result also explains light that was
            blurred out of the field, so that its sum may exceed the image's.
        accelerated: extrapolate between updates (`Accelerated`): far fewer of them.
        prior: penalty on the object, `TotalVariation` or `Tikhonov`.
        likelihood: of the noise; None: `Poisson()`.
        stop: when to stop before `iterations`: "change" (`RelativeChange`),
            "discrepancy" (`Discrepancy`), "held-out" (`HeldOut`), "rehearsal"
            (`Rehearsal`), "consensus" (`GradientConsensus` and `Agreement`), or a rule.
            The last three need photon counts (`to_counts`), "discrepancy" counts or a
            `likelihood` that knows the gain.
        key: of `jax.random.key`, for the splitting of photons; None: always the same.
        alpha: see `jaxdecon.back_projector`; as `beta`, `order` and `resolution`.
        beta: see `jaxdecon.back_projector`.
        order: see `jaxdecon.back_projector`.
        resolution: see `jaxdecon.back_projector`.
        mesh: devices (`operators.z_mesh`) that hold the volume together, each a slab
            along its first axis; see `operators.ShardedConvolution`. None: one device.

    Returns:
        The deconvolved image, of the image's shape; non-negative.

    Raises:
        TypeError: complex or non-numeric input.
        ValueError: NaN, infinite or negative values; a PSF that is zero or of other
            dimensionality than the image; unknown options; a rule that needs photon
            counts and an image that has none; a weight that outvotes the data.

    Warns:
        OverIterationWarning: an unmatched back projector was iterated until the data
            residual grew, with the numbers, and what was kept (not while tracing).

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9, 9), 3.0)
        >>> image = jax.numpy.ones((16, 16, 16)).at[8, 8, 8].set(100.0)
        >>> jd.richardson_lucy(image, psf, iterations=5).shape
        (16, 16, 16)

    References:
        See `RichardsonLucy` and `jaxdecon.back_projector`.
    """
    if mesh is not None:
        image, background, init = images_on_mesh(mesh, image, background, init)
    least = 0.0 if likelihood is None or isinstance(likelihood, Poisson) else None
    image = check_image("image", image, least=least)
    psf = check_blur(psf, image.ndim, image.dtype)
    check_one_device(psf, mesh)
    check_count("iterations", iterations)
    check_choice("boundary", boundary, BOUNDARIES)
    check_choice("keep", keep, ("auto", *KEEP))
    check_prior(prior, image.ndim)
    check_stop(stop, image, likelihood)
    background = check_background(background, image)
    if not isinstance(psf, PSFField):
        warn_about_psf(psf)
    options = {"alpha": alpha, "beta": beta, "order": order, "resolution": resolution}
    kernel = back_projection(psf, back_projector, image.shape, boundary, **options)
    start, initial = check_init(init, image)
    recipe = Recipe(
        kernel=kernel,
        initial=initial,
        prior=prior,
        key=jax.random.key(0) if key is None else key,
        start=start,
        accelerated=accelerated,
        restore_flux=restore_flux,
    )
    if keep == "auto":
        keep = "last" if kernel is None else "best"
    result = _richardson_lucy(
        image,
        taken_apart(psf, image.shape, boundary),
        background,
        Poisson() if likelihood is None else likelihood,
        with_stop(recipe, stop),
        iterations=iterations,
        boundary=boundary,
        keep=keep,
        mesh=mesh,
    )
    if isinstance(result, Result):
        return result.raise_for_status().value
    return result


@functools.partial(jax.jit, static_argnames=("iterations", "boundary", "keep", "mesh"))
def _richardson_lucy(
    image,
    psf,
    background,
    likelihood,
    recipe: Recipe,
    *,
    iterations: int,
    boundary: str,
    keep: str,
    mesh: Mesh | None,
) -> Any:
    """The whole solve as one program: the image alone, or a `Result` to watch it."""
    psf = psf if isinstance(psf, Parts) else psf / psf.sum()
    operator = blur_by(psf, image.shape, boundary=boundary, mesh=mesh)
    scheme = recipe.scheme(operator)
    rule = recipe.rule(scheme)
    problem = Problem(
        data=image, operator=operator, background=background, likelihood=likelihood
    )
    if rule is not None or recipe.kernel is not None or keep == "best":
        return run(problem, scheme, rule, iterations=iterations, keep=keep)
    return operator.image_region(estimate(problem, scheme, iterations=iterations))
