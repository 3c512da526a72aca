"""One or two physical parameters of a PSF, from one image of an unknown object."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_count, check_image, check_positive
from ...deconvolution import to_counts
from ._diversity_views import Model
from ._estimate import NullTest, PSFEstimate
from ._fit_inputs import OnVector, check_range, evaluate
from ._parameters import Parameters
from ._profile import Profile
from ._sign_twin import null_and_twin
from ._structure import check_structure
from ._whittle import Blocks, spectral_scores

MOST_PARAMETERS = 2
STRETCHES = (0.85, 1 / 0.85)
"""Objects may be so much shorter or longer along z than they are wide: what that does
to an estimate is part of its error."""
FLAT = 0.25
"""An error above this share of the bounds' range says that the profile is flat."""
STANDARD_ERRORS = 3.0
"""By so many of its own, as blocks of the image disagree, must a gain exceed zero."""


def semi_blind(
    image: ArrayLike,
    model: Model,
    *,
    start: Mapping[str, Any],
    bounds: Mapping[str, Any],
    voxel_size: Sequence[float] | None = None,
    gain: float = 1.0,
    offset: float = 0.0,
    points: int | None = None,
    key: jax.Array | None = None,
) -> PSFEstimate:
    """Estimate one or two physical parameters of a PSF from one image.

    Such as the depth below the coverslip, the sample's index, spherical aberration or
    a sheet's thickness, within bounds. The object is taken to be a random field with
    no preferred direction, of unknown spectrum; the PSF is what makes its image differ
    from one. The likelihood is computed for crops (the debiased Whittle likelihood)
    at points between the bounds, in overlapping blocks of the image.

    One image says little, and nothing of the sign of an aberration (unless the bounds
    do). The estimate is reliable only if the blocks agree that the data prefer it to
    `start`, and if it is not at a bound, not one of two, and not on a flat profile.
    Objects with a direction of their own (layers, parallel fibres) mislead it.

    Args:
        image: (z, y, x) or (y, x), photon counts or, with `gain` and `offset`, units.
        model: `model(**parameters)` gives the PSF on the image's voxels.
        start: the parameters to be estimated, one or two numbers, at their nominal
            values.
        bounds: by keyword, (low, high); for all of them.
        voxel_size: of the image along each axis, in any unit. None: that of the model,
            if it is a `functools.partial` that knows its `voxel_size`.
        gain: units of the image per photon.
        offset: units without light.
        points: at which the profile is computed, per parameter; None: 17 for one
            parameter, 9 for two.
        key: not used; for the other methods' sake.

    Returns:
        A `PSFEstimate`; errors from the disagreement of blocks (a jackknife), and from
        what objects that are 15 % longer or shorter along z would change; `history` is
        the profile.

    Raises:
        ValueError: no or more than two parameters, no bounds, an image without
            structure ("not identifiable"), no `voxel_size`.

    Example:
        >>> import functools, jax, jax.numpy as jnp, jaxdecon as jd
        >>> model = functools.partial(jd.psf.widefield, (17, 17), 0.1, na=1.1,
        ...                           wavelength=0.52, index=1.33)
        >>> things, noise = jax.random.split(jax.random.key(0))
        >>> thing = 2000 * jax.random.uniform(things, (80, 80)) ** 20
        >>> psf = model(aberrations={"astigmatism": 1.0})
        >>> blur = jd.operators.Convolution.from_psf(psf, (64, 64))
        >>> light = jnp.maximum(blur(thing), 0) + 5
        >>> found = jd.learning.semi_blind(
        ...     jax.random.poisson(noise, light).astype(float), model, points=9,
        ...     start={"aberrations": {"astigmatism": 0.0}},
        ...     bounds={"aberrations": (0.0, 2.0)})
        >>> abs(float(found.parameters["aberrations"]["astigmatism"]) - 1) < 0.2
        True

    References:
        The likelihood: Sykulski et al., Biometrika 106, 251 (2019),
        doi:10.1093/biomet/asy071.
    """
    parameters = Parameters.parse(start, bounds, None)
    _check(parameters)
    counts = to_counts(check_image("image", image), gain=gain, offset=offset)
    check_structure("image", counts)
    blocks = Blocks.of(counts, spacing_of(model, voxel_size, counts.ndim))
    points = {1: 17, 2: 9}[parameters.size] if points is None else points
    check_count("points", points, 5)
    sides = zip(parameters.low, parameters.high, strict=True)
    axes = tuple(np.linspace(low, high, points) for low, high in sides)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    vectors = jnp.asarray(grid, counts.dtype)
    view = OnVector.of(model, parameters.unravel(jnp.asarray(parameters.start)))
    check_range(view, parameters)

    def profile(stretch: float) -> Profile:
        seen = dataclasses.replace(blocks, spacing=_stretched(blocks.spacing, stretch))
        scores = np.asarray(spectral_scores(view, seen, vectors), float)
        return Profile(axes, scores.reshape(*map(len, axes), -1))

    found = profile(1.0)
    # In two dimensions no axis is known to be another.
    others = [profile(s) for s in STRETCHES] if counts.ndim == 3 else []
    return _result(view, parameters, found, others)


def _stretched(spacing: jax.Array, factor: float) -> jax.Array:
    """Voxel sizes by which objects longer along z would have no direction."""
    return spacing.at[0].divide(factor)


def _check(parameters: Parameters) -> None:
    if parameters.size > MOST_PARAMETERS:
        raise ValueError(
            f"`start` has {parameters.size} numbers; one image tells one or two at "
            f"most. For more, use beads or phase diversity."
        )
    unbounded = ~(np.isfinite(parameters.low) & np.isfinite(parameters.high))
    if unbounded.any():
        name = parameters.names[int(np.argmax(unbounded))]
        raise ValueError(f"`bounds` has none for {name}; (low, high) is needed.")


def spacing_of(
    model: Model, voxel_size: Sequence[float] | None, ndim: int
) -> tuple[float, ...]:
    """Relative voxel sizes, given or found in the arguments of a partial function.

    Raises:
        ValueError: neither.
    """
    if voxel_size is None:
        voxel_size = _arguments(model).get("voxel_size")
    if voxel_size is None:
        raise ValueError(
            "`voxel_size` is None, and `model` does not tell it; it is needed to know "
            "which directions of the image are alike."
        )
    check_positive("voxel_size", voxel_size)
    if np.shape(voxel_size) not in ((), (1,), (ndim,)):
        raise ValueError(f"`voxel_size` is {voxel_size}; {ndim} numbers are needed.")
    size = np.broadcast_to(np.asarray(voxel_size, float), ndim)
    return tuple((size / size[-1]).tolist())


def _arguments(model: Any) -> dict[str, Any]:
    if not hasattr(model, "func"):
        return {}
    signature = inspect.signature(model.func)
    return signature.bind_partial(*model.args, **model.keywords).arguments


def _result(
    view: OnVector, parameters: Parameters, profile: Profile, others: list[Profile]
) -> PSFEstimate:
    vector = profile.best()
    apart = np.array([other.best() - vector for other in others])
    covariance = profile.covariance()
    if others:
        covariance = covariance + apart.T @ apart / len(apart)
    errors = np.sqrt(np.diag(covariance))
    test = _null_test(parameters, profile, vector)
    doubts = list(_doubts(parameters, profile, vector, errors, test))
    found = jnp.asarray(vector)
    said = ", ".join(
        f"{name} {value:.4g} +- {error:.2g}"
        for name, value, error in zip(parameters.names, vector, errors, strict=True)
    )
    flat = errors > FLAT * (parameters.high - parameters.low)
    return PSFEstimate(
        psf=evaluate(view, found),
        parameters=parameters.unravel(found),
        errors=parameters.unravel(jnp.asarray(np.where(flat, np.inf, errors))),
        covariance=jnp.asarray(covariance),
        method="semi-blind",
        reliable=not doubts,
        message="; ".join([f"{said} from {profile.count} blocks; {test}", *doubts]),
        null_test=test,
        unidentified=tuple(np.asarray(parameters.names)[flat].tolist()),
        history=jnp.asarray(profile.total),
    )


def _null_test(
    parameters: Parameters, profile: Profile, vector: np.ndarray
) -> NullTest:
    """Against the start, with the blocks' disagreement for an error."""
    _, twin = null_and_twin(parameters, vector)
    gains = profile.blocks_at(parameters.start) - profile.blocks_at(vector)
    least = 0.5 * (parameters.size + 3.1 * np.sqrt(2 * parameters.size) + 5)
    threshold = max(least, STANDARD_ERRORS * np.std(gains) * np.sqrt(len(gains)))
    score = profile.blocks_at(vector).sum()
    return NullTest(
        score=float(score),
        null=float(score + gains.sum()),
        # What a magnitude of the OTF says is the same for both.
        twin=None if twin is None or np.allclose(twin, vector) else float(score),
        threshold=float(threshold),
        passed=bool(gains.sum() > threshold and twin is None),
    )


def _doubts(parameters, profile, vector, errors, test: NullTest):
    width = parameters.high - parameters.low
    names = np.asarray(parameters.names)
    edge = np.minimum(vector - parameters.low, parameters.high - vector) < 0.01 * width
    if edge.any():
        yield f"{', '.join(names[edge])} ended at a bound"
    if (errors > FLAT * width).any():
        which = ", ".join(names[errors > FLAT * width])
        yield f"{which} is not identifiable: blocks of the image disagree"
    if test.twin is not None:
        yield (
            "the sign of the aberrations is not identifiable from one image: bounds "
            "must exclude one"
        )
    if not test.null - test.score > test.threshold:
        yield "the image does not prefer it to the start"
    if profile.rivals(test.threshold) > 1:
        yield "the profile has more than one minimum that may be it"
