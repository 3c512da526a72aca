"""Multiplication voxel by voxel: exposure, vignetting, defects."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import as_float_array, check_shape, check_values
from .._core._pytree import pytree, static
from ._base import LinearOperator, Shape, as_argument


@pytree
class Weight(LinearOperator):
    """Light times a weight: exposure, vignetting, or 0 where nothing is recorded.

    Made by `Weight.from_values`.

    Attributes:
        values: the weights, a number or an array that broadcasts against `domain`.
        domain: shape of what is weighted.
    """

    values: jax.Array
    domain: Shape = static()

    @classmethod
    def from_values(cls, values: ArrayLike, shape: Sequence[int]) -> "Weight":
        """Weights for an array of `shape`.

        Args:
            values: not negative; a number, or an array that broadcasts against `shape`.
            shape: of the domain, which is the range.

        Raises:
            ValueError: negative or infinite weights, or of another shape.
        """
        shape = check_shape("shape", shape)
        values = as_float_array("values", values)
        check_values("values", values)
        try:
            fits = jnp.broadcast_shapes(values.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"`values` has shape {values.shape}, which does not broadcast against "
                f"{shape}."
            )
        return cls(values=values, domain=shape)

    @property
    def range(self) -> Shape:
        """Shape of the weighted array, that of `domain`."""
        return self.domain

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Weigh `x`."""
        x = as_argument(x, self.domain, "Weight")
        return x * self.values.astype(x.dtype)

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Weigh `y`: the operator is its own adjoint."""
        return self(y)
