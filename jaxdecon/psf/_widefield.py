"""The PSF of a widefield microscope."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_shape
from ._optics import (
    MODELS,
    as_number,
    broadcast_size,
    check_grid,
    check_light,
    warn_if_undersampled,
)
from ._pupil import Deviation, Pupil, intensity, quadrature_nodes
from ._zernike import Aberrations

LEAST_NODES = 4


def widefield(
    shape: Sequence[int],
    voxel_size: ArrayLike | Sequence[float],
    *,
    na: ArrayLike,
    wavelength: ArrayLike,
    index: ArrayLike,
    model: str = "scalar",
    aberrations: Aberrations = None,
    apodisation: Aberrations = None,
    nodes: int | None = None,
) -> jax.Array:
    """The PSF of a widefield microscope: an integral over the pupil.

    Scalar, for a uniformly filled pupil P = exp(i W) with the aberrations W (Debye)::

        h(x, y, z) = | integral over |f| < NA / wavelength of
                       P(f) exp(2 pi i (f_x x + f_y y + f_z z)) d^2 f |^2,
        f_z = sqrt((index / wavelength)^2 - |f|^2)

    Vectorial (Richards and Wolf): the light of a point that emits all polarisations
    alike, collected by an aplanatic lens (amplitude cos(theta)^(-1/2) in the pupil);
    without aberrations the intensity is `|I0|^2 + 2 |I1|^2 + |I2|^2`. Above an NA of
    about half the index it is markedly wider than the scalar one.

    By Gauss-Legendre quadrature at every voxel, so that no interpolation enters. In
    focus the scalar PSF is the Airy pattern; every plane of the untruncated PSF
    carries the same energy. The PSF is sampled at voxel centres.

    Args:
        shape: (z, y, x) of the result, or (y, x) for the plane in focus.
        voxel_size: µm, one number or one per axis of `shape`.
        na: numerical aperture.
        wavelength: of the emitted light in vacuum, µm.
        index: refractive index of immersion and sample.
        model: "scalar" or "vectorial".
        aberrations: radians (rms over the pupil; a wave is 2 pi) by Zernike
            polynomial, e.g. `{"spherical": 0.5, (3, -1): 0.2}`; keys as in `zernike`.
            Or a vector in Noll order that begins with piston. None: none.
        apodisation: of the pupil: Zernike polynomials of the logarithm of its
            amplitude, keys as for `aberrations`. `{"defocus": -0.2}`: darker towards
            the rim. None: uniform (scalar), aplanatic (vectorial).
        nodes: of the quadrature along the pupil's radius; None: enough for errors of
            1e-5 of the maximum. Fits, which trace the optics and so hide what is
            enough, are faster with the fewest that do.

    Returns:
        The PSF, centred on n // 2, with unit sum over the grid; differentiable in
        `voxel_size`, `na`, `wavelength`, `index` and every coefficient. Tip and tilt
        move it off its centre, as defocus does.

    Raises:
        ValueError: NA not below the index, numbers that are not positive, a
            wavelength or voxel size that can only be in nm, unknown polynomials.

    Warns:
        UndersampledWarning: voxels larger than Nyquist's, with Nyquist's size.

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.widefield((33, 33, 33), (0.2, 0.1, 0.1), na=1.2,
        ...                        wavelength=0.52, index=1.33)
        >>> [round(float(width), 1) for width in jd.psf.fwhm(psf)]
        [3.2, 2.3, 2.3]

    References:
        Born & Wolf, Principles of Optics, 7th ed., sections 8.5 and 8.8; Richards &
        Wolf, Proc. R. Soc. Lond. A 253, 358 (1959), doi:10.1098/rspa.1959.0200.
    """
    shape = check_shape("shape", shape)
    check_choice("model", model, MODELS)
    check_grid(shape, voxel_size)
    check_light(na=na, index=index, wavelength=wavelength)
    warn_if_undersampled(shape, voxel_size, na=na, wavelength=wavelength, index=index)
    return lens_psf(
        shape,
        voxel_size,
        na=na,
        wavelength=wavelength,
        index=index,
        model=model,
        deviation=Deviation.parse(aberrations, apodisation),
        nodes=nodes,
    )


def lens_psf(
    shape, voxel_size, *, na, wavelength, index, model, deviation, nodes=None
) -> jax.Array:
    """`widefield` of what was checked, on a grid that need not sample it."""
    na, wavelength, index = map(as_number, (na, wavelength, index))
    size = broadcast_size(shape, voxel_size)
    full = (1,) * (3 - len(shape)) + shape
    if nodes is None:
        nodes = _nodes(full, size, na, wavelength, index, deviation)
    nodes = check_count("nodes", nodes, LEAST_NODES)
    psf = _widefield(full, nodes, model, size, na, wavelength, index, deviation)
    return psf.reshape(shape)


def _nodes(shape, size, na, wavelength, index, deviation) -> int:
    def rim_to_axis() -> Pupil:
        s = na * jnp.linspace(0, 1, 65)
        z = jnp.asarray([shape[0] // 2 * size[0]])
        return free_space(s, z, wavelength, index, "scalar")

    return quadrature_nodes(rim_to_axis, shape, size, na, wavelength, deviation)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _widefield(
    shape, nodes, model, size, na, wavelength, index, deviation
) -> jax.Array:
    z = (jnp.arange(shape[0]) - shape[0] // 2) * size[0]

    def pupil(s):
        return free_space(s, z, wavelength, index, model)

    return intensity(pupil, shape, nodes, size[1:], na, wavelength, deviation)


def free_space(s, z, wavelength, index, model) -> Pupil:
    """The pupil of a lens in one medium, focused at a distance z (µm) from the point.

    The phase counts from the axial ray: its own is common to all, and the difference
    of two large numbers would cost digits.
    """
    cosine = jnp.sqrt(1 - (s / index) ** 2)
    path = -(s**2) / (index * (1 + cosine))
    phase = 2 * np.pi / wavelength * z.reshape(-1, *(1,) * s.ndim) * path
    if model == "scalar":
        return Pupil(amplitudes=(jnp.ones_like(s),), phase=phase)
    collected = 1 / jnp.sqrt(cosine)
    amplitudes = (1 + cosine, s / index, 1 - cosine)
    return Pupil(amplitudes=tuple(collected * a for a in amplitudes), phase=phase)
