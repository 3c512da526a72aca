"""Operators that change the grid: a smaller field, larger pixels, other axes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_shape
from .._core._pytree import pytree, static
from ._base import LinearOperator, Shape, as_argument


@pytree
class Crop(LinearOperator):
    """The part of an array that a smaller field of view sees.

    Made by `Crop.centred` or `Crop.at`.
    """

    domain: Shape = static()
    range: Shape = static()
    offset: Shape = static()

    @classmethod
    def at(
        cls, offset: Sequence[int], domain: Sequence[int], range: Sequence[int]
    ) -> "Crop":
        """Crop `range` voxels of an array of shape `domain`, starting at `offset`.

        Raises:
            ValueError: the field does not lie inside the domain.
        """
        domain, range = check_shape("domain", domain), check_shape("range", range)
        offset = tuple(int(o) for o in offset)
        inside = len(offset) == len(domain) == len(range) and all(
            o >= 0 and o + r <= d
            for o, d, r in zip(offset, domain, range, strict=False)
        )
        if not inside:
            raise ValueError(
                f"a field of shape {range} at {offset} does not fit into {domain}."
            )
        return cls(domain=domain, range=range, offset=offset)

    @classmethod
    def centred(cls, domain: Sequence[int], range: Sequence[int]) -> "Crop":
        """Crop the middle: `range` voxels of an array of shape `domain`."""
        pairs = zip(domain, range, strict=True)
        return cls.at([(d - r) // 2 for d, r in pairs], domain, range)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """The part of `x` inside the field."""
        x = as_argument(x, self.domain, "Crop")
        corners = zip(self.offset, self.range, strict=True)
        return x[tuple(slice(o, o + r) for o, r in corners)]

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """`y` in its place, zeros around it."""
        y = as_argument(y, self.range, "Crop.adjoint")
        sizes = zip(self.offset, self.range, self.domain, strict=True)
        return jnp.pad(y, [(o, d - o - r) for o, r, d in sizes])


@pytree
class Downsample(LinearOperator):
    """Camera binning: every pixel integrates the light of a block of voxels.

    Made by `Downsample.from_factor`. Light is summed, so flux is kept.
    """

    factor: Shape = static()
    range: Shape = static()

    @classmethod
    def from_factor(
        cls, factor: int | Sequence[int], shape: Sequence[int]
    ) -> "Downsample":
        """Binning by `factor` onto a camera of `shape`.

        Args:
            factor: voxels per pixel, one number or one per axis.
            shape: shape of the binned image; the domain is `shape * factor`.

        Raises:
            ValueError: factors that are not positive integers, or not one per axis.
        """
        shape = check_shape("shape", shape)
        factors = check_shape("factor", factor)
        if len(factors) == 1:
            factors = factors * len(shape)
        if len(factors) != len(shape):
            raise ValueError(f"`factor` is {factor}; one per axis of {shape} is needed")
        return cls(factor=factors, range=shape)

    @property
    def domain(self) -> Shape:
        """Shape of the fine grid."""
        return tuple(n * f for n, f in zip(self.range, self.factor, strict=True))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Sum the blocks of `x`."""
        x = as_argument(x, self.domain, "Downsample")
        pairs = zip(self.range, self.factor, strict=True)
        split = [size for pair in pairs for size in pair]
        return x.reshape(split).sum(tuple(range(1, len(split), 2)))

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Give every voxel of a block the value of its pixel."""
        y = as_argument(y, self.range, "Downsample.adjoint")
        for axis, factor in enumerate(self.factor):
            y = jnp.repeat(y, factor, axis)
        return y


@pytree
class Transpose(LinearOperator):
    """Another order of the axes, such as a second camera's at right angles.

    Made by `Transpose.from_axes`.
    """

    axes: Shape = static()
    domain: Shape = static()

    @classmethod
    def from_axes(cls, axes: Sequence[int], shape: Sequence[int]) -> "Transpose":
        """As `numpy.transpose` of an array of `shape`: axis i becomes `axes[i]`'s.

        Raises:
            ValueError: axes that are not each of the shape's once.

        Example:
            >>> Transpose.from_axes((2, 1, 0), (3, 4, 5)).range
            (5, 4, 3)
        """
        shape, axes = check_shape("shape", shape), tuple(int(a) for a in axes)
        if sorted(axes) != list(range(len(shape))):
            raise ValueError(
                f"`axes` is {axes}; each of the {len(shape)} axes of `shape` is needed "
                f"once."
            )
        return cls(axes=axes, domain=shape)

    @property
    def range(self) -> Shape:
        """The sizes in their new order."""
        return tuple(self.domain[axis] for axis in self.axes)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """`x` with its axes in the new order."""
        return as_argument(x, self.domain, "Transpose").transpose(self.axes)

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """`y` with its axes in the old order."""
        y = as_argument(y, self.range, "Transpose.adjoint")
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return y.transpose(back)
