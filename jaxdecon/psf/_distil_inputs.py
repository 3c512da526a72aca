"""What distillation is given: images, beads in them, sizes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._core._check import check_image, check_positive, check_shape
from ._find_beads import Beads, find_beads

FWHM_IN_SHAPE = 6.0
"""Default size of a PSF, FWHM."""


def prepare(image: Any, beads: Any) -> tuple[list[np.ndarray], tuple[Beads, ...]]:
    """Images and their beads, found if need be."""
    several = isinstance(image, list | tuple) and all(np.ndim(i) > 1 for i in image)
    raw: list[Any] = list(image) if several else [image]
    images = [np.asarray(check_image("image", i, least=None)) for i in raw]
    if not images or len({i.ndim for i in images}) > 1:
        raise ValueError(
            f"`image` has shapes {[i.shape for i in images]}; images of as many axes "
            f"are needed."
        )
    if beads is None:
        return images, tuple(find_beads(i) for i in raw)
    given = (beads,) if isinstance(beads, Beads) else tuple(beads)
    if [b.shape for b in given] != [i.shape for i in images]:
        raise ValueError(
            f"`beads` are of images {[b.shape for b in given]}, and `image` is "
            f"{[i.shape for i in images]}; one for each is needed."
        )
    return images, given


def check_sizes(
    ndim: int, voxel_size: Any, diameter: float | None
) -> tuple[np.ndarray, float | None]:
    """Voxel size per axis."""
    size = np.ones(ndim) if voxel_size is None else np.asarray(voxel_size, float)
    check_positive("voxel_size", size)
    if size.shape != (ndim,):
        raise ValueError(f"`voxel_size` is {voxel_size}; {ndim} numbers are needed.")
    if diameter is not None:
        check_positive("diameter", diameter)
    return size, diameter


def refuse_too_few(beads: Sequence[Beads], least: int) -> None:
    """An error that says what was found, and what to do."""
    good = sum(int(b.good.sum()) for b in beads)
    if good >= least:
        return
    what = "; ".join(b.summary() for b in beads)
    raise ValueError(
        f"`image` has {good} good beads, and {least} are needed ({what}). Use a sample "
        f"with more, and less crowded, beads, several images, or judge less strictly "
        f"with `find_beads(image, size=..., threshold=..., saturation=..., "
        f"alike=...)`, and pass its result as `beads`."
    )


def default_shape(beads: Sequence[Beads], shape: Any) -> tuple[int, ...]:
    """The wanted shape, or some FWHM of the beads, at most the image, odd."""
    ndim = len(beads[0].shape)
    if shape is not None:
        sizes = check_shape("shape", shape)
        if len(sizes) != ndim or min(sizes) < 3:
            raise ValueError(
                f"`shape` is {shape}; {ndim} numbers of at least 3 are needed."
            )
        return sizes
    fwhm = np.max([b.fwhm for b in beads], axis=0)
    least = np.min([b.shape for b in beads], axis=0)
    return tuple(
        min(2 * math.ceil(FWHM_IN_SHAPE * w / 2) + 1, 2 * ((int(n) - 1) // 2) + 1)
        for w, n in zip(fwhm, least, strict=True)
    )
