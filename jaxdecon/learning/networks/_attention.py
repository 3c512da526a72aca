"""Residual channel attention: a deep network, fifty times the others' size."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ._config import NetworkConfig
from ._layers import Conv, affine, default_key, filled, random_kernel
from ._network import Network


class ResidualChannelAttention(Network):
    """The 3D residual channel attention network of Chen et al. 2021; also in 2D.

    Groups of blocks; a block has two convolutions whose channels are then weighted by
    what their averages over the image say. 1,002,621 parameters in 3D at the defaults,
    180 times the arithmetic of DenseDeconNet; `width=8, depth=2` has 26,631.

    Averages over all of the image make a tile's result depend on where it was cut:
    predict whole volumes, or train with `window`, which averages over a neighbourhood.

    Args:
        views: images of one object.
        ndim: spatial axes, 2 or 3.
        width: channels.
        depth: residual groups.
        blocks: attention blocks in a group.
        reduction: by which attention narrows its channels.
        window: radius in voxels of the neighbourhood that is averaged; None: all of the
            image, as published.
        residual: see `NetworkConfig`.
        dtype: of convolutions, "float32" or "bfloat16".
        key: of the random kernels; None: `jax.random.key(0)`.

    References:
        Chen et al., Nature Methods 18, 678 (2021), doi:10.1038/s41592-021-01155-x; in
        2D: Zhang et al., ECCV 2018, arXiv:1807.02758.
    """

    def __init__(
        self,
        *,
        views: int = 1,
        ndim: int = 3,
        width: int = 32,
        depth: int = 5,
        blocks: int = 3,
        reduction: int = 8,
        window: int | None = None,
        residual: bool = True,
        dtype: str = "float32",
        key: jax.Array | None = None,
    ):
        self.config = NetworkConfig(
            kind="rcan",
            ndim=ndim,
            views=views,
            width=width,
            depth=depth,
            blocks=blocks,
            reduction=reduction,
            window=window,
            residual=residual,
            dtype=dtype,
        )
        if width < reduction:
            raise ValueError(
                f"`width` is {width}; at least `reduction`, {reduction}, is needed."
            )
        keys = jax.random.split(default_key(key), 4)
        self.first = Conv(views, width, ndim=ndim, key=keys[0], gain=1.0)
        self.groups = Groups(self.config, keys[1])
        self.after = Conv(width, width, ndim=ndim, key=keys[2], gain=0.1)
        gain = 0.02 if residual else 1.0
        self.last = Conv(width, 1, ndim=ndim, key=keys[3], gain=gain)

    @property
    def halo(self) -> tuple[int, ...] | None:
        """As many voxels as convolutions follow each other, and the averages' reach."""
        c = self.config
        if c.window is None:
            return None
        block = 2 + c.window
        return (int(c.depth or 1) * (int(c.blocks or 1) * block + 1) + 3,) * c.ndim

    def _estimate(self, images: jax.Array, operator: Any) -> jax.Array:
        x = self.first(images.astype(self.config.dtype))
        estimate = self.last(x + self.after(self.groups(x)))[:, 0].astype(jnp.float32)
        return estimate + images.mean(1) if self.config.residual else estimate


class Groups(nnx.Module):
    """All residual groups, their parameters side by side, so that one loop runs them.

    In the backward pass every block is computed again: memory for one block's features,
    and the inputs of all.
    """

    def __init__(self, config: NetworkConfig, key: jax.Array):
        self.window = config.window
        width, depth = int(config.width or 1), int(config.depth or 1)
        blocks, narrow = int(config.blocks or 1), width // int(config.reduction or 1)
        taps = (*(3,) * config.ndim, width, width)
        keys = jax.random.split(key, 5)
        stack = (depth, blocks)
        self.kernel1 = nnx.Param(random_kernel(keys[0], taps, 2.0, stack))
        # Small, for what blocks add piles up.
        self.kernel2 = nnx.Param(random_kernel(keys[1], taps, 0.5, stack))
        self.squeeze = nnx.Param(random_kernel(keys[2], (width, narrow), 2.0, stack))
        self.excite = nnx.Param(random_kernel(keys[3], (narrow, width), 1.0, stack))
        self.kernel3 = nnx.Param(random_kernel(keys[4], taps, 0.5, (depth,)))
        self.bias1, self.bias2 = filled((*stack, width)), filled((*stack, width))
        self.squeeze_bias = filled((*stack, narrow))
        self.excite_bias = filled((*stack, width))
        self.bias3 = filled((depth, width))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features through all groups."""
        inner = {
            "kernel1": self.kernel1[...],
            "bias1": self.bias1[...],
            "kernel2": self.kernel2[...],
            "bias2": self.bias2[...],
            "squeeze": self.squeeze[...],
            "squeeze_bias": self.squeeze_bias[...],
            "excite": self.excite[...],
            "excite_bias": self.excite_bias[...],
        }
        outer = self.kernel3[...], self.bias3[...]
        return jax.lax.scan(self._group, x, (inner, outer))[0]

    def _group(self, x: jax.Array, parameters: Any) -> tuple[jax.Array, None]:
        inner, (kernel, bias) = parameters
        y, _ = jax.lax.scan(jax.checkpoint(self._block), x, inner)
        return x + affine(y, kernel, bias), None

    def _block(self, x: jax.Array, p: dict[str, jax.Array]) -> tuple[jax.Array, None]:
        y = nnx.relu(affine(x, p["kernel1"], p["bias1"]))
        y = affine(y, p["kernel2"], p["bias2"])
        averages = jnp.moveaxis(average(y.astype(jnp.float32), self.window), 1, -1)
        hidden = nnx.relu(_product(averages, p["squeeze"]) + p["squeeze_bias"])
        weights = nnx.sigmoid(_product(hidden, p["excite"]) + p["excite_bias"])
        return x + y * jnp.moveaxis(weights, -1, 1).astype(x.dtype), None


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def average(x: jax.Array, window: int | None) -> jax.Array:
    """Mean over all voxels, with sizes of 1, or over those within `window` per axis."""
    if window is None:
        return x.mean(tuple(range(2, x.ndim)), keepdims=True)
    counts = jnp.ones(x.shape[2:], x.dtype)
    for axis in range(2, x.ndim):
        x = _running_sum(x, window, axis)
        counts = _running_sum(counts, window, axis - 2)
    return x / counts


def _running_sum(x: jax.Array, window: int, axis: int) -> jax.Array:
    size = [1] * x.ndim
    size[axis] = 2 * window + 1
    ones = (1,) * x.ndim
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, tuple(size), ones, "SAME")
