"""Cut an image into tiles whose predictions are those of the whole."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._core._check import check_count
from ...fourier import next_fast_len
from ...psf import PSFField
from ..networks._network import Network

Shape = tuple[int, ...]

SHARE = 0.999
"""Of a PSF's light, that lies within its reach along an axis."""
RLN_LAYERS, UNROLLED_LAYERS = 12, 3
"""Voxels that convolutions reach: of RLN with physics in all, of an unrolled network in
every update."""


class Tile(NamedTuple):
    """A part of an image, as slices.

    Attributes:
        core: of the image; what the tile is for.
        read: of the image; what the network sees.
        inner: of what is read; the core in it.
    """

    core: tuple[slice, ...]
    read: tuple[slice, ...]
    inner: tuple[slice, ...]


def tiles_of(
    shape: Sequence[int],
    core: Sequence[int],
    halo: Sequence[int],
    multiple: int,
    margins: Sequence[int] | None = None,
) -> list[Tile]:
    """Tiles that cover an image; what is read has one shape.

    Every tile begins at a multiple of `multiple` and ends with the image or a halo
    beyond its core, so that a network that depends on no more sees all that it needs.

    Args:
        shape: of the image.
        core: voxels of the result per tile.
        halo: voxels that a result depends on.
        multiple: of voxels, that the network takes together.
        margins: voxels that transforms add to a tile; what is read is then enlarged
            until these are fast.
    """
    added = (None,) * len(shape) if margins is None else margins
    sizes = zip(shape, core, halo, added, strict=True)
    axes = [_axis(n, c, h, multiple, m) for n, c, h, m in sizes]
    return [Tile(*zip(*place, strict=True)) for place in itertools.product(*axes)]


def _axis(
    n: int, core: int, halo: int, multiple: int, margin: int | None
) -> list[tuple[slice, slice, slice]]:
    size = core + 2 * halo + multiple - 1
    size += (n - size) % multiple  # so that the last begins at a multiple
    while (
        margin is not None and size < n and next_fast_len(size + margin) > size + margin
    ):
        size += multiple
    size = min(n, size)
    found = []
    for first in range(0, n, core):
        last = min(first + core, n)
        start = min(max(first - halo, 0) // multiple * multiple, n - size)
        read, inner = slice(start, start + size), slice(first - start, last - start)
        found.append((slice(first, last), read, inner))
    return found


def in_tiles(
    run: Callable[[np.ndarray], Any],
    images: np.ndarray,
    tiles: Sequence[Tile],
    batch: int,
) -> np.ndarray:
    """The results of all tiles in one array.

    Args:
        run: from (batch, views, *spatial) to (batch, *spatial).
        images: (views, *spatial), on the host.
        tiles: of them.
        batch: tiles at a time.
    """
    result = np.empty(images.shape[1:], np.float32)
    for some in _batches(tiles, batch):
        stack = np.stack([images[(slice(None), *tile.read)] for tile in some])
        for tile, values in zip(some, np.asarray(run(stack)), strict=True):
            result[tile.core] = values[tile.inner]
    return result


def _batches(tiles: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    """As many tiles each: the last are filled up with one that is done twice."""
    for first in range(0, len(tiles), size):
        some = list(tiles[first : first + size])
        yield some + [some[-1]] * (min(size, len(tiles)) - len(some))


def checked_tile(tile: Any, shape: Shape) -> Shape:
    """The cores of tiles, not larger than the image."""
    sizes = (tile,) * len(shape) if isinstance(tile, int | np.integer) else tuple(tile)
    if len(sizes) != len(shape):
        raise ValueError(f"`tile` is {tile}; one number, or one per axis, is needed.")
    return tuple(
        min(check_count("tile", t, 1), n) for t, n in zip(sizes, shape, strict=True)
    )


def halo_of(network: Network, psfs: Sequence[Any] | None) -> tuple[Shape, int]:
    """Voxels around a tile that a result depends on, and where tiles may begin.

    With the operator in the wiring a result depends on all of the image, though on what
    is far away by little: the halo is, for every update, the PSF's reach, which holds
    99.9 % of its light, and that of convolutions.

    Raises:
        ValueError: there is no such halo.
    """
    if network.halo is not None:
        return network.halo, network.multiple
    if not network.needs_operator:
        raise ValueError(
            f"this network ({network.config.kind}) averages over all of the image, so "
            f"that no tile gives what the whole does: predict without `tile`, or train "
            f"one with `window=8` (residual channel attention) or `norm='none'`."
        )
    if psfs is None or any(isinstance(psf, PSFField) for psf in psfs):
        raise ValueError(
            "tiles of a network with the operator in its wiring have operators of "
            "their own: give a `psf` in place of an `operator` or a `PSFField`, or "
            "predict without `tile`."
        )
    reach = np.max([reach_of(np.asarray(psf)) for psf in psfs], 0)
    if network.config.kind == "rln":
        return tuple(int(2 * r) + RLN_LAYERS for r in reach), 2
    updates = int(network.config.depth or 1)
    return tuple(updates * (int(r) + UNROLLED_LAYERS) for r in reach), 1


def reach_of(psf: np.ndarray) -> Shape:
    """Voxels from the centre, per axis, within which nearly all of the light is."""
    found = []
    for axis, n in enumerate(psf.shape):
        others = tuple(a for a in range(psf.ndim) if a != axis)
        profile = np.asarray(psf, float).sum(others)
        inside = np.bincount(abs(np.arange(n) - n // 2), profile).cumsum()
        found.append(int(np.searchsorted(inside, SHARE * inside[-1])))
    return tuple(found)
