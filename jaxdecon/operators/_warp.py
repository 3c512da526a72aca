"""Resampling through a matrix as a linear operator."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_shape, is_traced
from .._core._pytree import pytree, static
from ..geometry._matrix import check_matrix
from ..geometry._trilinear import sample
from ..geometry._warp import coordinates, overlap, spread
from ._base import LinearOperator, Shape, as_argument


@pytree
class Warp(LinearOperator):
    """An object in another pose: `(W x)(p) = x(matrix @ p)`, interpolated linearly.

    Zero where the object does not reach. The adjoint hands every value to the voxels
    that it was interpolated from.

    Attributes:
        matrix: from voxels of `range` to those of `domain`, on (z, y, x, 1).
        domain: shape of the object.
        range: shape of the result.
    """

    matrix: jax.Array
    domain: Shape = static()
    range: Shape = static()

    @classmethod
    def from_matrix(
        cls, matrix: ArrayLike, domain: Sequence[int], range: Sequence[int]
    ) -> "Warp":
        """The warp with a matrix, as `register` finds it.

        Args:
            matrix: (4, 4) or (3, 3).
            domain: shape of the object, of the moving volume.
            range: shape of the result, of the fixed volume.

        Raises:
            ValueError: a singular matrix, or one of another size than the shapes.
        """
        domain, range = check_shape("domain", domain), check_shape("range", range)
        if not is_traced(matrix):
            check_matrix("matrix", matrix)
        size = (len(domain) + 1,) * 2
        if np.shape(matrix) != size or len(range) != len(domain):
            raise ValueError(
                f"`matrix` has shape {np.shape(matrix)} for a `domain` of {domain} and "
                f"a `range` of {range}; {size} and as many axes are needed."
            )
        return cls(matrix=jnp.asarray(matrix, float), domain=domain, range=range)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Resample the object `x`, of shape `domain`."""
        x = as_argument(x, self.domain, "Warp")
        matrix = self.matrix.astype(x.dtype)
        values, seen = sample(x, coordinates(matrix, self.range))
        return jnp.where(seen, values, 0)

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Spread the image `y`, of shape `range`, over the object's voxels."""
        y = as_argument(y, self.range, "Warp.adjoint")
        matrix = self.matrix.astype(y.dtype)
        seen = overlap(self.domain, matrix, self.range)
        return spread(jnp.where(seen, y, 0), matrix, self.domain)
