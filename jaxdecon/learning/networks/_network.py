"""What all networks have in common: one interface, any size, a configuration."""

import abc
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from ..._core._check import as_float_array
from ...operators import LinearOperator
from ._config import NetworkConfig


class Network(nnx.Module, abc.ABC):
    """A network from images of an object to the object.

    Networks are `flax.nnx` modules. For `jit`, `grad` and `vmap`, in pure form::

        graphdef, parameters = nnx.split(network)
        estimate = nnx.merge(graphdef, parameters)(images)

    Subclasses set `config` and their layers, and define `_estimate`.

    Attributes:
        config: all that is needed to build the like.
    """

    config: NetworkConfig

    @abc.abstractmethod
    def _estimate(self, images: jax.Array, operator: Any) -> jax.Array:
        """(batch, views, *spatial), sizes multiples of `multiple`, to (batch, ...)."""

    @property
    @abc.abstractmethod
    def halo(self) -> tuple[int, ...] | None:
        """Radius in voxels, per axis, of what a voxel of the estimate depends on.

        For tiles that begin at multiples of `multiple`. None: on all of the image, or
        on as much of it as the operator reaches, again and again.
        """

    @property
    def multiple(self) -> int:
        """Sizes are padded to multiples of this inside, and cropped again."""
        return 1

    @property
    def needs_operator(self) -> bool:
        """Whether an operator is part of the network's wiring."""
        return False

    @property
    def parameter_count(self) -> int:
        """How many numbers are learned."""
        leaves = jax.tree.leaves(nnx.state(self, nnx.Param))
        return sum(math.prod(leaf.shape) for leaf in leaves)

    def __call__(
        self, images: ArrayLike, operator: LinearOperator | None = None
    ) -> jax.Array:
        """The estimates of the objects.

        Args:
            images: (batch, views, *spatial), normalised by the caller.
            operator: the forward operator of one sample, from the object to its view
                or views, on the scale of the images; needed where physics is in the
                wiring, and not looked at otherwise.

        Returns:
            (batch, *spatial), float32, on the scale of the images.

        Raises:
            ValueError: other axes or views; no operator where one is needed, or one
                that gives other shapes.
        """
        array = self._checked(images, operator)
        graphdef, state = nnx.split(self)
        return _run(graphdef, state, array, operator if self.needs_operator else None)

    def _checked(self, images: ArrayLike, operator: Any) -> jax.Array:
        array = as_float_array("images", images).astype(jnp.float32)
        ndim, views = self.config.ndim, self.config.views
        if array.ndim != ndim + 2 or array.shape[1] != views or 0 in array.shape:
            axes = "z, y, x" if ndim == 3 else "y, x"
            raise ValueError(
                f"`images` has shape {array.shape}; (batch, {views}, {axes}) is needed "
                f"by this network of {views} view(s): for one image use "
                f"`image[None, None]`."
            )
        if self.needs_operator:
            check_operator(operator, array.shape)
        return array

    def _any_size(self, images: jax.Array, operator: Any) -> jax.Array:
        spatial = images.shape[2:]
        margins = [(0, -n % self.multiple) for n in spatial]
        padded = jnp.pad(images, [(0, 0), (0, 0), *margins], mode="edge")
        estimate = self._estimate(padded, operator).astype(jnp.float32)
        return estimate[(slice(None), *map(slice, spatial))]


@functools.partial(jax.jit, static_argnums=0)
def _run(graphdef: Any, state: Any, images: jax.Array, operator: Any) -> jax.Array:
    return nnx.merge(graphdef, state)._any_size(images, operator)


def check_operator(operator: Any, shape: tuple[int, ...]) -> None:
    """Refuse an operator that does not give images of (batch, views, *spatial)."""
    if operator is None:
        raise ValueError(
            "`operator` is missing: this network has the physics in its wiring and "
            "needs the forward operator, e.g. "
            "`jaxdecon.operators.Convolution.from_psf(psf, image.shape)`."
        )
    views, spatial = shape[1], shape[2:]
    given = operator.range
    shapes = (given,) if isinstance(given[0], int) else tuple(given)
    if shapes != (spatial,) * views:
        raise ValueError(
            f"`operator` gives {given}, but there are {views} view(s) of shape "
            f"{spatial}; the operator of one sample is needed."
        )
    region = jax.eval_shape(
        operator.image_region, jax.ShapeDtypeStruct(operator.domain, jnp.float32)
    )
    if region.shape != spatial:
        raise ValueError(
            f"the field of view of `operator` has shape {region.shape}, but the images "
            f"have {spatial}; an object on the grid of its images is needed."
        )
