"""Cells of a field of view, and those that have too few beads."""

from collections.abc import Sequence

import numpy as np

from ._distil import DistilledPSF
from ._find_beads import Beads


class Cells:
    """Equal cells over a field, each with a node in its middle."""

    def __init__(self, grid: Sequence[int], shape: Sequence[int]):
        self.grid, self.shape = tuple(grid), tuple(shape)
        self.nodes = [
            (np.arange(g) + 0.5) * n / g - 0.5 for g, n in zip(grid, shape, strict=True)
        ]
        self.indices = list(np.ndindex(*self.grid))

    def of(self, positions: np.ndarray) -> np.ndarray:
        """Number of the cell of each position."""
        part = (positions + 0.5) * np.asarray(self.grid) / np.asarray(self.shape)
        part = np.clip(part.astype(int), 0, np.asarray(self.grid) - 1)
        return np.asarray(np.ravel_multi_index(tuple(part.T), self.grid))

    def position(self, index: Sequence[int]) -> tuple[float, ...]:
        """Of a node."""
        return tuple(float(n[i]) for n, i in zip(self.nodes, index, strict=True))


def check_holes(
    cells: Cells,
    made: Sequence[DistilledPSF | None],
    beads: Sequence[Beads],
    least: int,
    fill: str,
) -> None:
    """Refuse cells with too few beads, with their indices, unless they are filled."""
    holes = [i for i, m in zip(cells.indices, made, strict=True) if m is None]
    if not holes or (fill == "neighbours" and len(holes) < len(made)):
        return
    good = np.concatenate([cells.of(b.positions[b.good]) for b in beads])
    counts = np.bincount(good, minlength=len(made)).reshape(cells.grid)
    shown = ", ".join(f"{i} has {counts[i]}" for i in holes[:6])
    more = ", ..." if len(holes) > 6 else ""
    what = "; ".join(b.summary() for b in beads)
    raise ValueError(
        f"`image` leaves holes in the grid {cells.grid}: {len(holes)} of {len(made)} "
        f"cells have fewer than {least} good beads ({shown}{more}; {what}). Use fewer "
        f'cells, more images, a smaller `min_beads`, or fill="neighbours".'
    )


def fill_holes(
    cells: Cells, made: Sequence[DistilledPSF | None]
) -> tuple[np.ndarray, list[str]]:
    """All PSFs, (nodes, *psf); where one is missing, the mean of the nearest."""
    known = [i for i, m in enumerate(made) if m is not None]
    indices = np.asarray(cells.indices)
    psfs, messages = [], []
    for number, m in enumerate(made):
        if m is not None:
            psfs.append(np.asarray(m.psf))
            continue
        distance = np.linalg.norm(indices[known] - indices[number], axis=1)
        near = [known[k] for k in np.flatnonzero(distance <= distance.min() + 1e-9)]
        alike = [np.asarray(m.psf) for k in near if (m := made[k]) is not None]
        psfs.append(np.mean(alike, axis=0))
        whose = ", ".join(str(cells.indices[k]) for k in near)
        messages.append(f"cell {cells.indices[number]}: filled from {whose}")
    return np.stack(psfs), messages
