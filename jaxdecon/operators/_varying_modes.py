"""A PSF field as a sum of few kernels, whose weights vary over the object."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree
from ..fourier import transfer_function
from ..psf import PSFField
from ..psf._field import hat_weights
from ._base import Shape


@pytree
class ModeFilter:
    """Convolution with every kernel of what its weights leave of an object.

    The sum is taken in Fourier space, one kernel after the other, so that an
    application holds two spectra whatever the number of kernels.

    Attributes:
        transfers: OTFs of the kernels, (rank, *half-spectrum).
        weights: of the kernels at the nodes, (rank, *nodes).
        hats: per axis, the share of every node in every voxel of the grid.
    """

    transfers: jax.Array
    weights: jax.Array
    hats: tuple[jax.Array, ...]

    @jax.jit
    def forward(self, x: jax.Array) -> jax.Array:
        """Weigh, convolve, sum; on the grid."""
        x = x.astype(jnp.result_type(x, self.transfers.real))

        def add(total: jax.Array, mode) -> tuple[jax.Array, None]:
            transfer, weights = mode
            return total + jnp.fft.rfftn(x * self._map(weights, x)) * transfer, None

        spectrum = jax.eval_shape(jnp.fft.rfftn, x)
        start = jnp.zeros(spectrum.shape, spectrum.dtype)
        total, _ = jax.lax.scan(add, start, (self.transfers, self.weights))
        return jnp.fft.irfftn(total, s=x.shape)

    @jax.jit
    def backward(self, y: jax.Array) -> jax.Array:
        """The transpose of `forward`."""
        y = y.astype(jnp.result_type(y, self.transfers.real))
        spectrum = jnp.fft.rfftn(y)

        def add(total: jax.Array, mode) -> tuple[jax.Array, None]:
            transfer, weights = mode
            part = jnp.fft.irfftn(spectrum * transfer.conj(), s=y.shape)
            return total + part * self._map(weights, y), None

        return jax.lax.scan(add, jnp.zeros_like(y), (self.transfers, self.weights))[0]

    @property
    def gain(self) -> jax.Array:
        """Sum of the first kernel, which is the mean PSF."""
        return self.transfers.real.ravel()[0]

    def _map(self, weights: jax.Array, like: jax.Array) -> jax.Array:
        return _interpolated(weights, self.hats).astype(like.dtype)


@pytree
class Modes:
    """A field as a sum: psf(p) = sum_r w_r(p) kernel_r, w_r linear between nodes.

    Attributes:
        kernels: (rank, *psf), centred on n // 2; the first is the mean PSF, and the
            others sum to zero, so that any number of them conserves light.
        weights: of the kernels at the nodes, (rank, *nodes).
        positions: per axis, of the nodes, voxels of the image.
    """

    kernels: jax.Array
    weights: jax.Array
    positions: tuple[jax.Array, ...]

    @property
    def shape(self) -> Shape:
        """Of one kernel."""
        return self.kernels.shape[1:]

    def shifted(self, origin: Any) -> "Modes":
        """For a part of the image that begins at `origin`."""
        moved = zip(self.positions, origin, strict=True)
        positions = tuple(p - o for p, o in moved)
        return Modes(kernels=self.kernels, weights=self.weights, positions=positions)

    def with_kernels(self, change) -> "Modes":
        """With every kernel changed."""
        kernels = jax.vmap(change)(jnp.asarray(self.kernels))
        return Modes(kernels=kernels, weights=self.weights, positions=self.positions)

    def filter(self, grid: Shape, before: Shape, *, periodic: bool) -> ModeFilter:
        """On a grid that begins `before` voxels ahead of the image."""
        return ModeFilter(
            transfers=jax.lax.map(lambda k: transfer_function(k, grid), self.kernels),
            weights=self.weights,
            hats=tuple(
                hat_weights(jnp.asarray(p), jnp.arange(-b, n - b, dtype=p.dtype))
                for p, b, n in zip(self.positions, before, grid, strict=True)
            ),
        )


def every_node(field: PSFField) -> Modes:
    """Each node's PSF as a kernel with the node's own weight: exact, and dear."""
    count = int(np.prod(field.nodes))
    return Modes(
        kernels=field.psfs.reshape(count, *field.shape),
        weights=jnp.eye(count, dtype=field.psfs.dtype).reshape(count, *field.nodes),
        positions=field.positions,
    )


def _interpolated(values: jax.Array, hats: tuple[jax.Array, ...]) -> jax.Array:
    """Values at nodes, (*nodes), linear between them, on a grid."""
    for hat in hats:  # consumes the first axis, and appends its voxels as the last
        values = jnp.tensordot(values, hat, axes=(0, 0), precision="highest")
    return values
