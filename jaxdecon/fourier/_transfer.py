"""Kernels centred on `n // 2`, and their transfer functions on real-FFT grids."""

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]


def embed_kernel(kernel: jax.Array, shape: Shape) -> jax.Array:
    """Put a kernel centred on `n // 2` onto a periodic grid, its centre at index 0.

    What is larger than the grid wraps around, as a periodic object demands: nothing
    is lost, and the sum is kept.

    Args:
        kernel: (z, y, x) or (y, x), centred on index n // 2 of every axis.
        shape: shape of the periodic grid.
    """
    for axis in reversed(range(kernel.ndim)):  # the slowest axis, the largest, last
        kernel = _embed_axis(kernel, axis, shape[axis])
    return kernel


def _embed_axis(kernel: jax.Array, axis: int, n: int) -> jax.Array:
    size = kernel.shape[axis]
    if size > n:
        return jnp.roll(_wrap_axis(kernel, axis, n), -(size // 2), axis)
    before, after = jnp.split(kernel, [size // 2], axis)
    gap = (*kernel.shape[:axis], n - size, *kernel.shape[axis + 1 :])
    return jnp.concatenate([after, jnp.zeros(gap, kernel.dtype), before], axis)


def _wrap_axis(kernel: jax.Array, axis: int, n: int) -> jax.Array:
    turns = -(-kernel.shape[axis] // n)
    padding = [(0, 0)] * kernel.ndim
    padding[axis] = (0, turns * n - kernel.shape[axis])
    kernel = jnp.pad(kernel, padding)
    split = (*kernel.shape[:axis], turns, n, *kernel.shape[axis + 1 :])
    return kernel.reshape(split).sum(axis)


def centre_kernel(kernel: jax.Array) -> jax.Array:
    """Move a kernel from index 0 of a periodic grid to its centre, index n // 2."""
    return jnp.fft.fftshift(kernel)


def unwrap_kernel(kernel: jax.Array) -> jax.Array:
    """Give a kernel made on its own periodic grid an odd size, equal on both sides.

    On an even grid, index 0 stands for -n/2 and n/2 alike; put on a larger grid as it
    is, the kernel would lean to one side. Half of that plane goes to either end.
    """
    for axis, n in enumerate(kernel.shape):
        if n % 2 == 0:
            first, rest = jnp.split(kernel, [1], axis)
            kernel = jnp.concatenate([first / 2, rest, first / 2], axis)
    return kernel


def transfer_function(kernel: jax.Array, shape: Shape) -> jax.Array:
    """The real FFT, on a periodic grid of `shape`, of a kernel centred on n // 2."""
    return jnp.fft.rfftn(embed_kernel(kernel, shape))


def filter_real(x: jax.Array, transfer: jax.Array) -> jax.Array:
    """Circular convolution of a real array with a half-spectrum transfer function."""
    return jnp.fft.irfftn(jnp.fft.rfftn(x) * transfer, s=x.shape)


def frequency_grid(shape: Shape, *, real: bool = True) -> tuple[np.ndarray, ...]:
    """Frequencies in cycles per voxel along each axis, shaped to broadcast.

    Args:
        shape: shape of the periodic grid.
        real: keep the half-spectrum of a real FFT along the last axis.
    """
    last = len(shape) - 1
    grids = []
    for axis, n in enumerate(shape):
        k = np.fft.rfftfreq(n) if real and axis == last else np.fft.fftfreq(n)
        grids.append(k.reshape([-1 if a == axis else 1 for a in range(last + 1)]))
    return tuple(grids)
