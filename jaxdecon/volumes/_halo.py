"""How far around a block a deconvolution has to see."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .._core._check import check_count

ENERGY = 0.999
"""Share of a kernel (of its magnitude) that lies within its radius along an axis."""
RADII = ((10, 2), (30, 3), (100, 4))
"""Radii to see, for up to so many iterations with the matched back projector."""
MOST_RADII = 6
UNMATCHED_RADII = 3

Halo = str | int | Sequence[int]


def deconvolution_halo(
    halo: Halo, psf: ArrayLike, kernel: ArrayLike | None, iterations: int
) -> tuple[int, ...]:
    """Voxels around a block from which its result is made.

    "auto" counts radii of the PSF, which hold 99.9 % of its light along an axis: 2 for
    up to 10 iterations, 3 for up to 30, 4 for up to 100, else 6; and 3, of PSF and back
    projector, for an unmatched one. What lies beyond changes the result by less than
    1e-3 of its maximum, since a block takes the light beyond its own border for unknown
    (`boundary="extend"`). "exact" is as far as anything can reach in that many
    iterations.

    Args:
        halo: "auto", "exact", or voxels, one number or one per axis.
        psf: centred on n // 2.
        kernel: the back projector; None: matched.
        iterations: of Richardson-Lucy.

    Raises:
        ValueError: another word, or a negative number.
    """
    psf = np.asarray(psf)
    kernels = [psf] if kernel is None else [psf, np.asarray(kernel)]
    if halo == "exact":
        reach = np.sum([[n // 2 for n in k.shape] for k in kernels], 0)
        return tuple(int(iterations * r * (3 - len(kernels))) for r in reach)
    if halo == "auto":
        radii = np.max([radius(k) for k in kernels], 0)
        count = UNMATCHED_RADII if kernel is not None else _radii(iterations)
        return tuple(int(count * r) for r in radii)
    return given_halo(halo, psf.ndim)


def given_halo(halo: Halo, ndim: int) -> tuple[int, ...]:
    """A halo given in voxels, one number or one per axis."""
    if isinstance(halo, str):
        raise ValueError(f"`halo` is {halo!r}; 'auto', 'exact' or voxels are needed.")
    sizes = (halo,) * ndim if isinstance(halo, int | np.integer) else tuple(halo)
    if len(sizes) != ndim:
        raise ValueError(f"`halo` is {halo}; one number, or one per axis, is needed.")
    return tuple(check_count("halo", n) for n in sizes)


def _radii(iterations: int) -> int:
    return next((r for most, r in RADII if iterations <= most), MOST_RADII)


def radius(kernel: np.ndarray) -> tuple[int, ...]:
    """Voxels from the centre within which a kernel has nearly all its magnitude."""
    found = []
    for axis, n in enumerate(kernel.shape):
        others = tuple(a for a in range(kernel.ndim) if a != axis)
        profile = abs(np.asarray(kernel, np.float64)).sum(others)
        away = abs(np.arange(n) - n // 2)
        inside = np.bincount(away, profile).cumsum()
        found.append(int(np.searchsorted(inside, ENERGY * inside[-1])))
    return tuple(found)
