"""Deconvolution by one linear filter."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_choice, check_image, check_positive, check_psf
from ..operators import Convolution
from ._inputs import check_background, warn_about_psf


def wiener(
    image: ArrayLike,
    psf: ArrayLike,
    *,
    noise: ArrayLike,
    background: ArrayLike = 0.0,
    boundary: str = "reflect",
) -> jax.Array:
    """Deconvolve by one linear filter, scaled to keep the flux::

        x = (1 + noise) conj(F) / (|F|^2 + noise) (y - b)

    Fast and linear, and so it rings and goes below zero where Richardson-Lucy does
    not.

    Args:
        image: (z, y, x) or (y, x), non-negative.
        psf: centred on n // 2; divided by its sum.
        noise: power of the noise over that of the object, > 0, e.g. 0.01.
        background: subtracted first.
        boundary: "reflect" or "edge": the image is continued before filtering;
            "periodic": it is filtered on its own grid.

    Returns:
        The filtered image, of the image's shape; has negative values.

    Raises:
        ValueError: as `richardson_lucy`.
    """
    image = check_image("image", image)
    psf = check_psf("psf", psf, image.ndim).astype(image.dtype)
    check_positive("noise", noise)
    check_choice("boundary", boundary, ("reflect", "edge", "periodic"))
    background = check_background(background, image)
    warn_about_psf(psf)
    noise = jnp.asarray(noise, image.dtype)
    return _wiener(image - background, psf, noise, boundary=boundary)


@functools.partial(jax.jit, static_argnames="boundary")
def _wiener(signal, psf, noise, *, boundary: str) -> jax.Array:
    operator = Convolution.from_psf(psf / psf.sum(), signal.shape, boundary=boundary)
    otf = operator.transfer
    gain = (1 + noise) * otf.conj() / (abs(otf) ** 2 + noise)
    return dataclasses.replace(operator, transfer=gain)(signal)
