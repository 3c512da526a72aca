"""What every linear operator has: shapes, an exact adjoint, composition."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree

Shape = tuple[int, ...]
Shapes = Any
"""A shape, or a tuple of shapes where an operator returns several arrays."""


class LinearOperator(abc.ABC):
    """A linear map from arrays of shape `domain` to arrays of shape `range`.

    Operators are frozen pytrees: their arrays are leaves, so that `jit`, `vmap` and
    `grad` see through them. `A(x)` applies the operator, `A.adjoint(y)` its exact
    adjoint, `A.T` is the adjoint as an operator and `A @ B` applies B, then A.
    A new operator defines `domain`, `range` and `__call__`; the adjoint follows from
    `jax.linear_transpose` and is overridden only for speed.
    """

    domain: Any
    range: Any

    @abc.abstractmethod
    def __call__(self, x: ArrayLike) -> Any:
        """Apply the operator to `x`, of shape `domain`."""

    def adjoint(self, y: Any) -> jax.Array:
        """Apply the exact adjoint to `y`, of shape `range`."""
        dtype = jnp.result_type(*jax.tree.leaves(y))
        x = jax.ShapeDtypeStruct(self.domain, dtype)
        (result,) = jax.linear_transpose(self.__call__, x)(y)
        return result

    def sensitivity(self, dtype: Any = float) -> jax.Array:
        """The adjoint of ones: how much light of each object voxel is recorded.

        On `domain`, or a number where it is the same for all voxels.
        """
        ones = jax.tree.map(lambda s: jnp.ones(s, dtype), self.range, is_leaf=is_shape)
        return self.adjoint(ones)

    def lift(self, y: Any) -> jax.Array:
        """A first guess of the object, on `domain`, from data without background.

        The data that see a voxel are averaged, and the whole is scaled so that it
        would record as much light as was recorded.
        """
        sum_of_data = self.adjoint(y)
        weight = self.sensitivity(sum_of_data.dtype)
        average = sum_of_data / jnp.maximum(weight, 1e-6)
        recorded = sum(leaf.sum() for leaf in jax.tree.leaves(y))
        predicted = sum(leaf.sum() for leaf in jax.tree.leaves(self(average)))
        return average * (recorded / jnp.where(predicted > 0, predicted, 1))

    def image_region(self, x: jax.Array) -> jax.Array:
        """The part of an object inside the field of view; here, all of `domain`."""
        return x

    @property
    def T(self) -> "LinearOperator":
        """The adjoint, as an operator."""
        return Adjoint(operator=self)

    def __matmul__(self, other: "LinearOperator") -> "LinearOperator":
        if self.domain != other.range:
            raise ValueError(
                f"`A @ B` needs `A.domain == B.range`, but A takes {self.domain} and B "
                f"gives {other.range}."
            )
        return Composition(outer=self, inner=other)


@pytree
class Adjoint(LinearOperator):
    """The adjoint of an operator; made by `operator.T`."""

    operator: LinearOperator

    @property
    def domain(self) -> Shapes:
        """Shape of what the adjoint takes."""
        return self.operator.range

    @property
    def range(self) -> Shapes:
        """Shape of what the adjoint gives."""
        return self.operator.domain

    def __call__(self, x: Any) -> jax.Array:
        """Apply the adjoint of the wrapped operator."""
        return self.operator.adjoint(x)

    def adjoint(self, y: jax.Array) -> Any:
        """Apply the wrapped operator."""
        return self.operator(y)

    @property
    def T(self) -> LinearOperator:
        """The wrapped operator."""
        return self.operator


@pytree
class Composition(LinearOperator):
    """`outer` after `inner`; made by `outer @ inner`."""

    outer: LinearOperator
    inner: LinearOperator

    @property
    def domain(self) -> Shapes:
        """Domain of the inner operator."""
        return self.inner.domain

    @property
    def range(self) -> Shapes:
        """Range of the outer operator."""
        return self.outer.range

    def __call__(self, x: ArrayLike) -> Any:
        """Apply the inner operator, then the outer one."""
        return self.outer(self.inner(x))

    def adjoint(self, y: Any) -> jax.Array:
        """Apply the adjoint of the outer operator, then that of the inner one."""
        return self.inner.adjoint(self.outer.adjoint(y))

    def image_region(self, x: jax.Array) -> jax.Array:
        """The field of view of the inner operator."""
        return self.inner.image_region(x)


def as_argument(array: ArrayLike, shape: Shape, where: str) -> jax.Array:
    """The array, if its shape is the one that the operator is made for."""
    array = jnp.asarray(array)
    if array.shape != shape:
        raise ValueError(
            f"{where} takes shape {shape}, and got {array.shape}: for a batch, use "
            f"`jax.vmap`."
        )
    return array


def is_shape(value: Any) -> bool:
    """Whether a value is one shape, and not a tuple of shapes."""
    return isinstance(value, tuple) and all(isinstance(n, int) for n in value)
