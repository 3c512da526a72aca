"""What the noise of a camera makes likely: Poisson, Gaussian, and both."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree
from .._core._sum import mean
from ..metrics import poisson_deviance

Back = Callable[[Any], jax.Array]


class Likelihood(Protocol):
    """A model of the noise; a pytree, so that its numbers can be estimated."""

    def deviance(self, data: jax.Array, predicted: jax.Array) -> jax.Array:
        """Mean over the voxels of twice the log-likelihood missing to a perfect fit."""
        ...

    def variance(self, predicted: jax.Array) -> jax.Array:
        """Of the data, if the prediction is true."""
        ...

    def correction(
        self, back: Back, data: Any, predicted: Any, gain: jax.Array, guard: jax.Array
    ) -> jax.Array:
        """Relative change of the estimate that a multiplicative update makes.

        Args:
            back: the back projector.
            data: one image, or a tuple of them.
            predicted: of the same structure.
            gain: inverse of the back projection of ones.
            guard: least value to divide by.
        """
        ...


@pytree
class Poisson:
    """Photon counts, the default: the update is Richardson's and Lucy's.

    Attributes:
        gain: units of the data per photon, for rules that need the noise's size.
    """

    gain: ArrayLike = 1.0

    def deviance(self, data: jax.Array, predicted: jax.Array) -> jax.Array:
        """Mean Poisson deviance, in the data's units; what is below 0 counts as 0."""
        return poisson_deviance(jnp.maximum(data, 0), predicted)

    def variance(self, predicted: jax.Array) -> jax.Array:
        """Equal to the prediction, times the gain."""
        return jnp.asarray(self.gain) * predicted

    def correction(self, back: Back, data, predicted, gain, guard) -> jax.Array:
        """B(y / m - 1) / B(1)."""
        return _relative_misfit(back, data, predicted, 0.0, gain, guard)


@pytree
class MixedPoisson:
    """Photon counts with the camera's read noise, by a shifted Poisson distribution.

    A Poisson variable of mean m plus Gaussian noise of variance r^2 has nearly the
    distribution of a Poisson variable of mean m + r^2, less r^2 (Snyder et al. 1995).
    Data may fall below zero, as they do once an offset is subtracted.

    Attributes:
        read_noise: its standard deviation r, in the data's units.
        gain: units of the data per photon.

    References:
        Snyder et al., J. Opt. Soc. Am. A 12, 272 (1995), doi:10.1364/JOSAA.12.000272.
    """

    read_noise: ArrayLike
    gain: ArrayLike = 1.0

    @property
    def _shift(self) -> jax.Array:
        return jnp.asarray(self.read_noise) ** 2 / self.gain

    def deviance(self, data: jax.Array, predicted: jax.Array) -> jax.Array:
        """Mean Poisson deviance of the shifted data; what falls below 0 counts as 0."""
        return poisson_deviance(
            jnp.maximum(data + self._shift, 0), predicted + self._shift
        )

    def variance(self, predicted: jax.Array) -> jax.Array:
        """gain m + r^2."""
        return jnp.asarray(self.gain) * (predicted + self._shift)

    def correction(self, back: Back, data, predicted, gain, guard) -> jax.Array:
        """B((y - m) / (m + r^2)) / B(1)."""
        return _relative_misfit(back, data, predicted, self._shift, gain, guard)


@pytree
class Gaussian:
    """Noise of one variance everywhere; the update is that of Daube-Witherspoon.

    x <- x B(y) / B(A x + b), the image space reconstruction algorithm (ISRA).

    Attributes:
        sigma: standard deviation of the noise, in the data's units.

    References:
        Daube-Witherspoon & Muehllehner, IEEE Trans. Med. Imaging 5, 61 (1986),
        doi:10.1109/TMI.1986.4307748.
    """

    sigma: ArrayLike = 1.0

    def deviance(self, data: jax.Array, predicted: jax.Array) -> jax.Array:
        """Mean square of the misfit over the variance."""
        return mean((data - predicted) ** 2) / jnp.asarray(self.sigma) ** 2

    def variance(self, predicted: jax.Array) -> jax.Array:
        """sigma^2."""
        return jnp.full_like(predicted, jnp.asarray(self.sigma) ** 2)

    def correction(self, back: Back, data, predicted, gain, guard) -> jax.Array:
        """B(y - m) / B(m)."""
        misfit = jax.tree.map(lambda y, m: y - m, data, predicted)
        return gain * back(misfit) / jnp.maximum(gain * back(predicted), guard)


def _relative_misfit(back, data, predicted, shift, gain, guard) -> jax.Array:
    def ratio(y, m):
        # y / m - 1 in this order: subtracting first would round the difference of two
        # large numbers once more.
        return (y + shift) / jnp.maximum(m + shift, guard) - 1

    return gain * back(jax.tree.map(ratio, data, predicted))


def chi_square(likelihood: Likelihood, data: Any, predicted: Any) -> jax.Array:
    """Mean squared misfit in units of the noise: 1 if model and noise are right."""

    def one(y, m):
        variance = likelihood.variance(m)
        return mean((y - m) ** 2 / jnp.maximum(variance, jnp.finfo(m.dtype).tiny))

    parts = jax.tree.map(one, data, predicted)
    return jnp.stack(jax.tree.leaves(parts)).mean()
