"""Families of back projectors with parameters to learn."""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ...deconvolution import back_projector
from ...deconvolution._back_projector import automatic_beta
from ...fourier import centre_kernel, frequency_grid, transfer_function

FREE = (-np.inf, np.inf)
NODES, FURTHEST = 24, 3.0
"""Of the radial gain: nodes, and where the last is, in units of the cut-off."""
LEAST_BETA, MOST_BETA = 1e-3, 0.9


class Family(Protocol):
    """Back projectors of one PSF, made from parameters."""

    @property
    def start(self) -> Any:
        """Parameters that give the published settings."""
        ...

    @property
    def bounds(self) -> Any:
        """Of the parameters."""
        ...

    def kernel(self, parameters: Any) -> jax.Array:
        """The back projector, with unit sum."""
        ...

    def between(self, parameters: Any, share: float) -> Any:
        """Parameters on the way from the start to others; None: not this family."""
        ...

    def settings(self, parameters: Any) -> dict[str, Any]:
        """Parameters in words that a user knows."""
        ...


@dataclasses.dataclass(frozen=True)
class WienerButterworth:
    """The five parameters: alpha, beta, order, axial and lateral resolution.

    Resolutions are learned as shares of the PSF's FWHM; in 2D there is one.
    """

    psf: jax.Array
    width: jax.Array

    @property
    def start(self) -> dict[str, Any]:
        """Those of Guo et al. 2020."""
        beta = automatic_beta(self.psf, self.width)
        return {
            "alpha": 0.05,
            "beta": float(np.clip(beta, 1.1 * LEAST_BETA, 0.9 * MOST_BETA)),
            "order": 10.0,
            "resolution": np.ones(self.psf.ndim - 1),
        }

    @property
    def bounds(self) -> dict[str, Any]:
        """Wide ones."""
        return {
            "alpha": (1e-5, 1.0),
            "beta": (LEAST_BETA, MOST_BETA),
            "order": (1.0, 40.0),
            "resolution": (0.3, 3.0),
        }

    def kernel(self, parameters: Any) -> jax.Array:
        """By `jaxdecon.back_projector`."""
        return back_projector(self.psf, **self._arguments(parameters))

    def between(self, parameters: Any, share: float) -> Any:
        """Along the logarithms."""
        return jax.tree.map(
            lambda a, b: a ** (1 - share) * b**share, self.start, parameters
        )

    def settings(self, parameters: Any) -> dict[str, Any]:
        """Arguments of `jaxdecon.back_projector`."""
        found = self._arguments(parameters)
        numbers = {name: float(found[name]) for name in ("alpha", "beta", "order")}
        limits = tuple(float(r) for r in found["resolution"])
        return {**numbers, "resolution": limits, "interpolate": True}

    def _arguments(self, parameters: Any) -> dict[str, Any]:
        shares = jnp.asarray(parameters["resolution"])
        axial = [shares[:1]] if self.psf.ndim == 3 else []
        resolution = jnp.concatenate([*axial, shares[-1:], shares[-1:]])
        resolution = resolution * self.width
        return {**parameters, "resolution": resolution, "interpolate": True}


@dataclasses.dataclass(frozen=True)
class Radial:
    """A free gain over the radial frequency, with the phase of conj(OTF).

    The published filter times exp(c(w)), with c linear between nodes in w, the
    frequency in units of the cut-off.
    """

    psf: jax.Array
    width: jax.Array

    @property
    def start(self) -> dict[str, Any]:
        """No change of the published filter."""
        return {"log_gain": np.zeros(NODES, np.float32)}

    @property
    def bounds(self) -> Any:
        """None."""
        return FREE

    def kernel(self, parameters: Any) -> jax.Array:
        """The published kernel with its gains changed."""
        shape = self.psf.shape
        transfer = transfer_function(back_projector(self.psf), shape)
        grids = zip(frequency_grid(shape), self.width, strict=True)
        radius = jnp.sqrt(jnp.asarray(sum((k * width) ** 2 for k, width in grids)))
        nodes = jnp.linspace(0, FURTHEST, NODES)
        change = jnp.interp(radius, nodes, parameters["log_gain"])
        # The unit sum is the gain at zero frequency.
        change = jnp.exp(change - parameters["log_gain"][0])
        kernel = centre_kernel(jnp.fft.irfftn(transfer * change, s=shape))
        return kernel / kernel.sum()

    def between(self, parameters: Any, share: float) -> None:
        """A free gain is right as it is, or not to be trusted."""
        return None

    def settings(self, parameters: Any) -> dict[str, Any]:
        """The nodes."""
        gains = [float(c) for c in parameters["log_gain"]]
        return {"log_gain": gains, "furthest": FURTHEST}


FAMILIES: dict[str, Any] = {"wiener-butterworth": WienerButterworth, "radial": Radial}
