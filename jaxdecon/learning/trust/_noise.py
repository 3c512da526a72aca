"""How much noise a camera adds to what a model predicts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_positive, check_values
from ..._core._pytree import pytree
from ...deconvolution import NoiseEstimate, estimate_noise

LEAST_PHOTONS = 0.25
"""Of variance where a model predicts none: the next photon is no surprise."""
LEAST_PATCHES = 8
DIM_SHARE = 0.5
"""Of the noise of the dimmest patches, which no voxel has less than."""


@pytree
class CameraNoise:
    """The noise of a camera::

        variance = gain (m - offset) + read_noise^2,  m what is predicted

    and not less than `least`. Made by `of`.

    Attributes:
        gain: units of the image per photon; 0: the same noise everywhere.
        offset: units without light.
        read_noise: standard deviation, in units of the image.
        least: variance that no voxel has less than.
    """

    gain: jax.Array
    offset: jax.Array
    read_noise: jax.Array
    least: jax.Array

    @classmethod
    def of(
        cls,
        *,
        gain: ArrayLike = 1.0,
        offset: ArrayLike = 0.0,
        read_noise: ArrayLike = 0.0,
    ) -> "CameraNoise":
        """The noise of a camera whose numbers are known.

        Args:
            gain: units of the image per photon.
            offset: units without light.
            read_noise: standard deviation, in units of the image.

        Raises:
            ValueError: a gain that is not positive, a negative read noise.
        """
        check_positive("gain", gain)
        check_values("read_noise", jnp.asarray(read_noise, jnp.float32))
        return _noise(gain, offset, read_noise, LEAST_PHOTONS * jnp.square(gain))

    @classmethod
    def measured(cls, images: ArrayLike) -> "CameraNoise":
        """The noise of an image, by `jaxdecon.deconvolution.estimate_noise`.

        Args:
            images: (z, y, x), (y, x), or several views of that.
        """
        return cls.estimated(estimate_noise(np.asarray(images)))

    @classmethod
    def estimated(cls, noise: NoiseEstimate) -> "CameraNoise":
        """The noise of an estimate, also where that does not vouch for its growth."""
        gain, offset = noise.gain, noise.offset
        if not np.isfinite(gain):
            gain, offset = _halves(noise)
        if gain > 0:
            least = DIM_SHARE * float(np.min(noise.variances))
            return _noise(gain, offset, 0.0, least)
        if np.isfinite(noise.level) and noise.level > 0:
            return _noise(0.0, 0.0, noise.level, 0.0)
        return cls.of()  # too few voxels to tell: photon counts

    def variance(self, predicted: jax.Array) -> jax.Array:
        """Of the data, if the prediction is true."""
        light = jnp.maximum(predicted - self.offset, 0)
        return jnp.maximum(self.gain * light + self.read_noise**2, self.least)


def as_noise(noise: Any, images: ArrayLike) -> Any:
    """What gives variances: as it is, made of an estimate, or measured.

    Raises:
        TypeError: something else.
    """
    if noise is None:
        return CameraNoise.measured(images)
    if isinstance(noise, NoiseEstimate):
        return CameraNoise.estimated(noise)
    if not callable(getattr(noise, "variance", None)):
        raise TypeError(
            f"`noise` is {noise!r}; a `CameraNoise` (e.g. `CameraNoise.of(gain=2.0, "
            f"offset=100.0)`), an estimate by `estimate_noise`, or None is needed."
        )
    return noise


def _halves(noise: NoiseEstimate) -> tuple[float, float]:
    """Gain and offset by the dim and the bright half of a few patches; 0: no growth."""
    if noise.means.size < LEAST_PATCHES:
        return 0.0, 0.0
    bright = noise.means > np.median(noise.means)
    (dim_mean, mean), (dim_variance, variance) = (
        (np.median(values[~bright]), np.median(values[bright]))
        for values in (noise.means, noise.variances)
    )
    if not (mean > dim_mean and variance > dim_variance):
        return 0.0, 0.0
    gain = (variance - dim_variance) / (mean - dim_mean)
    return float(gain), float(dim_mean - dim_variance / gain)


def _noise(*numbers: Any) -> CameraNoise:
    gain, offset, read_noise, least = (jnp.asarray(n, jnp.float32) for n in numbers)
    return CameraNoise(gain=gain, offset=offset, read_noise=read_noise, least=least)
