"""Images of known objects, as a camera would record them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._check import check_image
from ..._core._pytree import pytree
from ...deconvolution import Problem
from ...operators import Convolution
from ..pairs._objects import simulated_object

LEAST_FIELD = 8
"""Voxels along an axis that the field of view must have."""


@pytree
class Camera:
    """What makes an image of an object.

    Attributes:
        photons: of the brightest voxel, above the background.
        background: photons per voxel.
        read_noise: of the camera, in electrons (photons).
    """

    photons: float
    background: float
    read_noise: float = 0.0


@jax.jit
def _record(camera, operator, thing, key) -> tuple[jax.Array, jax.Array]:
    """Noisy data of an object on the operator's domain, and its visible part."""
    clean = jnp.maximum(operator(thing), 0)
    scale = camera.photons / clean.max()
    light, read = jax.random.split(key)
    counts = jax.random.poisson(light, scale * clean + camera.background)
    noise = camera.read_noise * jax.random.normal(read, counts.shape)
    data = jnp.maximum(counts + noise, 0).astype(clean.dtype)
    return data, scale * operator.image_region(thing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exercises:
    """Problems with their solutions, and of what kind each is."""

    problems: list[Problem]
    truths: list[jax.Array]
    kinds: list[str]

    def joined(self, more: "Exercises") -> "Exercises":
        """These, and more of them."""
        return Exercises(
            problems=self.problems + more.problems,
            truths=self.truths + more.truths,
            kinds=self.kinds + more.kinds,
        )


def simulated_exercises(
    kinds: Sequence[tuple[str, float]],
    operator: Convolution,
    camera: Camera,
    width: Sequence[float],
    key: jax.Array,
) -> Exercises:
    """Images of simulated objects that reach beyond the field of view.

    Args:
        kinds: of every object, and how many times coarser than `width` it is.
        operator: with which they are seen.
        camera: which records them.
        width: of the finest structure along every axis, in voxels.
        key: for objects and noise.
    """
    keys = jax.random.split(key, len(kinds))
    made = [
        simulated_object(
            kind,
            operator.domain,
            width=[coarse * w for w in width],
            key=jax.random.fold_in(k, 0),
        )
        for (kind, coarse), k in zip(kinds, keys, strict=True)
    ]
    names = [kind if coarse == 1 else f"coarse {kind}" for kind, coarse in kinds]
    return _recorded(made, names, operator, camera, keys)


def given_exercises(
    objects: Sequence[jax.Array], operator: Convolution, camera: Camera, key: jax.Array
) -> Exercises:
    """Images of the user's objects, of whose middle the camera sees a part."""
    made = [_placed(thing, operator) for thing in objects]
    keys = jax.random.split(key, len(made))
    return _recorded(made, ["own"] * len(made), operator, camera, keys)


def _recorded(things, kinds, operator, camera, keys) -> Exercises:
    keys = [jax.random.fold_in(key, 1) for key in keys]
    pairs = [
        _record(camera, operator, thing, key)
        for thing, key in zip(things, keys, strict=True)
    ]
    background = jnp.asarray(camera.background, pairs[0][0].dtype)
    problems = [
        Problem(data=data, operator=operator, background=background)
        for data, _ in pairs
    ]
    return Exercises(problems=problems, truths=[t for _, t in pairs], kinds=list(kinds))


def check_objects(objects: Sequence[Any], psf_shape: Sequence[int]) -> list[jax.Array]:
    """Objects of one shape, large enough for a field of view in their middle."""
    checked = [check_image("objects", thing) for thing in objects]
    if len(checked) < 2:
        raise ValueError(
            f"`objects` has {len(checked)}; two or more are needed, to learn from some "
            f"and to test on others."
        )
    shapes = {thing.shape for thing in checked}
    if len(shapes) > 1:
        raise ValueError(f"`objects` have shapes {sorted(shapes)}; one is needed.")
    (shape,) = shapes
    if len(shape) != len(psf_shape) or min(field_of(shape, psf_shape)) < LEAST_FIELD:
        raise ValueError(
            f"`objects` have shape {shape}; for a PSF of shape {tuple(psf_shape)} at "
            f"least {LEAST_FIELD} voxels more than the PSF along every axis are "
            f"needed: larger objects, or a PSF cut by `jaxdecon.psf.crop_to_energy`."
        )
    if any(not np.asarray(thing).max() > 0 for thing in checked):
        raise ValueError("one of `objects` is dark everywhere; light is needed.")
    return checked


def field_of(shape: Sequence[int], psf_shape: Sequence[int]) -> tuple[int, ...]:
    """The part of an object around which all is known that blurs into it."""
    return tuple(n - 2 * (m // 2) for n, m in zip(shape, psf_shape, strict=True))


def _placed(thing: jax.Array, operator: Convolution) -> jax.Array:
    """An object in the middle of the operator's domain, which is a little larger."""
    gaps = [d - n for d, n in zip(operator.domain, thing.shape, strict=True)]
    return jnp.pad(thing, [(gap // 2, gap - gap // 2) for gap in gaps])
