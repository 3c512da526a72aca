"""Sparse least squares that a few wrong rows do not pull away."""

from typing import Any

import numpy as np

TURN = 1.5
"""Robust standard deviations beyond which a row counts less (Huber, Ann. Math. Stat.
35, 73 (1964), doi:10.1214/aoms/1177703732)."""
NARROW = 0.03
"""Of them, in the first rounds."""
ROUNDS, FIRST, SETTLED = 30, 12, 1e-6


def tile_rows(
    pairs: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    count: int,
    more: np.ndarray | None = None,
) -> Any:
    """(rows, tiles + more) sparse: a value for each of two tiles, and more columns."""
    from scipy.sparse import coo_array, csr_array

    number = np.arange(len(pairs))
    values = np.concatenate([first, second])
    place = (np.tile(number, 2), pairs.T.ravel())
    rows = coo_array((values, place), shape=(len(pairs), count)).tocsr()
    return rows if more is None else side_by_side(rows, csr_array(more))


def side_by_side(*parts: Any) -> Any:
    """Sparse columns of several kinds of unknowns."""
    from scipy.sparse import hstack

    return hstack(parts).tocsr()


def huber(
    rows: Any, wanted: np.ndarray, *, sigmas: np.ndarray, weights, least: float
) -> tuple[np.ndarray, float]:
    """x with `rows @ x` near what is wanted, and near 0 to within `sigmas`.

    Starts from the least absolute residuals, which more wrong rows leave alone.

    Returns:
        x, and the robust standard deviation of the residuals, not below `least`.
    """
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import splu

    found, left, spread = np.zeros(len(sigmas)), wanted, least
    prior = diags_array(sigmas**-2.0)
    for turn in range(ROUNDS):
        spread = max(1.48 * float(np.median(abs(left))), least)
        flat = TURN if turn > FIRST else NARROW
        robust = spread / np.maximum(abs(left), flat * spread)
        pull = rows.T @ diags_array(weights * robust / spread**2)
        before, found = found, splu((pull @ rows + prior).tocsc()).solve(pull @ wanted)
        left = wanted - rows @ found
        change = abs(found - before).max() / max(1.0, abs(found).max())
        if turn > FIRST and change < SETTLED:
            break
    return found, spread
