"""Blind deconvolution by Richardson-Lucy: an experiment, and the test it must pass."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import xlogy
from jax.typing import ArrayLike

from ..._core._check import check_count, check_image
from ...deconvolution import Problem, RichardsonLucy, to_counts
from ...deconvolution._driver import estimate
from ...operators import Convolution
from ._diversity_views import Model
from ._estimate import NullTest, PSFEstimate
from ._fit_inputs import OnVector, check_range, evaluate
from ._parameters import Parameters
from ._semi_blind import STANDARD_ERRORS, spacing_of
from ._sign_twin import (
    at_bounds,
    null_and_twin,
    spread_of_aberrations,
    which_aberrations,
)
from ._structure import check_structure
from ._whittle import Blocks, block_slices, spectral_scores

TEST_ITERATIONS = 30
"""Updates after which the residuals of an estimate and of its twin are compared."""
FACTORS = (0.5, 0.75, 1.33, 2.0, 3.0)
"""By which an estimate is multiplied to see if that is better."""
NO_SHARPER = 0.97
"""A PSF whose sum of squares is above this share of the null's is no more blurred."""


class ExperimentalWarning(UserWarning):
    """What was called is known to fail often."""


def experimental_blind(
    image: ArrayLike,
    model: Model,
    *,
    start: Mapping[str, Any],
    bounds: Mapping[str, Any] | None = None,
    spread: Mapping[str, Any] | None = None,
    voxel_size: Sequence[float] | None = None,
    background: float = 0.0,
    gain: float = 1.0,
    offset: float = 0.0,
    iterations: int = 2,
    steps: int = 60,
    rate: float = 0.05,
    key: jax.Array | None = None,
) -> PSFEstimate:
    """Estimate a PSF and the object from one image, in turns. Known to fail.

    Richardson-Lucy updates of the object on a domain larger than the field take turns
    with steps of the PSF's parameters, both for the likelihood of the photons. That
    likelihood is greatest where the PSF does not blur at all and the object is the
    image (Levin et al. 2009). From single planes the parameters go there; from stacks
    they usually fall short of the truth. So an estimate is called reliable only if
    another likelihood, one of the image's spectrum without an object (see
    `semi_blind`), prefers it to no aberration by more than blocks of the image
    disagree; if it is a PSF that blurs more than that one; and if its sign twin, all
    aberrations negated, explains the image worse. Use `fit_beads`, `phase_diversity`
    or `semi_blind` instead.

    Args:
        image: (z, y, x) or (y, x), photon counts or, with `gain` and `offset`, units.
        model: `model(**parameters)` gives the PSF on the image's voxels.
        start: the parameters to be estimated, by keyword.
        bounds: by keyword, (low, high).
        spread: by keyword, how far the truth may be from `start`; as for `fit_beads`.
        voxel_size: as for `semi_blind`.
        background: light that is not of the object, in units above `offset`.
        gain: units of the image per photon.
        offset: units without light.
        iterations: updates of the object in every turn.
        steps: turns.
        rate: of Adam, in units of `spread`.
        key: not used; for the other methods' sake.

    Returns:
        A `PSFEstimate`, usually not reliable. It has no errors: what is not known of
        the object is not accounted for.

    Raises:
        ValueError: an image without structure ("not identifiable").

    Warns:
        ExperimentalWarning: always.

    References:
        Fish et al., J. Opt. Soc. Am. A 12, 58 (1995), doi:10.1364/JOSAA.12.000058; why
        it fails: Levin et al., IEEE CVPR 1964 (2009), doi:10.1109/CVPR.2009.5206815.
    """
    warnings.warn(
        "blind deconvolution of a single image is known to end at no blur: look at "
        "`reliable` and `message` of the result.",
        ExperimentalWarning,
        stacklevel=2,
    )
    check_count("iterations", iterations, 1)
    check_count("steps", steps, 1)
    parameters = Parameters.parse(start, bounds, spread)
    parameters = spread_of_aberrations(parameters, spread)
    counts = to_counts(check_image("image", image), gain=gain, offset=offset)
    check_structure("image", counts)
    blocks = Blocks.of(counts, spacing_of(model, voxel_size, counts.ndim))
    view = OnVector.of(model, parameters.unravel(jnp.asarray(parameters.start)))
    check_range(view, parameters)
    dark = jnp.asarray(background / gain, counts.dtype)
    limits = (parameters.low, parameters.high, parameters.spread, parameters.start)
    first = [jnp.asarray(limit, counts.dtype) for limit in limits]
    vector, history = _in_turns(view, counts, dark, first, iterations, steps, rate)
    found = np.asarray(vector, float)
    test, doubts = _judge(view, counts, dark, blocks, parameters, found)
    held = at_bounds(parameters, found)
    if held:
        doubts.append(f"{', '.join(held)} ended at a bound")
    unknown = _unidentified(parameters)
    infinite = jnp.full(parameters.size, jnp.inf, counts.dtype)
    return PSFEstimate(
        psf=evaluate(view, vector),
        parameters=parameters.unravel(vector),
        errors=parameters.unravel(infinite),
        covariance=jnp.diag(infinite),
        method="experimental-blind",
        reliable=not doubts,
        message="; ".join([f"in {steps} turns; {test}", *doubts]),
        null_test=test,
        unidentified=unknown,
        history=history,
    )


def _problem(psf: jax.Array, counts: jax.Array, background: jax.Array) -> Problem:
    operator = Convolution.from_psf(psf, counts.shape, boundary="extend")
    return Problem(data=counts, operator=operator, background=background)


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _in_turns(view, counts, background, limits, iterations: int, steps: int, rate):
    """Parameters and the residual before every step, from turns of object and PSF."""
    low, high, spread, start = limits
    optimizer = optax.adam(rate)

    def residual(vector, x):
        problem = _problem(view(vector), counts, background)
        return problem.residual(problem.predict(x))

    def turn(carry, _):
        vector, memory, x = carry
        problem = _problem(view(vector), counts, background)
        x = estimate(problem, RichardsonLucy(initial=x), iterations=iterations)
        value, slope = jax.value_and_grad(residual)(vector, x)
        change, memory = optimizer.update(slope * spread, memory)
        vector = jnp.clip(vector + spread * change, low, high)
        return (vector, memory, x), value

    problem = _problem(view(start), counts, background)
    x = RichardsonLucy().init(problem).estimate
    carry = (start, optimizer.init(start), x)
    (vector, _, _), history = jax.lax.scan(turn, carry, length=steps)
    return vector, history


def _judge(
    view, counts, background, blocks: Blocks, parameters: Parameters, found
) -> tuple[NullTest, list[str]]:
    """The null test, and what is doubtful."""
    null, twin = null_and_twin(parameters, found)
    longer = [null + factor * (found - null) for factor in FACTORS]
    longer = np.clip(longer, parameters.low, parameters.high)
    places = jnp.asarray(np.stack([found, null, *longer]), counts.dtype)
    scores = np.asarray(spectral_scores(view, blocks, places), float)
    gains = scores[1] - scores[0]
    size = parameters.size
    least = 0.5 * (size + 3.1 * np.sqrt(2 * size) + 5)
    threshold = max(least, _disagreement(gains))
    doubts = []
    if not gains.sum() > threshold:
        doubts.append("the image does not prefer it to no aberration")
    along = scores[2:].sum(1)
    if along.min() < scores[0].sum() - 1:
        factor = FACTORS[int(np.argmin(along))]
        doubts.append(f"the image prefers {factor:.3g} times as much")
    sharp = [float((evaluate(view, v) ** 2).sum()) for v in places[:2]]
    if sharp[0] > NO_SHARPER * sharp[1]:
        doubts.append("it blurs no more than no aberration does: the no-blur solution")
    other = None
    if twin is not None:
        worse = _twin_excess(view, counts, background, found, twin)
        other = float(scores[0].sum() + worse.sum())
        if not worse.sum() > max(least, _disagreement(worse)):
            doubts.append("its sign twin explains the image as well")
    test = NullTest(
        score=float(scores[0].sum()),
        null=float(scores[1].sum()),
        twin=other,
        threshold=float(threshold),
        passed=not doubts,
    )
    return test, doubts


def _disagreement(gains: np.ndarray) -> float:
    """What a gain must exceed: standard errors of a sum, as its parts disagree."""
    return float(STANDARD_ERRORS * np.std(gains, ddof=1) * np.sqrt(len(gains)))


def _twin_excess(view, counts, background, found, twin) -> np.ndarray:
    """How much worse a twin explains parts of the image, by Richardson-Lucy."""
    fits = [
        _losses(view, counts, background, jnp.asarray(v, counts.dtype))
        for v in (found, twin)
    ]
    excess = np.asarray(fits[1] - fits[0], float)
    shape = tuple(-(-n // 2) if a else n for a, n in enumerate(excess.shape))
    return np.array([excess[b].sum() for b in block_slices(excess.shape, shape)])


@functools.partial(jax.jit, static_argnums=0)
def _losses(view, counts, background, vector) -> jax.Array:
    """Negative log-likelihood of every voxel after some updates from the start."""
    problem = _problem(view(vector), counts, background)
    x = estimate(problem, RichardsonLucy(), iterations=TEST_ITERATIONS)
    mean = jnp.maximum(problem.predict(x), 1e-3)
    return mean - xlogy(counts, mean)


def _unidentified(parameters: Parameters) -> tuple[str, ...]:
    bent = which_aberrations(parameters)
    if not bent.any():
        return ("the fineness of the object",)
    return ("the fineness of the object", "the sign of all aberrations together")
