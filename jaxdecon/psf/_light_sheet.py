"""PSFs of light sheets: what is lit, times what is detected."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import (
    as_float_array,
    check_positive,
    check_psf,
    check_shape,
    check_values,
    is_traced,
)
from ._optics import broadcast_size, check_grid, check_micrometres
from ._widefield import widefield
from ._zernike import Aberrations


def light_sheet(
    shape: Sequence[int],
    voxel_size: ArrayLike | Sequence[float],
    *,
    na: ArrayLike,
    wavelength: ArrayLike,
    index: ArrayLike,
    sheet_fwhm: ArrayLike,
    angle: ArrayLike = 0.0,
    model: str = "scalar",
    aberrations: Aberrations = None,
    apodisation: Aberrations = None,
    nodes: int | None = None,
) -> jax.Array:
    """The PSF of a Gaussian light sheet microscope.

    The widefield PSF of the detection lens times the profile of the sheet across it;
    the sheet is taken to be equally thick all over the PSF. For another detection
    (`gibson_lanni`, a measured PSF) or another profile (a lattice) use `illuminate`.

    Args:
        shape: (z, y, x) of the result.
        voxel_size: µm, one number or one per axis of `shape`.
        na: numerical aperture of the detection.
        wavelength: of the emitted light in vacuum, µm.
        index: refractive index.
        sheet_fwhm: thickness of the sheet, full width at half maximum, µm.
        angle: between the sheet and the focal plane, radians: 0 for a sheet in the
            focal plane; its normal turns from z towards x.
        model: "scalar" or "vectorial".
        aberrations: of the detection, as for `widefield`.
        apodisation: of the detection's pupil, as for `widefield`.
        nodes: as for `widefield`.

    Returns:
        The PSF, centred on n // 2, with unit sum; differentiable in all numbers.

    Raises:
        ValueError: as `widefield`; a shape that is not 3D, a thickness in nm.

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.light_sheet((33, 33, 33), 0.1625, na=0.8, wavelength=0.52,
        ...                          index=1.33, sheet_fwhm=1.6)
        >>> [round(float(width), 1) for width in jd.psf.fwhm(psf)]
        [7.3, 2.1, 2.1]
    """
    shape = check_shape("shape", shape)
    sheet = gaussian_sheet(shape, voxel_size, fwhm=sheet_fwhm, angle=angle)
    detection = widefield(
        shape,
        voxel_size,
        na=na,
        wavelength=wavelength,
        index=index,
        model=model,
        aberrations=aberrations,
        apodisation=apodisation,
        nodes=nodes,
    )
    return illuminate(detection, sheet)


def gaussian_sheet(
    shape: Sequence[int],
    voxel_size: ArrayLike | Sequence[float],
    *,
    fwhm: ArrayLike,
    angle: ArrayLike = 0.0,
    offset: ArrayLike = 0.0,
) -> jax.Array:
    """The light of a Gaussian sheet at each voxel, 1 in its middle.

    Args:
        shape: (z, y, x).
        voxel_size: µm, one number or one per axis.
        fwhm: thickness, µm.
        angle: between sheet and focal plane, radians, from z towards x.
        offset: of the sheet's middle from the focus along its normal, µm.

    Raises:
        ValueError: a shape that is not 3D, numbers that are not positive, or in nm.
    """
    shape = check_shape("shape", shape)
    check_grid(shape, voxel_size)
    if len(shape) != 3:
        raise ValueError(f"`shape` is {shape}; a sheet needs (z, y, x).")
    check_positive("fwhm", fwhm)
    check_micrometres("fwhm", fwhm)
    size = broadcast_size(shape, voxel_size)
    z, x = ((jnp.arange(shape[a]) - shape[a] // 2) * size[a] for a in (0, 2))
    across = z[:, None] * jnp.cos(angle) + x * jnp.sin(angle) - offset
    profile = jnp.exp(-4 * np.log(2) * (across / fwhm) ** 2)
    return jnp.broadcast_to(profile[:, None, :], shape)


def illuminate(detection: ArrayLike, illumination: ArrayLike) -> jax.Array:
    """A detection PSF times the light that excites: sheets, lattices, stripes.

    Args:
        detection: (z, y, x), centred on n // 2: modelled or measured.
        illumination: non-negative; of the same shape, or broadcasting against it,
            e.g. (z, 1, 1) for a profile along z.

    Returns:
        The product, with unit sum.

    Raises:
        ValueError: shapes that do not fit, negative light, no light at the PSF.

    Example:
        >>> import jax.numpy as jnp, jaxdecon as jd
        >>> wide = jd.psf.gaussian((9, 5, 5), 4.0)
        >>> lattice = 1 + jnp.cos(jnp.arange(-4, 5))[:, None, None]
        >>> jd.psf.illuminate(wide, lattice).shape
        (9, 5, 5)
    """
    detection = check_psf("detection", detection)
    light = as_float_array("illumination", illumination).astype(detection.dtype)
    check_values("illumination", light)
    try:
        fits = jnp.broadcast_shapes(light.shape, detection.shape) == detection.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`illumination` has shape {light.shape}, which does not broadcast against "
            f"the PSF's {detection.shape}."
        )
    psf = detection * light
    if not is_traced(psf) and not float(psf.sum()) > 0:
        raise ValueError("`illumination` is zero wherever `detection` has light.")
    return psf / psf.sum()
