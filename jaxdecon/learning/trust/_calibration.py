"""What scores are on data that a network is known to do well on."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

LEAST_SPREAD = 0.05
"""Added to the spread of logarithms of scores: 5 % more is no news."""
RARE = 0.05
"""Share of good images that are called doubtful."""
LEVELS = np.concatenate([np.linspace(1.0, 0.02, 99), np.geomspace(0.01, 1e-4, 29)])
"""Shares of the voxels that a table of a map has values for."""
TINY = 1e-6
WEIGHTS = {"pull": 1.0, "output": 0.3, "input": 0.3}
OTHER_WEIGHT = 0.1
"""Of scores in the combined one, by how well they told large errors from small ones on
unseen classes: what the data would change does, with the features of image and result
for what the data cannot. The rest counts where it is off by far: an unfamiliar
image can be predicted well, and data can contradict errors that are small."""


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Scores and maps of held-out images.

    Attributes:
        scores: by name, one value for each held-out image.
        tables: by name of a map, the values that shares `LEVELS` of the held-out
            voxels exceed; "all" of the rarest of them all.
    """

    scores: dict[str, np.ndarray]
    tables: dict[str, np.ndarray]

    @property
    def count(self) -> int:
        """Held-out images."""
        return max((len(values) for values in self.scores.values()), default=0)

    def check(self) -> None:
        """Refuse what no measurement gives.

        Raises:
            ValueError: no scores, or tables of another length.
        """
        broken = [
            name for name, v in self.scores.items() if np.ndim(v) != 1 or not v.size
        ]
        broken += [n for n, v in self.tables.items() if np.shape(v) != LEVELS.shape]
        if self.tables and "all" not in self.tables:
            broken.append("all")
        if broken or not self.scores:
            raise ValueError(f"the calibration is broken: {broken or 'no scores'}.")

    def standard(self, name: str, value: Any) -> Any:
        """How many standard deviations (of its logarithm) a score is too large."""
        known = np.log(self.scores[name] + TINY)
        spread = np.std(known) + LEAST_SPREAD
        return (np.log(np.asarray(value) + TINY) - np.median(known)) / spread

    def standards(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """Those of all scores that are known."""
        return {n: self.standard(n, v) for n, v in scores.items() if n in self.scores}

    def combined(self, scores: Mapping[str, Any]) -> Any:
        """One number: what is above typical, by weight, the squares summed."""
        parts = [
            (weight(name) * np.maximum(value, 0)) ** 2
            for name, value in self.standards(scores).items()
        ]
        return np.sqrt(np.sum(parts, axis=0)) if parts else np.nan

    def threshold(self, names: Iterable[str], rate: float = RARE) -> float:
        """What a share `rate` of the good images exceed, at the most.

        With n held-out images the (1 - rate)(n + 1)-th smallest of their combined
        scores, or the largest, if there are too few.

        References:
            Conformal quantiles: Papadopoulos et al., ECML 2002,
            doi:10.1007/3-540-36755-1_29.
        """
        return _upper(self.combined({n: self.scores[n] for n in names}), rate)

    def unusual(self, scores: Mapping[str, Any], rate: float = RARE) -> list[str]:
        """Scores that are each worse than held-out ones, by how much they count."""
        standards = self.standards(scores)
        named = [
            name
            for name, value in standards.items()
            if not value <= _upper(self.standard(name, self.scores[name]), rate)
        ]
        return sorted(named, key=lambda name: -weight(name) * standards[name])

    def typical(self, name: str) -> float:
        """The median of a score."""
        return float(np.median(self.scores[name]))

    def rarity(self, name: str, values: np.ndarray) -> np.ndarray:
        """Share of the held-out voxels of a map that are at least as bad; NaN is."""
        values = np.where(np.isnan(values), np.inf, values)
        table, first = np.unique(self.tables[name], return_index=True)
        return np.interp(values, table, LEVELS[first]).astype(np.float32)

    def trust(self, maps: Mapping[str, Any]) -> np.ndarray | None:
        """Share of the held-out voxels that look at least as bad as every voxel.

        By the rarest of its maps, relative to what the rarest of a good voxel is.
        """
        rarities = [
            self.rarity(n, np.asarray(m)) for n, m in maps.items() if n in self.tables
        ]
        if not rarities:
            return None
        rarest = rarities[0]
        for rarity in rarities[1:]:
            rarest = np.minimum(rarest, rarity)
        return self.rarity("all", -rarest)


def calibrated(
    scores: Mapping[str, list[float]], samples: Mapping[str, list[np.ndarray]]
) -> Calibration:
    """From scores, and voxels of maps, of held-out images."""
    values = {name: np.asarray(found, float) for name, found in scores.items()}
    voxels = {name: np.concatenate(found) for name, found in samples.items()}
    tables = {name: _table(found) for name, found in voxels.items()}
    known = Calibration(values, tables)
    if voxels:
        rarities = [known.rarity(name, found) for name, found in voxels.items()]
        tables["all"] = _table(-np.min(rarities, axis=0))
    return Calibration(values, tables)


def weight(name: str) -> float:
    """Of a score in the combined one."""
    return WEIGHTS.get(name, OTHER_WEIGHT)


def _upper(held: Any, rate: float) -> float:
    """The finite-sample upper quantile."""
    ordered = np.sort(held)
    rank = math.ceil((1 - rate) * (len(ordered) + 1))
    return float(ordered[min(rank, len(ordered)) - 1])


def _table(values: np.ndarray) -> np.ndarray:
    """Values that shares `LEVELS` of them reach or exceed, rising."""
    return np.quantile(values, 1 - LEVELS)
