"""Deconvolution by one linear filter."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_image, check_positive, check_psf
from ..fourier import frequency_grid
from ..operators import Convolution
from ._inputs import check_background, warn_about_psf

BOUNDARIES = ("reflect", "edge", "periodic")


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
    return _direct(image, psf, "noise", noise, background, boundary, None)


def tikhonov(
    image: ArrayLike,
    psf: ArrayLike,
    *,
    weight: ArrayLike,
    background: ArrayLike = 0.0,
    boundary: str = "reflect",
    spacing: Sequence[float] | None = None,
) -> jax.Array:
    """The smoothest object that agrees with the data, by one linear filter::

        x = conj(F) / (|F|^2 + weight |L|^2) (y - b),  |L|^2 = sum 4 sin(pi k)^2 / h^2

    which minimises `|A x - (y - b)|^2 + weight |gradient x|^2`. Unlike Wiener's filter
    it leaves low frequencies alone, whose noise is small.

    Args:
        image: (z, y, x) or (y, x), non-negative.
        psf: centred on n // 2; divided by its sum.
        weight: of the roughness, > 0, e.g. 0.01.
        background: subtracted first.
        boundary: as for `wiener`.
        spacing: relative distance of voxels along each axis; None: equal.

    Returns:
        The filtered image, of the image's shape; has negative values.

    Raises:
        ValueError: as `richardson_lucy`.

    References:
        Tikhonov & Arsenin, Solutions of Ill-Posed Problems, Winston (1977).
    """
    steps = (1.0,) * np.ndim(image) if spacing is None else tuple(map(float, spacing))
    check_positive("spacing", steps)
    if len(steps) != np.ndim(image):
        raise ValueError(f"`spacing` is {spacing}; {np.ndim(image)} are needed.")
    return _direct(image, psf, "weight", weight, background, boundary, steps)


def _direct(image, psf, name, weight, background, boundary, steps) -> jax.Array:
    image = check_image("image", image)
    psf = check_psf("psf", psf, image.ndim).astype(image.dtype)
    check_positive(name, weight)
    check_choice("boundary", boundary, BOUNDARIES)
    background = check_background(background, image)
    warn_about_psf(psf)
    weight = jnp.asarray(weight, image.dtype)
    return _filter(image - background, psf, weight, boundary=boundary, steps=steps)


@functools.partial(jax.jit, static_argnames=("boundary", "steps"))
def _filter(signal, psf, weight, *, boundary: str, steps) -> jax.Array:
    operator = Convolution.from_psf(psf / psf.sum(), signal.shape, boundary=boundary)
    otf = operator.transfer
    roughness = 1.0 if steps is None else _roughness(operator.grid, steps)
    gain = otf.conj() / (abs(otf) ** 2 + weight * roughness)
    if steps is None:
        gain = (1 + weight) * gain
    return dataclasses.replace(operator, transfer=gain)(signal)


def _roughness(grid: tuple[int, ...], steps: tuple[float, ...]) -> jax.Array:
    """Eigenvalues of minus the Laplacian; 0 at zero frequency."""
    pairs = zip(frequency_grid(grid), steps, strict=True)
    return jnp.asarray(sum(4 * np.sin(np.pi * k) ** 2 / h**2 for k, h in pairs))
