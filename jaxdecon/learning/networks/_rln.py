"""RLN: Richardson and Lucy's update as the wiring of a network."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from ._config import NetworkConfig
from ._convolve import pool
from ._layers import LayerMaker, Norm, Up, join
from ._network import Network
from ._rln_physics import PhysicsWiring

GUARD = 1e-3
"""Added where the published wiring divides."""

SHARPNESS = 8.0
"""Softplus of so many times a value, divided by it: 0.09 for dark voxels.

The published 1 makes 0.69 of nothing, which batch statistics take away again; without
them, images between 0 and 1 would drown in it.
"""


class RLN(Network):
    """The Richardson-Lucy network of Li et al. 2022, and one that knows the optics.

    As published (`physics=False`), convolutions stand where Richardson and Lucy have
    the blur and its adjoint: once at half the resolution, once at full, and a third
    part that fuses what both found. The network never sees the PSF, and is of use for
    the one that it was trained with. 15,968 parameters in 3D for one view with
    `norm="batch"`, as published; 15,908 with `norm="none"`, where a sharper softplus
    does without the statistics.

    With `physics=True` the forward operator and its adjoint stand in those places, and
    convolutions correct what they give. The operator comes with the images, so that one
    network serves many PSFs. Before training it does two Richardson-Lucy updates.
    12,091 parameters, for any number of views.

    Args:
        views: images of one object.
        ndim: spatial axes, 2 or 3.
        width: channels of the narrow layers; the wide ones have twice as many.
        norm: "none", "group" or "batch" (as published); see `Norm`. Only "none" with
            `physics=True`.
        physics: whether the operator is in the wiring.
        dtype: of convolutions, "float32" or "bfloat16".
        key: of the random kernels; None: `jax.random.key(0)`.

    References:
        Li et al., Nature Methods 19, 1427 (2022), doi:10.1038/s41592-022-01652-7. Their
        program replaces the derivatives of divisions and products by others; here they
        are the true ones.
    """

    def __init__(
        self,
        *,
        views: int = 1,
        ndim: int = 3,
        width: int = 4,
        norm: Literal["none", "group", "batch"] = "none",
        physics: bool = False,
        dtype: str = "float32",
        key: jax.Array | None = None,
    ):
        self.config = NetworkConfig(
            kind="rln",
            ndim=ndim,
            views=views,
            width=width,
            norm=norm,
            physics=physics,
            dtype=dtype,
        )
        if physics and norm != "none":
            raise ValueError(
                f"`norm` is {norm!r}; with `physics=True` only 'none' is possible, for "
                f"statistics would take away the scale that the operator needs."
            )
        wiring = PhysicsWiring if physics else PublishedWiring
        self.wiring = wiring(self.config, key)

    @property
    def halo(self) -> tuple[int, ...] | None:
        """17 voxels: 6 at half resolution, 4 at full, and the edges of blocks."""
        local = self.config.norm == "none" and not self.config.physics
        return (17,) * self.config.ndim if local else None

    @property
    def multiple(self) -> int:
        """Two: half the resolution; with physics, sizes are those of the operator."""
        return 1 if self.config.physics else 2

    @property
    def needs_operator(self) -> bool:
        """With `physics=True`."""
        return bool(self.config.physics)

    def _estimate(self, images: jax.Array, operator: Any) -> jax.Array:
        return self.wiring(images, operator)


class PublishedWiring(nnx.Module):
    """The three parts of the published network, which its authors call H1, H2, H3."""

    def __init__(self, config: NetworkConfig, key: jax.Array | None):
        self.dtype = config.dtype
        self.sharpness = 1.0 if config.norm == "batch" else SHARPNESS
        layer = LayerMaker(config, key, 15)
        views, thin = config.views, int(config.width or 4)
        wide = 2 * thin
        # At half the resolution: forward (three layers), back (three), and up.
        self.e1, self.e2 = layer(views, thin), layer(thin, thin)
        self.e3 = layer(2 * thin, thin)
        self.e4, self.e5 = layer(1, wide), layer(wide, wide)
        self.e6 = layer(2 * wide, wide)
        self.e7, self.e8 = layer(wide, thin, Up), layer(thin, thin)
        # At full resolution: forward (two layers), back (two).
        self.u1, self.u2 = layer(views, thin), layer(thin, thin)
        self.u3, self.u4 = layer(1, wide), layer(wide, wide)
        # Fusion.
        bare = {"norm": False, "bias": config.norm == "none"}
        self.u5, self.u6 = layer(1, wide, **bare), layer(wide + 2, wide, **bare)
        self.u7 = layer(2 * wide, wide)
        kind = str(config.norm)
        self.t1, self.t2 = Norm(1, kind), Norm(1, kind)
        self.t3, self.t4 = Norm(1, kind), Norm(1, kind)

    def _active(self, x: jax.Array) -> jax.Array:
        return nnx.softplus(self.sharpness * x) / self.sharpness

    def __call__(self, images: jax.Array, operator: Any) -> jax.Array:
        """(batch, views, *spatial), even sizes, to (batch, *spatial)."""
        x = images.astype(self.dtype)
        first = self._coarse(x)
        second = self._fine(x, first)
        a = self._active(self.u5(second))
        b = self._active(self.u6(join(a, second, first)))
        return self._active(self.u7(join(a, b))).mean(1)

    def _coarse(self, x: jax.Array) -> jax.Array:
        low = pool(x)
        image = _mean(low)
        a = self._active(self.e1(low))
        b = self._active(self.e2(a))
        blurred = self._active(self.e3(join(a, b))) + self._active(image)
        ratio = self.t1(image / (_mean(blurred) + GUARD))
        a = self._active(self.e4(ratio))
        b = self._active(self.e5(a))
        c = self._active(self.e6(join(b, a)))
        factor = self._active(self.e8(self._active(self.e7(c))))
        return self._active(self.t2(_mean(x) * _mean(factor)))

    def _fine(self, x: jax.Array, estimate: jax.Array) -> jax.Array:
        image = _mean(x)
        blurred = self._active(self.u2(self._active(self.u1(x)))) + self._active(image)
        ratio = self.t3(image / (_mean(blurred) + GUARD))
        factor = self._active(self.u4(self._active(self.u3(ratio)))) + 1
        return self._active(self.t4(estimate * _mean(factor)))


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(x, 1, keepdims=True)
