"""Phase diversity: a PSF from several images of one unknown object."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_count, check_image, check_positive
from ...deconvolution import to_counts
from ...psf import fwhm
from ._diversity_object import ObjectScene, make_object_scene, noise_alone
from ._diversity_solve import Solution, chi_square, profile_misfit, solve_parameters
from ._diversity_views import Model, Views, make_views
from ._estimate import NullTest, PSFEstimate
from ._fit_fisher import Knowledge, knowledge
from ._fit_inputs import check_range, evaluate
from ._parameters import Parameters
from ._sign_twin import at_bounds, null_and_twin, spread_of_aberrations
from ._structure import check_structure

FILTER_SHARE = 0.6
"""Width of the high-pass filter, a standard deviation, in FWHM of the PSF."""
SOLVER_STEPS, FINE_STEPS = 12, 40
MOST_EXCESS = 1.15
"""Chi-square of the residual, over that of noise alone, from which it is doubted."""
SAME_PLACE = 0.5
"""Starts that end within this distance, in units of the spread, agree."""


def phase_diversity(
    images: Sequence[ArrayLike],
    model: Model | Sequence[Model],
    *,
    start: Mapping[str, Any],
    diversities: Sequence[Mapping[Any, float]] | None = None,
    bounds: Mapping[str, Any] | None = None,
    spread: Mapping[str, Any] | None = None,
    background: float | Sequence[float] = 0.0,
    gain: float = 1.0,
    offset: float = 0.0,
    iterations: int = 15,
    starts: int = 3,
    key: jax.Array | None = None,
) -> PSFEstimate:
    """Estimate a PSF from two to four images of one object, blurred in known ways.

    The images differ by known aberrations (phase diversity: a deformable mirror, a
    moved sheet, a tilted plate), or by how the microscope looks at the object. The
    object is unknown and eliminated: for any PSFs it is the solution of a linear
    system on a domain larger than the field. The images may be crops of a larger
    object.

    What all views blur alike in some direction is not seen: tip, tilt and piston move
    the object; leave them out of `start`. In a widefield stack defocus is a shift
    along z, so let astigmatism, coma or spherical aberration diversify; where a fixed
    sheet selects the plane, defocus does, too. An rms of 1 to 2 radians is enough.

    Objects that fill the field with structure as fine as the voxels are hard; points
    and filaments are easy. Errors are those that noise makes; in such textures the true
    ones may be four times as large. Aberrations of up to a quarter of a wave (rms, all
    together) are found from none; of larger ones the estimate is usually wrong, and
    then not reliable.

    Args:
        images: two to four arrays (z, y, x) or (y, x) of one shape, aligned.
        model: `model(**parameters)` gives the PSF on the images' voxels; or one such
            model for every image, of the same parameters.
        start: the parameters to be fitted, by keyword; e.g. `{"aberrations": {5: 0.0,
            6: 0.0}}`.
        diversities: with one `model`, the known aberrations of each image, radians, by
            Zernike polynomial, e.g. `[{}, {"astigmatism": 1.5}]`; they are added to
            `aberrations`.
        bounds: by keyword, (low, high).
        spread: by keyword, how far the truth may be from `start`; default as in
            `fit_beads`, for aberrations at least 0.3 radians.
        background: light that is not of the object, in units above `offset`; one
            number or one per image. It enters the noise alone: slow parts of the
            images are not used.
        gain: units of the images per photon.
        offset: units without light.
        iterations: steps at most.
        starts: how many; the first is `start`, others are random about it.
        key: of the random starts; None: always the same.

    Returns:
        A `PSFEstimate`; `psf` is the model's without what `diversities` add, or that of
        the first model. Its null test compares with no aberrations, and with the sign
        twin, all of them negated. `history` holds the lengths of the steps.

    Raises:
        ValueError: fewer than two or more than four images, of different shapes; views
            that do not differ; images without structure ("not identifiable").

    Example:
        >>> import functools, jax, jaxdecon as jd
        >>> model = functools.partial(jd.psf.widefield, (17, 17), 0.1, na=1.1,
        ...                           wavelength=0.52, index=1.33)
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> thing = 300 * jax.random.uniform(keys[0], (64, 64)) ** 20
        >>> def photograph(key, **aberrations):
        ...     psf = model(aberrations={"coma": 0.5, **aberrations})
        ...     blur = jd.operators.Convolution.from_psf(psf, (48, 48))
        ...     light = jax.numpy.maximum(blur(thing), 0) + 5
        ...     return jax.random.poisson(key, light).astype(float)
        >>> images = [photograph(keys[1]), photograph(keys[2], defocus=1.5)]
        >>> found = jd.learning.phase_diversity(
        ...     images, model, start={"aberrations": {"coma": 0.0}},
        ...     diversities=[{}, {"defocus": 1.5}], background=5.0)
        >>> round(float(found.parameters["aberrations"]["coma"]), 1)
        0.5

    References:
        Gonsalves, Opt. Eng. 21, 829 (1982), doi:10.1117/12.7972989; Paxman, Schulz &
        Fienup, J. Opt. Soc. Am. A 9, 1072 (1992), doi:10.1364/JOSAA.9.001072; in
        microscopy: Johnson et al., Optica 11, 806 (2024), doi:10.1364/OPTICA.518559.
    """
    iterations = check_count("iterations", iterations, 1)
    starts = check_count("starts", starts, 1)
    counts = _counts(images, gain, offset)
    parameters = Parameters.parse(start, bounds, spread)
    parameters = spread_of_aberrations(parameters, spread)
    views = make_views(model, start, diversities, len(counts))
    check_range(views.first, parameters)
    scene, widths = _scene(counts, views, parameters, np.asarray(background) / gain)
    key = jax.random.key(0) if key is None else key
    solutions = [
        solve_parameters(
            views, scene, parameters, first, iterations=iterations, steps=SOLVER_STEPS
        )
        for first in parameters.random(starts, key)
    ]
    scores = [_misfit(views, scene, solution.vector) for solution in solutions]
    best = int(np.argmin(scores))
    apart = [s.vector - solutions[best].vector for s in solutions]
    known = knowledge(
        solutions[best].information,
        parameters.spread,
        parameters.names,
        np.zeros(parameters.size, bool),
    )
    told = np.isfinite(known.errors)
    near = [np.linalg.norm((d / parameters.spread)[told]) < SAME_PLACE for d in apart]
    test = _null_test(views, scene, parameters, solutions[best], scores[best])
    noise = noise_alone(scene, widths, jax.random.fold_in(key, 1))
    place = jnp.asarray(solutions[best].vector, counts.dtype)
    expected = float(chi_square(views, noise, place, SOLVER_STEPS))
    close = [score - scores[best] < test.threshold for score in scores]
    rivals = sum(c and not n for c, n in zip(close, near, strict=True))
    agreed = int(sum(near)), starts, rivals
    return _result(views, parameters, solutions[best], test, agreed, expected, known)


def _counts(images: Sequence[ArrayLike], gain: float, offset: float) -> jax.Array:
    check_positive("gain", gain)
    if not 2 <= len(images) <= 4:
        raise ValueError(f"`images` has {len(images)}; two to four are needed.")
    checked = [check_image(f"images[{i}]", image) for i, image in enumerate(images)]
    shapes = {image.shape for image in checked}
    if len(shapes) > 1:
        raise ValueError(f"`images` have shapes {sorted(shapes)}; one is needed.")
    counts = [to_counts(image, gain=gain, offset=offset) for image in checked]
    for i, image in enumerate(counts):
        check_structure(f"images[{i}]", image)
    return jnp.stack(counts)


def _scene(counts, views: Views, parameters: Parameters, background) -> Any:
    """The scene, and the widths of its filter."""
    background = np.asarray(background, float)
    if background.shape not in ((), (len(counts),)) or not (background >= 0).all():
        raise ValueError(
            f"`background` is {background.tolist()}; one number of 0 or more, or one "
            f"per image ({len(counts)}), is needed."
        )
    psfs = views(jnp.asarray(parameters.start, counts.dtype))
    if psfs.ndim != counts.ndim:
        raise ValueError(
            f"`model` gives a PSF of shape {psfs.shape[1:]}, and `images` have shape "
            f"{counts.shape[1:]}; as many axes are needed."
        )
    background = np.broadcast_to(background, len(counts))
    widths = [
        min(FILTER_SHARE * w, n / 12)
        for w, n in zip(_widths(psfs[0]), counts.shape[1:], strict=True)
    ]
    return make_object_scene(counts, background, psfs.shape[1:], widths), widths


def _widths(psf: jax.Array) -> list[float]:
    """FWHM along every axis, of a point that has them all."""
    found = np.asarray(fwhm(psf), float)
    return [float(w) if np.isfinite(w) else 3.0 for w in found]


def _misfit(views: Views, scene: ObjectScene, vector: np.ndarray) -> float:
    place = jnp.asarray(vector, scene.images.dtype)
    return float(profile_misfit(views, scene, place, FINE_STEPS))


def _null_test(views, scene, parameters, solution: Solution, score: float) -> NullTest:
    null, twin = null_and_twin(parameters, solution.vector)
    without = _misfit(views, scene, null)
    other = None if twin is None else _misfit(views, scene, twin)
    size = parameters.size
    threshold = float(0.5 * (size + 3.1 * np.sqrt(2 * size) + 5))
    passed = without - score > threshold
    passed = passed and (other is None or other - score > threshold)
    return NullTest(
        score=score, null=without, twin=other, threshold=threshold, passed=bool(passed)
    )


def _result(
    views: Views,
    parameters: Parameters,
    solution: Solution,
    test: NullTest,
    agreed: tuple[int, int, int],
    expected: float,
    known: Knowledge,
) -> PSFEstimate:
    doubts = _doubts(parameters, solution, test, agreed, known, expected)
    dtype = solution.score.slope.dtype
    vector = jnp.asarray(solution.vector, dtype)
    return PSFEstimate(
        psf=evaluate(views.first, vector),
        parameters=parameters.unravel(vector),
        errors=parameters.unravel(jnp.asarray(known.errors, dtype)),
        covariance=jnp.asarray(known.covariance, dtype),
        method="phase-diversity",
        reliable=not doubts,
        message="; ".join([_message(solution, test, agreed, known), *doubts]),
        null_test=test,
        unidentified=known.unidentified,
        history=jnp.asarray(solution.lengths, dtype),
    )


def _doubts(
    parameters: Parameters,
    solution: Solution,
    test: NullTest,
    agreed: tuple[int, int, int],
    known: Knowledge,
    expected: float,
) -> list[str]:
    doubts = []
    if not solution.converged:
        doubts.append(f"the steps did not end in {len(solution.lengths)} iterations")
    if agreed[2]:
        doubts.append(
            f"{agreed[2]} of {agreed[1]} starts ended elsewhere and explain the images "
            f"as well"
        )
    held = at_bounds(parameters, solution.vector)
    if held:
        doubts.append(f"{', '.join(held)} ended at a bound")
    excess = float(solution.score.chi_square) / expected
    if excess > MOST_EXCESS:
        doubts.append(
            f"the images are not those of one object: the residual is {excess:.3g} "
            f"times that of noise alone (are they aligned, is the diversity as said, "
            f"`gain` right?)"
        )
    if not np.isfinite(known.errors).any():
        doubts.append("the images determine no parameter")
    if not test.passed:
        doubts.append(f"the images do not prefer it ({test})")
    return doubts


def _message(
    solution: Solution, test: NullTest, agreed: tuple[int, int, int], known: Knowledge
) -> str:
    text = (
        f"phase diversity in {len(solution.lengths)} steps; {agreed[0]} of {agreed[1]} "
        f"starts ended there; {test}"
    )
    if known.unidentified:
        text += f"; not determined: {'; '.join(known.unidentified)}"
    return text
