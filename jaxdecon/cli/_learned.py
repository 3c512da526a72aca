"""A learned back projector from a file, for the PSF at hand."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ALIKE = 0.99
"""Correlation of two PSFs below which a back projector of one is not for the other."""


def is_file(back_projector: str) -> bool:
    """Whether --back-projector names a file, and not a kind."""
    return back_projector.lower().endswith(".npz")


class Learned:
    """What a file says, fitted to PSFs; of every PSF that differs it is said once."""

    def __init__(self, path: str):
        """Read the file; raises as `io.read_back_projector`."""
        from .. import io

        self.path, self.stored = Path(path), io.read_back_projector(path)
        self._told: set[int] = set()

    @property
    def iterations(self) -> int:
        """For which it was made."""
        return self.stored.iterations

    def say_iterations(self, iterations: int) -> None:
        """Warn where there will be more iterations than it was made for."""
        if iterations > self.iterations:
            warnings.warn(
                f"{self.path} was made for {self.iterations} iterations; after "
                f"{iterations} the result may have left the data",
                stacklevel=3,
            )

    def kernel(self, *psfs: np.ndarray) -> np.ndarray:
        """The back projector for one PSF, or for the PSFs of all channels.

        Raises:
            ValueError: a PSF of other dimensionality.

        Warns:
            UserWarning: a PSF differs from the one that it was made for.
        """
        psfs = tuple(self._one(psf) for psf in psfs)
        for psf in psfs:
            self._compare(psf)
        shape = np.min([self.stored.kernel.shape, *(psf.shape for psf in psfs)], 0)
        kernel = about_centre(self.stored.kernel, shape)
        return kernel / kernel.sum()

    def _one(self, psf: Any) -> np.ndarray:
        """A PSF; of a field, the mean."""
        from ..psf import PSFField

        return np.asarray(psf.mean if isinstance(psf, PSFField) else psf)

    def _compare(self, psf: np.ndarray) -> None:
        made_for = self.stored.psf
        if psf.ndim != made_for.ndim:
            raise ValueError(
                f"{self.path} is for {made_for.ndim}D images; the PSF is {psf.ndim}D."
            )
        if id(psf) in self._told:
            return
        self._told.add(id(psf))
        likeness = correlation(made_for, psf)
        if likeness < ALIKE:
            warnings.warn(
                f"{self.path} was made for another PSF (FWHM {_widths(made_for)} "
                f"voxels, here {_widths(psf)}; correlation {likeness:.2f}): make one "
                f'for this PSF with "jaxdecon tune"',
                stacklevel=4,
            )


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two PSFs centred on n // 2, without subtracting means: 1 if alike."""
    shape = np.max([a.shape, b.shape], 0)
    a, b = (about_centre(np.asarray(p, float), shape) for p in (a, b))
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def about_centre(kernel: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cropped or padded with zeros, so that n // 2 stays n // 2 along every axis."""
    for axis, new in enumerate(map(int, shape)):
        old = kernel.shape[axis]
        if new <= old:
            first = old // 2 - new // 2
            kernel = kernel.take(range(first, first + new), axis)
        else:
            before = new // 2 - old // 2
            padding = [(0, 0)] * kernel.ndim
            padding[axis] = (before, new - old - before)
            kernel = np.pad(kernel, padding)
    return kernel


def _widths(psf: np.ndarray) -> str:
    from ..psf import fwhm

    return " x ".join(f"{w:.1f}" for w in np.asarray(fwhm(np.asarray(psf, np.float32))))
