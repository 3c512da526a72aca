"""The operator between object and image: as given, by PSFs, or of the training."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...fourier import transfer_function
from ...operators import Convolution, LinearOperator, VaryingConvolution, Views
from ...operators._blur import crop_to_reach, transform_grid
from ...psf import PSFField
from ..networks._config import NetworkConfig

TRAINED = (
    "no PSF was given: that of the training was used, and whether it is the image's "
    "was not seen"
)


def psfs_of(psf: Any, config: NetworkConfig) -> tuple[Any, ...]:
    """The PSF of every view; one is taken for all.

    Raises:
        ValueError: as many as there are no views, or of other dimensionality.
    """
    given = tuple(psf) if isinstance(psf, list | tuple) else _split(psf, config)
    if len(given) not in (1, config.views):
        raise ValueError(
            f"`psf` has {len(given)} PSFs, and the network {config.views} view(s); one "
            f"for each is needed."
        )
    for one in given:
        ndim = one.ndim if isinstance(one, PSFField) else np.ndim(one)
        if ndim != config.ndim:
            raise ValueError(
                f"`psf` is {ndim}D, and the network is for {config.ndim}D images; a "
                f"{config.ndim}D PSF is needed."
            )
    return given * config.views if len(given) == 1 else given


def _split(psf: Any, config: NetworkConfig) -> tuple[Any, ...]:
    if isinstance(psf, PSFField) or np.ndim(psf) != config.ndim + 1:
        return (psf,)
    return tuple(psf)


def operator_of(
    psfs: Sequence[Any], shape: Sequence[int], whole: Sequence[int] | None = None
) -> LinearOperator:
    """From an object to its views of one shape; PSFs are divided by their sums.

    Args:
        psfs: of every view.
        shape: of the views.
        whole: shape of the image of which the views are a part; the object then reaches
            beyond the part as it would beyond the image, so that a network, which looks
            at that too, treats a part as the whole.

    Raises:
        ValueError: a field for one of several views.
    """
    if len(psfs) == 1 and isinstance(psfs[0], PSFField):
        return VaryingConvolution.from_field(psfs[0], shape)
    if any(isinstance(psf, PSFField) for psf in psfs):
        raise ValueError(
            "`psf` has a `PSFField` for one of several views, whose objects would lie "
            "on different grids; give an `operator`."
        )
    # On one grid: that of the largest.
    size = np.max([np.shape(psf) for psf in psfs], 0)
    blurs = [_blur(_widened(jnp.asarray(p), size), shape, whole) for p in psfs]
    return blurs[0] if len(blurs) == 1 else Views(blurs)


def _blur(psf: Any, shape: Sequence[int], whole: Sequence[int] | None) -> Convolution:
    blur = Convolution.from_psf(psf / psf.sum(), shape)
    if whole is None:
        return blur
    margins = margins_of(psf.shape, whole)
    grid = tuple(n + m for n, m in zip(shape, margins, strict=True))
    kernel = crop_to_reach(psf / psf.sum(), tuple(shape), blur.boundary)
    return dataclasses.replace(
        blur, transfer=transfer_function(kernel, grid), domain=grid, grid=grid
    )


def margins_of(psf_shape: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Voxels of the object beyond an image, both sides together."""
    shape = tuple(shape)
    reach = tuple(min(m, 2 * n - 1) for m, n in zip(psf_shape, shape, strict=True))
    grid = transform_grid(reach, shape, "extend")
    return tuple(g - n for g, n in zip(grid, shape, strict=True))


def _widened(psf: Any, shape: Sequence[int]) -> Any:
    """With zeros around it, n // 2 staying n // 2."""
    before = [m // 2 - n // 2 for n, m in zip(psf.shape, shape, strict=True)]
    sizes = zip(psf.shape, before, shape, strict=True)
    return jnp.pad(psf, [(b, m - n - b) for n, b, m in sizes])


def known_psfs(model: Any, psf: Any) -> tuple[tuple[Any, ...] | None, list[str]]:
    """PSFs that are given, or of the training; and what is to be said of that."""
    config = model.config
    if psf is not None:
        return psfs_of(psf, config), []
    trained = None if model.record is None else model.record.psf
    if trained is None:
        return None, []
    return psfs_of(trained, config), [TRAINED]


def psf_in(operator: Any, shape: Sequence[int]) -> np.ndarray | None:
    """The PSF, (*shape) or (views, *shape), of an operator that has one; else None.

    Args:
        operator: given by hand.
        shape: of the PSF, or less where the operator's grid is smaller.
    """
    if isinstance(operator, Views):
        parts = [psf_in(part, shape) for part in operator.operators]
        known = [part for part in parts if part is not None]
        same = len({part.shape for part in known}) == 1
        return np.stack(known) if same and len(known) == len(parts) else None
    if not isinstance(operator, Convolution) or len(operator.grid) != len(shape):
        return None
    kernel = np.asarray(jnp.fft.irfftn(operator.transfer, s=operator.grid))
    kernel = np.fft.fftshift(np.maximum(kernel, 0))  # what is below is rounding
    sizes = [min(n, g) for n, g in zip(shape, operator.grid, strict=True)]
    starts = [g // 2 - n // 2 for n, g in zip(sizes, operator.grid, strict=True)]
    return kernel[tuple(slice(s, s + n) for s, n in zip(starts, sizes, strict=True))]


def kept_psf(psfs: Sequence[Any]) -> np.ndarray | None:
    """PSFs as one array for a record; None for fields."""
    if any(isinstance(psf, PSFField) for psf in psfs):
        return None
    arrays = [np.asarray(psf, np.float32) for psf in psfs]
    if len(arrays) == 1:
        return arrays[0]
    size = np.max([array.shape for array in arrays], 0)
    return np.stack([np.asarray(_widened(array, size)) for array in arrays])
