"""Put schemes and stopping rules together from their names."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
from jax.typing import ArrayLike

from .._core._check import check_choice
from .._core._pytree import pytree, static
from ..operators import Convolution, VaryingConvolution
from ..psf import PSFField
from ._accelerated import Accelerated
from ._consensus import Agreement, GradientConsensus
from ._counts import check_counts
from ._flux import FluxPreserving
from ._held_out import HeldOut
from ._priors import Prior, check_prior
from ._rehearsal import Rehearsal
from ._richardson_lucy import RichardsonLucy
from ._scheme import Scheme
from ._stopping import Discrepancy, RelativeChange, StoppingRule
from ._varying import back_projection, check_blur

STOPS = ("change", "discrepancy", "held-out", "consensus", "rehearsal")
"""Names of stopping rules; see `richardson_lucy`."""
STARTS = ("image", "constant")


@pytree
class Recipe:
    """What the friendly functions make a scheme of.

    Attributes:
        kernel: back projector with unit sum, or a field of them taken apart; None:
            matched.
        initial: object to start from; None: `start`.
        prior: penalty, if any.
        key: for the splitting of photons.
        start: "image" or "constant".
        accelerated: whether to extrapolate.
        restore_flux: whether to keep the amount of light.
        stop: name of a rule, or a rule, or None.
    """

    kernel: Any
    initial: jax.Array | None
    prior: Prior | None
    key: jax.Array
    stop: Any = None
    stop_name: str | None = static(default=None)
    start: str = static(default="image")
    accelerated: bool = static(default=False)
    restore_flux: bool = static(default=False)

    def scheme(self, operator: Convolution | VaryingConvolution) -> Scheme:
        """The scheme for an operator."""
        back = None if self.kernel is None else operator.back_projection(self.kernel)
        initial = None if self.initial is None else operator.lift(self.initial)
        scheme: Any = RichardsonLucy(
            back_projector=back, prior=self.prior, initial=initial, start=self.start
        )
        if self.stop_name == "consensus":
            scheme = GradientConsensus(scheme=scheme, key=self.key)
        scheme = FluxPreserving(scheme=scheme) if self.restore_flux else scheme
        return Accelerated(scheme=scheme) if self.accelerated else scheme

    def rule(self, scheme: Scheme) -> StoppingRule | None:
        """The stopping rule for that scheme."""
        if self.stop_name is not None:
            return stopping_rule(self.stop_name, scheme, key=self.key)
        return self.stop


def with_stop(recipe: Recipe, stop: str | StoppingRule | None) -> Recipe:
    """The recipe with a rule given by its name or as an object."""
    if not isinstance(stop, str):
        return dataclasses.replace(recipe, stop=stop)
    return dataclasses.replace(recipe, stop_name=check_choice("stop", stop, STOPS))


def check_stop(stop: Any, image: jax.Array, likelihood: Any) -> None:
    """Refuse rules that need photon counts where there are none."""
    if stop in ("held-out", "consensus", "rehearsal"):
        check_counts("image", image, f"`stop={stop!r}`")
    if isinstance(stop, HeldOut | Rehearsal):
        check_counts("image", image, f"`{type(stop).__name__}`")
    if stop == "discrepancy" and likelihood is None:
        check_counts("image", image, '`stop="discrepancy"` without a `likelihood`')


def richardson_lucy_scheme(
    operator: Convolution | VaryingConvolution,
    psf: ArrayLike | PSFField,
    *,
    back_projector: str | ArrayLike | PSFField = "matched",
    start: Literal["image", "constant"] = "image",
    accelerated: bool = False,
    restore_flux: bool = False,
    prior: Prior | None = None,
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
    stop: str | None = None,
    key: jax.Array | None = None,
) -> Scheme:
    """The scheme that `richardson_lucy` runs, for use with `deconvolve`.

    Args:
        operator: the blur, `Convolution.from_psf(psf, ...)`, or
            `VaryingConvolution.from_field(psf, ...)` for a field.
        psf: the PSF of which the back projector is made, or the field.
        back_projector: as for `richardson_lucy`; as are the others.
        start: "image" or "constant".
        accelerated: wrap in `Accelerated`.
        restore_flux: wrap in `FluxPreserving`.
        prior: penalty on the object.
        alpha: see `jaxdecon.back_projector`; as `beta`, `order` and `resolution`.
        beta: see `jaxdecon.back_projector`.
        order: see `jaxdecon.back_projector`.
        resolution: see `jaxdecon.back_projector`.

        stop: name of a rule that the scheme is made for: "consensus" wraps it in
            `GradientConsensus`.
        key: of `jax.random.key`, for the splitting of photons; None: always the same.

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
    psf = check_blur(psf, len(operator.range), None)
    check_choice("start", start, STARTS)
    check_prior(prior, psf.ndim)
    options = {"alpha": alpha, "beta": beta, "order": order, "resolution": resolution}
    kernel = back_projection(
        psf, back_projector, operator.range, operator.boundary, **options
    )
    recipe = Recipe(
        kernel=kernel,
        initial=None,
        prior=prior,
        key=jax.random.key(0) if key is None else key,
        start=start,
        accelerated=accelerated,
        restore_flux=restore_flux,
    )
    return with_stop(recipe, stop).scheme(operator)


def stopping_rule(
    name: str, scheme: Scheme, *, key: jax.Array | None = None
) -> StoppingRule:
    """The rule that `richardson_lucy` uses under a name, for use with `deconvolve`.

    Args:
        name: one of `STOPS`.
        scheme: that is to be stopped.
        key: of `jax.random.key`, for the splitting of photons; None: always the same.

    Raises:
        ValueError: unknown name.

    Example:
        >>> import jaxdecon as jd
        >>> scheme = jd.deconvolution.RichardsonLucy()
        >>> type(jd.deconvolution.stopping_rule("held-out", scheme)).__name__
        'HeldOut'
    """
    key = jax.random.key(0) if key is None else key
    match check_choice("name", name, STOPS):
        case "change":
            return RelativeChange()
        case "discrepancy":
            return Discrepancy()
        case "held-out":
            return HeldOut(scheme=scheme, key=key)
        case "rehearsal":
            return Rehearsal(scheme=scheme, key=key)
    return Agreement()
