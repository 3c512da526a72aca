"""Prepare a measured PSF for deconvolution, saying what was done to it."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_positive, check_psf, check_share


@dataclasses.dataclass(frozen=True)
class PreparedPSF:
    """A PSF ready for use, and what was done to make it so.

    Attributes:
        psf: centred on n // 2, non-negative, unit sum.
        messages: one sentence for every change made.
    """

    psf: jax.Array
    messages: tuple[str, ...]


def from_measured(
    measured: ArrayLike,
    *,
    voxel_size: Sequence[float] | None = None,
    target_voxel_size: Sequence[float] | None = None,
    centre: Literal["peak", "centroid"] = "peak",
    background: float | Literal["auto"] = "auto",
    energy: float = 0.999,
) -> PreparedPSF:
    """Make a PSF from an image of a bead or from another program's PSF.

    In this order: the background is subtracted, the PSF is moved so that its peak
    (whole voxels) or its centroid (subvoxel, interpolated) lies on index n // 2, it is
    resampled to the voxel size of the data, cut to the smallest centred box of odd
    size that surely holds the wanted share of its energy, and normalised.

    Args:
        measured: (z, y, x) or (y, x), one bead, not necessarily centred.
        voxel_size: of the measurement, µm, one per axis.
        target_voxel_size: of the data to be deconvolved, µm; None: no resampling.
        centre: what is put on the central voxel.
        background: intensity to subtract (what falls below it becomes zero), or
            "auto": the median over the border of the volume.
        energy: share of the energy to keep, at most 1 (keep everything).

    Returns:
        The PSF with the messages that say what was done.

    Raises:
        ValueError: PSF all zero (also after background removal), negative or not
            finite; only one of the voxel sizes given; `energy` outside (0, 1].
    """
    psf = np.asarray(check_psf("measured", measured))
    check_choice("centre", centre, ("peak", "centroid"))
    check_share("energy", energy)
    if background != "auto" and not (np.isreal(background) and background >= 0):
        raise ValueError(f'`background` is {background!r}; "auto" or a number >= 0.')
    scale = _scale(psf.ndim, voxel_size, target_voxel_size)
    messages: list[str] = []
    psf = _remove_background(psf, background, messages)
    psf = _recentre(psf, centre, messages)
    psf = _resample(psf, scale, messages)
    psf = _crop(psf, energy, messages)
    total = psf.sum(dtype=np.float64)
    if abs(total - 1) > 1e-4:
        messages.append(f"normalised: its sum was {total:.6g}")
    return PreparedPSF(jnp.asarray(psf / total, psf.dtype), tuple(messages))


def crop_to_energy(psf: ArrayLike, energy: float) -> jax.Array:
    """Cut a centred PSF to a centred box that keeps `energy` of it.

    The box has odd sizes, but for axes of even size that are kept whole.

    Every axis may lose an equal part of 1 - energy, measured on the marginal along
    that axis, so that together they never lose more. Not normalised again.

    Args:
        psf: centred on n // 2.
        energy: share to keep, in (0, 1].

    Raises:
        ValueError: `energy` outside (0, 1].
    """
    check_share("energy", energy)
    psf = jnp.asarray(psf)
    loss = (1 - energy) / psf.ndim
    slices = []
    for axis, n in enumerate(psf.shape):
        others = tuple(a for a in range(psf.ndim) if a != axis)
        marginal = np.asarray(psf.sum(others), np.float64)
        half = _half_width(marginal / marginal.sum(), loss)
        slices.append(slice(max(n // 2 - half, 0), n // 2 + half + 1))
    return psf[tuple(slices)]


def _half_width(marginal: np.ndarray, loss: float) -> int:
    """Least half width whose centred window leaves out at most `loss`."""
    distance = abs(np.arange(marginal.size) - marginal.size // 2)
    inside = np.cumsum(np.bincount(distance, marginal))
    return int(np.argmax(inside >= min(1 - loss, inside[-1])))


def _scale(ndim, voxel_size, target) -> np.ndarray | None:
    if voxel_size is None and target is None:
        return None
    if voxel_size is None or target is None:
        raise ValueError(
            f"`voxel_size` is {voxel_size} and `target_voxel_size` {target}; both are "
            f"needed to resample the PSF, or neither."
        )
    for name, size in (("voxel_size", voxel_size), ("target_voxel_size", target)):
        if len(size) != ndim:
            raise ValueError(f"`{name}` is {size}; one per axis, {ndim}, is needed.")
        check_positive(name, size)
    return np.asarray(voxel_size, float) / np.asarray(target, float)


def _remove_background(psf, background, messages) -> np.ndarray:
    if background == "auto":
        inner = np.zeros(psf.shape, bool)
        inner[tuple(slice(1, -1) if n > 2 else slice(None) for n in psf.shape)] = True
        border = psf[~inner]
        background = float(np.median(border)) if border.size else 0.0
    if background == 0:
        return psf
    psf = np.maximum(psf - np.asarray(background, psf.dtype), 0)
    if not psf.max() > 0:
        raise ValueError(
            f"`measured` has nothing above its background of {background:.6g}: pass a "
            f"smaller `background`."
        )
    messages.append(f"subtracted a background of {background:.6g}")
    return psf


def _recentre(psf, centre, messages) -> np.ndarray:
    middle = np.array([n // 2 for n in psf.shape])
    if centre == "peak":
        shift = middle - np.unravel_index(np.argmax(psf), psf.shape)
        if shift.any():
            psf = _shift_whole(psf, shift)
            messages.append(f"moved its peak by {_join(shift)} voxels to the centre")
        return psf
    indices = np.indices(psf.shape).reshape(psf.ndim, -1)
    centroid = indices @ psf.ravel().astype(float) / psf.sum(dtype=float)
    shift = middle - centroid
    if abs(shift).max() > 1e-3:
        psf = _interpolate(psf, psf.shape, np.ones(psf.ndim), shift)
        messages.append(f"moved its centroid by {_join(shift)} voxels to the centre")
    return psf


def _shift_whole(psf, shift) -> np.ndarray:
    """Shift by whole voxels; what leaves the array is dropped, zeros come in."""
    result = np.zeros_like(psf)
    into, taken = [], []
    for s, n in zip(shift, psf.shape, strict=True):
        into.append(slice(max(s, 0), n + min(s, 0)))
        taken.append(slice(max(-s, 0), n - max(s, 0)))
    result[tuple(into)] = psf[tuple(taken)]
    return result


def _resample(psf, scale, messages) -> np.ndarray:
    if scale is None or np.allclose(scale, 1, rtol=1e-3):
        return psf
    reach = np.array([n // 2 for n in psf.shape]) * scale
    shape = tuple(2 * int(r) + 1 for r in reach)
    # scale_and_translate counts from voxel edges: put old centre on new centre.
    old = np.array([n // 2 for n in psf.shape]) + 0.5
    new = np.array([n // 2 for n in shape]) + 0.5
    resampled = _interpolate(psf, shape, scale, new - scale * old)
    messages.append(f"resampled {_join(psf.shape)} to {_join(shape)} voxels")
    return resampled


def _interpolate(psf, shape, scale, translation) -> np.ndarray:
    axes = range(psf.ndim)
    result = jax.image.scale_and_translate(
        psf, shape, axes, jnp.asarray(scale), jnp.asarray(translation), "cubic"
    )
    return np.maximum(np.asarray(result), 0)


def _crop(psf, energy, messages) -> np.ndarray:
    if energy >= 1:
        return psf
    cropped = np.asarray(crop_to_energy(psf, energy))
    if cropped.shape != psf.shape:
        kept = cropped.sum(dtype=float) / psf.sum(dtype=float)
        messages.append(
            f"cut from {_join(psf.shape)} to {_join(cropped.shape)} voxels, which "
            f"keep {kept:.2%} of its energy"
        )
    return cropped


def _join(numbers) -> str:
    return " x ".join(f"{float(n):.4g}" for n in numbers)
