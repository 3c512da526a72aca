"""A PSF field tile by tile: every node's PSF, where its own weight is not zero."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree, static
from ..fourier import next_fast_len
from ..fourier._transfer import _wrap_axis
from ..psf import PSFField
from ..psf._field import hat_weights
from ._base import Shape

Positions = tuple[float, ...]


@pytree
class TileFilter:
    """Convolution of every node's tile with the node's PSF; overlaps are added.

    A tile is the box in which a node's weight is not zero. One is done after the other,
    so that an application holds one tile's spectrum. A frame around the grid takes
    what the tiles spread beyond it: its voxel `centre` is the grid's first.

    Attributes:
        transfers: OTFs of the nodes' PSFs, (tiles, *half-spectrum of `local`).
        starts: first voxel of every tile on the grid, (tiles, axes).
        hats: per axis, the weights along a tile, (tiles, size).
        grid: shape of what is filtered.
        local: shape of a tile's transform.
        centre: of the PSFs.
        periodic: whether what leaves the grid enters on the other side.
    """

    transfers: jax.Array
    starts: jax.Array
    hats: tuple[jax.Array, ...]
    grid: Shape = static()
    local: Shape = static()
    centre: Shape = static()
    periodic: bool = static(default=False)

    @jax.jit
    def forward(self, x: jax.Array) -> jax.Array:
        """Weigh, convolve, sum; on the grid."""
        x = x.astype(jnp.result_type(x, self.transfers.real))

        def add(frame: jax.Array, tile) -> tuple[jax.Array, None]:
            transfer, start, hats = tile
            part = jax.lax.dynamic_slice(x, start, self._window)
            spectrum = jnp.fft.rfftn(_times_hats(part, hats), s=self.local) * transfer
            part = jnp.fft.irfftn(spectrum, s=self.local)
            return _add_at(frame, part, start), None

        frame = jnp.zeros(self._frame, x.dtype)
        return self._from_frame(jax.lax.scan(add, frame, self._tiles)[0])

    @jax.jit
    def backward(self, y: jax.Array) -> jax.Array:
        """The transpose of `forward`."""
        y = y.astype(jnp.result_type(y, self.transfers.real))
        frame = self._to_frame(y)

        def add(total: jax.Array, tile) -> tuple[jax.Array, None]:
            transfer, start, hats = tile
            part = jax.lax.dynamic_slice(frame, start, self.local)
            part = jnp.fft.irfftn(jnp.fft.rfftn(part) * transfer.conj(), s=self.local)
            part = part[tuple(slice(n) for n in self._window)]
            return _add_at(total, _times_hats(part, hats), start), None

        return jax.lax.scan(add, jnp.zeros_like(y), self._tiles)[0]

    @property
    def gain(self) -> jax.Array:
        """Sum of a PSF."""
        return self.transfers.real.ravel()[0]

    @property
    def _tiles(self):
        return self.transfers, self.starts, self.hats

    @property
    def _window(self) -> Shape:
        return tuple(hat.shape[1] for hat in self.hats)

    @property
    def _frame(self) -> Shape:
        sizes = zip(self.grid, self._window, self.local, strict=True)
        return tuple(n - w + m for n, w, m in sizes)

    def _from_frame(self, frame: jax.Array) -> jax.Array:
        if not self.periodic:
            sizes = zip(self.centre, self.grid, strict=True)
            return frame[tuple(slice(c, c + n) for c, n in sizes)]
        for axis, (c, n) in enumerate(zip(self.centre, self.grid, strict=True)):
            frame = jnp.roll(_wrap_axis(frame, axis, n), -c, axis)
        return frame

    def _to_frame(self, y: jax.Array) -> jax.Array:
        """The transpose of `_from_frame`."""
        sizes = zip(self.centre, self.grid, self._frame, strict=True)
        margins = [(c, m - n - c) for c, n, m in sizes]
        return jnp.pad(y, margins, mode="wrap" if self.periodic else "constant")


@pytree
class Tiles:
    """A field, node by node.

    Attributes:
        psfs: (nodes, *psf), centred on n // 2.
        origin: voxel of the field's image that is the first of this part.
        counts: nodes per axis.
        positions: per axis, voxels, of the nodes, and of repetitions of the outermost
            ones where these would have to fill too much.
        nodes: per axis, which node is there.
    """

    psfs: jax.Array
    origin: jax.Array
    counts: Shape = static()
    positions: tuple[Positions, ...] = static()
    nodes: tuple[Shape, ...] = static()

    @property
    def shape(self) -> Shape:
        """Of one PSF."""
        return self.psfs.shape[1:]

    def shifted(self, origin: Any) -> "Tiles":
        """For a part of the image that begins at `origin`."""
        moved = self.origin + np.asarray(origin, self.origin.dtype)
        return self._with(self.psfs, moved)

    def with_kernels(self, change) -> "Tiles":
        """With every PSF changed."""
        return self._with(jax.vmap(change)(jnp.asarray(self.psfs)), self.origin)

    def filter(self, grid: Shape, before: Shape, *, periodic: bool) -> TileFilter:
        """On a grid that begins `before` voxels ahead of the image."""
        axes = [
            self._axis(axis, n, b)
            for axis, (n, b) in enumerate(zip(grid, before, strict=True))
        ]
        order = np.indices([len(nodes) for nodes, *_ in axes]).reshape(len(grid), -1)
        along = [nodes[i] for (nodes, *_), i in zip(axes, order, strict=True)]
        flat = jnp.ravel_multi_index(tuple(along), self.counts, mode="clip")
        hats = tuple(hats[i] for (_, _, hats), i in zip(axes, order, strict=True))
        starts = [starts[i] for (_, starts, _), i in zip(axes, order, strict=True)]
        sizes = zip(hats, self.shape, strict=True)
        local = tuple(next_fast_len(h.shape[1] + m - 1) for h, m in sizes)
        psfs = jnp.asarray(self.psfs)
        return TileFilter(
            transfers=jax.lax.map(lambda i: jnp.fft.rfftn(psfs[i], s=local), flat),
            starts=jnp.stack(starts, 1).astype(jnp.int32),
            hats=hats,
            grid=grid,
            local=local,
            centre=tuple(m // 2 for m in self.shape),
            periodic=periodic,
        )

    def _axis(self, axis: int, size: int, before: int):
        """Of the tiles along an axis: their nodes, starts and weights."""
        positions = np.asarray(self.positions[axis])
        window, count = tile_size(positions, size), tile_count(positions, size)
        dtype = self.psfs.dtype
        shift = before - self.origin[axis]
        q = jnp.asarray(positions, dtype) + shift.astype(dtype)
        first = jnp.clip((q <= 0).sum() - 1, 0, positions.size - count)
        chosen = first + jnp.arange(count)
        begins = jnp.concatenate([jnp.zeros(1, dtype), jnp.floor(q[:-1])])
        starts = jnp.clip(begins, 0, size - window).astype(int)[chosen]
        weights = hat_weights(q, jnp.arange(size, dtype=dtype))[chosen]
        hats = jax.vmap(lambda w, s: jax.lax.dynamic_slice(w, (s,), (window,)))
        return jnp.asarray(self.nodes[axis])[chosen], starts, hats(weights, starts)

    def _with(self, psfs: jax.Array, origin: jax.Array) -> "Tiles":
        return Tiles(
            psfs=psfs,
            origin=origin,
            counts=self.counts,
            positions=self.positions,
            nodes=self.nodes,
        )


def tiles_of(field: PSFField, shape: Shape) -> Tiles:
    """The tiles of a field for an image of `shape`, and for parts of it."""
    axes = [
        _covering(np.asarray(p, float), n, m)
        for p, n, m in zip(field.positions, shape, field.shape, strict=True)
    ]
    return Tiles(
        psfs=field.psfs.reshape(math.prod(field.nodes), *field.shape),
        origin=jnp.zeros(len(shape), jnp.int32),
        counts=field.nodes,
        positions=tuple(tuple(p.tolist()) for p, _ in axes),
        nodes=tuple(tuple(i.tolist()) for _, i in axes),
    )


def _covering(positions: np.ndarray, size: int, psf: int):
    """Positions with the outermost repeated, so that no tile is larger than the rest.

    The last weight of a field is constant beyond the node, however far. As far as the
    grid of an image, or of a part of it, can reach, tiles of the usual size share it.
    """
    index = np.arange(positions.size)
    if positions.size < 3:
        return positions, index
    window = tile_size(positions, 2**62) - 1
    reach = psf // 2 + 1 + largest_surplus(size + psf) // 2
    while positions[1] + reach > window:
        spacing = window - (positions[1] - positions[0])  # as wide as a tile allows
        positions = np.insert(positions, 0, positions[0] - spacing)
        index = np.insert(index, 0, index[0])
    while size + reach - positions[-2] > window:
        spacing = window - (positions[-1] - positions[-2])
        positions = np.append(positions, positions[-1] + spacing)
        index = np.append(index, index[-1])
    return positions, index


def largest_surplus(size: int) -> int:
    """The most by which a fast size exceeds what was asked for, up to a size."""
    n, largest = 1, 0
    while n < size:
        n, before = next_fast_len(n + 1), n
        largest = max(largest, n - before - 1)
    return largest


def tile_size(positions: np.ndarray, size: int) -> int:
    """Voxels of the largest tile along an axis of a grid."""
    if len(positions) < 3:
        return size
    return min(size, math.ceil(max(positions[2:] - positions[:-2])) + 1)


def tile_count(positions: np.ndarray, size: int) -> int:
    """The most nodes whose weights can touch `size` voxels, wherever these are."""
    if len(positions) < 3:
        return len(positions)
    tiny = 1e-3
    ends = positions - (size - 1)
    first = np.concatenate([positions - tiny, positions, ends, ends + tiny])[:, None]
    low = np.maximum((positions <= first).sum(1) - 1, 0)
    high = np.minimum((positions < first + size - 1).sum(1), len(positions) - 1)
    return int((high - low).max()) + 1


def _times_hats(part: jax.Array, hats: tuple[jax.Array, ...]) -> jax.Array:
    for axis, hat in enumerate(hats):
        shape = [-1 if a == axis else 1 for a in range(part.ndim)]
        part = part * hat.reshape(shape).astype(part.dtype)
    return part


def _add_at(total: jax.Array, part: jax.Array, start: jax.Array) -> jax.Array:
    before = jax.lax.dynamic_slice(total, start, part.shape)
    return jax.lax.dynamic_update_slice(total, before + part, start)
