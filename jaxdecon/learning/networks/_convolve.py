"""Convolutions of feature maps, by the way that is fast where they run.

Features are (batch, channels, *spatial), kernels (*taps, channels in, channels out),
and, as usual in networks, kernels are not flipped. XLA's 3D convolution is slow on
CPUs: there the planes are convolved in 2D, all at once, with depth as a part of the
batch, and few channels by explicit sums over the taps.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

MOST_PRODUCTS = 8
"""Channels in times channels out up to which sums over the taps are fastest, in 3D."""

MOST_STACKED = 24
"""Channels up to which one convolution of stacked planes is faster than one for each
plane of the kernel."""

SPATIAL = "zyx"


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve with a kernel of odd size; zeros lie outside.

    For reverse mode; forward mode is not defined.

    Args:
        x: (batch, channels in, *spatial).
        kernel: (*taps, channels in, channels out), as many taps as spatial axes.

    Returns:
        (batch, channels out, *spatial). The same to rounding on all devices: products
        in float32 are not shortened on GPUs.
    """
    return lax.platform_dependent(x, kernel, cpu=_on_cpu, default=direct)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    return convolve(x, kernel), (x, kernel)


def _backward(saved: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    flipped = jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)
    by_kernel = lax.platform_dependent(
        x, kernel, g, cpu=_kernel_gradient, default=_kernel_gradient_directly
    )
    return convolve(g, flipped), by_kernel


convolve.defvjp(_forward, _backward)


def _on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    inputs, outputs = kernel.shape[-2:]
    few = x.ndim == 5 and inputs * outputs <= MOST_PRODUCTS
    return (by_taps if few else by_planes)(x, kernel)


def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """By one convolution of XLA."""
    axes = SPATIAL[-(x.ndim - 2) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        (1,) * len(axes),
        "SAME",
        dimension_numbers=(f"NC{axes}", f"{axes}IO", f"NC{axes}"),
        precision=lax.Precision.HIGHEST,
    )


def _kernel_gradient_directly(x: jax.Array, kernel: jax.Array, g: jax.Array):
    """The images as kernels of each other, with their number as channels.

    Written out, since JAX 0.7.2 cannot batch its own form over several devices.
    """
    axes = SPATIAL[-(x.ndim - 2) :]
    return lax.conv_general_dilated(
        x,
        g,
        (1,) * len(axes),
        [(t // 2, t // 2) for t in kernel.shape[:-2]],
        dimension_numbers=(f"CN{axes}", f"IO{axes}", f"{axes}NC"),
        precision=lax.Precision.HIGHEST,
    )


def by_planes(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """By 2D convolutions of all planes at once."""
    kernels = _stack_kernel(kernel, x.ndim - 2)
    stacks = _stack_planes(x, kernel.shape[0])
    reach = tuple(t // 2 for t in kernels[0].shape[:2])
    parts = [_plane(s, k, reach) for s, k in zip(stacks, kernels, strict=True)]
    planes = sum(parts[1:], parts[0])
    y = planes.reshape(x.shape[0], *x.shape[2:], kernel.shape[-1])
    return jnp.moveaxis(y, -1, 1)


def _kernel_gradient(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    """The planes as kernels of each other, with their number as channels."""
    *taps, inputs, outputs = kernel.shape
    reach = tuple(t // 2 for t in taps[-2:])
    planes = jnp.moveaxis(g, 1, -1).reshape(-1, *g.shape[-2:], outputs)
    planes = jnp.moveaxis(planes, 0, 2)
    stacks = [jnp.moveaxis(s, (0, 3), (3, 0)) for s in _stack_planes(x, taps[0])]
    parts = jnp.concatenate([_plane(s, planes, reach) for s in stacks])
    parts = parts.reshape(-1, inputs, *taps[-2:], outputs)
    return jnp.moveaxis(parts, 1, -2).reshape(kernel.shape)


def _stack_planes(x: jax.Array, taps: int) -> list[jax.Array]:
    """Planes (number, y, x, channels) with their neighbours in z as more channels.

    With many channels, one array for each neighbour.
    """
    x = jnp.moveaxis(x, 1, -1)
    if x.ndim == 4:
        return [x]
    depth, reach = x.shape[1], taps // 2
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0), (0, 0), (0, 0)))
    near = [padded[:, i : i + depth] for i in range(taps)]
    stacks = [jnp.concatenate(near, -1)] if _stacked(x.shape[-1]) else near
    return [s.reshape(-1, *s.shape[2:]) for s in stacks]


def _stack_kernel(kernel: jax.Array, ndim: int) -> list[jax.Array]:
    """The 2D kernels (y, x, channels in, channels out) for `_stack_planes`."""
    if ndim == 2:
        return [kernel]
    if not _stacked(kernel.shape[-2]):
        return list(kernel)
    first = jnp.moveaxis(kernel, 0, 2)
    return [first.reshape(*first.shape[:2], -1, kernel.shape[-1])]


def _stacked(channels: int) -> bool:
    return channels <= MOST_STACKED


def _plane(x: jax.Array, kernel: jax.Array, reach: tuple[int, ...]) -> jax.Array:
    # In this order of axes, and this one only, XLA has a fast convolution for CPUs. It
    # brings others into that order, but not inside loops and nested functions: there,
    # a transposed convolution takes 30 times as long. Hence the derivatives by hand.
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(r, r) for r in reach],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )


def by_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """By a sum over all taps, which XLA makes one loop of."""
    taps, spatial = kernel.shape[:-2], x.shape[2:]
    padded = jnp.pad(x, [(0, 0), (0, 0), *((t // 2, t // 2) for t in taps)])
    ones = (1,) * len(spatial)
    total = jnp.zeros((), x.dtype)
    for channel in range(x.shape[1]):
        for tap in itertools.product(*map(range, taps)):
            window = tuple(slice(t, t + n) for t, n in zip(tap, spatial, strict=True))
            weights = kernel[(*tap, channel)].reshape(-1, *ones)
            total = total + padded[:, None, channel, *window] * weights
    return total


def downsample(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve with a kernel of two taps per axis, at every second voxel.

    Blocks do not overlap, so that this is one product of matrices.

    Args:
        x: (batch, channels in, *spatial), even sizes.
        kernel: (2, ..., channels in, channels out).

    Returns:
        (batch, channels out, *half the sizes).
    """
    fine, coarse, taps = _axes(x.ndim - 2)
    return jnp.einsum(
        f"nc{fine},{taps}cf->nf{coarse}",
        _blocks(x),
        kernel,
        precision=lax.Precision.HIGHEST,
    )


def upsample(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transpose of `downsample`: every voxel becomes a block of two per axis.

    Args:
        x: (batch, channels in, *spatial).
        kernel: (2, ..., channels in, channels out).

    Returns:
        (batch, channels out, *twice the sizes).
    """
    fine, coarse, taps = _axes(x.ndim - 2)
    blocks = jnp.einsum(
        f"nc{coarse},{taps}cf->nf{fine}", x, kernel, precision=lax.Precision.HIGHEST
    )
    doubled = tuple(2 * n for n in x.shape[2:])
    return blocks.reshape(x.shape[0], kernel.shape[-1], *doubled)


def pool(x: jax.Array) -> jax.Array:
    """The mean of every block of two voxels per axis; sizes are even."""
    return _blocks(x).mean(tuple(range(3, 2 * x.ndim - 2, 2)))


def _blocks(x: jax.Array) -> jax.Array:
    """(batch, channels, z/2, 2, y/2, 2, x/2, 2)."""
    halves = [part for n in x.shape[2:] for part in (n // 2, 2)]
    return x.reshape(*x.shape[:2], *halves)


def _axes(ndim: int) -> tuple[str, str, str]:
    """Letters of blocks with their insides, of blocks, and of insides."""
    coarse, taps = SPATIAL[-ndim:], "abe"[-ndim:]
    fine = "".join(a + b for a, b in zip(coarse, taps, strict=True))
    return fine, coarse, taps
