"""What is held to be likely of objects: penalties on roughness and size."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_positive, is_traced
from .._core._pytree import pytree, static
from .._core._sum import mean, total

LARGEST_WEIGHT = 1.0
"""Weights above this let the penalty outvote the data everywhere."""
FLAT = 1e-2
"""Differences, in mean intensities, below which total variation becomes quadratic."""

Spacing = tuple[float, ...] | None


class Prior(Protocol):
    """A penalty U(x) on objects; a pytree, so that its weight can be learned."""

    weight: ArrayLike

    def penalty(self, x: jax.Array) -> jax.Array:
        """U(x), without the weight, in the units of x."""
        ...

    def split(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The gradient of U as the difference of two arrays that are not negative."""
        ...


@pytree
class TotalVariation:
    """The sum of `|gradient x|`: edges may be sharp, noise may not.

    Attributes:
        weight: of the penalty, dimensionless; 0.001 to 0.05 are usual.
        spacing: relative distance of voxels along each axis; None: equal.
        level: mean of the object, where that of x is not to be taken (a block of one).

    References:
        Dey et al., Microsc. Res. Tech. 69, 260 (2006), doi:10.1002/jemt.20294.
    """

    weight: ArrayLike
    spacing: Spacing = static(default=None)
    level: ArrayLike | None = None

    def penalty(self, x: jax.Array) -> jax.Array:
        """Sum of the smoothed gradient magnitudes."""
        return total(self._magnitude(x, jax.lax.stop_gradient(_level(x, self.level))))

    def split(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sums over neighbours, weighted by the inverse gradient magnitude."""
        inverse = 1 / self._magnitude(x, _level(x, self.level))
        return _neighbours(x, self._steps(x), inverse)

    def _magnitude(self, x, level) -> jax.Array:
        squared = (FLAT * level) ** 2 + jnp.finfo(x.dtype).tiny
        for axis, step in enumerate(self._steps(x)):
            squared = squared + (_forward(x, axis) / step) ** 2
        return jnp.sqrt(squared)

    def _steps(self, x) -> tuple[float, ...]:
        return self.spacing or (1.0,) * x.ndim


@pytree
class Tikhonov:
    """The sum of squares, of x or of its gradient, over twice the mean of x.

    Divided by the mean so that the weight does not depend on the units of the data.

    Attributes:
        weight: of the penalty, dimensionless; 0.001 to 0.05 are usual.
        order: 1 (of the gradient: smooth objects) or 0 (of x: small ones).
        spacing: relative distance of voxels along each axis; None: equal.
        level: mean of the object, where that of x is not to be taken (a block of one).

    References:
        Conchello & McNally, Proc. SPIE 2655, 199 (1996), doi:10.1117/12.237477.
    """

    weight: ArrayLike
    order: int = static(default=1)
    spacing: Spacing = static(default=None)
    level: ArrayLike | None = None

    def penalty(self, x: jax.Array) -> jax.Array:
        """Half the sum of squares over the mean."""
        level = jax.lax.stop_gradient(_level(x, self.level))
        if self.order == 0:
            return total(x**2) / (2 * level)
        steps = self.spacing or (1.0,) * x.ndim
        squares = [total((_forward(x, a) / s) ** 2) for a, s in enumerate(steps)]
        return sum(squares, jnp.zeros((), x.dtype)) / (2 * level)

    def split(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x, or the sums over neighbours, over the mean."""
        level = _level(x, self.level)
        if self.order == 0:
            return x / level, jnp.zeros_like(x)
        steps = self.spacing or (1.0,) * x.ndim
        up, down = _neighbours(x, steps, jnp.ones_like(x))
        return up / level, down / level


def check_prior(prior: Prior | None, ndim: int) -> None:
    """A weight that leaves the data a say, a spacing for every axis."""
    if prior is None:
        return
    weight: Any = prior.weight
    if not is_traced(weight) and not 0 <= float(weight) <= LARGEST_WEIGHT:
        raise ValueError(
            f"`prior.weight` is {weight}; 0 to {LARGEST_WEIGHT:g} is needed, and 0.001 "
            f"to 0.05 is usual: a larger one lets the penalty outvote the data."
        )
    spacing = getattr(prior, "spacing", None)
    if spacing is not None:
        check_positive("prior.spacing", spacing)
        if len(spacing) != ndim:
            raise ValueError(f"`prior.spacing` is {spacing}; {ndim} are needed.")


def _level(x: jax.Array, known: ArrayLike | None) -> jax.Array:
    level = mean(x) if known is None else jnp.asarray(known, x.dtype)
    return jnp.maximum(level, jnp.finfo(x.dtype).tiny)


def _forward(x: jax.Array, axis: int) -> jax.Array:
    """Differences to the next voxel; 0 for the last one."""
    last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, None, axis=axis)
    return jnp.diff(x, axis=axis, append=last)


def _neighbours(x, steps, weight) -> tuple[jax.Array, jax.Array]:
    """x times the sum of weights, and the weighted sum of x, over all neighbours.

    A pair of neighbours has the weight of its first voxel; beyond the border is none.
    """
    own, others = jnp.zeros_like(x), jnp.zeros_like(x)
    for axis, step in enumerate(steps):
        n = x.shape[axis]
        if n == 1:
            continue
        first = [jax.lax.slice_in_dim(a, 0, n - 1, axis=axis) for a in (x, weight)]
        second = jax.lax.slice_in_dim(x, 1, n, axis=axis)
        pair = first[1] / step**2
        after = [(0, 1) if a == axis else (0, 0) for a in range(x.ndim)]
        before = [(1, 0) if a == axis else (0, 0) for a in range(x.ndim)]
        own = own + jnp.pad(pair, after) + jnp.pad(pair, before)
        others = others + jnp.pad(pair * second, after)
        others = others + jnp.pad(pair * first[0], before)
    return own * x, others
