"""Sums over shells of the spectra of two images."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core._check import check_choice, check_positive
from .._core._pytree import pytree
from ..fourier import frequency_grid

Shape = tuple[int, ...]
Sizes = tuple[float, ...]
Sector = tuple[int, float, float] | None  # axis, least and greatest angle to it


@pytree
class ShellSums:
    """Sums over the full spectrum, shell by shell."""

    frequency: jax.Array
    cross: jax.Array
    power_a: jax.Array
    power_b: jax.Array
    voxels: jax.Array


def per_axis(voxel_size: float | Sequence[float], ndim: int) -> Sizes:
    """One voxel size for each axis."""
    check_positive("voxel_size", voxel_size)
    sizes = np.asarray(voxel_size, float)
    if sizes.ndim and sizes.shape != (ndim,):
        raise ValueError(
            f"`voxel_size` is {voxel_size}; one number or {ndim} numbers are needed."
        )
    return tuple(float(s) for s in np.broadcast_to(sizes, (ndim,)))


def check_window(window: str | None) -> None:
    """A known window, or None."""
    if window is not None:
        check_choice("window", window, ("hann",))


def check_sector(axis: int | None, angles: tuple[float, float], ndim: int) -> Sector:
    """The sector of an axis and angles; None for all directions."""
    if axis is None:
        return None
    if not -ndim <= axis < ndim:
        raise ValueError(f"`axis` is {axis}; the image has {ndim} axes.")
    low, high = angles
    if not 0 <= low < high <= math.pi / 2 + 1e-6:
        raise ValueError(
            f"`angles` is {angles}; a lesser and a greater angle, in radians from 0 to "
            f"pi/2, are needed."
        )
    return axis % ndim, float(low), float(high)


@partial(jax.jit, static_argnames=("sizes", "window", "sector", "shift"))
def shell_sums(
    a: jax.Array,
    b: jax.Array,
    *,
    sizes: Sizes,
    window: str | None,
    sector: Sector,
    shift: Sizes | None = None,
) -> ShellSums:
    """Sums over shells; `b` was sampled `shift` voxels further along each axis."""
    step, count = _shells(a.shape, sizes, sector)
    p, q = _spectrum(a, window), _spectrum(b, window)
    if shift is not None:
        q = q * _phase(a.shape, shift, a.dtype)
    shell = _shell_of_voxel(a.shape, sizes, sector, step)
    shell = jnp.where(shell > count, 0, shell)
    sums = partial(_sum_shells, shell=shell, count=count, n=a.shape[-1])
    return ShellSums(
        frequency=jnp.asarray(step * np.arange(1, count + 1), a.dtype),
        cross=sums((p * q.conj()).real),
        power_a=sums(p.real**2 + p.imag**2),
        power_b=sums(q.real**2 + q.imag**2),
        voxels=sums(jnp.ones(p.shape, a.dtype)),
    )


def _shells(shape: Shape, sizes: Sizes, sector: Sector) -> tuple[float, int]:
    """Thickness of the shells, and their number."""
    axes = _axes_inside(len(shape), sector)
    step = max(1 / (shape[a] * sizes[a]) for a in axes)
    nyquist = max(1 / (2 * sizes[a]) for a in axes)
    count = int(nyquist / step + 1e-6)
    if count < 1:
        raise ValueError(f"Images of shape {shape} are too small for one shell.")
    return step, count


def _axes_inside(ndim: int, sector: Sector) -> Sequence[int]:
    """The axes that lie in the sector; all if none does."""
    if sector is None:
        return range(ndim)
    axis, low, high = sector
    angles = [0.0 if a == axis else math.pi / 2 for a in range(ndim)]
    inside = [a for a in range(ndim) if low <= angles[a] <= high + 1e-6]
    return inside or range(ndim)


def _shell_of_voxel(
    shape: Shape, sizes: Sizes, sector: Sector, step: float
) -> jax.Array:
    """Number of the shell of each Fourier voxel, the first one 1; 0 for none."""
    grids = zip(frequency_grid(shape), sizes, strict=True)
    squares = [jnp.asarray((k / (size * step)) ** 2, float) for k, size in grids]
    whole = sum(squares, start=jnp.zeros(()))
    shell = jnp.round(jnp.sqrt(whole)).astype(int)
    if sector is None:
        return shell
    axis, low, high = sector
    along = squares[axis]
    angle = jnp.arctan2(jnp.sqrt(jnp.maximum(whole - along, 0)), jnp.sqrt(along))
    return jnp.where((angle >= low - 1e-5) & (angle <= high + 1e-5), shell, 0)


def _spectrum(image: jax.Array, window: str | None) -> jax.Array:
    image = image - image.mean()
    for axis, n in enumerate(image.shape if window else ()):
        line = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
        others = tuple(a for a in range(image.ndim) if a != axis)
        image = image * jnp.asarray(np.expand_dims(line, others), image.dtype)
    return jnp.fft.rfftn(image)


def _phase(shape: Shape, shift: Sizes, dtype: np.dtype) -> jax.Array:
    """What undoes a shift, in Fourier space."""
    turns = sum(k * s for k, s in zip(frequency_grid(shape), shift, strict=True))
    angle = jnp.asarray(-2 * np.pi * np.asarray(turns), dtype)
    return lax.complex(jnp.cos(angle), jnp.sin(angle))


def _sum_shells(
    values: jax.Array, *, shell: jax.Array, count: int, n: int
) -> jax.Array:
    """Sums over shells 1 to `count`, of the half-spectrum of a last axis of size n.

    First within planes, then over these: one running float32 sum over a shell of 10^7
    voxels would lose its digits.
    """
    twice = np.full(values.shape[-1], 2.0)
    twice[[0, -1] if n % 2 == 0 else [0]] = 1
    values = values * jnp.asarray(twice, values.dtype)
    planes = (values.shape[0], -1)
    add = partial(jax.ops.segment_sum, num_segments=count + 1)
    sums = jax.vmap(add)(values.reshape(planes), shell.reshape(planes))
    return sums.sum(0)[1:]
