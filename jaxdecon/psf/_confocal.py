"""The PSF of a confocal microscope."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import (
    as_float_array,
    check_choice,
    check_shape,
    check_values,
    is_traced,
)
from ..fourier import frequency_grid
from ._optics import (
    MODELS,
    broadcast_size,
    check_grid,
    check_light,
    still_known,
    warn_if_undersampled,
)
from ._pupil import Deviation
from ._widefield import lens_psf
from ._zernike import Aberrations

AIRY_DIAMETER = 1.2196698912665045
"""Diameter of the first dark ring of the Airy pattern, in wavelengths / NA."""


def confocal(
    shape: Sequence[int],
    voxel_size: ArrayLike | Sequence[float],
    *,
    na: ArrayLike,
    wavelength: ArrayLike,
    index: ArrayLike,
    excitation: ArrayLike | None = None,
    pinhole: ArrayLike = 1.0,
    model: str = "scalar",
    aberrations: Aberrations = None,
    apodisation: Aberrations = None,
    nodes: int | None = None,
) -> jax.Array:
    """The PSF of a confocal microscope: excitation times detection through a pinhole::

        h = h_excitation (h_emission convolved with the pinhole)

    Both of the same lens. The pinhole is convolved in Fourier space with its exact
    transform, on a grid as fine as the emission needs.

    Args:
        shape: (z, y, x) of the result, or (y, x) for the plane in focus.
        voxel_size: µm, one number or one per axis of `shape`.
        na: numerical aperture.
        wavelength: of the emitted light in vacuum, µm.
        index: refractive index of immersion and sample.
        excitation: wavelength of the excitation in vacuum, µm; None: `wavelength`.
        pinhole: its diameter in Airy units of the emission, 1.22 wavelength / NA; 0 is
            a point.
        model: "scalar" or "vectorial".
        aberrations: radians at the emission wavelength, as for `widefield`; the
            excitation meets the same path differences.
        apodisation: of the pupil, for excitation and emission alike, as for
            `widefield`.
        nodes: as for `widefield`.

    Returns:
        The PSF, centred on n // 2, with unit sum; differentiable in all numbers.

    Raises:
        ValueError: as `widefield`; a negative pinhole.

    Warns:
        UndersampledWarning: voxels larger than Nyquist's for the excitation.

    Example:
        >>> import jaxdecon as jd
        >>> optics = dict(na=1.2, wavelength=0.52, index=1.33)
        >>> closed, wide = (
        ...     jd.psf.confocal((15, 15, 15), (0.2, 0.1, 0.1), pinhole=p, **optics)
        ...     for p in (0.0, 2.0))
        >>> bool((jd.psf.fwhm(closed) < jd.psf.fwhm(wide)).all())
        True

    References:
        Wilson, J. Microsc. 154, 143 (1989), doi:10.1111/j.1365-2818.1989.tb00577.x.
    """
    shape = check_shape("shape", shape)
    check_choice("model", model, MODELS)
    check_grid(shape, voxel_size)
    excitation = wavelength if excitation is None else excitation
    check_light(na=na, index=index, wavelength=wavelength, excitation=excitation)
    check_values("pinhole", as_float_array("pinhole", pinhole))
    warn_if_undersampled(shape, voxel_size, na=na, wavelength=excitation, index=index)
    size = broadcast_size(shape, voxel_size)
    full = (1,) * (3 - len(shape)) + shape
    lens = {"na": na, "index": index, "model": model, "nodes": nodes}
    deviation = Deviation.parse(aberrations, apodisation)
    ratio = jnp.asarray(wavelength, float) / jnp.asarray(excitation, float)
    lit = lens_psf(
        full,
        size,
        wavelength=excitation,
        deviation=dataclasses.replace(deviation, phases=deviation.phases * ratio),
        **lens,
    )
    diameter = still_known(_pinhole_diameter, pinhole, wavelength, na)
    reach, factor = _fine_grid(full, size, na, wavelength, diameter)
    fine = (full[0], *(2 * (factor * (n // 2) + reach) + 1 for n in full[1:]))
    seen = lens_psf(
        fine,
        still_known(lambda s: s / jnp.asarray([1, factor, factor]), size),
        wavelength=wavelength,
        deviation=deviation,
        **lens,
    )
    through = _pinhole(seen, diameter / size[1:] * factor)
    return _product(lit, through, reach, factor).reshape(shape)


def _pinhole_diameter(pinhole, wavelength, na) -> jax.Array:
    return jnp.asarray(pinhole, float) * AIRY_DIAMETER * wavelength / na


def _fine_grid(shape, size, na, wavelength, diameter) -> tuple[int, int]:
    """Margin that the pinhole needs, in fine voxels, and fine voxels per voxel."""
    if is_traced((size, na, wavelength, diameter)):
        return max(8, max(shape[1:]) // 4), 2
    lateral = np.asarray(size)[1:]
    factor = max(1, math.ceil(float(lateral.max() * 4 * na / wavelength)))
    return 4 + math.ceil(float(diameter) / float(lateral.min()) * factor), factor


@jax.jit
def _pinhole(psf: jax.Array, diameter: jax.Array) -> jax.Array:
    """Every plane convolved with a disc of these diameters in voxels (y, x)."""
    ky, kx = frequency_grid(psf.shape[1:])
    x = jnp.pi * jnp.sqrt((ky * diameter[0]) ** 2 + (kx * diameter[1]) ** 2 + 1e-30)
    spectrum = jnp.fft.rfft2(psf) * _disc(x)
    return jnp.fft.irfft2(spectrum, s=psf.shape[1:])


def _disc(x: jax.Array) -> jax.Array:
    """2 J1(x) / x, the transform of a disc, as the mean of 2 cos(x cos t) sin(t)^2."""
    count = 128
    angles = jnp.asarray((np.arange(count) + 0.5) * (np.pi / 2 / count), x.dtype)

    def add(total, angle):
        return total + jnp.cos(x * jnp.cos(angle)) * jnp.sin(angle) ** 2, None

    return 2 * jax.lax.scan(add, jnp.zeros_like(x), angles)[0] / count


@functools.partial(jax.jit, static_argnums=(2, 3))
def _product(lit, through, reach: int, factor: int) -> jax.Array:
    """Excitation times detection at the voxels of the excitation's grid."""
    for axis in (1, 2):
        n = lit.shape[axis]
        first = through.shape[axis] // 2 - factor * (n // 2)
        stop = first + factor * (n - 1) + 1
        through = jax.lax.slice_in_dim(through, first, stop, factor, axis)
    psf = lit * jnp.maximum(through, 0)  # rounding may leave -1e-9
    return psf / psf.sum()
