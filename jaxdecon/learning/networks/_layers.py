"""Layers of networks: convolutions, normalisation, changes of resolution."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..._core._check import is_traced
from ._config import NetworkConfig
from ._convolve import convolve, downsample, upsample

EPSILON = 1e-4
"""Added to variances, as published for DenseDeconNet."""

GROUP = 4
"""Channels that group normalisation takes together."""

SLOPE = 0.2
"""Of activations below zero, as in DenseDeconNet's published last layer."""

LEAST_DRAW = 12
"""Logarithm of how many random numbers are drawn at least: one program for many
shapes, each of which would take half a second to compile."""


class Conv(nnx.Module):
    """A convolution with three taps per axis, or as many as `size` says.

    Args:
        inputs: channels.
        outputs: channels.
        ndim: spatial axes.
        key: of the random kernel.
        size: taps per axis.
        bias: whether there is one.
        gain: variance of the output for inputs of unit power; 2 keeps the power
            through ReLU (He et al. 2015, arXiv:1502.01852), 0 begins with nothing.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        ndim: int,
        key: jax.Array,
        size: int = 3,
        bias: bool = True,
        gain: float = 2.0,
    ):
        shape = (*(size,) * ndim, inputs, outputs)
        self.kernel = nnx.Param(random_kernel(key, shape, gain))
        self.bias = filled((outputs,)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve (batch, channels, *spatial)."""
        return _offset(convolve(x, self.kernel[...].astype(x.dtype)), self.bias)


class Down(nnx.Module):
    """A convolution with two taps per axis at every second voxel."""

    def __init__(
        self, inputs: int, outputs: int, *, ndim: int, key: jax.Array, bias: bool = True
    ):
        shape = (*(2,) * ndim, inputs, outputs)
        self.kernel = nnx.Param(random_kernel(key, shape, 2.0))
        self.bias = filled((outputs,)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Half the sizes of (batch, channels, *spatial)."""
        return _offset(downsample(x, self.kernel[...].astype(x.dtype)), self.bias)


class Up(nnx.Module):
    """A transposed convolution with two taps per axis: every voxel becomes a block."""

    def __init__(
        self, inputs: int, outputs: int, *, ndim: int, key: jax.Array, bias: bool = True
    ):
        shape = (*(2,) * ndim, inputs, outputs)
        # A fine voxel is made of one coarse voxel, not of 2 ** ndim.
        kernel = random_kernel(key, shape, 2.0 * 2**ndim)
        self.kernel = nnx.Param(kernel)
        self.bias = filled((outputs,)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Twice the sizes of (batch, channels, *spatial)."""
        return _offset(upsample(x, self.kernel[...].astype(x.dtype)), self.bias)


class Norm(nnx.Module):
    """Normalisation of feature maps, with a learned scale and offset per channel.

    - "none": scale and offset only. Whatever a network does to a voxel then depends on
      its neighbourhood alone, so that tiles can be predicted one by one.
    - "group": mean and variance of groups of four channels over all voxels of one
      sample.
    - "batch": mean and variance of every channel over all voxels of all samples, also
      in prediction, as published for DenseDeconNet. With batches of one it is a trap:
      what the network does to a structure depends on whatever else is in the volume,
      the same structure in another tile or beside a bright cell comes out differently,
      and intensities are lost. For comparisons with the publication only.
    """

    def __init__(self, channels: int, kind: str):
        self.kind = kind
        self.scale = filled((channels,), 1.0)
        self.offset = filled((channels,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise (batch, channels, *spatial)."""
        scale = _per_channel(self.scale[...], x.ndim)
        normal = _standardise(x.astype(jnp.float32), self.kind)
        return (normal * scale + _per_channel(self.offset[...], x.ndim)).astype(x.dtype)


class Normalised(nnx.Module):
    """A convolution, and normalisation after it."""

    def __init__(self, convolution: Any, channels: int, kind: str):
        self.convolution = convolution
        self.norm = Norm(channels, kind)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Both, of (batch, channels, *spatial)."""
        return self.norm(self.convolution(x))


class LayerMaker:
    """Makes convolutions, with the normalisation of a configuration after them.

    Args:
        config: of the network.
        key: of all random kernels.
        count: of convolutions that will be asked for.
    """

    def __init__(self, config: NetworkConfig, key: jax.Array | None, count: int):
        self.config = config
        self.keys = iter(jax.random.split(default_key(key), count))

    def __call__(
        self,
        inputs: int,
        outputs: int,
        make: Any = Conv,
        *,
        norm: bool = True,
        **options: Any,
    ) -> Any:
        """A convolution; `norm=False`: without normalisation, whatever the network."""
        kind = self.config.norm or "none"
        plain = kind == "none"
        bias = plain and self.config.bias is not False
        options = {"ndim": self.config.ndim, "bias": bias, **options}
        convolution = make(inputs, outputs, key=next(self.keys), **options)
        return (
            Normalised(convolution, outputs, kind)
            if norm and not plain
            else convolution
        )


def default_key(key: jax.Array | None) -> jax.Array:
    """The key, or the one of a network that is asked for without."""
    return jax.random.key(0) if key is None else key


def leaky(x: jax.Array) -> jax.Array:
    """ReLU that lets a fifth through below zero.

    Of four channels without normalisation, ReLU alone soon leaves none alive.
    """
    return nnx.leaky_relu(x, SLOPE)


def join(*features: jax.Array) -> jax.Array:
    """Channels side by side."""
    return jnp.concatenate(features, 1)


def random_kernel(
    key: jax.Array, shape: tuple[int, ...], gain: float, stack: tuple[int, ...] = ()
) -> jax.Array:
    """Normal numbers with variance gain / (taps x channels in).

    Args:
        key: random key.
        shape: (*taps, channels in, channels out).
        gain: see `Conv`.
        stack: further axes before these: so many kernels.
    """
    deviation = np.float32((gain / math.prod(shape[:-1])) ** 0.5)
    kernels = (*stack, *shape)
    normal = _draw(key, 1 << max(LEAST_DRAW, (math.prod(kernels) - 1).bit_length()))
    # Known numbers are cut by NumPy, which compiles nothing.
    normal = normal if is_traced(normal) else np.asarray(normal)
    return jnp.asarray(deviation * normal[: math.prod(kernels)].reshape(kernels))


@functools.partial(jax.jit, static_argnums=1)
def _draw(key: jax.Array, count: int) -> jax.Array:
    return jax.random.normal(key, (count,), jnp.float32)


def filled(shape: tuple[int, ...], value: float = 0.0) -> nnx.Param:
    """Parameters that all begin with one value."""
    return nnx.Param(jnp.asarray(np.full(shape, value, np.float32)))


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Features convolved, plus a bias per channel, in the features' dtype."""
    return _offset(convolve(x, kernel.astype(x.dtype)), bias)


def _offset(x: jax.Array, bias: Any) -> jax.Array:
    if bias is None:
        return x
    return x + _per_channel(bias[...].astype(x.dtype), x.ndim)


def _per_channel(values: jax.Array, ndim: int) -> jax.Array:
    return values.reshape(-1, *(1,) * (ndim - 2))


def _standardise(x: jax.Array, kind: str) -> jax.Array:
    if kind == "none":
        return x
    spatial = tuple(range(2, x.ndim))
    if kind == "batch":
        return _unit(x, (0, *spatial))
    groups = max(1, x.shape[1] // GROUP)
    while x.shape[1] % groups:
        groups -= 1
    grouped = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    return _unit(grouped, tuple(range(2, grouped.ndim))).reshape(x.shape)


def _unit(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    centred = x - x.mean(axes, keepdims=True)
    variance = (centred**2).mean(axes, keepdims=True)
    return centred * jax.lax.rsqrt(variance + EPSILON)
