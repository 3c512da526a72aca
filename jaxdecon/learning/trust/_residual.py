"""Where the data contradict an estimate: the residual, seen from the object."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..._core._pytree import pytree
from ...deconvolution import Accelerated, Problem, RichardsonLucy
from ...operators import Composition, LinearOperator, Weight
from ._noise import as_noise
from ._scene import Scene, scene_of, stacked
from ._squares import PROBES, noise_felt

OUTSIDE_STEPS = 15
"""Accelerated updates that explain the light from outside the field of view."""


@pytree
class ResidualMap:
    """What data say against an estimate, voxel by voxel of the object.

    Attributes:
        z: N(0, 1) in every voxel if the estimate is true; positive where the data want
            more light, negative where they want less. Of the estimate's shape.
        predicted: what the estimate, and light from outside the field, would give.
        chi_square: mean squared residual of the images in units of the noise.
    """

    z: jax.Array
    predicted: Any
    chi_square: jax.Array


def residual_map(
    estimate: ArrayLike,
    images: Any,
    *,
    operator: LinearOperator,
    background: Any = None,
    noise: Any = None,
    probes: int = PROBES,
    key: jax.Array | None = None,
) -> ResidualMap:
    """What the data say against an estimate, in standard deviations of their noise::

        z = A^T((y - m) / v) / sqrt((A^2)^T(1 / v)),  m = A x + b,  v = variance(m)

    the residual y - m, weighed by the noise v and projected back: the score test for
    light in every voxel. It sums over the PSF, so that structure shows in it that no
    voxel of the residual, and no sum over all of them, shows.

    Structure outside the OTF's support leaves no residual: z says nothing about it.
    Where the operator's domain is larger than the field of view, the light from there
    is found first (15 Richardson-Lucy updates of the outside alone), and errors at the
    rim of the field that such light could explain are not seen either.

    Args:
        estimate: x, of the shape of the operator's field of view, in units of the
            images.
        images: y, `(views, *spatial)` or `(*spatial)`, or a tuple where grids differ.
        operator: A.
        background: b, a number or an array; a tuple, one for each view; None: measured.
        noise: `CameraNoise`, an estimate by `estimate_noise`, or anything that has
            `variance(predicted)`; None: measured in the images.
        probes: random images where the squares of A are not known (all but
            convolutions with "extend" or "periodic", their views, weights and crops).
        key: of the random images; None: always the same.

    Raises:
        ValueError: shapes that do not fit the operator; NaN.

    Example:
        >>> import jax, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (48, 48))
        >>> pairs = jd.learning.SimulatedPairs("tubules", blur, key=jax.random.key(1))
        >>> images, truth = pairs[0]
        >>> noise = jd.learning.CameraNoise.of(gain=1.0)
        >>> found = jd.learning.residual_map(
        ...     truth, images, operator=blur, background=5.0, noise=noise)
        >>> bool(0.8 < found.z.std() < 1.2)
        True

    References:
        Score tests: Rao, Proc. Camb. Phil. Soc. 44, 50 (1948),
        doi:10.1017/S0305004100023987.
    """
    scene = scene_of(estimate, images, operator, background)
    rule = as_noise(noise, stacked(scene.data, len(scene.estimate.shape)))
    key = jax.random.key(0) if key is None else key
    return residual_of(scene, with_outside(scene), rule, key, probes=probes)


@functools.partial(jax.jit, static_argnames="probes")
def residual_of(
    scene: Scene, whole: jax.Array, noise: Any, key: jax.Array, *, probes: int = PROBES
) -> ResidualMap:
    """The map of a scene that was checked, and its estimate `with_outside`."""
    operator = scene.operator
    predicted = scene.problem.predict(whole)
    variance = jax.tree.map(noise.variance, predicted)
    residual = jax.tree.map(jnp.subtract, scene.data, predicted)
    weighed = jax.tree.map(jnp.divide, residual, variance)
    weights = jax.tree.map(jnp.reciprocal, variance)
    felt = noise_felt(operator, weights, key, probes)
    z = operator.image_region(operator.adjoint(weighed) / jnp.sqrt(felt))
    squares = jax.tree.map(lambda r, v: (r**2 / v).mean(), residual, variance)
    chi_square = jnp.stack(jax.tree.leaves(squares)).mean()
    return ResidualMap(z=z, predicted=predicted, chi_square=chi_square)


@functools.partial(jax.jit, static_argnames="steps")
def with_outside(scene: Scene, steps: int = OUTSIDE_STEPS) -> jax.Array:
    """The estimate on the operator's domain, with the light that comes from outside.

    That starts as the outermost voxels of the images, and is deconvolved with what the
    estimate sends as its background.
    """
    if scene.whole:
        return scene.estimate
    operator = scene.operator
    inside, estimate = scene.embedded
    excess = jax.tree.map(lambda y: jnp.maximum(y, 0), scene.problem.excess)
    outside = Weight(values=1.0 - inside, domain=operator.domain)
    sent = jax.tree.map(jnp.add, operator(estimate), scene.problem.backgrounds)
    problem = Problem(
        data=jax.tree.map(lambda y: jnp.maximum(y, 0), scene.data),
        operator=Composition(outer=operator, inner=outside),
        background=sent,
    )
    start = RichardsonLucy(initial=jnp.where(inside, 0, operator.lift(excess)))
    scheme: Any = Accelerated(scheme=start)

    def step(state, _):
        return scheme.update(problem, state), None

    state, _ = jax.lax.scan(step, scheme.init(problem), length=steps)
    return jnp.where(inside, estimate, state.estimate)
