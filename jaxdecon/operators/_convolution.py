"""Convolution with a PSF, with an honest choice of what lies outside the field."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike

from .._core._check import check_choice, check_psf, check_shape
from .._core._pytree import pytree, static
from ..fourier import filter_real, next_fast_len, transfer_function
from ._base import LinearOperator, Shape, as_argument

Boundary = Literal["extend", "periodic", "reflect", "edge"]
BOUNDARIES: tuple[str, ...] = get_args(Boundary)
"""What may lie outside the field: see `Convolution.from_psf`."""

PAD_MODES = {"reflect": "symmetric", "edge": "edge"}


@pytree
class Convolution(LinearOperator):
    """Convolution of an object with a PSF, recorded by a camera of shape `range`.

    Made by `Convolution.from_psf`. One OTF is stored; the adjoint uses its conjugate.

    Attributes:
        transfer: OTF, the half-spectrum of the transform grid `grid`.
        domain: shape of the object.
        range: shape of the image.
        grid: shape of the transforms.
        boundary: what lies outside the field.
    """

    transfer: jax.Array
    domain: Shape = static()
    range: Shape = static()
    grid: Shape = static()
    boundary: str = static()

    @classmethod
    def from_psf(
        cls,
        psf: ArrayLike,
        shape: Sequence[int],
        *,
        boundary: Boundary | str = "extend",
        mesh: Mesh | None = None,
    ) -> "Convolution":
        """The blur of an image of `shape` by a PSF centred on index n // 2.

        Args:
            psf: (z, y, x) or (y, x), non-negative; its sum is the operator's gain, 1
                for a normalised PSF.
            shape: shape of the image, with as many axes as the PSF.
            boundary: what lies outside the field of view. "extend": unknown light;
                the object's domain is larger than the image by the PSF, rounded up
                to a fast transform size. "periodic": the opposite side of the image,
                on the image's own grid. "reflect": the mirror image of the field.
                "edge": the outermost voxels, repeated.
            mesh: devices to hold image, object and OTF in slabs along the first axis,
                of `z_mesh`; None: one device. See `ShardedConvolution`.

        Returns:
            An operator whose `range` is `shape`. PSF voxels that cannot connect any
            object voxel with any image voxel (beyond 2 n - 1) are dropped, which
            changes nothing; a periodic grid smaller than the PSF wraps it.

        Raises:
            ValueError: PSF all zero, negative, NaN, or of other dimensionality than
                `shape`; unknown boundary; a mesh of several or explicit axes.
        """
        shape = check_shape("shape", shape)
        check_choice("boundary", boundary, BOUNDARIES)
        psf = crop_to_reach(check_psf("psf", psf, len(shape)), shape, boundary)
        if mesh is not None:
            from ._sharded import sharded_convolution  # which builds on this module

            return sharded_convolution(psf, shape, boundary, mesh)
        grid = transform_grid(psf.shape, shape, boundary)
        return cls(
            transfer=transfer_function(psf, grid),
            domain=grid if boundary == "extend" else shape,
            range=shape,
            grid=grid,
            boundary=boundary,
        )

    def back_projection(self, kernel: ArrayLike) -> LinearOperator:
        """The adjoint's geometry with `kernel` in place of the flipped PSF.

        Args:
            kernel: back projector, centred on n // 2, reaching no further from its
                centre than the PSF; `back_projector` makes one.

        Returns:
            An operator from images to objects, for use in `RichardsonLucy`.
        """
        kernel = crop_to_reach(jnp.asarray(kernel), self.range, self.boundary)
        transfer = transfer_function(kernel, self.grid).conj()
        return dataclasses.replace(self, transfer=transfer).T

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Blur the object `x`, of shape `domain`, and record it."""
        x = as_argument(x, self.domain, "Convolution")
        return self._crop(filter_real(self._pad(x), self.transfer))

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Correlate the image `y`, of shape `range`, with the PSF."""
        y = as_argument(y, self.range, "Convolution.adjoint")
        padded = filter_real(self._embed(y), self.transfer.conj())
        if self.boundary not in PAD_MODES:
            return padded
        x = jax.ShapeDtypeStruct(self.domain, padded.dtype)
        return jax.linear_transpose(self._pad, x)(padded)[0]

    def sensitivity(self, dtype: Any = float) -> jax.Array:
        """Share of each object voxel's light that the camera records."""
        if self.boundary == "periodic":
            return self._gain.astype(dtype)
        return super().sensitivity(dtype)

    def lift(self, y: jax.Array) -> jax.Array:
        """The image itself, with its outermost voxels repeated beyond the field."""
        if self.boundary == "extend":
            y = jnp.pad(y, self._margins, mode="edge")
        return y / self._gain

    def image_region(self, x: jax.Array) -> jax.Array:
        """The part of an object, on `domain`, that lies inside the field of view."""
        return self._crop(x) if self.boundary == "extend" else x

    @property
    def _gain(self) -> jax.Array:
        """Sum of the PSF."""
        return self.transfer.real.ravel()[0]

    @property
    def _margins(self) -> list[tuple[int, int]]:
        """Voxels between image and grid, before and after: half on either side."""
        gaps = [g - n for g, n in zip(self.grid, self.range, strict=True)]
        return [(gap // 2, gap - gap // 2) for gap in gaps]

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
