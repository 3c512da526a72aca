"""How much memory a deconvolution will take."""

import math
from collections.abc import Sequence

from ..fourier import next_fast_len

WORKING_GRIDS = 5
"""Transform grids alive inside one update: two spectra, prediction, ratio, and the
scratch of a transform."""

PROGRAMS = 60 * 2**20
"""Bytes that compiled programs and the allocator take besides (measured on CPUs)."""


def memory_needed(
    shape: Sequence[int],
    psf_shape: Sequence[int],
    *,
    boundary: str = "extend",
    matched: bool = True,
    keep_best: bool = False,
    accelerated: bool = False,
    itemsize: int = 4,
) -> int:
    """Peak bytes of Richardson-Lucy: arrays alive at once, scratch and programs.

    Args:
        shape: of the image.
        psf_shape: of the PSF.
        boundary: as for `richardson_lucy`.
        matched: whether the adjoint is the back projector (no second OTF).
        keep_best: whether the best estimate is kept beside the latest.
        accelerated: whether the scheme is wrapped in `Accelerated`.
        itemsize: bytes per number, 4 for float32.

    Returns:
        Bytes on the device, the image and the result included.

    Example:
        >>> memory_needed((128, 128, 128), (33, 33, 33), boundary="periodic") // 2**20
        124
    """
    grid = tuple(shape)
    if boundary != "periodic":
        sizes = zip(shape, psf_shape, strict=True)
        reach = [(n, min(m, 2 * n - 1)) for n, m in sizes]
        grid = tuple(next_fast_len(n + 2 * (m // 2)) for n, m in reach)
    voxels, image = math.prod(grid), math.prod(shape)
    spectrum = 2 * math.prod(grid[:-1]) * (grid[-1] // 2 + 1)
    domain = voxels if boundary == "extend" else image
    held = image + domain + spectrum * (1 if matched else 2)
    held += 0 if boundary == "periodic" else domain  # the normaliser
    held += 2 * domain if keep_best else 0
    held += 3 * domain if accelerated else 0
    return PROGRAMS + itemsize * (held + WORKING_GRIDS * voxels)
