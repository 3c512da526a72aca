"""PSFs that change over the field, and their back projectors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_psf, is_traced
from ..operators._base import Shape
from ..operators._varying_parts import Parts, parts_of
from ..psf import PSFField
from ._inputs import back_projection_kernel

Blur = jax.Array | PSFField


def check_blur(psf: ArrayLike | PSFField, ndim: int, dtype: Any) -> Blur:
    """A PSF, or a field of them, of `ndim` axes and in an image's type, if given."""
    if not isinstance(psf, PSFField):
        checked = check_psf("psf", psf, ndim)
        return checked if dtype is None else checked.astype(dtype)
    if psf.ndim != ndim:
        raise ValueError(
            f"`psf` is a {psf.ndim}D `PSFField`, but the image is {ndim}D; a {ndim}D "
            f"one is needed."
        )
    return with_dtype(psf, dtype)


def taken_apart(psf: Blur, shape: Shape, boundary: str) -> jax.Array | Parts:
    """A field as kernels with weights; a PSF as it is."""
    if isinstance(psf, PSFField):
        return parts_of(psf, shape, boundary=boundary)
    return psf


def back_projection(
    psf: Blur, back_projector: Any, shape: Shape, boundary: str, **options: Any
) -> jax.Array | Parts | None:
    """What to project back with, for `back_projection` of the blur; None: the adjoint.

    Args:
        psf: of `check_blur`.
        back_projector: a kind, a kernel, or for a field also a field of kernels.
        shape: of the image.
        boundary: as for `Convolution.from_psf`.
        options: of `back_projector`.
    """
    if not isinstance(psf, PSFField):
        return back_projection_kernel(psf, back_projector, **options)
    kernels = back_projection_field(psf, back_projector, **options)
    return None if kernels is None else parts_of(kernels, shape, boundary=boundary)


def back_projection_field(
    field: PSFField, back_projector: Any, **options: Any
) -> PSFField | None:
    """The back projector of every node's PSF; None for the matched one.

    Args:
        field: the PSFs.
        back_projector: a kind, a kernel for everywhere, or a field of kernels.
        options: of `back_projector`.
    """
    if isinstance(back_projector, str) and back_projector == "matched":
        return None
    psfs = jnp.reshape(field.psfs, (-1, *field.shape))
    if isinstance(back_projector, str):
        return _field([_kernel(p, back_projector, options) for p in psfs], field)
    if isinstance(back_projector, PSFField):
        nodes = jnp.reshape(back_projector.psfs, (-1, *back_projector.shape))
        kernels = [_kernel(psfs[0], k, options) for k in nodes]
        return _field(kernels, back_projector)
    everywhere = PSFField(
        psfs=field.psfs[(slice(1),) * field.ndim],
        positions=tuple(p[:1] for p in field.positions),
    )
    return _field([_kernel(psfs[0], back_projector, options)], everywhere)


def _kernel(psf: jax.Array, back_projector: Any, options: dict[str, Any]) -> jax.Array:
    kernel = back_projection_kernel(psf, back_projector, **options)
    assert kernel is not None  # the matched one is none, and was dealt with
    return kernel


def _field(kernels: list[jax.Array], like: PSFField) -> PSFField:
    """Kernels, which may be negative, at the nodes of a field."""
    stack = jnp if is_traced(kernels) else np
    psfs: Any = stack.stack(kernels)
    return PSFField(
        psfs=psfs.reshape(*like.nodes, *psfs.shape[1:]), positions=like.positions
    )


def check_one_device(psf: Blur, mesh: Any) -> None:
    """Refuse to divide a varying blur among devices."""
    if mesh is not None and isinstance(psf, PSFField):
        raise ValueError(
            "`mesh` is given, and `psf` is a `PSFField`, which one device holds: leave "
            "out `mesh`, or use `jaxdecon.volumes.deconvolve` for what does not fit."
        )


def with_dtype(field: PSFField, dtype: Any) -> PSFField:
    """A field in an image's type, its numbers still known inside a `jit`."""
    library: Any = jnp if is_traced(field) else np
    return jax.tree.map(lambda a: library.asarray(a, dtype), field)
