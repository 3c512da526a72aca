"""An estimate, the data that it is to explain, and the operator between them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import as_float_array, check_finite
from ..._core._pytree import pytree
from ...deconvolution import Problem, estimate_background
from ...operators import LinearOperator
from ...operators._base import is_shape


@pytree
class Scene:
    """An estimate and its data, checked.

    Attributes:
        estimate: of the operator's field of view.
        data: of the structure of the operator's range.
        operator: from the object to the data.
        background: as for `Problem`.
    """

    estimate: jax.Array
    data: Any
    operator: LinearOperator
    background: Any

    @property
    def problem(self) -> Problem:
        """Data and operator."""
        return Problem(
            data=self.data, operator=self.operator, background=self.background
        )

    @property
    def whole(self) -> bool:
        """Whether the field of view is all of the operator's domain."""
        return self.estimate.shape == self.operator.domain

    @property
    def embedded(self) -> tuple[jax.Array, jax.Array]:
        """Where the field lies in the domain, and the estimate there."""
        domain = jax.ShapeDtypeStruct(self.operator.domain, self.estimate.dtype)
        back = jax.linear_transpose(self.operator.image_region, domain)
        (ones,), (placed,) = back(jnp.ones_like(self.estimate)), back(self.estimate)
        return ones > 0, placed


def scene_of(
    estimate: ArrayLike, images: Any, operator: LinearOperator, background: Any
) -> Scene:
    """Check and complete.

    Raises:
        TypeError: no operator.
        ValueError: shapes that do not fit the operator; NaN.
    """
    if not isinstance(operator, LinearOperator):
        raise TypeError(
            f"`operator` is {operator!r}; a linear operator is needed, e.g. "
            f"`jaxdecon.operators.Convolution.from_psf(psf, image.shape)`."
        )
    data = _data(images, operator)
    estimate = as_float_array("estimate", estimate)
    check_finite("estimate", estimate)
    field = field_of(operator)
    background = field_background(background, data, operator)
    if estimate.shape != field:
        raise ValueError(
            f"`estimate` has shape {estimate.shape}, but the field of view of "
            f"`operator` has {field}."
        )
    return Scene(
        estimate=estimate,
        data=data,
        operator=operator,
        background=_background(background, data),
    )


def field_of(operator: LinearOperator) -> tuple[int, ...]:
    """The shape of an operator's field of view."""
    domain = jax.ShapeDtypeStruct(operator.domain, jnp.float32)
    return tuple(jax.eval_shape(operator.image_region, domain).shape)


def stacked(images: Any, ndim: int) -> np.ndarray:
    """All images in one array for measures of noise: planes below one another."""
    if not isinstance(images, tuple | list):
        images = np.asarray(images)
        images = tuple(images) if images.ndim > ndim else (images,)
    arrays = [np.asarray(image) for image in images]
    if len({array.shape[-2:] for array in arrays}) > 1:
        return arrays[0]
    planes = [array.reshape(-1, *array.shape[-2:]) for array in arrays]
    return np.concatenate(planes)


def field_background(background: Any, images: Any, operator: Any = None) -> Any:
    """The background, measured view by view where it is not given."""
    if background is not None:
        return background
    several = isinstance(images, tuple | list) or (
        operator is not None and not is_shape(operator.range)
    )
    if not several:
        return estimate_background(np.asarray(images))
    return tuple(estimate_background(np.asarray(image)) for image in images)


def _data(images: Any, operator: LinearOperator) -> Any:
    if isinstance(images, tuple | list):
        images = tuple(as_float_array("images", image) for image in images)
        data = images[0] if is_shape(operator.range) else images
    else:
        data = _split(as_float_array("images", images), operator)
    for leaf in jax.tree.leaves(data):
        check_finite("images", leaf)
    shapes = jax.tree.map(jnp.shape, data)
    if shapes != operator.range:
        raise ValueError(
            f"`images` have shape {shapes}, but `operator` gives {operator.range}."
        )
    return data


def _split(array: jax.Array, operator: LinearOperator) -> Any:
    if not is_shape(operator.range):
        one = array.ndim == len(operator.range[0])
        return (array,) if one else tuple(array)
    single = array.ndim == len(operator.range) + 1 and array.shape[0] == 1
    return array[0] if single else array


def _background(background: Any, data: Any) -> Any:
    leaves = jax.tree.leaves(data)
    if not isinstance(background, tuple | list):
        return jnp.asarray(background, jnp.float32)
    if len(background) != len(leaves):
        raise ValueError(
            f"`background` has {len(background)} parts; {len(leaves)} are needed."
        )
    parts = tuple(jnp.asarray(part, jnp.float32) for part in background)
    return parts if isinstance(data, tuple) else parts[0]
