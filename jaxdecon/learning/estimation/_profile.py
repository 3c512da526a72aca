"""A score over one or two parameters, for blocks of an image apart."""

import dataclasses
import functools

import numpy as np

FINE = {1: 401, 2: 81}


@dataclasses.dataclass(frozen=True)
class Profile:
    """Scores on a grid of parameters; between its points by cubic splines.

    Attributes:
        axes: the values of each parameter, increasing.
        scores: (*values, block), negative log-likelihoods.
    """

    axes: tuple[np.ndarray, ...]
    scores: np.ndarray

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self.scores.shape[-1]

    @property
    def total(self) -> np.ndarray:
        """The score of all blocks, on the grid."""
        return self.scores.sum(-1)

    def best(self) -> np.ndarray:
        """The parameters of the least score of all blocks."""
        return self._least(self._fine.sum(-1))

    def covariance(self) -> np.ndarray:
        """Of the parameters, by the jackknife; infinite for a single block."""
        if self.count < 2:
            return np.diag(np.full(len(self.axes), np.inf))
        whole = self._fine.sum(-1)
        left = [self._least(whole - self._fine[..., b]) for b in range(self.count)]
        apart = np.stack(left) - np.mean(left, axis=0)
        half = [np.diff(axis).max() / 8 for axis in self.axes]
        return (self.count - 1) / self.count * apart.T @ apart + np.diag(
            np.square(half)
        )

    def blocks_at(self, vector: np.ndarray) -> np.ndarray:
        """Scores (block,) at some parameters."""
        return self._spline(np.asarray(vector)[None])[0]

    def rivals(self, within: float) -> int:
        """Minima of the fine profile that are not worse than the best by `within`."""
        whole = self._fine.sum(-1)
        padded = np.pad(whole, 1, constant_values=np.inf)
        around = np.stack(
            [
                np.roll(padded, shift, axis)[(slice(1, -1),) * whole.ndim]
                for axis in range(whole.ndim)
                for shift in (-1, 1)
            ]
        )
        low = (whole <= around.min(0)) & (whole < whole.min() + within)
        return int(low.sum())

    @functools.cached_property
    def _spline(self):
        from scipy.interpolate import RegularGridInterpolator

        return RegularGridInterpolator(self.axes, self.scores, method="cubic")

    @functools.cached_property
    def _mesh(self) -> tuple[np.ndarray, ...]:
        n = FINE[len(self.axes)]
        return tuple(np.linspace(axis[0], axis[-1], n) for axis in self.axes)

    @functools.cached_property
    def _fine(self) -> np.ndarray:
        return self._spline(np.stack(np.meshgrid(*self._mesh, indexing="ij"), -1))

    def _least(self, score: np.ndarray) -> np.ndarray:
        at = np.unravel_index(np.argmin(score), score.shape)
        return np.array([axis[i] for axis, i in zip(self._mesh, at, strict=True)])
