"""All that is measured of one estimate, before it is compared with anything."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import as_float_array, check_finite
from ...geometry._resample import smoothed
from ...operators import LinearOperator
from ._features import WINDOW, features
from ._noise import as_noise
from ._outside import OutsideSupport, outside_of
from ._repair import repaired
from ._residual import ResidualMap, residual_of, with_outside
from ._scene import Scene, field_background, scene_of, stacked
from ._traits import light_traits, picture_traits

CONTRADICTED = 4.0
"""Standard deviations beyond which data contradict an estimate: noise does so in 6 of
100,000 voxels."""
PULL = 8
"""Accelerated updates whose change of the estimate is a score: enough for what is
missing to come back in part, and few enough to fit little noise."""
AROUND = 1.5
"""Standard deviation, in voxels, of the neighbourhood over which squares are averaged:
errors change sign across the rim of what is misplaced."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """Measures of an estimate and of its images.

    Attributes:
        residual: what data say against it; None without an operator.
        outside: what no data can vouch for; None without an operator.
        scores: numbers, larger are worse.
        traits: vectors by which images and estimates are known again.
        maps: by voxel, larger are worse, as shares of the estimate's root mean square:
            errors of light, not of significance.
        estimate: what was looked at.
        image: the first of its images, without background.
        contradicted: share of the voxels with |z| above 4; NaN without an operator.
        rim: whether light from outside the field can explain what is at its rim.
    """

    residual: ResidualMap | None
    outside: OutsideSupport | None
    scores: dict[str, float]
    traits: dict[str, np.ndarray]
    maps: dict[str, Any]
    estimate: jax.Array
    image: jax.Array
    contradicted: float
    rim: bool


def findings_of(
    estimate: ArrayLike,
    images: Any,
    *,
    operator: LinearOperator | None = None,
    background: Any = None,
    noise: Any = None,
    spread: ArrayLike | None = None,
) -> Findings:
    """Measure.

    Raises:
        ValueError: shapes that do not fit; NaN.
    """
    estimate = as_float_array("estimate", estimate)
    check_finite("estimate", estimate)
    background = field_background(background, images, operator)
    rule = as_noise(noise, stacked(images, estimate.ndim))
    scores, maps = {}, {}
    residual = outside = None
    rim = False
    if operator is not None:
        scene = scene_of(estimate, images, operator, background)
        rim = not scene.whole
        residual, outside = _physical(scene, rule, scores, maps)
    if spread is not None:
        scores["spread"], maps["spread"] = _spread(spread, estimate)
    view = first_view(images, estimate.ndim)
    level = background[0] if isinstance(background, tuple | list) else background
    return Findings(
        residual=residual,
        outside=outside,
        scores=scores,
        traits=_traits(estimate, view, level, rule),
        maps=maps,
        estimate=estimate,
        image=view - jnp.asarray(level, view.dtype),
        contradicted=np.nan
        if residual is None
        else float((~(abs(residual.z) <= CONTRADICTED)).mean()),  # NaN, too
        rim=rim,
    )


def _physical(scene: Scene, rule: Any, scores: dict, maps: dict) -> tuple[Any, Any]:
    whole = with_outside(scene)
    residual = residual_of(scene, whole, rule, jax.random.key(0))
    outside = outside_of(scene.estimate, scene.operator)
    scores["data"] = float(jnp.sqrt(jnp.square(residual.z).mean()))
    scores["outside"] = float(outside.share)
    share, maps["pull"] = _pull(scene, whole)
    scores["pull"] = float(share)
    maps["outside"] = _around(outside.fine, scene.estimate)
    return residual, outside


@jax.jit
def _pull(scene: Scene, whole: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a repair changes, as a share of what it gives, and where."""
    after = repaired(scene, iterations=PULL, beyond=whole).image
    change = after - jnp.maximum(scene.estimate, 0)
    size = jnp.sqrt(jnp.square(after).mean()) + jnp.finfo(after.dtype).tiny
    return jnp.sqrt(jnp.square(change).mean()) / size, _around(change, after)


@jax.jit
def _around(part: jax.Array, whole: jax.Array) -> jax.Array:
    """Root mean square around every voxel, as a share of that of a whole image."""
    size = jnp.sqrt(jnp.square(whole).mean()) + jnp.finfo(whole.dtype).tiny
    return jnp.sqrt(smoothed(part**2, AROUND)) / size


def _spread(spread: ArrayLike, estimate: jax.Array) -> tuple[float, jax.Array]:
    spread = as_float_array("spread", spread)
    check_finite("spread", spread)
    if spread.shape != estimate.shape:
        raise ValueError(
            f"`spread` has shape {spread.shape}, but the estimate {estimate.shape}."
        )
    size = jnp.sqrt(jnp.square(estimate).mean()) + jnp.finfo(estimate.dtype).tiny
    share = jnp.sqrt(jnp.square(spread).mean()) / size
    return float(share), _around(spread, estimate)


def _traits(
    estimate: jax.Array, view: jax.Array, level: Any, rule: Any
) -> dict[str, np.ndarray]:
    image = picture_traits(view - jnp.asarray(level, view.dtype))
    return {
        "light": light_traits(np.asarray(view), level, rule),
        "spectrum": image["spectrum"],
        "input": image["features"],
        "output": picture_traits(jnp.maximum(estimate, 0))["features"],
    }


def local_features(found: Findings) -> jax.Array:
    """Features around every voxel of the image, (count, *spatial)."""
    return features(found.image, local=True)


@jax.jit
def brightness(image: jax.Array) -> jax.Array:
    """Root mean square around every voxel over that of all, at most 1."""
    around = smoothed(image**2, WINDOW)
    mean = jnp.square(image).mean() + jnp.finfo(image.dtype).tiny
    return jnp.sqrt(jnp.clip(around / mean, 0, 1))


def first_view(images: Any, ndim: int) -> jax.Array:
    """The first of several images."""
    one = images[0] if isinstance(images, tuple | list) else images
    array = as_float_array("images", one)
    return array[0] if array.ndim > ndim else array
