"""DenseDeconNet: a small dense network at two resolutions."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from ._config import NetworkConfig
from ._layers import Down, LayerMaker, Norm, Up, join, leaky
from ._network import Network


class DenseDeconNet(Network):
    """The densely connected network of Guo et al. 2020, in 2D or 3D, for any views.

    Four convolutions at full resolution, eight at half, each fed with what those before
    it found, and back; 4 and 8 channels. The defaults differ from the publication where
    it gives intensities away: no normalisation (and hence leaky activations), and the
    network gives what is to be added to the mean of the views. 16,785 parameters in 3D
    for one view. `DenseDeconNet(norm="batch", residual=False)` is the published layout,
    with 16,860.

    Args:
        views: images of one object.
        ndim: spatial axes, 2 or 3.
        width: channels of the narrow layers; the wide ones have twice as many.
        norm: "none", "group" or "batch" (as published); see `Norm`.
        residual: see `NetworkConfig`.
        bias: see `NetworkConfig`.
        dtype: of convolutions, "float32" or "bfloat16".
        key: of the random kernels; None: `jax.random.key(0)`.

    References:
        Guo et al., Nature Biotechnology 38, 1337 (2020),
        doi:10.1038/s41587-020-0560-x. Networks without biases scale with their input:
        Mohan et al., ICLR 2020, arXiv:1906.05478.
    """

    def __init__(
        self,
        *,
        views: int = 1,
        ndim: int = 3,
        width: int = 4,
        norm: Literal["none", "group", "batch"] = "none",
        residual: bool = True,
        bias: bool = True,
        dtype: str = "float32",
        key: jax.Array | None = None,
    ):
        self.config = NetworkConfig(
            kind="densedeconnet",
            ndim=ndim,
            views=views,
            width=width,
            norm=norm,
            residual=residual,
            bias=bias,
            dtype=dtype,
        )
        layer = LayerMaker(self.config, key, 14)
        thin, wide = width, 2 * width
        # A number of a published layer each; attributes, since flax 0.12 refuses lists.
        self.entry = None if norm == "none" else Norm(views, norm)
        self.c1, self.c2 = layer(views, thin), layer(thin, wide)
        self.c3 = layer(thin + wide, thin)
        self.c4 = layer(2 * thin + wide, thin)
        self.c5 = layer(thin, wide, Down)
        self.c6 = layer(wide, thin)
        self.c7 = layer(wide + thin, thin)
        self.c8 = layer(wide + 2 * thin, wide)
        self.c9, self.c10 = layer(wide, thin), layer(thin, wide)
        self.c11 = layer(thin + wide, thin)
        self.c12 = layer(wide + 2 * thin, wide)
        self.up = layer(wide, thin, Up)
        # A correction begins small, so that training begins at the image.
        self.last = layer(thin, 1, gain=0.02 if residual else 1.0)

    @property
    def halo(self) -> tuple[int, ...] | None:
        """20 voxels: 4 at full resolution, 7 at half, 1, and the edges of blocks."""
        return (20,) * self.config.ndim if self.config.norm == "none" else None

    @property
    def multiple(self) -> int:
        """Two: half the resolution."""
        return 2

    def _estimate(self, images: jax.Array, operator: Any) -> jax.Array:
        x = images.astype(self.config.dtype)
        x = x if self.entry is None else self.entry(x)
        fine, skip = self._fine(x)
        risen = self.up(self._second(self._first(self.c5(fine))))
        last = self.last(self._active(risen + skip))[:, 0].astype(jnp.float32)
        if self.config.residual:
            return images.mean(1) + last
        return leaky(last)

    def _active(self, x: jax.Array) -> jax.Array:
        return nnx.relu(x) if self.config.norm == "batch" else leaky(x)

    def _fine(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        a = self._active(self.c1(x))
        b = self._active(self.c2(a))
        c = self._active(self.c3(join(a, b)))
        return self._active(self.c4(join(b, a, c))), a

    def _first(self, x: jax.Array) -> jax.Array:
        a = self._active(x)
        b = self._active(self.c6(a))
        c = self._active(self.c7(join(a, b)))
        return self._active(self.c8(join(b, c, a)))

    def _second(self, x: jax.Array) -> jax.Array:
        a = self._active(self.c9(x))
        b = self._active(self.c10(a))
        c = self._active(self.c11(join(a, b)))
        return self._active(self.c12(join(b, c, a)))
