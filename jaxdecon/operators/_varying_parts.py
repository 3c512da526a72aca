"""How to take a PSF field apart: few kernels for all of it, or tile by tile."""

import math

import jax.numpy as jnp
import numpy as np

from .._core._check import check_choice, check_count, check_share, is_traced
from ..psf import PSFField
from ._base import Shape
from ._blur import transform_grid
from ._low_rank import low_rank, rank_needed, spectrum
from ._varying_modes import Modes, every_node
from ._varying_tiles import Tiles, tile_count, tile_size, tiles_of

ACCURACY = 0.01
METHODS = ("auto", "low-rank", "tiles")
TILE_OVERHEAD = 1.8
"""Time that small transforms, cutting and adding take beyond what sizes say."""

Parts = Modes | Tiles
"""A field taken apart, for an image of a certain shape and all parts of it."""


def parts_of(
    field: PSFField,
    shape: Shape,
    *,
    boundary: str = "extend",
    accuracy: float | None = None,
    rank: int | None = None,
    method: str = "auto",
) -> Parts:
    """A field taken apart; the arguments are those of `VaryingConvolution.from_field`.

    A field that is being traced has no numbers to decide by: each of its nodes is taken
    as it is, which is exact, and can be differentiated.
    """
    _check_request(field, shape, accuracy, rank, method)
    if is_traced(field):
        if rank is not None or accuracy is not None or method != "auto":
            raise ValueError(
                "`field` is being traced, and cannot be taken apart to a `rank` or "
                "`accuracy`: leave these and `method` out, which takes every node as "
                "it is, or make the operator outside of `jit` and `grad`."
            )
        return every_node(field)
    if method == "tiles":
        return tiles_of(field, shape)
    found = spectrum(field)
    needed = rank_needed(found, ACCURACY if accuracy is None else accuracy)
    if rank is not None and accuracy is not None and rank < needed:
        raise ValueError(
            f"`rank` is {rank}, at which a PSF of the field is off by "
            f"{found.errors[rank - 1]:.2g} of its norm; `accuracy={accuracy:g}` needs "
            f"a rank of {needed}: give one of the two, or use `method='tiles'`."
        )
    if rank is not None or method == "low-rank":
        return low_rank(field, found, needed if rank is None else rank)
    where = (field, shape, boundary)
    if tile_cost(*where) < low_rank_cost(needed, *where):
        return tiles_of(field, shape)
    return low_rank(field, found, needed)


def _check_request(field, shape, accuracy, rank, method) -> None:
    if not isinstance(field, PSFField):
        raise TypeError(
            f"`field` is a {type(field).__name__}; a `jaxdecon.psf.PSFField` is "
            f"needed: `PSFField.from_grid` and `from_model` make one."
        )
    if field.ndim != len(shape):
        raise ValueError(
            f"`field` is {field.ndim}D, but the image is {len(shape)}D, of shape "
            f"{shape}; a {len(shape)}D field is needed."
        )
    check_choice("method", method, METHODS)
    if accuracy is not None:
        check_share("accuracy", accuracy)
    if rank is not None:
        check_count("rank", rank, 1)
    if method == "tiles" and rank is not None:
        raise ValueError(
            "`rank` is given, and `method` is 'tiles', which takes every node as it "
            "is: leave out one of the two."
        )


def low_rank_cost(rank: int, field: PSFField, shape: Shape, boundary: str) -> float:
    """Operations of a blur by `rank` kernels, in units of no meaning."""
    return (rank + 1) * _transform(transform_grid(field.shape, shape, boundary))


def tile_cost(field: PSFField, shape: Shape, boundary: str) -> float:
    """Operations of a blur tile by tile, in the same units."""
    grid = transform_grid(field.shape, shape, boundary)
    axes = [(np.asarray(p), n) for p, n in zip(field.positions, grid, strict=True)]
    count = math.prod(tile_count(p, n) for p, n in axes)
    sizes = zip(axes, field.shape, strict=True)
    local = tuple(tile_size(p, n) + m - 1 for (p, n), m in sizes)
    return count * 2 * TILE_OVERHEAD * _transform(local)


def _transform(shape: Shape) -> float:
    """Operations of a Fourier transform."""
    voxels = math.prod(shape)
    return voxels * (1 + math.log2(voxels))


def mirrored(kernel):
    """A kernel seen in a mirror, centred on n // 2; of odd sizes."""
    padded = jnp.pad(kernel, [(0, 1 - n % 2) for n in kernel.shape])
    return jnp.flip(padded)
