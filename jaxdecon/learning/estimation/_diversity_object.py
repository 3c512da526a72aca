"""The object of several views, eliminated: least squares on a domain beyond the field.

Data y_k, their mean and slow parts filtered away, are C G H_k x + noise: an unknown
object x on a domain larger than the field by the PSF, blurred by view k (H_k), filtered
(G, a compact high-pass), cropped (C). Given the PSFs, the x that minimises

    sum_k |y_k - C G H_k x|^2 W_k + |x|^2 / S

is the solution of one linear system, for any W (inverse variances of the voxels) and a
power-law spectrum S of objects. Nothing wraps around, no window is needed, and what
lies outside the field is part of x. The filter removes the frequencies at which light
from far outside matters and the system is badly conditioned.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._pytree import pytree, static
from ...fourier import filter_real, frequency_grid, next_fast_len, transfer_function
from ._structure import highpass_gate

Shape = tuple[int, ...]

WEAK_PRIOR = 1000.0
"""Variance of the object's prior as a multiple of what the images suggest: it keeps the
system solvable, and pulls the object as little as possible."""
OBJECT_POWER = 2.0
"""Spectra of objects are taken to fall with this power of the frequency."""


@pytree
class ObjectScene:
    """Filtered images of one object, and what is needed to solve for it.

    Attributes:
        images: (view, *field).
        weights: inverse variances, (view, *field).
        gate: of the high-pass filter, on the half-spectrum of `grid`.
        precision: of the object, 1 / S, on the half-spectrum.
        grid: of the transforms, the object's domain.
    """

    images: jax.Array
    weights: jax.Array
    gate: jax.Array
    precision: jax.Array
    grid: Shape = static()

    @property
    def field(self) -> Shape:
        """Shape of one image."""
        return self.images.shape[1:]

    def transfers(self, psfs: jax.Array) -> jax.Array:
        """Filtered OTFs of PSFs (..., z, y, x)."""
        flat = psfs.reshape(-1, *psfs.shape[-len(self.grid) :])
        made = jax.vmap(lambda psf: transfer_function(psf, self.grid))(flat)
        lead = psfs.shape[: psfs.ndim - len(self.grid)]
        return made.reshape(*lead, *made.shape[1:]) * self.gate

    def forward(self, transfers: jax.Array, x: jax.Array) -> jax.Array:
        """The images (view, *field) of an object."""
        spectrum = jnp.fft.rfftn(x)
        blurred = jax.vmap(lambda t: jnp.fft.irfftn(t * spectrum, s=self.grid))
        return blurred(transfers)[(slice(None), *self._window())]

    def adjoint(self, transfers: jax.Array, y: jax.Array) -> jax.Array:
        """The adjoint of `forward`."""
        gaps = [(w.start, g - w.stop) for w, g in zip(*self._sides(), strict=True)]
        padded = jnp.pad(y, [(0, 0), *gaps])
        spectra = jax.vmap(jnp.fft.rfftn)(padded)
        return jnp.fft.irfftn((transfers.conj() * spectra).sum(0), s=self.grid)

    def solve(self, transfers: jax.Array, data: jax.Array, steps: int) -> jax.Array:
        """The object of some data, by conjugate gradients from zero."""

        def normal(x):
            seen = self.adjoint(transfers, self.weights * self.forward(transfers, x))
            return seen + filter_real(x, self.precision)

        mean = self.weights.mean(tuple(range(1, self.weights.ndim)))
        power = jnp.tensordot(mean, abs(transfers) ** 2, 1)
        inverse = 1 / (power + self.precision)
        right = self.adjoint(transfers, self.weights * data)
        return _conjugate_gradients(normal, right, inverse, steps)

    def misfit(self, residual: jax.Array, x: jax.Array) -> jax.Array:
        """Half the weighted squares, data and prior."""
        spread = (filter_real(x, self.precision) * x).sum()
        return 0.5 * ((self.weights * residual**2).sum() + spread)

    def _window(self) -> tuple[slice, ...]:
        return self._sides()[0]

    def _sides(self) -> tuple[tuple[slice, ...], Shape]:
        starts = [(g - n) // 2 for g, n in zip(self.grid, self.field, strict=True)]
        window = zip(starts, self.field, strict=True)
        return tuple(slice(a, a + n) for a, n in window), self.grid


def _conjugate_gradients(normal, right, inverse, steps: int) -> jax.Array:
    """A fixed number of steps, preconditioned by a filter."""

    def advance(carry, _):
        x, residual, direction, size = carry
        moved = normal(direction)
        tiny = jnp.finfo(x.dtype).tiny
        length = size / jnp.maximum((direction * moved).sum(), tiny)
        x, residual = x + length * direction, residual - length * moved
        better = filter_real(residual, inverse)
        new = (residual * better).sum()
        direction = better + new / jnp.maximum(size, tiny) * direction
        return (x, residual, direction, new), None

    better = filter_real(right, inverse)
    first = (jnp.zeros_like(right), right, better, (right * better).sum())
    return jax.lax.scan(advance, first, length=steps)[0][0]


def make_object_scene(
    counts: jax.Array, background: Any, psf_shape: Shape, widths: Any
) -> ObjectScene:
    """Filter images, weigh their voxels, choose the grid.

    Args:
        counts: (view, z, y, x), photons.
        background: of each view, photons; least variance.
        psf_shape: of all views.
        widths: of the high-pass filter, standard deviations in voxels.
    """
    margins = [int(np.ceil(1.5 * w)) for w in widths]
    inside = tuple(
        slice(m, n - m) for m, n in zip(margins, counts.shape[1:], strict=True)
    )
    least = jnp.maximum(jnp.asarray(background, counts.dtype), 1.0)
    variance = jax.vmap(_local_mean)(counts)[(slice(None), *inside)]
    images = jax.vmap(lambda y: _highpass(y, widths))(counts)
    images = images[(slice(None), *inside)]
    field = images.shape[1:]
    grid = tuple(
        next_fast_len(n + 2 * (m // 2)) for n, m in zip(field, psf_shape, strict=True)
    )
    gate = highpass_gate(grid, widths).astype(counts.dtype)
    precision = _precision(images, gate, grid).astype(counts.dtype)
    each = (-1,) + (1,) * len(field)
    weights = 1 / jnp.maximum(variance, jnp.reshape(least, each))
    return ObjectScene(
        images=images, weights=weights, gate=gate, precision=precision, grid=grid
    )


def noise_alone(scene: ObjectScene, widths: Any, key: jax.Array) -> ObjectScene:
    """The scene with images that hold nothing but noise, as strong as theirs."""
    noise = jax.random.normal(key, scene.images.shape, scene.images.dtype)
    noise = noise / jnp.sqrt(scene.weights)
    images = jax.vmap(lambda y: _highpass(y, widths))(noise)
    return dataclasses.replace(scene, images=images)


def _precision(images: jax.Array, gate: jax.Array, grid: Shape) -> jax.Array:
    """One over a power-law spectrum, with as much variance as the images, and more."""
    squared = sum(f**2 for f in frequency_grid(grid)) + (0.5 / max(grid)) ** 2
    spectrum = squared ** (-OBJECT_POWER / 2)
    passed = jnp.fft.irfftn(jnp.asarray(spectrum, gate.dtype) * gate**2, s=grid)
    share = WEAK_PRIOR * (images**2).mean() / passed.ravel()[0]
    return 1 / (share * jnp.asarray(spectrum, gate.dtype))


def _highpass(image: jax.Array, widths: Any) -> jax.Array:
    """The image less its Gaussian mean; beyond the border, the outermost voxels."""
    reach = [int(np.ceil(4 * w)) for w in widths]
    padded = jnp.pad(image, [(r, r) for r in reach], mode="edge")
    filtered = filter_real(padded, highpass_gate(padded.shape, widths))
    inside = zip(reach, image.shape, strict=True)
    return filtered[tuple(slice(r, r + n) for r, n in inside)].astype(image.dtype)


def _local_mean(image: jax.Array) -> jax.Array:
    """Mean of 3 voxels along every axis."""
    for axis in range(image.ndim):
        ends = [(1, 1) if a == axis else (0, 0) for a in range(image.ndim)]
        x = jnp.pad(image, ends, mode="edge")
        parts = [
            jax.lax.slice_in_dim(x, i, i + image.shape[axis], axis=axis)
            for i in range(3)
        ]
        image = functools.reduce(jnp.add, parts) / 3
    return image
