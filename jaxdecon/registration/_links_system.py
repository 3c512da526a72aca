"""The sparse linear system of tiles and links."""

import dataclasses
from typing import Any

import numpy as np

GAUGE = 100.0
"""Stage errors that all tiles together may be away from their nominal positions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """Residuals of links, `rows @ unknowns - wanted`, and what holds tiles in place.

    The place of a voxel p of a tile in the mosaic is nominal + p + sum over b of
    basis_b(p) times the tile's b-th vector of unknowns; basis_0 is 1, and the others,
    of affine tiles, are distances from the centre in half sizes of the tile.

    Attributes:
        origins: (tiles, d) nominal.
        sizes: (tiles, d) or None for tiles that do not deform.
        pairs: (links, 2) tiles.
        rows: (links d, tiles terms d) sparse.
        wanted: (links d,).
        precision: (links, d, d) inverse covariances.
        prior: (tiles terms d, same) sparse: neighbours, gauge, strain.
    """

    origins: np.ndarray
    sizes: np.ndarray | None
    pairs: np.ndarray
    rows: Any
    wanted: np.ndarray
    precision: np.ndarray
    prior: Any

    def residual(self, unknowns: np.ndarray) -> np.ndarray:
        """(links, d): what links say minus where the tiles are, voxels."""
        d = self.origins.shape[1]
        return (self.wanted - self.rows @ unknowns).reshape(-1, d)

    def from_nominal(self) -> np.ndarray:
        """(links,): voxels that links differ from what the stage says."""
        d = self.origins.shape[1]
        return np.linalg.norm(self.wanted.reshape(-1, d), axis=1)

    def errors(self, unknowns: np.ndarray) -> np.ndarray:
        """(links,): lengths of the residuals in standard errors."""
        r = self.residual(unknowns)
        return np.sqrt(np.einsum("li,lij,lj->l", r, self.precision, r))

    def matrices(self, unknowns: np.ndarray) -> np.ndarray:
        """(tiles, d + 1, d + 1): from voxels of a tile to those of the mosaic."""
        count, d = self.origins.shape
        terms = unknowns.reshape(count, -1, d)
        matrices = np.tile(np.eye(d + 1), (count, 1, 1))
        matrices[:, :d, d] = self.origins + terms[:, 0]
        if self.sizes is not None:
            half, centre = _frame(self.sizes)
            linear = terms[:, 1:].transpose(0, 2, 1) / half[:, None, :]
            matrices[:, :d, :d] += linear
            matrices[:, :d, d] -= np.einsum("nij,nj->ni", linear, centre)
        return matrices


def design(origins, sizes, links, *, stage_sigma, floor, strain) -> System:
    """The system of tiles at nominal origins and their links."""
    d = origins.shape[1]
    a, b = links.pairs.T
    first, second = (
        _basis(points, None if sizes is None else sizes[tiles])
        for points, tiles in ((links.first, a), (links.second, b))
    )
    terms = first.shape[1]
    rows = _point_rows(len(origins), d, terms, [(b, second, 1.0), (a, first, -1.0)])
    apart = origins[b] + links.second - origins[a] - links.first
    covariance = links.covariance + floor**2 * np.eye(d)
    return System(
        origins=origins,
        sizes=sizes,
        pairs=links.pairs,
        rows=rows,
        wanted=-apart.ravel(),
        precision=np.linalg.inv(covariance),
        prior=_prior(len(origins), d, terms, links.pairs, stage_sigma, strain),
    )


def normal_equations(system: System, weights: np.ndarray) -> np.ndarray:
    """The unknowns that minimise weighted squares of residuals, plus the prior."""
    from scipy.sparse.linalg import splu

    blocks = _block_diagonal(system.precision * weights[:, None, None])
    pull = system.rows.T @ blocks
    matrix = (pull @ system.rows + system.prior).tocsc()
    factor = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return factor.solve(pull @ system.wanted)


def _block_diagonal(blocks: np.ndarray) -> Any:
    from scipy.sparse import bsr_array

    count, d = blocks.shape[:2]
    steps = np.arange(count + 1)
    return bsr_array((blocks, steps[:-1], steps), shape=(count * d,) * 2).tocsr()


def _frame(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the size of every tile, and its centre."""
    return np.maximum(sizes, 1) / 2, (sizes - 1) / 2


def _basis(points: np.ndarray, sizes: np.ndarray | None) -> np.ndarray:
    """(points, terms)."""
    ones = np.ones((len(points), 1))
    if sizes is None:
        return ones
    half, centre = _frame(sizes)
    return np.concatenate([ones, (points - centre) / half], 1)


def _point_rows(count: int, d: int, terms: int, parts) -> Any:
    """d rows per point: a tile's vectors of unknowns, times its basis there."""
    from scipy.sparse import coo_array

    rows, columns, values = [], [], []
    for tiles, basis, sign in parts:
        number = np.arange(len(tiles))[:, None, None] * d + np.arange(d)
        place = (tiles[:, None] * terms + np.arange(terms))[..., None] * d
        place = place + np.arange(d)
        rows.append(np.broadcast_to(number, place.shape).ravel())
        columns.append(place.ravel())
        values.append(np.broadcast_to(sign * basis[..., None], place.shape).ravel())
    shape = (len(parts[0][0]) * d, count * terms * d)
    entries = [np.concatenate(part) for part in (values, rows, columns)]
    return coo_array((entries[0], (entries[1], entries[2])), shape=shape).tocsr()


def _prior(count: int, d: int, terms: int, pairs, stage_sigma: float, strain: float):
    """Neighbours move alike, all stay about where they are, tiles hardly deform."""
    from scipy.sparse import diags_array

    pairs = np.unique(np.sort(pairs, 1), axis=0)
    ones = np.ones((len(pairs), 1))
    ones = np.pad(ones, ((0, 0), (0, terms - 1)))  # of the shifts alone
    alike = _point_rows(
        count, d, terms, [(pairs[:, 1], ones, 1), (pairs[:, 0], ones, -1)]
    )
    firm = np.full((count, terms, d), 1 / strain**2)
    firm[:, 0] = 1 / (GAUGE * stage_sigma) ** 2
    return (alike.T @ alike) / (2 * stage_sigma**2) + diags_array(firm.ravel())
