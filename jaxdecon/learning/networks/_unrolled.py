"""A few Richardson-Lucy updates whose back projector and prior are learned."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from ._config import NetworkConfig
from ._layers import affine, default_key, filled, random_kernel
from ._network import Network
from ._physics import Data, factor, features, squashed
from ._transfer_gain import NODES, GainOfTransfer, Transfer, wiener_log_gain


class UnrolledRichardsonLucy(Network):
    """K updates of a scheme of which training finds the back projector and the prior::

        x <- x (1 + G A^T(y / A x - 1) / A^T(1)) exp(-r)

    G filters after the adjoint, by a learned gain over the strength of the transfer
    function: what a Wiener filter does with 1 / (h^2 + alpha), as a curve. Since the
    curve's argument is the strength that the operator itself has at a frequency, one
    network serves many PSFs, in whichever direction they are narrow or wide. r, the
    prior's part, is a small network of the estimate and of what the data want changed.
    Every update has parameters of its own. Before training G and r do nothing, so that
    the network is K plain Richardson-Lucy updates.

    Updates are computed again in the backward pass. 12,015 parameters in 3D at the
    defaults.

    Args:
        views: images of one object.
        ndim: spatial axes, 2 or 3.
        depth: K.
        width: channels of the prior.
        start: gain before training: "matched" (one: the adjoint) or "wiener" (with
            alpha 0.05).
        dtype: of convolutions, "float32" or "bfloat16".
        key: of the random kernels; None: `jax.random.key(0)`.

    References:
        Learned updates from the estimate and the data's gradient: Adler & Öktem,
        Inverse Problems 33, 124007 (2017), doi:10.1088/1361-6420/aa9581; unmatched back
        projectors: Guo et al., Nature Biotechnology 38, 1337 (2020),
        doi:10.1038/s41587-020-0560-x.
    """

    def __init__(
        self,
        *,
        views: int = 1,
        ndim: int = 3,
        depth: int = 5,
        width: int = 8,
        start: Literal["matched", "wiener"] = "matched",
        dtype: str = "float32",
        key: jax.Array | None = None,
    ):
        self.config = NetworkConfig(
            kind="unrolled",
            ndim=ndim,
            views=views,
            depth=depth,
            width=width,
            start=start,
            dtype=dtype,
        )
        keys = jax.random.split(default_key(key), 2)
        taps = (3,) * ndim
        first, second = (*taps, 2, width), (*taps, width, width)
        self.kernel1 = nnx.Param(random_kernel(keys[0], first, 2.0, (depth,)))
        self.kernel2 = nnx.Param(random_kernel(keys[1], second, 2.0, (depth,)))
        self.kernel3 = filled((depth, *taps, width, 1))
        self.bias1, self.bias2 = filled((depth, width)), filled((depth, width))
        self.bias3 = filled((depth, 1))
        log_gain = wiener_log_gain() if start == "wiener" else jnp.zeros(NODES)
        self.log_gain = nnx.Param(jnp.tile(log_gain, (depth, 1)))

    @property
    def halo(self) -> tuple[int, ...] | None:
        """None: the PSF's reach, twice per update, and three convolutions."""
        return None

    @property
    def needs_operator(self) -> bool:
        """Always."""
        return True

    def _estimate(self, images: jax.Array, operator: Any) -> jax.Array:
        transfer = Transfer.of(operator)
        parameters = {
            "kernel1": self.kernel1[...],
            "bias1": self.bias1[...],
            "kernel2": self.kernel2[...],
            "bias2": self.bias2[...],
            "kernel3": self.kernel3[...],
            "bias3": self.bias3[...],
            "log_gain": self.log_gain[...],
        }

        def one(sample: jax.Array) -> jax.Array:
            data = Data.of(sample, operator)

            @jax.checkpoint
            def step(estimate, p):
                return self._update(data, transfer, estimate, p), None

            estimate, _ = jax.lax.scan(step, data.state.estimate, parameters)
            return data.seen(estimate)

        return jax.vmap(one)(images)

    def _update(
        self, data: Data, transfer: Transfer, estimate: jax.Array, p: Any
    ) -> jax.Array:
        gain = GainOfTransfer(transfer=transfer, log_gain=p["log_gain"])
        adjoint = data.problem.operator.adjoint
        misfit = data.misfit(estimate, lambda y: gain(adjoint(y)))
        x = features(estimate, squashed(misfit), dtype=self.config.dtype)
        x = nnx.relu(affine(x, p["kernel1"], p["bias1"]))
        x = nnx.relu(affine(x, p["kernel2"], p["bias2"]))
        prior = affine(x, p["kernel3"], p["bias3"])[0, 0]
        return data.update(estimate, (1 + misfit) * factor(-prior))
