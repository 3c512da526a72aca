"""What fits of beads are given: images, noise, a model; checked and made ready."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import as_float_array, check_finite, check_positive
from ...deconvolution import MixedPoisson, Poisson
from ._fit_engine import Scene
from ._fit_render import sphere_transfer
from ._parameters import Parameters

LEAST_PLANES = 3
NOMINAL_PEAK = 1000.0
"""Photons taken to be in the brightest voxel while the gain is not known."""

Model = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class OnVector:
    """A model as a function of one vector; equal for equal model and tree."""

    model: Model
    tree: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, model: Model, start: Any) -> "OnVector":
        """For trees like `start`."""
        leaves, tree = jax.tree.flatten(start)
        return cls(model, tree, tuple(np.shape(leaf) for leaf in leaves))

    def __call__(self, vector: jax.Array) -> jax.Array:
        """The PSF."""
        leaves, at = [], 0
        for shape in self.shapes:
            size = int(np.prod(shape))
            leaves.append(vector[at : at + size].reshape(shape))
            at += size
        return self.model(**jax.tree.unflatten(self.tree, leaves))


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model: OnVector, vector: jax.Array) -> jax.Array:
    """The PSF of a vector; compiled once per model."""
    return model(vector)


@dataclasses.dataclass(frozen=True)
class Photons:
    """Beads in photons, and how they came from the data's units.

    Attributes:
        counts: (bead, z, y, x).
        floor: variance of the read noise, photons^2.
        gain: units per photon, or what was taken for it.
        offset: units without light.
        known: whether the gain is known.
    """

    counts: jax.Array
    floor: float
    gain: float
    offset: float
    known: bool

    @classmethod
    def of(cls, beads: ArrayLike, noise: Any, offset: float) -> "Photons":
        """From crops (bead, z, y, x) or one (z, y, x).

        Raises:
            ValueError: other shapes, NaN, fewer than three planes, no light.
            TypeError: another noise than `Poisson` or `MixedPoisson`.
        """
        light = _crops(beads) - offset
        if not float(light.max()) > 0:
            raise ValueError(
                f"`offset` is {offset}, and no voxel of `beads` is above it."
            )
        gain, read = _gain_and_read_noise(noise, float(light.max()))
        floor = (read / gain) ** 2
        return cls(light / gain, floor, gain, float(offset), noise is not None)


def _crops(beads: ArrayLike) -> jax.Array:
    images = as_float_array("beads", beads)
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"`beads` has shape {images.shape}; (bead, z, y, x) or (z, y, x) is needed."
        )
    if images.shape[1] < LEAST_PLANES:
        raise ValueError(
            f"`beads` has {images.shape[1]} planes; {LEAST_PLANES} or more are needed: "
            f"one cannot tell aberrations of even order from their opposites."
        )
    check_finite("beads", images)
    dark = np.flatnonzero(np.ptp(np.asarray(images), (1, 2, 3)) == 0).tolist()
    if dark:
        raise ValueError(f"`beads` {dark} are the same everywhere: no light.")
    return images


def _gain_and_read_noise(noise: Any, brightest: float) -> tuple[float, float]:
    if noise is None:
        return max(brightest, 1e-30) / NOMINAL_PEAK, 0.0
    if not isinstance(noise, Poisson | MixedPoisson):
        raise TypeError(
            f"`noise` is {noise!r}; `Poisson(gain=...)`, `MixedPoisson(...)` or None, "
            f"an unknown gain, is needed."
        )
    check_positive("noise.gain", noise.gain)
    read: Any = noise.read_noise if isinstance(noise, MixedPoisson) else 0.0
    gain: Any = noise.gain
    if not (np.isfinite(read) and read >= 0):
        raise ValueError(
            f"`noise.read_noise` is {read}; a number of 0 or more is needed."
        )
    return float(gain), float(read)


def make_scene(
    photons: Photons,
    model: Model,
    start: Any,
    parameters: Parameters,
    basis: np.ndarray,
    diameter: Any,
) -> tuple[Scene, jax.Array]:
    """What is fitted, and the PSF of the start.

    Raises:
        ValueError: a model whose PSF does not hold the beads or is not finite; bounds
            beyond what the model is defined for; a bead diameter that is negative.
    """
    on_vector = OnVector.of(model, parameters.unravel(jnp.asarray(parameters.start)))
    psf = jnp.asarray(model(**start))
    shape = photons.counts.shape[1:]
    if psf.ndim != 3 or any(n < m for n, m in zip(psf.shape, shape, strict=True)):
        raise ValueError(
            f"`model` gives a PSF of shape {psf.shape}, and the beads have {shape}; "
            f"one as large as they are, or larger, is needed."
        )
    check_range(on_vector, parameters)
    dtype = psf.dtype
    transfer = sphere_transfer(psf.shape, _diameters(diameter))
    scene = Scene(
        counts=photons.counts.astype(dtype),
        floor=jnp.asarray(photons.floor, dtype),
        basis=jnp.asarray(basis, dtype),
        transfer=jnp.asarray(transfer, dtype),
        low=jnp.asarray(parameters.low, dtype)[None],
        high=jnp.asarray(parameters.high, dtype)[None],
        spread=jnp.asarray(np.maximum(parameters.spread, 1e-12), dtype),
        model=on_vector,
    )
    return scene, psf


def _diameters(diameter: Any) -> list[float]:
    sizes = np.broadcast_to(np.asarray(diameter, float), 3)
    if not (np.isfinite(sizes).all() and (sizes >= 0).all()):
        raise ValueError(
            f"`diameter` is {diameter}; voxels, 0 or more, one number or (z, y, x), "
            f"are needed."
        )
    return sizes.tolist()


def check_range(model: OnVector, parameters: Parameters) -> None:
    """Refuse a start and bounds where the model is not defined.

    Raises:
        ValueError: it is not finite there, such as for an NA above the index.
    """
    first = parameters.start
    if not bool(jnp.isfinite(evaluate(model, jnp.asarray(first))).all()):
        raise ValueError(
            f"`model` gives values that are not finite at `start` "
            f"{dict(zip(parameters.names, first.tolist(), strict=True))}: are they in "
            f"the physical range (an NA below the index)?"
        )
    for side, end in (("low", parameters.low), ("high", parameters.high)):
        for at in np.flatnonzero(np.isfinite(end)):
            vector = parameters.start.copy()
            vector[at] = end[at]
            if not bool(jnp.isfinite(evaluate(model, jnp.asarray(vector))).all()):
                raise ValueError(
                    f"`bounds` of {parameters.names[at]} reach {end[at]:.6g} ({side}), "
                    f"where the model is not defined: it is outside the physical range "
                    f"(an NA cannot reach the refractive index)."
                )


def first_positions(counts: jax.Array, psf: jax.Array) -> jax.Array:
    """Where each bead matches the PSF best, whole voxels from its crop's centre."""
    images, kernel = np.asarray(counts), np.asarray(psf)
    shape, axes = images.shape[1:], (1, 2, 3)
    cut = tuple(
        slice(n // 2 - m // 2, n // 2 - m // 2 + m)
        for n, m in zip(kernel.shape, shape, strict=True)
    )
    gain = np.fft.rfftn(np.fft.ifftshift(kernel[cut] - kernel[cut].mean())).conj()
    light = images - np.median(images, axes, keepdims=True)
    matches = np.fft.irfftn(np.fft.rfftn(light, axes=axes) * gain, shape, axes)
    inside = matches[(slice(None), *(slice(m // 4, m - m // 4) for m in shape))]
    found = [np.unravel_index(np.argmax(match), match.shape) for match in inside]
    corner = np.array([m // 4 - m // 2 for m in shape])
    return jnp.asarray(np.array(found) + corner, psf.dtype)
