"""A loss that needs no ground truth: predictions, seen through the operator."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..._core._pytree import pytree, static
from ...operators import LinearOperator
from ..pairs._normalise import Normaliser
from ._losses import as_float, batch_mean, per_sample


@pytree
class ReblurLoss:
    """Poisson deviance of images and the prediction, seen through the operator.

    Needs no ground truth: the target is an image, best one whose noise the network did
    not see (`SplitPairs`). It is the mean over voxels, views and batch of::

        2 (y ln(y / m) - (y - m))        m = A prediction + background

    Below `floor` the deviance goes on in a straight line, so that negative predictions
    are pulled back; on data without light they cost nothing.

    Attributes:
        operator: from one object to one image, or to views. Where its domain is larger
            than the field of view, what lies outside is taken as dark: choose a
            boundary of "reflect" or "edge", or a `margin`.
        background: in the images.
        offset: subtracted from the images when they were normalised, in the normalised
            unit; counted back, as the deviance needs the intensities themselves.
        floor: least value of m.
        margin: voxels at the borders of the images that are not compared.

    Example:
        >>> import jax, jax.numpy as jnp, jaxdecon as jd
        >>> blur = jd.operators.Convolution.from_psf(
        ...     jd.psf.gaussian((5, 5), 2.0), (16, 16), boundary="periodic")
        >>> thing = jnp.ones((1, 16, 16))
        >>> image = jax.vmap(blur)(thing)[:, None]
        >>> bool(jd.learning.ReblurLoss(operator=blur)(thing, image) < 1e-6)
        True
    """

    operator: LinearOperator
    background: ArrayLike = 0.0
    offset: ArrayLike = 0.0
    floor: float = static(default=1e-3)
    margin: int = static(default=0)

    @classmethod
    def normalised(
        cls,
        operator: LinearOperator,
        normaliser: Normaliser,
        *,
        background: ArrayLike = 0.0,
        margin: int = 0,
    ) -> "ReblurLoss":
        """For pairs that one normaliser was applied to.

        Args:
            operator: as it is; it is linear, and scales as its objects do.
            normaliser: of images and objects.
            background: in the units of the images before they were normalised.
            margin: voxels at the borders of the images that are not compared.
        """
        return cls(
            operator=operator,
            background=(background - normaliser.offset) / normaliser.scale,
            offset=normaliser.offset / normaliser.scale,
            margin=margin,
        )

    def __call__(self, prediction: ArrayLike, truth: ArrayLike) -> jax.Array:
        """Of predictions (batch, *spatial) and images (batch, views, *spatial).

        Images of one view may lack the axis of views.
        """
        p, images = as_float(prediction), as_float(truth)
        images = images[:, None] if images.ndim == p.ndim else images
        seen = jax.vmap(self._seen)(p)
        if seen.shape != images.shape:
            raise ValueError(
                f"the prediction, seen through the operator, has shape {seen.shape}, "
                f"and `truth` {images.shape}; they must agree."
            )
        shift = jnp.asarray(self.offset, p.dtype)
        model = seen + jnp.asarray(self.background, p.dtype) + shift
        values = _deviance(images + shift, model, self.floor)
        inner = [slice(self.margin, n - self.margin) for n in p.shape[1:]]
        return batch_mean(per_sample(values[(..., *inner)]))

    def _seen(self, thing: jax.Array) -> jax.Array:
        views = self.operator(_on_domain(thing, self.operator))
        return jnp.stack(views) if isinstance(views, tuple | list) else views[None]


def _on_domain(thing: jax.Array, operator: LinearOperator) -> jax.Array:
    """An object inside the field of view on the operator's domain: dark around it."""
    domain = jax.ShapeDtypeStruct(operator.domain, thing.dtype)
    if thing.shape == operator.domain:
        return thing
    (placed,) = jax.linear_transpose(operator.image_region, domain)(thing)
    return placed


def _deviance(y: jax.Array, m: jax.Array, floor: float) -> jax.Array:
    """Poisson deviance, by its tangent below the floor where it falls."""
    y = jnp.maximum(y, 0)
    at = jnp.maximum(m, floor)
    ratio = jnp.where(y > 0, y / at, 1)  # at y = 0 the logarithm has no derivative
    value = 2 * (y * jnp.log(ratio) - (y - at))
    slope = -2 * jnp.maximum(y / floor - 1, 0)
    return value + slope * jnp.minimum(m - floor, 0)
