"""Bring images to the scale that networks expect, and results back from it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import as_float_array, check_finite, check_positive, is_traced
from ..._core._pytree import pytree

LOW, HIGH = 2.0, 99.9
"""Percentiles that become 0 and 1."""
MOST_VOXELS = 2**22
"""Of an image that are looked at."""


@pytree
class Normaliser:
    """An affine map of intensities, and its inverse::

        image' = (image - offset) / scale        object' = object / scale

    Images have an offset (background, camera), objects have none: with `offset` the
    background, A object' = image' holds if A object + background = image did, so that
    a network's output, inverted, is in the units of the image: photometry is kept.
    Nothing is clipped.

    Attributes:
        offset: what becomes 0, in the image's units.
        scale: what becomes a step of 1.

    Example:
        >>> import numpy as np
        >>> image = 100 + np.random.default_rng(0).poisson(20.0, (64, 64))
        >>> rule = Normaliser.fit(image)
        >>> bool(np.allclose(rule.invert(rule.apply(image)), image, atol=1e-3))
        True
    """

    offset: jax.Array
    scale: jax.Array

    @classmethod
    def fit(
        cls,
        image: ArrayLike,
        *,
        low: float = LOW,
        high: float = HIGH,
        background: float | jax.Array | None = None,
    ) -> "Normaliser":
        """By two percentiles, which one hot pixel does not move.

        Args:
            image: any shape; several views are treated as one. Of images with more than
                4 million voxels as many are looked at.
            low: percentile that becomes 0.
            high: percentile that becomes 1. The lights must fill more of the image than
                is left above it: raise it for a few points in the dark.
            background: what becomes 0, where it is known, in place of a percentile.
                Haze lifts the darkest voxels above the background; to a network with an
                operator in it, haze is light of the object.

        Raises:
            ValueError: a constant image, NaN, percentiles that are the same or not in
                order, a background above the image (values are not looked at while
                tracing).
        """
        if not 0 <= low < high <= 100:
            raise ValueError(
                f"`low`, `high` are {low}, {high}; 0 <= low < high <= 100 is needed."
            )
        values = as_float_array("image", image)
        if is_traced(values):
            bottom, top = jnp.percentile(values, jnp.array([low, high]))
            bottom = bottom if background is None else jnp.asarray(background)
            return cls(offset=bottom, scale=top - bottom)
        return cls._measured(values, low, high, background)

    @classmethod
    def _measured(
        cls, image: jax.Array, low: float, high: float, background: Any
    ) -> "Normaliser":
        check_finite("image", image)
        values = part_of(np.asarray(image))
        bottom, top = np.percentile(values, [low, high])
        if not top > bottom:
            _refuse(values, low, high, bottom)
        if background is not None:
            bottom = float(background)
            if not top > bottom:
                raise ValueError(
                    f"`background` is {bottom:.6g}, and `image` reaches {top:.6g} (its "
                    f"percentile {high}); a background below the image is needed."
                )
        return cls.affine(offset=bottom, scale=top - bottom)

    @classmethod
    def affine(cls, *, offset: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> "Normaliser":
        """By known numbers, e.g. the background, and what the brightest parts have.

        Raises:
            ValueError: a scale that is not positive.
        """
        check_positive("scale", scale)
        numbers = (jnp.asarray(value, jnp.float32) for value in (offset, scale))
        offset, scale = numbers
        return cls(offset=offset, scale=scale)

    def apply(self, image: ArrayLike) -> jax.Array:
        """An image on the network's scale."""
        image = as_float_array("image", image)
        return (image - self._as(image.dtype, self.offset)) / self._scale(image)

    def invert(self, image: ArrayLike) -> jax.Array:
        """The image that `apply` made this of."""
        image = as_float_array("image", image)
        return image * self._scale(image) + self._as(image.dtype, self.offset)

    def apply_object(self, thing: ArrayLike) -> jax.Array:
        """An object, which has no background, on the network's scale."""
        thing = as_float_array("thing", thing)
        return thing / self._scale(thing)

    def invert_object(self, thing: ArrayLike) -> jax.Array:
        """An object on the network's scale in units of the image."""
        thing = as_float_array("thing", thing)
        return thing * self._scale(thing)

    def _scale(self, like: jax.Array) -> jax.Array:
        return self._as(like.dtype, self.scale)

    @staticmethod
    def _as(dtype: Any, number: ArrayLike) -> jax.Array:
        return jnp.asarray(number, dtype)


def part_of(values: np.ndarray) -> np.ndarray:
    """All voxels, or always the same random ones: strides would run along columns."""
    flat = values.reshape(-1)
    if flat.size <= MOST_VOXELS:
        return flat
    return flat[np.random.default_rng(0).integers(flat.size, size=MOST_VOXELS)]


def _refuse(values: np.ndarray, low: float, high: float, level: float) -> None:
    if values.min() == values.max():
        raise ValueError(
            f"`image` is constant: all of it is {level:.6g}; an image with something "
            f"in it is needed."
        )
    raise ValueError(
        f"`image` is {level:.6g} at its percentiles {low} and {high} alike, up to "
        f"{values.max():.6g} elsewhere; a higher `high` or a fuller image is needed."
    )
