"""Field curvature: how the depth of best focus changes over the field of view."""

import dataclasses
from collections.abc import Sequence

import numpy as np

MORE_THAN_NEEDED = 4
"""Beads beyond the number of unknowns that a fit needs to be judged."""
LARGEST_SCATTER = 0.5
"""FWHM along z by which beads may scatter about a surface and still be in one."""
CLIP = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FieldCurvature:
    """The surface of best focus over the field, from beads that lie in one plane.

    z = c + tilt . r + r . Q . r / 2, with r = (y, x) from the centre of the field. The
    tilt may be that of the sample, so it is no part of the curvature.

    Attributes:
        determined: whether the beads lie on such a surface; if not, all numbers are
            NaN, and the message says why.
        quadratic: Q, (2, 2), voxels along z per square voxel.
        tilt: of the first image, voxels along z per voxel along y and x.
        sag: by how much the surface bends over the field, voxels along z.
        residual: standard deviation of the beads about it, voxels.
        centre: of the field, (y, x), voxels.
        message: in words.
    """

    determined: bool
    quadratic: np.ndarray
    tilt: np.ndarray
    sag: float
    residual: float
    centre: np.ndarray
    message: str

    def shift(self, places: np.ndarray) -> np.ndarray:
        """Depth of best focus (n,), voxels, at places (n, 2), relative to the centre.

        Without the tilt. NaN if not determined.
        """
        r = np.asarray(places, float) - self.centre
        return np.einsum("...i,ij,...j->...", r, self.quadratic, r) / 2


def field_curvature(
    positions: np.ndarray, image: np.ndarray, shape: Sequence[int], fwhm_z: float
) -> FieldCurvature:
    """Fit one curved surface, tilted and placed anew in every image.

    Args:
        positions: of beads, (n, 3), voxels.
        image: (n,), which of the images a bead is in.
        shape: (z, y, x) of the images.
        fwhm_z: of a bead, voxels.
    """
    centre = (np.asarray(shape[-2:], float) - 1) / 2
    numbers = np.unique(image)
    r = (positions[:, 1:] - centre) / centre.clip(1)
    y, x = r.T
    own = [np.where(image == i, v, 0) for i in numbers for v in (np.ones_like(y), y, x)]
    columns = np.stack([y * y / 2, x * x / 2, x * y, *own], -1)
    if len(positions) < columns.shape[1] + MORE_THAN_NEEDED:
        return _unknown(centre, f"{len(positions)} beads are too few for it")
    fitted, kept = _robust(columns, positions[:, 0])
    left = (positions[:, 0] - columns @ fitted)[kept]
    residual = float(np.sqrt((left**2).sum() / max(kept.sum() - fitted.size, 1)))
    if residual > LARGEST_SCATTER * fwhm_z or kept.mean() < 0.5:
        return _unknown(
            centre,
            f"the beads are not in one plane (they scatter by {residual:.2f} voxels "
            f"about any curved surface)",
        )
    if np.linalg.cond(columns[kept]) > 1e3:
        return _unknown(centre, "the beads do not cover the field")
    scale = np.outer(1 / centre.clip(1), 1 / centre.clip(1))
    yy, xx, xy = fitted[:3]
    quadratic = np.array([[yy, xy], [xy, xx]]) * scale
    sag = _sag(quadratic, centre)
    return FieldCurvature(
        determined=True,
        quadratic=quadratic,
        tilt=fitted[4:6] / centre.clip(1),
        sag=sag,
        residual=residual,
        centre=centre,
        message=f"the surface of best focus bends by {sag:.2f} voxels along z over the "
        f"field; beads scatter by {residual:.2f} about it",
    )


def _robust(columns: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares without what is far off, and the mask of what is not."""
    kept = np.ones(z.size, bool)
    fitted = np.zeros(columns.shape[1])
    for _ in range(20):
        fitted, *_ = np.linalg.lstsq(columns[kept], z[kept], rcond=None)
        distance = abs(z - columns @ fitted)
        limit = CLIP * 1.4826 * np.median(distance[kept]) + 1e-9
        inside = distance <= limit
        if (inside == kept).all() or inside.sum() <= columns.shape[1]:
            break
        kept = inside
    return fitted, kept


def _sag(quadratic: np.ndarray, centre: np.ndarray) -> float:
    """Range of the quadratic over the field."""
    lines = [np.linspace(-c, c, 41) for c in centre]
    r = np.stack(np.meshgrid(*lines, indexing="ij"), -1)
    return float(np.ptp(np.einsum("...i,ij,...j->...", r, quadratic, r) / 2))


def _unknown(centre: np.ndarray, why: str) -> FieldCurvature:
    nan = float("nan")
    return FieldCurvature(
        determined=False,
        quadratic=np.full((2, 2), nan),
        tilt=np.full(2, nan),
        sag=nan,
        residual=nan,
        centre=centre,
        message=f"field curvature is not known: {why}",
    )
