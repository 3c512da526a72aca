"""PSFs and back projectors of views on one grid, some of them perhaps fields."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import is_traced
from ..deconvolution._varying import Blur, back_projection, check_blur, taken_apart
from ..psf import PSFField
from ._back_projectors import COMPOUND, back_projection_kernels, common_shape


def check_blurs(
    psfs: Sequence[ArrayLike | PSFField], image: jax.Array, count: int
) -> list[Blur]:
    """One PSF, or field of them, for each of `count` views."""
    checked = []
    for i, psf in enumerate(psfs):
        try:
            checked.append(check_blur(psf, image.ndim, image.dtype))
        except (TypeError, ValueError) as error:
            raise type(error)(str(error).replace("`psf`", f"`psfs[{i}]`", 1)) from None
    if len(checked) != count:
        raise ValueError(
            f"there are {count} `views` and {len(checked)} `psfs`; one PSF per view is "
            f"needed."
        )
    return checked


def joint_blurs(
    blurs: Sequence[Blur], kinds: Any, image: jax.Array, boundary: str, **options: Any
) -> tuple[Any, Any]:
    """What blurs every view, of one shape, and what to project back with.

    Args:
        blurs: of `check_blurs`.
        kinds: one back projector for all views, or one for each, or "compound".
        image: a view.
        boundary: as for `Convolution.from_psf`.
        options: of `back_projector`.

    Returns:
        PSFs with unit sum, or fields taken apart; kernels, each None for the adjoint,
        or None if all are.
    """
    if not any(isinstance(blur, PSFField) for blur in blurs):
        psfs: Any = blurs
        kernels = back_projection_kernels(psfs, kinds, **options)
        return common_shape([psf / psf.sum() for psf in psfs]), kernels
    if isinstance(kinds, str) and kinds == COMPOUND:
        raise ValueError(
            '`update` or `back_projectors` is "compound", which is not known for a '
            "`PSFField`: use another one."
        )
    kinds = list(kinds) if isinstance(kinds, list | tuple) else [kinds] * len(blurs)
    if len(kinds) != len(blurs):
        raise ValueError(
            f"`back_projectors` has {len(kinds)} parts; one, or one per view "
            f"({len(blurs)}), are needed."
        )
    where = (image.shape, boundary)
    kernels = tuple(
        back_projection(blur, kind, *where, **options)
        for blur, kind in zip(blurs, kinds, strict=True)
    )
    parts = tuple(taken_apart(blur, *where) for blur in _of_one_shape(blurs))
    return parts, None if all(k is None for k in kernels) else kernels


def _of_one_shape(blurs: Sequence[Blur]) -> list[Blur]:
    """Zeros around what is smaller; with unit sums, of odd sizes."""
    shapes = [blur.shape for blur in blurs]
    shape = [2 * max(n // 2 for n in sizes) + 1 for sizes in zip(*shapes, strict=True)]
    return [_padded(blur, shape) for blur in blurs]


def _padded(blur: Blur, shape: Sequence[int]) -> Blur:
    before = [n // 2 - m // 2 for n, m in zip(shape, blur.shape, strict=True)]
    sizes = zip(before, shape, blur.shape, strict=True)
    margins = [(b, n - m - b) for b, n, m in sizes]
    if not isinstance(blur, PSFField):
        return jnp.pad(blur / blur.sum(), margins)
    library: Any = jnp if is_traced(blur) else np
    psfs = library.pad(blur.psfs, [(0, 0)] * blur.ndim + margins)
    return dataclasses.replace(blur, psfs=psfs)
