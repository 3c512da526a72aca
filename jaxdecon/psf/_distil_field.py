"""PSFs over the field of view, from images of many beads."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_shape
from ._bead_stamps import Stamps, cut
from ._distil import BeadFit, DistilledPSF, distil_stamps
from ._distil_align import Shifter
from ._distil_cells import Cells, check_holes, fill_holes
from ._distil_curvature import FieldCurvature, field_curvature
from ._distil_inputs import check_sizes, default_shape, prepare, refuse_too_few
from ._field import PSFField
from ._find_beads import Beads

FILLS = ("refuse", "neighbours")
CURVATURES = ("removed", "kept")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FieldNode:
    """The PSF at one node of a grid over the field.

    Attributes:
        index: of the node, per axis.
        position: voxels, per axis.
        count: beads in its PSF; 0: filled from its neighbours.
        fwhm: per axis, voxels.
        ellipticity: long over short lateral FWHM.
        orientation: of the long one, radians from x towards y.
        asymmetry: of the central plane.
        z_shift: depth of best focus relative to the centre of the field, voxels; NaN if
            not known (see `DistilledField.curvature`).
        snr: peak over noise.
        scatter: between its beads, noise aside.
    """

    index: tuple[int, ...]
    position: tuple[float, ...]
    count: int
    fwhm: np.ndarray
    ellipticity: float
    orientation: float
    asymmetry: float
    z_shift: float
    snr: float
    scatter: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DistilledField:
    """PSFs over the field, and how they change; from `distil_field`.

    Attributes:
        field: ready for `jaxdecon.richardson_lucy` and
            `jaxdecon.operators.VaryingConvolution`.
        table: one entry per node.
        curvature: of the field.
        beads: of every image, all spots with their status.
        fits: of all beads that are in a PSF.
        messages: what was done, one sentence each.
    """

    field: PSFField
    table: tuple[FieldNode, ...]
    curvature: FieldCurvature
    beads: tuple[Beads, ...]
    fits: tuple[BeadFit, ...]
    messages: tuple[str, ...]

    def map(self, name: str) -> np.ndarray:
        """A column of the table on the grid: `(*nodes)` or `(*nodes, ndim)`."""
        values = np.array([getattr(node, name) for node in self.table])
        return values.reshape(*self.field.nodes, *values.shape[1:])


def distil_field(
    image: ArrayLike | Sequence[ArrayLike],
    beads: Beads | Sequence[Beads] | None = None,
    *,
    grid: Sequence[int] = (1, 3, 3),
    min_beads: int = 3,
    fill: Literal["refuse", "neighbours"] = "refuse",
    curvature: Literal["removed", "kept"] = "removed",
    shape: Sequence[int] | None = None,
    voxel_size: Sequence[float] | None = None,
    diameter: float | None = None,
) -> DistilledField:
    """PSFs on a grid over the field of view.

    The field is divided into equal cells, each with a node in its middle, and `distil`
    makes a PSF from the beads of each. Every PSF is centred by its own peak. Where the
    beads lie in one plane, as on a coverslip, the depth of their images says how the
    field is curved: that is reported, and, if wanted, kept in the PSFs, so that
    deconvolution moves things to where they are.

    Args:
        image: (z, y, x) or (y, x), or a list of images of one shape, whose beads are
            pooled.
        beads: from `find_beads`, of every image. None: found with its defaults.
        grid: cells per axis. 1: nothing changes along that axis.
        min_beads: least number of good beads in a cell.
        fill: what to do with cells that have fewer: "refuse" raises an error that names
            them, "neighbours" takes the mean of the nearest other nodes, and says so.
        curvature: "removed": PSFs are centred; "kept": they are moved along z by the
            field curvature, relative to the centre of the field.
        shape: of the PSFs, voxels. None: six times the FWHM, odd.
        voxel_size: as for `distil`.
        diameter: as for `distil`.

    Returns:
        The field with a table and the field curvature.

    Raises:
        ValueError: too few beads, over all or in a cell, with the reasons for which
            others were rejected; images of several shapes; curvature to be kept that is
            not known; what `distil` refuses.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> image = np.full((64, 64), 10.0)
        >>> for row in range(0, 64, 16):  # wider towards the right
        ...     for column, width in zip(range(0, 64, 16), (3, 3, 4, 4)):
        ...         bead = 1000 * jd.psf.gaussian((16, 16), (3, width))
        ...         image[row:row + 16, column:column + 16] += bead
        >>> result = jd.psf.distil_field(image, grid=(1, 2))
        >>> result.map("fwhm")[0, :, 1].round()
        array([3., 4.])
    """
    images, found = prepare(image, beads)
    ndim, whole = images[0].ndim, images[0].shape
    if any(i.shape != whole for i in images):
        raise ValueError(
            f"`image` has shapes {[i.shape for i in images]}; one shape is needed."
        )
    grid = check_shape("grid", grid)
    if len(grid) != ndim or any(g > n for g, n in zip(grid, whole, strict=True)):
        raise ValueError(f"`grid` is {grid}; {ndim} numbers of cells are needed.")
    check_count("min_beads", min_beads, 1)
    check_choice("fill", fill, FILLS)
    check_choice("curvature", curvature, CURVATURES)
    size, diameter = check_sizes(ndim, voxel_size, diameter)
    refuse_too_few(found, min_beads)
    stamps = cut(images, found, default_shape(found, shape))
    cells = Cells(grid, whole)
    made, found = _distil_cells(cells, stamps, found, size, diameter, min_beads)
    check_holes(cells, made, found, min_beads, fill)
    return _assemble(cells, made, found, curvature)


def _distil_cells(
    cells: Cells,
    stamps: Stamps,
    beads: tuple[Beads, ...],
    size: np.ndarray,
    diameter: float | None,
    least: int,
) -> tuple[list[DistilledPSF | None], tuple[Beads, ...]]:
    """A PSF for every cell with enough beads, and the beads judged anew."""
    owner = cells.of(stamps.places + stamps.offsets)
    made: list[DistilledPSF | None] = []
    for cell in range(len(cells.indices)):
        mine = stamps.of(owner == cell)
        if len(mine) < least:
            made.append(None)
            continue
        result = distil_stamps(mine, beads, size, diameter, min_beads=1)
        beads = result.beads
        made.append(result if len(result.fits) >= least else None)
    return made, beads


def _assemble(cells: Cells, made, beads, curvature: str) -> DistilledField:
    fits = tuple(fit for m in made if m is not None for fit in m.fits)
    bent = _curvature(cells.shape, fits, made)
    places = np.array([cells.position(i) for i in cells.indices])
    shifts = bent.shift(places[:, -2:])
    nodes = [_node(cells, m, i, shifts[i]) for i, m in enumerate(made)]
    psfs, messages = fill_holes(cells, made)
    messages += [
        f"cell {cells.indices[i]}: {text}"
        for i, m in enumerate(made)
        if m is not None
        for text in m.messages
    ]
    if len(cells.shape) == 3:
        messages.append(bent.message)
    if curvature == "kept":
        psfs = _moved(psfs, shifts, bent)
        messages.append("the PSFs contain the field curvature")
    shape = (*cells.grid, *psfs.shape[1:])
    return DistilledField(
        field=PSFField.from_grid(psfs.reshape(shape), cells.nodes),
        table=tuple(nodes),
        curvature=bent,
        beads=beads,
        fits=fits,
        messages=tuple(messages),
    )


def _curvature(shape, fits: Sequence[BeadFit], made) -> FieldCurvature:
    positions = np.array([f.position for f in fits])
    numbers = np.array([f.image for f in fits])
    if len(shape) == 2:
        positions = np.insert(positions, 0, np.nan, axis=1)
        return field_curvature(positions[:0], numbers[:0], (1, *shape), np.nan)
    width = np.nanmedian([m.fwhm[0] for m in made if m is not None])
    return field_curvature(positions, numbers, shape, float(width))


def _node(cells, made: DistilledPSF | None, number: int, shift: float) -> FieldNode:
    index = cells.indices[number]
    nan = float("nan")
    where: dict[str, Any] = {"index": index, "position": cells.position(index)}
    if made is None:
        empty = dict.fromkeys(
            ("ellipticity", "orientation", "asymmetry", "snr", "scatter"), nan
        )
        widths = np.full(len(index), nan)
        return FieldNode(**where, count=0, fwhm=widths, z_shift=float(shift), **empty)
    return FieldNode(
        **where,
        count=len(made.fits),
        fwhm=made.fwhm,
        ellipticity=made.ellipticity,
        orientation=made.orientation,
        asymmetry=made.asymmetry,
        z_shift=float(shift),
        snr=made.snr,
        scatter=made.scatter,
    )


def _moved(psfs: np.ndarray, shifts: np.ndarray, bent: FieldCurvature) -> np.ndarray:
    """The PSFs moved along z."""
    if not bent.determined:
        raise ValueError(
            f'`curvature` is "kept", and {bent.message}: use "removed", or an image of '
            f"beads in one plane."
        )
    shifter = Shifter(psfs.shape[1:])
    far = abs(shifts).max()
    if far > psfs.shape[1] / 4:
        raise ValueError(
            f'`curvature` is "kept", and moves PSFs of {psfs.shape[1]} voxels along z '
            f"by {far:.1f}; give a larger `shape`."
        )
    moved = [shifter(p, np.array([s, 0, 0])) for p, s in zip(psfs, shifts, strict=True)]
    return np.maximum(np.stack(moved), 0)
