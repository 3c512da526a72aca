"""What optics can and cannot be: checks, cut-off frequencies, Nyquist sampling."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_positive, is_traced

MODELS = ("scalar", "vectorial")
LONGEST_UM = 20
"""A wavelength or voxel size above this is in nm."""
SHORTEST_WAVELENGTH_UM = 0.1


class UndersampledWarning(UserWarning):
    """The voxels are too large to hold what the optics resolve."""


def cutoffs(*, na: ArrayLike, wavelength: ArrayLike, index: ArrayLike):
    """Highest spatial frequencies that a widefield microscope transmits::

        lateral  2 NA / wavelength
        axial    (index - sqrt(index^2 - NA^2)) / wavelength

    Args:
        na: numerical aperture.
        wavelength: of the detected light in vacuum, µm.
        index: refractive index of immersion and sample.

    Returns:
        (k_z, k_y, k_x) in cycles per µm; differentiable.

    Raises:
        ValueError: impossible optics, as for `widefield`.

    Example:
        >>> import jaxdecon as jd
        >>> k = jd.psf.cutoffs(na=1.2, wavelength=0.5, index=1.33)
        >>> [round(float(v), 2) for v in k]
        [1.51, 4.8, 4.8]

    References:
        Born & Wolf, Principles of Optics, 7th ed., sections 8.5 and 8.8.
    """
    check_light(na=na, wavelength=wavelength, index=index)
    na, wavelength, index = (jnp.asarray(v, float) for v in (na, wavelength, index))
    axial = na**2 / (index + jnp.sqrt(index**2 - na**2)) / wavelength
    lateral = 2 * na / wavelength
    return jnp.stack([axial, lateral, lateral])


def nyquist(*, na: ArrayLike, wavelength: ArrayLike, index: ArrayLike):
    """The largest voxel (z, y, x) in µm that samples all that `cutoffs` lets through.

    Args:
        na: numerical aperture.
        wavelength: of the detected light in vacuum, µm.
        index: refractive index of immersion and sample.

    Raises:
        ValueError: impossible optics, as for `widefield`.
    """
    return 0.5 / cutoffs(na=na, wavelength=wavelength, index=index)


def check_light(*, na: Any, index: Any, **wavelengths: Any) -> None:
    """Positive numbers, an aperture below the index, wavelengths in µm."""
    for name, value in {"na": na, "index": index, **wavelengths}.items():
        check_positive(name, value)
    for name, value in wavelengths.items():
        check_micrometres(name, value)
        if not is_traced(value) and np.min(np.asarray(value)) < SHORTEST_WAVELENGTH_UM:
            raise ValueError(
                f"`{name}` is {value}; µm are needed, e.g. 0.52 for green light."
            )
    if not is_traced((na, index)) and float(np.max(na)) >= float(np.min(index)):
        raise ValueError(
            f"`na` is {na} and `index` {index}; the NA cannot reach the refractive "
            f"index (typical: 1.0 air, 1.33 water, 1.515 oil)."
        )


def check_micrometres(name: str, value: Any) -> None:
    """Refuse lengths that can only be in nm."""
    if not is_traced(value) and np.max(np.asarray(value)) > LONGEST_UM:
        nearest = np.asarray(value, float) / 1000
        raise ValueError(
            f"`{name}` is {value}; µm are needed. Is this nm? Then pass "
            f"{nearest.tolist()}."
        )


def check_grid(shape: Sequence[int], voxel_size: Any) -> None:
    """Two or three axes, with a positive size in µm for each."""
    if len(shape) not in (2, 3):
        raise ValueError(f"`shape` is {shape}; (z, y, x) or (y, x) is needed.")
    check_positive("voxel_size", voxel_size)
    if np.shape(voxel_size) not in ((), (1,), (len(shape),)):
        raise ValueError(f"`voxel_size` is {voxel_size}; {len(shape)} are needed.")
    check_micrometres("voxel_size", voxel_size)


def warn_if_undersampled(shape, voxel_size, **optics: Any) -> None:
    """Say which voxel size would sample the PSF (skipped while tracing)."""
    if is_traced((voxel_size, optics)):
        return
    with jax.ensure_compile_time_eval():  # known numbers, also inside a jit
        limit = np.asarray(nyquist(**optics))[-len(shape) :]
    size = np.broadcast_to(np.asarray(voxel_size, float), len(shape))
    sampled = [n > 1 for n in shape]  # one plane or line does not sample its axis
    if not (sampled & (size > 1.001 * limit)).any():
        return
    warnings.warn(
        f"`voxel_size` {_join(size)} µm undersamples the PSF: Nyquist needs at most "
        f"{_join(limit)} µm. Finer detail cannot be told from coarser, and widths "
        f"below two voxels mean little.",
        UndersampledWarning,
        stacklevel=3,
    )


def broadcast_size(shape: Sequence[int], voxel_size: Any):
    """Voxel size (z, y, x) as an array; an image has one plane of 1 µm."""

    def full(voxel_size):
        size = jnp.broadcast_to(jnp.asarray(voxel_size, float), len(shape))
        return jnp.concatenate([jnp.ones(1, size.dtype), size])[-3:]

    return still_known(full, voxel_size)


def still_known(function: Callable[..., Any], *values: Any) -> Any:
    """`function` of numbers that, if they are known, stay so inside a jit."""
    if is_traced(values):
        return function(*values)
    with jax.ensure_compile_time_eval():
        return function(*values)


def as_number(value: ArrayLike) -> jax.Array:
    """A float array, still known if it was."""
    return still_known(lambda v: jnp.asarray(v, float), value)


def _join(numbers) -> str:
    return " x ".join(f"{float(n):.3g}" for n in numbers)
