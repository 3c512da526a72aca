"""A PSF with which a scheme performs: a setting of the scheme, not a measurement."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from ..._core._check import as_float_array, check_count, check_image
from ...deconvolution import Problem, RichardsonLucy, Scheme
from ...operators import Convolution
from ..schemes._tune import log_error
from ..schemes._unrolled import seen_after
from ._diversity_views import Model
from ._fit_inputs import OnVector, check_range, evaluate
from ._parameters import Parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffectivePSF:
    """A PSF that makes one scheme come near the truth; not the microscope's.

    Attributes:
        psf: centred on n // 2, with unit sum. To be used with the same scheme and the
            same number of updates, and for nothing else.
        parameters: of the model, a tree like `start`.
        iterations: for which it was tuned.
        loss: mean logarithm of the relative error.
        start_loss: with the parameters at the start; never less than `loss`.
        history: loss before every step, and after the last.
    """

    psf: jax.Array
    parameters: Any
    iterations: int
    loss: float
    start_loss: float
    history: jax.Array


def effective_psf(
    images: Sequence[ArrayLike],
    truths: Sequence[ArrayLike],
    model: Model,
    *,
    start: Mapping[str, Any],
    iterations: int,
    bounds: Mapping[str, Any] | None = None,
    scheme: Scheme | None = None,
    background: ArrayLike = 0.0,
    steps: int = 50,
    rate: float = 0.05,
) -> EffectivePSF:
    """Tune a PSF so that a scheme of K updates comes nearest to known objects.

    This is not the physical PSF, and no estimate of it: after few updates a scheme has
    not undone the blur, and a PSF that compensates for that is another one (for
    Richardson-Lucy, typically with less than half of the true aberration). For the
    microscope's PSF use `fit_beads` or `phase_diversity`.

    Args:
        images: (z, y, x) or (y, x), of one shape.
        truths: the objects inside the field of view, in the images' units.
        model: `model(**parameters)` gives a PSF.
        start: its parameters, by keyword.
        iterations: K.
        bounds: by keyword, (low, high).
        scheme: whose operator is the blur by the PSF; None: `RichardsonLucy()`.
        background: of the images.
        steps: of Adam.
        rate: of Adam, in units of a quarter of the bounds' range, or of a tenth of the
            start, or of 0.3.

    Returns:
        An `EffectivePSF`: the best of all parameters seen.

    Raises:
        ValueError: images and truths that do not fit each other.

    Example:
        >>> import functools, jax.numpy as jnp, jaxdecon as jd
        >>> truth = jnp.zeros((24, 24)).at[8, 9].set(100.0).at[15, 12].set(50.0)
        >>> model = functools.partial(jd.psf.gaussian, (9, 9))
        >>> blur = jd.operators.Convolution.from_psf(
        ...     model(fwhm=3.0), (24, 24), boundary="reflect")
        >>> image = jnp.maximum(blur(truth), 0)
        >>> found = jd.learning.effective_psf(
        ...     [image], [truth], model, start={"fwhm": 3.0}, iterations=3,
        ...     background=0.1, steps=5)
        >>> found.loss <= found.start_loss
        True
    """
    check_count("iterations", iterations, 1)
    check_count("steps", steps)
    data, known = _pairs(images, truths)
    parameters = Parameters.parse(start, bounds, None)
    view = OnVector.of(model, parameters.unravel(jnp.asarray(parameters.start)))
    check_range(view, parameters)
    limits = (parameters.low, parameters.high, parameters.spread, parameters.start)
    first = [jnp.asarray(limit, data.dtype) for limit in limits]
    scheme = RichardsonLucy() if scheme is None else scheme
    background = as_float_array("background", background).astype(data.dtype)
    places, losses = _tuned(
        view, scheme, data, known, background, first, iterations, steps, rate
    )
    best = int(np.nanargmin(losses))
    return EffectivePSF(
        psf=evaluate(view, places[best]),
        parameters=parameters.unravel(places[best]),
        iterations=iterations,
        loss=float(losses[best]),
        start_loss=float(losses[0]),
        history=losses,
    )


@functools.partial(jax.jit, static_argnums=(0, 6, 7, 8))
def _tuned(view, scheme, data, known, background, limits, iterations, steps, rate):
    """Parameters and losses before every step, and after the last."""
    low, high, spread, start = limits
    optimizer = optax.adam(rate)

    def loss(vector):
        psf = view(vector)

        def one(image, truth):
            operator = Convolution.from_psf(psf, image.shape, boundary="extend")
            problem = Problem(data=image, operator=operator, background=background)
            seen = seen_after(scheme, problem, iterations=iterations)
            return log_error(seen, truth)

        return jax.lax.map(lambda pair: one(*pair), (data, known)).mean()

    def step(carry, _):
        vector, memory = carry
        value, slope = jax.value_and_grad(loss)(vector)
        change, memory = optimizer.update(slope * spread, memory)
        moved = jnp.clip(vector + spread * change, low, high)
        return (moved, memory), (vector, value)

    carry = (start, optimizer.init(start))
    (last, _), (places, losses) = jax.lax.scan(step, carry, length=steps)
    places = jnp.concatenate([places, last[None]])
    return places, jnp.append(losses, loss(last))


def _pairs(images, truths) -> tuple[jax.Array, jax.Array]:
    data = [check_image("images", image) for image in images]
    known = [check_image("truths", truth) for truth in truths]
    if not data or len(data) != len(known):
        raise ValueError(
            f"`images` has {len(data)} and `truths` {len(known)}; one truth for every "
            f"image is needed."
        )
    shapes = {array.shape for array in (*data, *known)}
    if len(shapes) > 1:
        raise ValueError(
            f"`images` and `truths` have shapes {sorted(shapes)}; one is needed."
        )
    return jnp.stack(data), jnp.stack(known)
