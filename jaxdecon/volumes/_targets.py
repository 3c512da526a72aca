"""What is given as a target: a path, or a Zarr array."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from .._core._check import check_choice
from ..io import Image, format_of
from ._blocks import Shape
from ._journal import Journal
from ._source import array_path, as_image
from ._target import ArrayTarget, Like, OmeZarrTarget, Target

DTYPES = ("float32", "float64", "uint8", "uint16", "uint32", "int8", "int16", "int32")


def target_path(target: Any) -> Path | None:
    """Where a target is; None for an array in memory.

    Raises:
        FileNotFoundError: its folder is not there.
    """
    if not isinstance(target, str | os.PathLike):
        return array_path(target)
    path = Path(target)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} is not there: create it.")
    return path


def make_target(
    target: Any, like: Image, shape: Shape, dtype: str, scale: float
) -> Target:
    """The target for a result with an image's leading axes and metadata.

    Args:
        target: a path, or a Zarr array.
        like: axes, voxel size, channels, ...
        shape: of one volume of the result.
        dtype: of the result.
        scale: factor on its values.

    Raises:
        ValueError: a path that is not one of OME-Zarr; an array of another shape.
    """
    leading = like.shape[: len(like.axes) - len(like.spatial_axes)]
    whole = (*leading, *shape)
    if isinstance(target, zarr.Array):
        if tuple(target.shape) != whole:
            raise ValueError(f"`target` has shape {target.shape}; {whole} is needed.")
        unit = (target.shards or target.chunks)[: len(leading)]
        if any(n != 1 for n in unit):
            raise ValueError(
                f"`target` has chunks or shards of {target.shards or target.chunks}, "
                f"several volumes in one: blocks would write to one file; 1 along "
                f"{like.axes[: len(leading)]} is needed."
            )
        image = as_image(target, axes=like.axes)
        return ArrayTarget(array=target, image=image, scale=scale)
    if not isinstance(target, str | os.PathLike):
        raise TypeError(
            f"`target` is {type(target).__name__}; a path or a Zarr array is needed."
        )
    if format_of(target) != "OME-Zarr":
        raise ValueError(
            f"`target` is {target}; blocks are written to OME-Zarr only: end it in "
            f".ome.zarr, and convert what is small enough with `io.write`."
        )
    check_choice("dtype", dtype, DTYPES)
    image = like.replace(data=Like(shape=whole, dtype=np.dtype(dtype)), notes=())
    store = Journal.beside(Path(target)).store  # the run will have one of its own
    return OmeZarrTarget(store=store, image=image, scale=scale)
