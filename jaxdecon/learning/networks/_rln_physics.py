"""RLN with the operator in its wiring."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ._config import NetworkConfig
from ._convolve import pool
from ._layers import LayerMaker, Up, join, leaky
from ._physics import Data, factor, features, squashed


class PhysicsWiring(nnx.Module):
    """Two Richardson-Lucy updates, each corrected by convolutions, and a fusion.

    What the published wiring learns in place of the blur is the operator here, and what
    it learns in place of the back projection are convolutions after the adjoint: at
    half the resolution in the first update, at full in the second.
    """

    def __init__(self, config: NetworkConfig, key: jax.Array | None):
        self.dtype = config.dtype
        layer = LayerMaker(config, key, 11)
        thin, wide = int(config.width or 4), 2 * int(config.width or 4)
        self.e4, self.e5 = layer(2, wide), layer(wide, wide)
        self.e6 = layer(2 * wide, wide)
        self.e7 = layer(wide, thin, Up)
        self.e8 = layer(thin, 1, gain=0.0)
        self.u3, self.u4 = layer(3, wide), layer(wide, wide)
        self.last = layer(wide, 1, gain=0.0)
        self.u5, self.u6 = layer(3, wide), layer(wide + 3, wide)
        self.u7 = layer(2 * wide, 1, gain=0.0)

    def __call__(self, images: jax.Array, operator: Any) -> jax.Array:
        """(batch, views, *spatial) and the operator of one, to (batch, *spatial)."""
        return jax.vmap(lambda sample: self._one(Data.of(sample, operator)))(images)

    def _one(self, data: Data) -> jax.Array:
        start = data.state.estimate
        misfit = data.misfit(start)
        change = self._coarse(self._features(start, squashed(misfit)))
        first = data.update(start, (1 + misfit) * factor(change))

        misfit = data.misfit(first)
        change = self._fine(self._features(first, squashed(misfit), start))
        second = data.update(first, (1 + misfit) * factor(change))

        fused = self._fuse(self._features(second, first, start))
        return data.seen(jnp.maximum(second + fused.astype(jnp.float32), 0))

    def _features(self, *images: jax.Array) -> jax.Array:
        return features(*images, dtype=self.dtype)

    def _coarse(self, x: jax.Array) -> jax.Array:
        spatial = x.shape[2:]
        margins = [(0, 0), (0, 0), *((0, n % 2) for n in spatial)]
        low = pool(jnp.pad(x, margins, mode="edge"))
        a = leaky(self.e4(low))
        b = leaky(self.e5(a))
        c = leaky(self.e7(leaky(self.e6(join(b, a)))))
        return self.e8(c)[(0, 0, *map(slice, spatial))]

    def _fine(self, x: jax.Array) -> jax.Array:
        return self.last(leaky(self.u4(leaky(self.u3(x)))))[0, 0]

    def _fuse(self, x: jax.Array) -> jax.Array:
        a = leaky(self.u5(x))
        b = leaky(self.u6(join(a, x)))
        return self.u7(join(a, b))[0, 0]
