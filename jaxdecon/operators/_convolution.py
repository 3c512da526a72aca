"""Convolution with a PSF, with an honest choice of what lies outside the field."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike

from .._core._check import check_choice, check_psf, check_shape
from .._core._pytree import pytree, static
from ..fourier import filter_real, transfer_function
from ._base import LinearOperator, Shape
from ._blur import BOUNDARIES, Blur, Boundary, crop_to_reach, transform_grid


@pytree
class Convolution(Blur):
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

    def sensitivity(self, dtype: Any = float) -> jax.Array:
        """Share of each object voxel's light that the camera records."""
        if self.boundary == "periodic":
            return self._gain.astype(dtype)
        return super().sensitivity(dtype)

    def _blur(self, x: jax.Array) -> jax.Array:
        return filter_real(x, self.transfer)

    def _correlate(self, y: jax.Array) -> jax.Array:
        return filter_real(y, self.transfer.conj())

    @property
    def _gain(self) -> jax.Array:
        """Sum of the PSF."""
        return self.transfer.real.ravel()[0]
