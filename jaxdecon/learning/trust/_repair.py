"""Pull an estimate back to the data."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..._core._check import check_count, check_values
from ..._core._pytree import pytree
from ...deconvolution import Accelerated, Problem, RichardsonLucy
from ...operators import LinearOperator
from ._scene import Scene, scene_of

FLOOR = 0.01
"""Least start, as a share of the mean estimate: updates are factors, which cannot raise
a zero."""


@pytree
class Repair:
    """An estimate after some matched Richardson-Lucy updates.

    Attributes:
        image: the repaired estimate.
        change: what the updates changed, as a share of the two's mean, -2 to 2 (dark
            parts are measured by a hundredth of the mean estimate).
    """

    image: jax.Array
    change: jax.Array


def repair(
    estimate: ArrayLike,
    images: Any,
    *,
    operator: LinearOperator,
    background: Any = None,
    iterations: int = 5,
    doubt: ArrayLike = 0.0,
    accelerated: bool = True,
) -> Repair:
    """Pull an estimate back to the data by matched Richardson-Lucy updates.

    Structure that the data contradict goes, and what they ask for comes back, by a
    share at each update. What lies outside the OTF's support stays as it is, invented
    or not, but for a share of `doubt`: by so much the start is the image itself.

    Args:
        estimate: of the operator's field of view, in units of the images.
        images: `(views, *spatial)` or `(*spatial)`, or a tuple where grids differ.
        operator: from the object to the images.
        background: a number or an array; a tuple, one for each view; None: measured.
        iterations: 3-10. More is deconvolution from another start.
        doubt: share of the image in the start, 0 to 1, a number or an array. 0 for
            estimates to which nothing is objected; 0.5 for doubtful ones (then with
            some 10-20 iterations).
        accelerated: extrapolate between updates (`Accelerated`), which does the work
            of some five times as many at the same price.

    Returns:
        A `Repair`.

    Raises:
        ValueError: shapes that do not fit the operator; NaN.

    Example:
        >>> import jax, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (32, 32))
        >>> image = jax.numpy.ones((32, 32)).at[16, 16].set(50.0)
        >>> nothing = jax.numpy.zeros((32, 32))
        >>> found = jd.learning.repair(nothing, image, operator=blur, background=0.0)
        >>> int(found.image.argmax()) == 16 * 32 + 16
        True
    """
    check_count("iterations", iterations)
    scene = scene_of(estimate, images, operator, background)
    share = jnp.asarray(doubt, scene.estimate.dtype)
    check_values("doubt", share)
    return repaired(scene, share, iterations=iterations, accelerated=accelerated)


@functools.partial(jax.jit, static_argnames=("iterations", "accelerated"))
def repaired(
    scene: Scene,
    doubt: ArrayLike = 0.0,
    *,
    iterations: int,
    accelerated: bool = True,
    beyond: jax.Array | None = None,
) -> Repair:
    """The repair of a scene that was checked.

    Outside the field of view it starts from `beyond`, an object on the operator's
    domain; None: the continued image.
    """
    operator = scene.operator
    recorded = jax.tree.map(lambda y: jnp.maximum(y, 0), scene.problem.excess)
    lifted = operator.lift(recorded)
    image = operator.image_region(lifted)
    before = jnp.maximum(scene.estimate, 0)
    floor = FLOOR * jnp.maximum(before.mean(), image.mean())
    floor = floor + jnp.finfo(before.dtype).tiny
    mixed = dataclasses.replace(scene, estimate=before + doubt * (image - before))
    inside, placed = mixed.embedded
    beyond = lifted if beyond is None else beyond
    start = jnp.maximum(jnp.where(inside, placed, beyond), floor)
    problem = Problem(
        data=jax.tree.map(lambda y: jnp.maximum(y, 0), scene.data),
        operator=operator,
        background=scene.background,
    )
    scheme: Any = RichardsonLucy(initial=start)
    scheme = Accelerated(scheme=scheme) if accelerated else scheme

    def step(state, _):
        return scheme.update(problem, state), None

    state, _ = jax.lax.scan(step, scheme.init(problem), length=iterations)
    after = operator.image_region(state.estimate)
    middle = jnp.maximum((after + before) / 2, floor)
    return Repair(image=after, change=(after - before) / middle)
