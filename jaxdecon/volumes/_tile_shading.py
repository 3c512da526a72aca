"""The shading of a field: a smooth factor that depends on y and x."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatField:
    """A factor that every tile is multiplied by, its geometric mean 1.

    Attributes:
        coefficients: of its logarithm, of the products of Legendre polynomials of y and
            x that `powers` lists.
        degree: highest sum of both degrees.
    """

    coefficients: tuple[float, ...]
    degree: int

    @classmethod
    def of(cls, coefficients: Sequence[float], degree: int) -> "FlatField":
        """From an array of coefficients."""
        numbers = np.asarray(coefficients, float)
        return cls(coefficients=tuple(numbers.tolist()), degree=degree)

    def at(self, places: np.ndarray) -> np.ndarray:
        """(n,) factors at (n, 2) places y, x, from -1 to 1 across the field."""
        return np.exp(terms(places, self.degree) @ np.array(self.coefficients))

    def profile(self, shape: Sequence[int]) -> np.ndarray:
        """(y, x) factors at the voxels of a field, float32."""
        lines = [2 * (np.arange(n) + 0.5) / n - 1 for n in shape]
        y, x = np.meshgrid(*lines, indexing="ij")
        factors = self.at(np.stack([y.ravel(), x.ravel()], 1))
        return factors.reshape(tuple(shape)).astype(np.float32)


def powers(degree: int) -> list[tuple[int, int]]:
    """Degrees in y and x of the terms, without the constant."""
    pairs = ((i, n - i) for n in range(1, degree + 1) for i in range(n + 1))
    return list(pairs)


def terms(places: np.ndarray, degree: int) -> np.ndarray:
    """(n, terms): products of Legendre polynomials, of mean 0 over a field."""
    y, x = places.T
    single = np.polynomial.legendre.legvander
    lines = single(y, max(degree, 1)), single(x, max(degree, 1))
    columns = [lines[0][:, i] * lines[1][:, j] for i, j in powers(degree)]
    return np.stack(columns, 1) if columns else np.zeros((len(places), 0))
