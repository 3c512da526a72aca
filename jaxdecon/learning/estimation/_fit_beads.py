"""A PSF model fitted to images of beads by maximum likelihood."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_count
from ._estimate import NullTest, PSFEstimate
from ._fit_engine import Fit, Scene, linear_start, predicted, run_all
from ._fit_fisher import (
    Knowledge,
    check_found,
    explained,
    knowledge,
    likelihood_ratio,
    without_own,
)
from ._fit_inputs import Model, Photons, evaluate, first_positions, make_scene
from ._fit_residual import with_residual
from ._parameters import Parameters

SAME_OPTIMUM = 3.0
"""Log-likelihood between fits that count as one."""
GOOD_CHI_SQUARE, MOST_CHI_SQUARE = 1.2, 1.5
"""Per degree of freedom: more than the first is told, more than the second doubted."""
MOST_UNEVEN = 2.0
"""Without a gain a misfit can only be told from noise by its being uneven."""
MEDIAN_OF_SQUARES = 0.455
"""Of normal noise of variance 1."""
LEAST_LIGHT, LEAST_LIT = 2.0, 50
"""Photons from which noise is about normal, and voxels with so many that are needed."""
WELL_KNOWN = 1 / 3
"""Errors below this share of the spread are a result also where the start was right."""
OUT_OF_REACH = 0.1
"""Log-likelihood that a converged fit may still have promised to gain."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeadFit(PSFEstimate):
    """What beads tell of a PSF, and of themselves.

    Attributes:
        positions: (bead, 3), of each bead from voxel n // 2 of its crop.
        photons: (bead,), of each bead on the grid of the PSF, in the data's units.
        backgrounds: (bead,), in the data's units.
        fitted: (bead, z, y, x), the beads as the model has them, in the data's units.
        chi_square: of the residual, per degree of freedom: 1 if model and noise are
            right; NaN if the gain was not known.
        gain: units of the data per photon, given or estimated.
    """

    positions: jax.Array
    photons: jax.Array
    backgrounds: jax.Array
    fitted: jax.Array
    chi_square: float
    gain: float


def fit_beads(
    beads: ArrayLike,
    model: Model,
    *,
    start: Mapping[str, Any],
    bounds: Mapping[str, Any] | None = None,
    spread: Mapping[str, Any] | None = None,
    noise: Any = None,
    offset: float = 0.0,
    diameter: Any = 0.0,
    starts: int = 8,
    iterations: int = 50,
    residual: bool = False,
    key: jax.Array | None = None,
) -> BeadFit:
    """Fit the parameters of a PSF model to beads, objects that are known.

    Maximum likelihood under photon and read noise, by Fisher scoring with exact
    derivatives. Every bead has a position, a brightness and a background of its own,
    which are fitted, too. Fits begin at several starts and the best is kept. Errors are
    the Cramér-Rao bounds, with the beads' own parameters unknown; what the beads do not
    determine is named.

    Leave out of `start` what moves the PSF and nothing else: piston, tip and tilt are
    what positions are. Defocus nearly is (a PSF of Zernike's defocus is moved and a
    little spherically aberrated). The order of the planes is taken to be right: an
    axis that runs the other way turns the signs of aberrations of even order.

    Args:
        beads: (bead, z, y, x) or (z, y, x), crops of one bead each, not necessarily
            centred; all of one PSF.
        model: `model(**parameters)` gives the PSF, on the voxels of `beads` and as
            large as they are or larger; differentiable. Two voxels more than the
            crops are enough to move it without touching its border.
        start: the parameters to be fitted, by keyword: numbers, arrays, or trees.
        bounds: by keyword, (low, high). They are for what is physically possible.
        spread: by keyword, how far from `start` the truth may be; starts are thrown as
            far, and a parameter that the beads do not determine better counts as not
            determined. Default: a quarter of the bounds' range; or a tenth of the
            start; or 0.3.
        noise: `Poisson(gain=...)` or `MixedPoisson(...)`. None: photons of an unknown
            gain, which the misfit tells (errors then grow with what the model lacks).
        offset: of the camera, in the data's units.
        diameter: of the beads, voxels, one number or (z, y, x); 0 are points.
        starts: how many.
        iterations: at most.
        residual: whether to add to the fitted PSF what the beads show beyond the
            model, voxel by voxel, as far as it is above its noise and is confirmed by
            beads (or photons) that it was not made from.
        key: of the random starts; None: always the same.

    Returns:
        A `PSFEstimate` with, in addition, `positions`, `photons`, `backgrounds`,
        `fitted` and `chi_square`. The null test compares with the PSF of `start`.

    Raises:
        ValueError: crops that are no stacks of one size, a start or bounds out of the
            physical range (NA not below the index), a model that is too small.

    Example:
        >>> import functools, jax, jaxdecon as jd
        >>> model = functools.partial(jd.psf.widefield, (15, 15, 15), (0.25, 0.1, 0.1),
        ...                           na=1.1, wavelength=0.52, index=1.33)
        >>> bead = 1e5 * model(aberrations={7: 0.5, 11: -0.3}) + 2
        >>> noisy = jax.random.poisson(jax.random.key(0), bead).astype(float)
        >>> fit = jd.learning.fit_beads(
        ...     noisy, model, start={"aberrations": {7: 0.0, 11: 0.0}}, starts=2,
        ...     noise=jd.deconvolution.Poisson())
        >>> [round(float(c), 1) for c in fit.parameters["aberrations"].values()]
        [0.5, -0.3]

    References:
        Aristov et al., Nat. Commun. 9, 2409 (2018), doi:10.1038/s41467-018-04709-4;
        Hanser et al., J. Microsc. 216, 32 (2004), doi:10.1111/j.0022-2720.2004.01393.x;
        Snyder et al., J. Opt. Soc. Am. A 12, 272 (1995), doi:10.1364/JOSAA.12.000272.
    """
    starts = check_count("starts", starts, 1)
    iterations = check_count("iterations", iterations, 1)
    key = jax.random.key(0) if key is None else key
    parameters = Parameters.parse(start, bounds, spread)
    photons = Photons.of(beads, noise, offset)
    basis = np.ones((len(photons.counts), 1))
    scene, psf = make_scene(photons, model, start, parameters, basis, diameter)
    own = _linear_start(scene, psf, first_positions(scene.counts, psf))
    values = jnp.asarray(parameters.random(starts, key), psf.dtype)
    fits, null = _solve_all(scene, values, own, iterations)
    best, agreed = _best(fits)
    check_found(best)
    result = _result(scene, photons, parameters, best, agreed, null)
    return with_residual(result, scene, best, photons, key) if residual else result


def _solve_all(scene: Scene, values, own, iterations: int) -> tuple[Fit, Fit]:
    """Fits from all starts, and the one that stays at the first.

    Bounds hold that one there, so that one program does for all.
    """
    values = values[:, None]
    first, count = values[:1], len(values)
    low, high = (
        jnp.tile(side[None], (count, 1, 1)) for side in (scene.low, scene.high)
    )
    values = jnp.concatenate([values, first])
    low, high = jnp.concatenate([low, first]), jnp.concatenate([high, first])
    fits = run_all(scene, values, low, high, own, iterations)
    return jax.tree.map(lambda a: a[:-1], fits), jax.tree.map(lambda a: a[-1], fits)


def _best(fits: Fit) -> tuple[Fit, tuple[int, int]]:
    """The best fit, and how many of how many starts ended there."""
    scores = np.asarray(fits.score, float)
    best = int(np.argmin(scores))
    near = scores - scores[best] < SAME_OPTIMUM + 1e-6 * abs(scores[best])
    agreed = int(near.sum()), near.size
    return jax.tree.map(lambda a: a[best], fits), agreed


def _result(
    scene: Scene,
    photons: Photons,
    parameters: Parameters,
    fit: Fit,
    agreed: tuple[int, int],
    null: Fit,
) -> BeadFit:
    unravel, found = parameters.unravel, fit.values[0]
    psf = evaluate(scene.model, found)
    images = _predicted(scene, psf, fit.own)
    freedom = scene.counts.size - fit.own.size - parameters.size
    chi_square = float(fit.misfit) / freedom
    excess = 1.0 if photons.known else chi_square
    raw = np.asarray(fit.information, float)
    left = without_own(raw, parameters.size)
    known = knowledge(
        left.sum(0) / excess, parameters.spread, parameters.names, explained(raw, left)
    )
    test = likelihood_ratio(fit, null, parameters.size, excess)
    doubts = _doubts(fit, parameters, known, test, agreed)
    doubts += list(_misfits(chi_square, photons.known, scene.counts, images))
    text = _message(fit, agreed, chi_square, photons.known, known)
    gain, dtype = photons.gain, found.dtype
    return BeadFit(
        psf=psf,
        parameters=unravel(found),
        errors=unravel(jnp.asarray(known.errors, dtype)),
        covariance=jnp.asarray(known.covariance, dtype),
        method="beads",
        reliable=not doubts,
        message="; ".join([text, *doubts]),
        null_test=test,
        unidentified=known.unidentified,
        history=fit.history[: int(fit.count)],
        positions=fit.own[:, :3],
        photons=gain * fit.own[:, 3],
        backgrounds=gain * fit.own[:, 4] + photons.offset,
        fitted=gain * images + photons.offset,
        chi_square=chi_square if photons.known else float("nan"),
        gain=gain * (1.0 if photons.known else excess),
    )


_predicted = jax.jit(predicted)
_linear_start = jax.jit(linear_start)


def _doubts(
    fit: Fit,
    parameters: Parameters,
    known: Knowledge,
    test: NullTest,
    agreed: tuple[int, int],
) -> list[str]:
    found: Any = np.asarray(fit.values[0], float)
    doubts = []
    if not (fit.done and float(fit.promised) < OUT_OF_REACH):
        doubts.append(f"the fit did not converge in {int(fit.count)} iterations")
    if agreed[0] == 1 < agreed[1]:
        doubts.append("no other start ended there: try more")
    tolerance = 1e-4 * parameters.spread
    at = (found <= parameters.low + tolerance) | (found >= parameters.high - tolerance)
    held = [parameters.names[i] for i in np.flatnonzero(at)]
    if held:
        doubts.append(f"{', '.join(held)} ended at a bound")
    if not np.isfinite(known.errors).any():
        doubts.append("the beads determine no parameter")
    settled = bool((known.errors < WELL_KNOWN * parameters.spread).all())
    if not test.passed and not settled:
        doubts.append(f"the beads do not prefer it to the start ({test})")
    return doubts


def _misfits(chi_square: float, gain_known: bool, counts, images) -> Iterator[str]:
    """What is in the beads, and not in the model."""
    if gain_known and chi_square > MOST_CHI_SQUARE:
        yield (
            f"chi-square {chi_square:.3g} says that model or noise are wrong (other "
            f"optics, beads that overlap or are saturated)"
        )
    if not gain_known:
        uneven = _unevenness(np.asarray(counts), np.asarray(images))
        if uneven > MOST_UNEVEN:
            yield (
                f"the mean square of the residual is {uneven:.3g} times what its "
                f"median tells of the noise: the model is wrong, or beads overlap or "
                f"are saturated"
            )


def _unevenness(counts: np.ndarray, images: np.ndarray) -> float:
    """How much more the mean square of the residual is than its median lets expect.

    In units of the prediction, and where that is some photons, so that noise is about
    normal: 1 for noise, more where a few voxels are far off.
    """
    light = np.maximum(images, 1e-6 * images.max())
    excess = (counts - images) ** 2 / light
    gain = np.median(excess) / MEDIAN_OF_SQUARES
    lit = light > LEAST_LIGHT * gain
    if lit.sum() < LEAST_LIT or gain <= 0:
        return 1.0
    return float(excess[lit].mean() * MEDIAN_OF_SQUARES / np.median(excess[lit]))


def _message(fit, agreed, chi_square, gain_known, known) -> str:
    beads = len(fit.own)
    text = (
        f"fitted to {beads} bead{'s' * (beads > 1)} in {int(fit.count)} iterations; "
        f"{agreed[0]} of {agreed[1]} starts ended there"
    )
    if gain_known:
        text += f"; chi-square {chi_square:.3g} per degree of freedom"
        if chi_square > GOOD_CHI_SQUARE:
            text += (
                ": more is in the beads than model and noise explain, and the errors "
                "are too small"
            )
    if known.unidentified:
        text += f"; not determined: {'; '.join(known.unidentified)}"
    return text
