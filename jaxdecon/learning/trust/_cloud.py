"""A cloud of vectors, and how far from it another one is."""

import dataclasses

import numpy as np

SHRINKAGE = 0.1
"""Of correlations towards none: few vectors know them badly."""
LEAST_SPREAD = 0.05
"""Added to every standard deviation: entries are logarithms, and 5 % is no news."""


@dataclasses.dataclass(frozen=True, eq=False)
class Cloud:
    """Mean and whitening of vectors.

    Attributes:
        mean: (count,), the median of every entry.
        spread: (count,), standard deviations.
        whitening: (count, count), inverse of the Cholesky factor of the correlations.
    """

    mean: np.ndarray
    spread: np.ndarray
    whitening: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Cloud":
        """From (number, count)."""
        vectors = np.asarray(vectors, float)
        count = vectors.shape[1]
        spread = vectors.std(0) + LEAST_SPREAD
        unit = (vectors - vectors.mean(0)) / spread
        # Fewer vectors than entries know correlations less still.
        trust = 1 - max(SHRINKAGE, min(count / max(len(vectors), 1), 1.0))
        correlations = trust * unit.T @ unit / len(vectors)
        np.fill_diagonal(correlations, 1.0)
        whitening = np.linalg.inv(np.linalg.cholesky(correlations))
        return cls(np.median(vectors, 0), spread, whitening)

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """Mahalanobis distance, 1 on average for vectors of the cloud.

        Args:
            vectors: (..., count).
        """
        unit = (np.asarray(vectors, float) - self.mean) / self.spread
        return np.sqrt(np.square(unit @ self.whitening.T).mean(-1))

    def departures(self, vector: np.ndarray) -> np.ndarray:
        """How many standard deviations every entry of a vector is off."""
        return (np.asarray(vector, float) - self.mean) / self.spread

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The numbers."""
        return dataclasses.asdict(self)
