"""One call from views on one grid to one deconvolved volume."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_image
from ..deconvolution import FluxPreserving, Likelihood, Poisson, Prior, Problem, Result
from ..deconvolution._driver import run
from ..deconvolution._inputs import check_background, check_init, warn_about_psf
from ..deconvolution._priors import check_prior
from ..deconvolution._varying import check_one_device
from ..operators import BOUNDARIES, Views
from ..operators._sharded import images_on_mesh
from ..operators._varying import blur_by
from ..psf import PSFField
from ._alternating import UPDATES, joint_scheme
from ._back_projectors import COMPOUND
from ._dark_noise import with_dark_noise
from ._joint_blurs import check_blurs, joint_blurs


def joint_richardson_lucy(
    views: Sequence[ArrayLike],
    psfs: Sequence[ArrayLike | PSFField],
    *,
    iterations: int,
    back_projectors: Any = "matched",
    update: str = "alternating",
    background: ArrayLike | Sequence[ArrayLike] = 0.0,
    boundary: str = "extend",
    init: str | ArrayLike = "image",
    keep: Literal["auto", "last", "best"] = "auto",
    restore_flux: bool = False,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
    mesh: Mesh | None = None,
) -> jax.Array:
    """Deconvolve several views that lie on one grid into one volume.

    For views in poses and on grids of their own use `fuse`. Differentiable in views,
    PSFs, backgrounds and back projectors; works under `jit`, `vmap` and `grad`.

    Args:
        views: (z, y, x) or (y, x), of one shape, non-negative, registered.
        psfs: one per view, centred on n // 2, in the orientation of the common grid;
            divided by their sums. Any of them may be a `PSFField`, see
            `richardson_lucy`.
        iterations: sweeps over all views. With matched back projectors 10-20, with
            "wiener-butterworth" 1-3.
        back_projectors: a name or kernel for all views (see `richardson_lucy`), or a
            list with one for each; or "compound" (`compound_back_projectors`).
        update: "alternating": every view in turn, on what the view before has left;
            "additive": the mean of what all views ask of one common estimate, which
            needs about as many times the iterations as there are views; "compound":
            alternating with compound back projectors.
        background: of all views, or a list with one for each. What lies below it tells
            how noisy dark voxels are; see `likelihood`.
        boundary: what lies outside the field: "extend" (unknown light), "periodic",
            "reflect", "edge"; see `operators.Convolution.from_psf`.
        init: "image" (the mean of the views), "constant", or an array to start from.
        keep: as for `richardson_lucy`.
        restore_flux: scale the result so that it predicts as much light as the views
            have.
        prior: penalty on the object.
        likelihood: of the noise; None: that of photons on a background whose noise is
            as seen in the voxels below it, so that a camera's offset does not count as
            light.
        alpha: see `jaxdecon.back_projector`; as `beta`, `order` and `resolution`.
        beta: see `jaxdecon.back_projector`.
        order: see `jaxdecon.back_projector`.
        resolution: see `jaxdecon.back_projector`.
        mesh: devices (`operators.z_mesh`) that hold the volume together, each a slab
            along its first axis; see `operators.ShardedConvolution`. None: one device.

    Returns:
        The deconvolved volume, of a view's shape; non-negative.

    Raises:
        ValueError: views of different shapes, not one PSF per view, and what
            `richardson_lucy` refuses.

    Warns:
        OverIterationWarning: unmatched back projectors left the data.

    Example:
        >>> import jax.numpy as jnp, jaxdecon as jd
        >>> psfs = [jd.psf.gaussian((9, 9), w) for w in ((5.0, 2.0), (2.0, 5.0))]
        >>> views = jnp.ones((2, 24, 24)).at[:, 12, 12].set(50.0)
        >>> jd.joint_richardson_lucy(views, psfs, iterations=3).shape
        (24, 24)

    References:
        See `fusion.AlternatingRichardsonLucy` and `fusion.compound_back_projectors`.
    """
    if mesh is not None:
        views, background, init = images_on_mesh(mesh, list(views), background, init)
    least = 0.0 if likelihood is None or isinstance(likelihood, Poisson) else None
    images = check_views(views, least)
    backgrounds = check_backgrounds(background, images)
    given = check_blurs(psfs, images[0], len(images))
    for psf in given:
        check_one_device(psf, mesh)
        if not isinstance(psf, PSFField):
            warn_about_psf(psf)
    check_count("iterations", iterations)
    check_choice("update", update, UPDATES)
    check_choice("boundary", boundary, BOUNDARIES)
    check_choice("keep", keep, ("auto", "last", "best"))
    check_prior(prior, images[0].ndim)
    options = {"alpha": alpha, "beta": beta, "order": order, "resolution": resolution}
    kind = _kind(update, back_projectors)
    blurs, kernels = joint_blurs(given, kind, images[0], boundary, **options)
    start, initial = check_init(init, images[0])
    if keep == "auto":
        keep = "last" if kernels is None else "best"
    result = _joint(
        images,
        blurs,
        kernels,
        backgrounds,
        likelihood,
        initial,
        prior,
        update=update,
        start=start,
        iterations=iterations,
        boundary=boundary,
        keep=keep,
        restore_flux=bool(restore_flux),
        mesh=mesh,
    )
    return result.raise_for_status().value


def check_views(
    views: Sequence[ArrayLike], least: float | None
) -> tuple[jax.Array, ...]:
    """Two or more volumes of one shape."""
    images = [check_image(f"views[{i}]", v, least=least) for i, v in enumerate(views)]
    if not images:
        raise ValueError("`views` is empty; one view or more are needed.")
    for i, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(
                f"`views[{i}]` has shape {image.shape} and `views[0]` "
                f"{images[0].shape}; one shape is needed: use `fuse` for views on "
                f"grids of their own."
            )
    dtype = jnp.result_type(*images)
    return tuple(image.astype(dtype) for image in images)


def check_backgrounds(
    background: Any, images: Sequence[jax.Array]
) -> tuple[jax.Array, ...]:
    """A background for every view, of one for all or of one for each."""
    many = isinstance(background, list | tuple)
    each: list[Any] = list(background) if many else [background] * len(images)
    if len(each) != len(images):
        raise ValueError(
            f"`background` has {len(each)} parts; one, or one per view "
            f"({len(images)}), are needed."
        )
    return tuple(check_background(b, i) for b, i in zip(each, images, strict=True))


def _kind(update: str, back_projectors: Any) -> Any:
    if update != COMPOUND:
        return back_projectors
    if isinstance(back_projectors, str) and back_projectors in ("matched", COMPOUND):
        return COMPOUND
    raise ValueError(
        '`update` is "compound", which has back projectors of its own; leave out '
        "`back_projectors`, or use another update."
    )


@functools.partial(
    jax.jit,
    static_argnames=(
        *("update", "start", "iterations", "boundary", "keep"),
        *("restore_flux", "mesh"),
    ),
)
def _joint(
    images,
    psfs,
    kernels,
    backgrounds,
    likelihood,
    initial,
    prior,
    *,
    update: str,
    start: str,
    iterations: int,
    boundary: str,
    keep: str,
    restore_flux: bool,
    mesh: Mesh | None,
) -> Result:
    """The whole solve as one program."""
    shape = images[0].shape
    operators = [blur_by(p, shape, boundary=boundary, mesh=mesh) for p in psfs]
    backs = None
    if kernels is not None:
        pairs = zip(operators, kernels, strict=True)
        backs = tuple(o.T if k is None else o.back_projection(k) for o, k in pairs)
    if initial is not None:
        initial = operators[0].lift(initial)
    scheme = joint_scheme(update, backs, prior=prior, initial=initial, start=start)
    if restore_flux:
        scheme = FluxPreserving(scheme=scheme)
    if likelihood is None:
        images, backgrounds = with_dark_noise(images, backgrounds)
        likelihood = Poisson()
    problem = Problem(
        data=images,
        operator=Views(operators),
        background=backgrounds,
        likelihood=likelihood,
    )
    return run(problem, scheme, iterations=iterations, keep=keep)
