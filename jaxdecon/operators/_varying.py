"""Blur by PSFs that change over the field of view."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from .._core._check import check_choice, check_shape
from .._core._pytree import pytree, static
from ..psf import PSFField
from ._base import LinearOperator, Shape
from ._blur import (
    BOUNDARIES,
    Blur,
    Boundary,
    crop_to_reach,
    grid_margins,
    transform_grid,
)
from ._convolution import Convolution
from ._varying_modes import ModeFilter, Modes
from ._varying_parts import Parts, mirrored, parts_of
from ._varying_tiles import TileFilter, Tiles


@pytree
class VaryingConvolution(Blur):
    """Blur by a field of PSFs: every voxel of the object has a PSF of its own.

    Made by `VaryingConvolution.from_field`. The image is the sum of what every voxel of
    the object sends, by the PSF at its own place, so that no light is lost or made::

        (A x)(q) = sum_p psf_p(q - p) x(p)

    With psf_p interpolated between nodes this is a sum of convolutions of the object,
    each weighted first::

        A x = sum_r h_r * (w_r x)

    either over few kernels h_r for the whole field (`ModeFilter`: the mean PSF and the
    principal components of what differs from it), or over the nodes, each confined to
    the tile in which its weight is not zero (`TileFilter`).

    Attributes:
        filter: kernels and weights on the grid.
        domain: shape of the object.
        range: shape of the image.
        grid: shape of what is filtered.
        boundary: what lies outside the field of view.

    References:
        Products before convolution: Nagy & O'Leary, SIAM J. Sci. Comput. 19, 1063
        (1998), doi:10.1137/S106482759528507X; principal components: Lauer, Proc. SPIE
        4847, 167 (2002), doi:10.1117/12.461035; a comparison: Denis et al., Int. J.
        Comput. Vis. 115, 253 (2015), doi:10.1007/s11263-015-0817-x.
    """

    filter: ModeFilter | TileFilter
    domain: Shape = static()
    range: Shape = static()
    grid: Shape = static()
    boundary: str = static()

    @classmethod
    def from_field(
        cls,
        field: PSFField,
        shape: Sequence[int],
        *,
        boundary: Boundary | str = "extend",
        accuracy: float | None = None,
        rank: int | None = None,
        method: Literal["auto", "low-rank", "tiles"] = "auto",
    ) -> "VaryingConvolution":
        """The blur of an image of `shape` by a field of PSFs.

        Args:
            field: its positions are voxels of the image. Light from beyond the image
                (with "extend") is blurred by the field there, constant beyond the
                outermost nodes.
            shape: shape of the image.
            boundary: as for `Convolution.from_psf`.
            accuracy: of low rank: the largest error of a node's PSF, as a share of
                that PSF's Euclidean norm. None: 0.01, or whatever `rank` gives.
            rank: of low rank: kernels, the mean PSF among them; None: as many as
                `accuracy` needs.
            method: "low-rank": few kernels for the whole field, for blur that varies
                little (aberrations up to about 1 rad). "tiles": every node in its own
                tile, exact, for blur that varies more, or nodes far apart. "auto": the
                one that takes fewer operations; low rank, if `rank` is given.

        Returns:
            An operator whose `range` is `shape`, and whose domain is that of the
            `Convolution` with a PSF of that size.

        Raises:
            TypeError: no field.
            ValueError: a field of other dimensionality than `shape`; unknown options;
                both `rank` and `accuracy`, and the rank is too low, with the rank that
                is needed; either of them for a field that is being traced.

        Example:
            >>> import jax.numpy as jnp, jaxdecon as jd
            >>> psfs = jnp.stack([jd.psf.gaussian((9, 9), w) for w in (2.0, 3.0, 4.0)])
            >>> field = jd.psf.PSFField.from_grid(
            ...     psfs[None], ([0.0], [0.0, 32.0, 63.0]))
            >>> blur = jd.operators.VaryingConvolution.from_field(field, (64, 64))
            >>> spots = jnp.zeros(blur.domain).at[20, 16:64:32].set(1.0)
            >>> round(float(blur(spots).sum()), 3)
            2.0
        """
        shape = check_shape("shape", shape)
        check_choice("boundary", boundary, BOUNDARIES)
        parts = parts_of(
            field, shape, boundary=boundary, accuracy=accuracy, rank=rank, method=method
        )
        return varying(parts, shape, boundary)

    def back_projection(
        self,
        kernels: PSFField | Parts,
        *,
        accuracy: float | None = None,
        method: Literal["auto", "low-rank", "tiles"] = "auto",
    ) -> LinearOperator:
        """The adjoint's geometry with other kernels in place of the flipped PSFs.

        Every voxel of the object is corrected by the kernel at its own place.

        Args:
            kernels: back projectors by position, such as `back_projector` makes of
                every PSF, centred on n // 2, reaching no further than the PSFs.
            accuracy: as for `from_field`.
            method: as for `from_field`.

        Returns:
            An operator from images to objects, for use in `RichardsonLucy`.
        """
        if isinstance(kernels, PSFField):
            kernels = parts_of(
                kernels,
                self.range,
                boundary=self.boundary,
                accuracy=accuracy,
                method=method,
            )
        return _back_projection(self, kernels)

    def _blur(self, x: jax.Array) -> jax.Array:
        return self.filter.forward(x)

    def _correlate(self, y: jax.Array) -> jax.Array:
        return self.filter.backward(y)

    @property
    def _gain(self) -> jax.Array:
        return self.filter.gain


# As whole programs, also where they are called one by one.
@functools.partial(jax.jit, static_argnums=(1, 2))
def varying(parts: Parts, shape: Shape, boundary: str) -> VaryingConvolution:
    """The blur by a field that was taken apart."""
    parts = parts.with_kernels(lambda k: crop_to_reach(k, shape, boundary))
    grid = transform_grid(parts.shape, shape, boundary)
    return VaryingConvolution(
        filter=_on_grid(parts, shape, grid, boundary),
        domain=grid if boundary == "extend" else shape,
        range=shape,
        grid=grid,
        boundary=boundary,
    )


@jax.jit
def _back_projection(blur: VaryingConvolution, kernels: Parts) -> LinearOperator:
    shape, boundary = blur.range, blur.boundary
    flipped = kernels.with_kernels(
        lambda k: mirrored(crop_to_reach(k, shape, boundary))
    )
    back = _on_grid(flipped, shape, blur.grid, boundary)
    return dataclasses.replace(blur, filter=back).T


def _on_grid(
    parts: Parts, shape: Shape, grid: Shape, boundary: str
) -> ModeFilter | TileFilter:
    before = tuple(b for b, _ in grid_margins(grid, shape))
    return parts.filter(grid, before, periodic=boundary == "periodic")


def blur_by(
    psf: ArrayLike | Parts,
    shape: Shape,
    *,
    boundary: str,
    mesh: Mesh | None = None,
) -> Any:
    """The operator of a PSF, or of a field that was taken apart."""
    if isinstance(psf, Modes | Tiles):
        return varying(psf, shape, boundary)
    return Convolution.from_psf(psf, shape, boundary=boundary, mesh=mesh)
