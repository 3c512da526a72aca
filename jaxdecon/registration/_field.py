"""Many local shifts as one smooth displacement field, or as one better pose."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import ArrayLike

FLOOR = 0.05
"""Voxels that a local shift may be wrong by beyond its noise."""
BEND = 0.5
"""Voxels that the displacement of a node may differ from the mean of its neighbours."""
DRIFT = 1e-3
"""Weight of zero displacement, in terms of a shift known to a voxel: where nothing is
known the field is smooth, and if nothing at all is known, zero."""
CUT = 4.0
"""Standard errors from which a shift is an outlier (Tukey's weight is zero)."""
TURNS = 12
"""Times that outliers are weighed again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """A displacement u(p) given by cubic B-splines.

    Attributes:
        nodes: (d, *lattice) coefficients, voxels; node i is at `spacing` (i - 1).
        spacing: (d,) voxels between nodes.
        weights: (shifts,) of the local shifts: 0 for outliers and for those not usable.
    """

    nodes: np.ndarray
    spacing: np.ndarray
    weights: np.ndarray

    def __call__(self, points: ArrayLike) -> np.ndarray:
        """(points, d): the displacement of each point, (points, d)."""
        basis = _basis(np.asarray(points, float), self.spacing, self.nodes.shape[1:])
        return basis @ self.nodes.reshape(len(self.nodes), -1).T

    def on_lattice(self, starts: Sequence[float], step: float, counts: Sequence[int]):
        """(d, *counts): the displacement on a lattice of places."""
        values = self.nodes
        for axis, (start, count) in enumerate(zip(starts, counts, strict=True)):
            at = start + step * np.arange(count)
            line = _line(at, self.spacing[axis], self.nodes.shape[axis + 1])
            values = np.moveaxis(np.tensordot(line, values, (1, axis + 1)), 0, axis + 1)
        return values


def fit_field(
    points: ArrayLike,
    shifts: ArrayLike,
    covariances: ArrayLike,
    usable: ArrayLike,
    *,
    shape: Sequence[int],
    spacing: float | Sequence[float],
    bend: float = BEND,
) -> Field:
    """The smooth field that local shifts agree on.

    Least squares of the shifts' errors, weighted by their covariances, and of the
    differences of every node from the mean of its neighbours, which keep the field
    smooth and carry it to where there is no texture. Shifts that contradict it are
    given less weight, or none (Tukey's biweight, begun from the median).

    Args:
        points: (n, d) places, voxels.
        shifts: (n, d) displacements there.
        covariances: (n, d, d) of their noise.
        usable: (n,) whether a shift says anything.
        shape: of the volume that the field covers.
        spacing: voxels between nodes.
        bend: voxels that a node may differ from the mean of its neighbours.

    References:
        Unser, IEEE Signal Process. Mag. 16(6), 22 (1999), doi:10.1109/79.799930;
        Beaton & Tukey, Technometrics 16, 147 (1974), doi:10.2307/1267936 (weights).
    """
    points, shifts = np.asarray(points, float), np.asarray(shifts, float)
    d = points.shape[1]
    step = np.broadcast_to(np.asarray(spacing, float), (d,)).copy()
    lattice = tuple(
        int(np.ceil((n - 1) / s)) + 3 for n, s in zip(shape, step, strict=True)
    )
    basis = _basis(points, step, lattice)
    smooth = _roughness(lattice) / bend**2
    smooth = smooth + DRIFT * scipy.sparse.identity(int(np.prod(lattice)))
    sigma = _sigmas(covariances)
    weights = np.asarray(usable, float) * _from_median(shifts, sigma, usable)
    nodes = np.zeros((d, int(np.prod(lattice))))
    for _ in range(TURNS):
        w = scipy.sparse.diags(weights / (sigma**2).mean(1))
        normal = basis.T @ w @ basis + smooth
        ease = scipy.sparse.diags(1 / normal.diagonal())
        for axis in range(d):
            right = basis.T @ (w @ shifts[:, axis])
            nodes[axis], _ = scipy.sparse.linalg.cg(
                normal, right, x0=nodes[axis], rtol=1e-8, M=ease
            )
        misfit = np.sqrt((((shifts - basis @ nodes.T) / sigma) ** 2).mean(1))
        scale = max(_robust(misfit[np.asarray(usable, bool)]), 1.0)
        found = np.asarray(usable, float) * _tukey(misfit / scale)
        if abs(found - weights).max(initial=0) < 1e-3:
            break
        weights = found
    return Field(nodes=nodes.reshape(d, *lattice), spacing=step, weights=weights)


def fit_pose(
    points: ArrayLike,
    shifts: ArrayLike,
    covariances: ArrayLike,
    usable: ArrayLike,
    *,
    model: str,
) -> np.ndarray:
    """The matrix, near one, of the shifts that most points agree on.

    Args:
        points: (n, 3) places, voxels of equal length along all axes.
        shifts: (n, 3) displacements there.
        covariances: (n, 3, 3) of their noise.
        usable: (n,) whether a shift says anything.
        model: "translation", "rigid" or "affine"; others count as "rigid".

    Returns:
        (4, 4): p -> p + u(p).
    """
    points, shifts = np.asarray(points, float), np.asarray(shifts, float)
    usable = np.asarray(usable, bool)
    if usable.sum() < 4:
        return np.eye(4)
    centre = points[usable].mean(0)
    design = _design(points - centre, model)
    sigma = _sigmas(covariances)
    weights = usable * _from_median(shifts, sigma, usable)
    solution = np.zeros(design.shape[2])
    for _ in range(TURNS):
        w = (weights[:, None] / sigma**2).ravel()
        rows = design.reshape(-1, design.shape[2])
        normal = rows.T @ (w[:, None] * rows)
        solution = np.linalg.lstsq(normal, rows.T @ (w * shifts.ravel()))[0]
        misfit = np.sqrt((((shifts - design @ solution) / sigma) ** 2).mean(1))
        scale = max(_robust(misfit[usable]), 1.0)
        weights = usable * _tukey(misfit / scale)
    return _matrix(solution, centre, model)


def _design(points: np.ndarray, model: str) -> np.ndarray:
    """(n, 3, parameters): derivatives of u(p) by the parameters."""
    eye = np.broadcast_to(np.eye(3), (len(points), 3, 3))
    if model == "translation":
        return eye
    if model == "affine":
        linear = np.einsum("ij,nk->nijk", np.eye(3), points).reshape(-1, 3, 9)
        return np.concatenate([eye, linear], 2)
    z, y, x = points.T
    zero = np.zeros_like(z)
    turns = np.stack(  # omega x p, one column per component of omega
        [
            np.stack([zero, -x, y], 1),
            np.stack([x, zero, -z], 1),
            np.stack([-y, z, zero], 1),
        ],
        2,
    )
    return np.concatenate([eye, turns], 2)


def _matrix(solution: np.ndarray, centre: np.ndarray, model: str) -> np.ndarray:
    linear = np.eye(3)
    if model == "affine":
        linear = linear + solution[3:].reshape(3, 3)
    elif model != "translation":
        a, b, c = solution[3:]
        cross = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
        linear = np.asarray(scipy.linalg.expm(cross))
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + solution[:3] - linear @ centre
    return matrix


def _sigmas(covariances: ArrayLike) -> np.ndarray:
    """(n, d) standard errors, with what is beyond noise."""
    variance = np.diagonal(np.asarray(covariances, float), axis1=1, axis2=2)
    return np.sqrt(np.nan_to_num(variance, nan=1e6, posinf=1e6) + FLOOR**2)


def _from_median(shifts, sigma, usable) -> np.ndarray:
    """First weights: shifts far away from all others have none."""
    usable = np.asarray(usable, bool)
    if not usable.any():
        return np.zeros(len(shifts))
    away = shifts - np.median(shifts[usable], 0)
    spread = np.maximum(
        np.array([_robust(away[usable, a]) for a in range(away.shape[1])]), sigma
    )
    return _tukey(np.sqrt(((away / spread) ** 2).mean(1)) / 2)


def _robust(values: np.ndarray) -> float:
    """Root mean square by the median, as of a normal variable."""
    return float(1.4826 * np.median(abs(values))) if len(values) else 0.0


def _tukey(errors: np.ndarray) -> np.ndarray:
    return np.where(errors < CUT, (1 - (errors / CUT) ** 2) ** 2, 0.0)


def _line(at: np.ndarray, step: float, count: int) -> np.ndarray:
    """(points, count): values of the B-splines of a line at places."""
    first, weights = _neighbours(at, step, count)
    line = np.zeros((len(at), count))
    for k in range(4):
        line[np.arange(len(at)), first + k] += weights[:, k]
    return line


def _neighbours(at: np.ndarray, step: float, count: int):
    """The first of the four nodes about each place, and the weights of all four."""
    place = np.clip(at / step, 0, count - 3)
    first = np.minimum(np.floor(place).astype(int), count - 4)
    t = place - first
    weights = [
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    ]
    return first, np.stack(weights, 1)


def _basis(points: np.ndarray, step: np.ndarray, lattice: tuple[int, ...]):
    """(points, nodes), sparse: values of the tensor products at points."""
    columns = np.zeros((len(points), 1), int)
    values = np.ones((len(points), 1))
    for axis, n in enumerate(lattice):
        first, weights = _neighbours(points[:, axis], step[axis], n)
        index = first[:, None] + np.arange(4)
        columns = (columns[:, :, None] * n + index[:, None]).reshape(len(points), -1)
        values = (values[:, :, None] * weights[:, None]).reshape(len(points), -1)
    starts = np.arange(len(points) + 1) * columns.shape[1]
    shape = (len(points), int(np.prod(lattice)))
    return scipy.sparse.csr_matrix((values.ravel(), columns.ravel(), starts), shape)


def _roughness(lattice: tuple[int, ...]):
    """The quadratic form of second differences along all axes."""
    total = scipy.sparse.csr_matrix((int(np.prod(lattice)),) * 2)
    for axis, n in enumerate(lattice):
        rows = max(n - 2, 0), n
        near, middle, far = (scipy.sparse.eye(*rows, k=k) for k in range(3))
        second = 0.5 * near - middle + 0.5 * far
        before = scipy.sparse.identity(int(np.prod(lattice[:axis])))
        after = scipy.sparse.identity(int(np.prod(lattice[axis + 1 :])))
        row = scipy.sparse.kron(scipy.sparse.kron(before, second), after)
        total = total + row.T @ row
    return scipy.sparse.csr_matrix(total)
