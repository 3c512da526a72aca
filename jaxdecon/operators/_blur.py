"""What all blurs share: an object larger than the image, and what lies outside."""

import abc
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..fourier import next_fast_len
from ._base import LinearOperator, Shape, as_argument

Boundary = Literal["extend", "periodic", "reflect", "edge"]
BOUNDARIES: tuple[str, ...] = get_args(Boundary)
"""What may lie outside the field: see `Convolution.from_psf`."""

PAD_MODES = {"reflect": "symmetric", "edge": "edge"}


class Blur(LinearOperator, abc.ABC):
    """An operator that filters an object on a grid, of which a camera sees a part.

    Subclasses say how to filter on the grid, and back.

    Attributes:
        domain: shape of the object.
        range: shape of the image.
        grid: shape of what is filtered: of the image and the PSF's reach around it.
        boundary: what lies outside the field.
    """

    grid: Any
    boundary: Any

    @abc.abstractmethod
    def _blur(self, x: jax.Array) -> jax.Array:
        """Filter what is on the grid."""

    @abc.abstractmethod
    def _correlate(self, y: jax.Array) -> jax.Array:
        """The transpose of `_blur`."""

    @property
    @abc.abstractmethod
    def _gain(self) -> jax.Array:
        """Sum of the PSF."""

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Blur the object `x`, of shape `domain`, and record it."""
        x = as_argument(x, self.domain, type(self).__name__)
        return self._crop(self._blur(self._pad(x)))

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Correlate the image `y`, of shape `range`, with the PSF."""
        y = as_argument(y, self.range, f"{type(self).__name__}.adjoint")
        padded = self._correlate(self._embed(y))
        if self.boundary not in PAD_MODES:
            return padded
        x = jax.ShapeDtypeStruct(self.domain, padded.dtype)
        return jax.linear_transpose(self._pad, x)(padded)[0]

    def lift(self, y: jax.Array) -> jax.Array:
        """The image itself, with its outermost voxels repeated beyond the field."""
        if self.boundary == "extend":
            y = jnp.pad(y, self._margins, mode="edge")
        return y / self._gain

    def image_region(self, x: jax.Array) -> jax.Array:
        """The part of an object, on `domain`, that lies inside the field of view."""
        return self._crop(x) if self.boundary == "extend" else x

    @property
    def _margins(self) -> list[tuple[int, int]]:
        """Voxels between image and grid, before and after."""
        return grid_margins(self.grid, self.range)

    def _pad(self, x: jax.Array) -> jax.Array:
        mode = PAD_MODES.get(self.boundary)
        return x if mode is None else jnp.pad(x, self._margins, mode=mode)

    def _crop(self, x: jax.Array) -> jax.Array:
        if self.grid == self.range:
            return x
        slices = zip(self._margins, self.range, strict=True)
        return x[tuple(slice(before, before + n) for (before, _), n in slices)]

    def _embed(self, y: jax.Array) -> jax.Array:
        return y if self.grid == self.range else jnp.pad(y, self._margins)


def transform_grid(psf_shape: Shape, shape: Shape, boundary: str) -> Shape:
    """Of fast sizes that hold the image and the PSF's reach around it."""
    if boundary == "periodic":
        return shape
    sizes = zip(shape, psf_shape, strict=True)
    return tuple(next_fast_len(n + 2 * (m // 2)) for n, m in sizes)


def grid_margins(grid: Shape, shape: Shape) -> list[tuple[int, int]]:
    """Voxels between image and grid, before and after: half on either side."""
    gaps = [g - n for g, n in zip(grid, shape, strict=True)]
    return [(gap // 2, gap - gap // 2) for gap in gaps]


def crop_to_reach(kernel: jax.Array, shape: Shape, boundary: str) -> jax.Array:
    """Drop kernel voxels too far from the centre to connect object and image."""
    if boundary == "periodic":
        return kernel
    slices = []
    for size, n in zip(kernel.shape, shape, strict=True):
        keep = min(size, 2 * n - 1)
        start = size // 2 - keep // 2
        slices.append(slice(start, start + keep))
    return kernel[tuple(slices)]
