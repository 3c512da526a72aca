"""Back projectors of several views: each view's own, or compound ones."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_psf
from ..deconvolution import back_projector
from ..deconvolution._inputs import back_projection_kernel
from ..fourier import filter_real, next_fast_len, transfer_function

COMPOUND = "compound"


def compound_back_projectors(psfs: Sequence[ArrayLike]) -> tuple[jax.Array, ...]:
    """Back projectors that know the other views, for faster convergence.

    Given what one view has recorded, the others' PSFs say where they would have seen
    it ("virtual views")::

        B_v = P_v* prod_{w != v} (P_v* x P_w x P_w*)

    where x is convolution, * the mirror image, and the product is taken voxel by voxel.

    Args:
        psfs: (z, y, x) or (y, x), of one number of axes, centred on n // 2, in the
            orientation of the object's grid.

    Returns:
        A kernel per view, with unit sum, as `back_projector` gives them and
        `Convolution.back_projection` takes them. They have one shape, the smallest
        that holds all PSFs; beyond each mirrored PSF its kernel is zero.

    Raises:
        ValueError: fewer than two PSFs, or unusable ones.

    Example:
        >>> import jaxdecon as jd
        >>> along_z, along_x = (9.0, 3.0, 3.0), (3.0, 3.0, 9.0)
        >>> psfs = [jd.psf.gaussian((25, 25, 25), w) for w in (along_z, along_x)]
        >>> first, _ = jd.fusion.compound_back_projectors(psfs)
        >>> [round(float(width), 1) for width in jd.psf.fwhm(first)]
        [6.7, 2.7, 3.0]

    References:
        Preibisch et al., Nature Methods 11, 645 (2014), doi:10.1038/nmeth.2929.
    """
    checked = [check_psf(f"psfs[{i}]", psf) for i, psf in enumerate(psfs)]
    if len(checked) < 2:
        raise ValueError(f"`psfs` has {len(checked)} PSFs; two or more are needed.")
    return _compound(common_shape(checked))


@jax.jit
def _compound(psfs: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    shape = psfs[0].shape
    grid = tuple(next_fast_len(2 * n) for n in shape)
    transfers = [transfer_function(psf / psf.sum(), grid) for psf in psfs]
    kernels = []
    for v, psf in enumerate(psfs):
        kernel = psf
        for w, transfer in enumerate(transfers):
            if w != v:  # the mirror image of the whole: P_v x P_w* x P_w
                padded = jnp.zeros(grid, psf.dtype)
                placed = padded.at[tuple(slice(n) for n in shape)].set(psf)
                seen = filter_real(placed, abs(transfer) ** 2 + 0j)
                kernel = kernel * seen[tuple(slice(n) for n in shape)]
        kernel = jnp.maximum(jnp.flip(kernel), 0)  # negative by rounding
        kernels.append(kernel / kernel.sum())
    return tuple(kernels)


def common_shape(psfs: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """PSFs padded with zeros to the smallest odd shape that holds all."""
    sizes = zip(*(psf.shape for psf in psfs), strict=True)
    shape = [2 * max(n // 2 for n in size) + 1 for size in sizes]
    return tuple(_padded(psf, shape) for psf in psfs)


def _padded(psf: jax.Array, shape: Sequence[int]) -> jax.Array:
    before = [n // 2 - m // 2 for n, m in zip(shape, psf.shape, strict=True)]
    sizes = zip(before, shape, psf.shape, strict=True)
    return jnp.pad(psf, [(b, n - m - b) for b, n, m in sizes])


def back_projection_kernels(
    psfs: Sequence[jax.Array], kinds: Any, **options: Any
) -> tuple[jax.Array, ...] | None:
    """A kernel with unit sum for every view; None if all are matched.

    Args:
        psfs: of the views.
        kinds: one name or kernel for all views, or one for each, or "compound".
        options: of `back_projector`.
    """
    if isinstance(kinds, str) and kinds == COMPOUND:
        return compound_back_projectors(psfs)
    if isinstance(kinds, str) or not isinstance(kinds, list | tuple):
        kinds = [kinds] * len(psfs)
    if len(kinds) != len(psfs):
        raise ValueError(
            f"`back_projectors` has {len(kinds)} parts; one, or one per view "
            f"({len(psfs)}), are needed."
        )
    pairs = zip(psfs, kinds, strict=True)
    kernels = [back_projection_kernel(psf, kind, **options) for psf, kind in pairs]
    if all(kernel is None for kernel in kernels):
        return None
    pairs = zip(kernels, psfs, strict=True)
    return tuple(back_projector(p, "matched") if k is None else k for k, p in pairs)
