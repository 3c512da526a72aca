"""The widefield PSF as an integral over the pupil."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_positive, check_shape, is_traced

MODELS = ("scalar",)


def widefield(
    shape: Sequence[int],
    voxel_size: ArrayLike | Sequence[float],
    *,
    na: ArrayLike,
    wavelength: ArrayLike,
    index: ArrayLike,
    model: str = "scalar",
) -> jax.Array:
    """The PSF of a widefield microscope without aberrations::

        h(r, z) = | integral_0^(NA/wavelength) J0(2 pi f r) exp(2 pi i f_z z) f df |^2,
        f_z = sqrt((index / wavelength)^2 - f^2)

    A uniformly filled pupil, by Gauss-Legendre quadrature at every distance from the
    axis that occurs on the grid, so that no interpolation enters. In focus it is the
    Airy pattern; every plane of the untruncated PSF carries the same energy. The PSF
    is sampled at voxel centres.

    Args:
        shape: (z, y, x) of the result, or (y, x) for the plane in focus.
        voxel_size: µm, one number or one per axis of `shape`.
        na: numerical aperture.
        wavelength: of the emitted light in vacuum, µm.
        index: refractive index of immersion and sample.
        model: "scalar".

    Returns:
        The PSF, centred on n // 2, with unit sum over the grid; differentiable in
        `voxel_size`, `na`, `wavelength` and `index`.

    Raises:
        ValueError: NA not below the index, numbers that are not positive, a
            wavelength or voxel size that can only be in nm.

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.widefield((33, 33, 33), (0.2, 0.1, 0.1), na=1.2,
        ...                        wavelength=0.52, index=1.33)
        >>> [round(float(width), 1) for width in jd.psf.fwhm(psf)]
        [3.2, 2.3, 2.3]

    References:
        Born & Wolf, Principles of Optics, 7th ed., sections 8.5 and 8.8.
    """
    shape = check_shape("shape", shape)
    check_choice("model", model, MODELS)
    _check_optics(shape, voxel_size, na=na, wavelength=wavelength, index=index)
    optics = [jnp.asarray(v, float) for v in (na, wavelength, index)]
    size = jnp.broadcast_to(jnp.asarray(voxel_size, float), len(shape))
    if len(shape) == 2:
        size = jnp.concatenate([jnp.ones(1), size])
    nodes = _quadrature_nodes(shape, voxel_size, na, wavelength)
    psf = _widefield((1,) * (3 - len(shape)) + shape, nodes, size, *optics)
    return psf.reshape(shape)


def _check_optics(shape, voxel_size, *, na, wavelength, index) -> None:
    if len(shape) not in (2, 3):
        raise ValueError(f"`shape` is {shape}; (z, y, x) or (y, x) is needed.")
    quantities = {"na": na, "wavelength": wavelength, "index": index}
    for name, value in {"voxel_size": voxel_size, **quantities}.items():
        check_positive(name, value)
    sizes = np.shape(voxel_size)
    if sizes not in ((), (1,), (len(shape),)):
        raise ValueError(f"`voxel_size` is {voxel_size}; {len(shape)} are needed.")
    for name, value in {"voxel_size": voxel_size, "wavelength": wavelength}.items():
        if not is_traced(value) and np.max(np.asarray(value)) > 20:
            raise ValueError(f"`{name}` is {value}; µm are needed. Is this nm?")
    if not is_traced((na, index)) and float(np.max(na)) >= float(np.min(index)):
        raise ValueError(
            f"`na` is {na} and `index` {index}; the NA cannot reach the refractive "
            f"index (typical: 1.0 air, 1.33 water, 1.515 oil)."
        )


def _quadrature_nodes(shape, voxel_size, na, wavelength) -> int:
    """Enough Gauss-Legendre nodes for the fastest phase on the grid.

    While tracing the optics are unknown: then three times Nyquist is assumed.
    """
    half = np.asarray(shape) // 2
    if is_traced((voxel_size, na, wavelength)):
        k = 1.5 * np.pi
    else:
        half = half * np.broadcast_to(np.asarray(voxel_size, float), len(shape))
        k = 2 * np.pi * float(na) / float(wavelength)
    phase = k * (np.hypot(*half[-2:]) + half[:-2].sum())
    return 32 + 16 * int(np.ceil(0.5 * phase / 16))


def _radii(ny: int, nx: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (|y|, |x|) offsets from the centre, and where each voxel finds its."""
    y, x = abs(np.arange(ny) - ny // 2), abs(np.arange(nx) - nx // 2)
    pairs = np.stack(np.broadcast_arrays(y[:, None], x[None, :]), -1).reshape(-1, 2)
    distinct, where = np.unique(pairs, axis=0, return_inverse=True)
    return distinct[:, 0], distinct[:, 1], where.reshape(ny, nx)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _widefield(shape, nodes, size, na, wavelength, index) -> jax.Array:
    nz, ny, nx = shape
    points, weights = np.polynomial.legendre.leggauss(nodes)
    k_medium = 2 * np.pi * index / wavelength
    k = 2 * np.pi * na / wavelength * jnp.asarray((points + 1) / 2, size.dtype)
    weight = k * jnp.asarray(weights, size.dtype)
    y, x, where = _radii(ny, nx)
    z = (jnp.arange(nz) - nz // 2) * size[0]
    # Defocus relative to the axial ray: the common phase drops out of the intensity,
    # and the difference of two large numbers would cost digits.
    phase = z[:, None] * (k**2 / (k_medium + jnp.sqrt(k_medium**2 - k**2)))
    squared_radius = (y * size[1]) ** 2 + (x * size[2]) ** 2
    bessel = _bessel_j0(k[:, None] * _safe_sqrt(squared_radius), nodes // 2)
    real = (weight * jnp.cos(phase)) @ bessel
    imaginary = (weight * jnp.sin(phase)) @ bessel
    psf = (real**2 + imaginary**2)[:, where]
    return psf / psf.sum()


def _bessel_j0(x: jax.Array, nodes: int) -> jax.Array:
    """J0(x) as the mean of cos(x sin t) over a quarter turn, by the midpoint rule.

    The rule is exact up to 2 J_4n(x) and its like, nothing once 4 n exceeds x by a
    few dozen; unlike series it is differentiable to all orders.
    """
    angles = jnp.asarray((np.arange(nodes) + 0.5) * (np.pi / 2 / nodes), x.dtype)

    @jax.checkpoint
    def add(total, angle):
        return total + jnp.cos(x * jnp.sin(angle)), None

    return jax.lax.scan(add, jnp.zeros_like(x), angles)[0] / nodes


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root whose derivative at zero is zero instead of infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)
