"""Check and complete what the friendly functions are given."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import (
    as_float_array,
    check_choice,
    check_finite,
    check_image,
    check_values,
    is_traced,
)
from ..fourier import unwrap_kernel
from ._back_projector import back_projector as make_back_projector

PEDESTAL_SHARE = 0.25
"""Share of a PSF's energy in its least value above which it looks like a pedestal."""


def check_background(background: ArrayLike, image: jax.Array) -> jax.Array:
    """A background that fits the image, in its type."""
    array = as_float_array("background", background)
    check_values("background", array)
    try:
        fits = jnp.broadcast_shapes(array.shape, image.shape) == image.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`background` has shape {array.shape}, which does not broadcast against "
            f"the image's {image.shape}."
        )
    return array.astype(image.dtype)


def warn_about_psf(psf: jax.Array) -> None:
    """Say what will be done to, or may be wrong with, a PSF."""
    if is_traced(psf):
        return
    values = np.asarray(psf)
    total = float(values.sum(dtype=np.float64))
    if abs(total - 1) > 0.01:
        warnings.warn(
            f"`psf` sums to {total:.6g}, not 1; it is divided by its sum.",
            stacklevel=3,
        )
    share = float(values.min()) * values.size / total
    if share > PEDESTAL_SHARE:
        warnings.warn(
            f"`psf` nowhere falls below {values.min() / values.max():.1%} of its "
            f"maximum, and this pedestal holds {share:.0%} of its energy: remove the "
            f"background (`jaxdecon.psf.from_measured`), or use a larger array if the "
            f"PSF was cut.",
            stacklevel=3,
        )


def back_projection_kernel(psf, back_projector, **options) -> jax.Array | None:
    """The kernel with unit sum; None for the matched one, whose operator is A^T."""
    if isinstance(back_projector, str):
        if back_projector == "matched":
            return None
        kernel = make_back_projector(psf, back_projector, **options)
        return unwrap_kernel(kernel).astype(psf.dtype)
    kernel = as_float_array("back_projector", back_projector)
    check_finite("back_projector", kernel)
    if kernel.ndim != psf.ndim:
        raise ValueError(
            f"`back_projector` has shape {kernel.shape}; {psf.ndim} axes are needed."
        )
    too_large = any(k > p for k, p in zip(kernel.shape, psf.shape, strict=True))
    if too_large:
        raise ValueError(
            f"`back_projector` has shape {kernel.shape}, larger than the PSF's "
            f"{psf.shape}: pad the PSF with zeros, or crop the back projector."
        )
    if not is_traced(kernel) and not np.asarray(kernel).sum() > 0:
        raise ValueError("`back_projector` must have a positive sum.")
    return (kernel / kernel.sum()).astype(psf.dtype)


def check_init(init: Any, image: jax.Array) -> tuple[str, jax.Array | None]:
    """The name of a start, and the array if one is given."""
    if isinstance(init, str):
        return check_choice("init", init, ("image", "constant")), None
    initial = check_image("init", init)
    if initial.shape != image.shape:
        raise ValueError(
            f"`init` has shape {initial.shape}; the image's, {image.shape}, is needed."
        )
    return "image", initial.astype(image.dtype)
