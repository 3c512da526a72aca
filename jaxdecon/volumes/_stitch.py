"""Stitch overlapping tiles to one volume of any size."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np

from .._core._check import check_choice
from ..io import Image
from ..registration._links import MODELS, STAGE_SIGMA
from ._deconvolve_blocks import digest
from ._how import How, Options
from ._journal import known_before, write_json
from ._mosaic import WEIGHTS, mosaic_box
from ._mosaic_shift import ORDERS
from ._outcome import Run
from ._plan import Plan
from ._run import Job, run
from ._source import Source
from ._stitch_affine import StitchAffine
from ._stitch_blocks import Stitch
from ._stitch_measure import Stitching, as_facts, doubtful, measure, remembered
from ._target import Like
from ._targets import make_target, target_path
from ._tile_positions import (
    tiles_at,
    tiles_from_metadata,
    tiles_from_pattern,
    tiles_from_table,
)
from ._tiles import Tile

TILES = ".tiles.json"
"""Suffix of the file beside the result with the positions of the tiles."""


def stitch(
    tiles: Any,
    target: Any,
    *,
    positions: Any = None,
    unit: str = "voxels",
    voxel_size: Sequence[float] | None = None,
    overlap: float | Sequence[float] | None = None,
    time: int | None = None,
    channel: int = 0,
    search: int | Sequence[int] | None = None,
    model: str = "translation",
    stage_sigma: float = STAGE_SIGMA,
    weights: str = "linear",
    order: str = "linear",
    equalise: bool = True,
    flat_field: bool = True,
    background: str | float = "auto",
    fill: float = 0.0,
    dtype: str | None = None,
    show_stitching: Callable[[Stitching], None] | None = None,
    **how: Unpack[How],
) -> Run | Plan:
    """Join overlapping tiles to one volume, block by block.

    1. Every pair of tiles that overlap by their nominal positions is registered: phase
       correlation, the candidates ranked by correlation over the true overlap, then
       Gauss-Newton, with the covariance of what was found.
    2. One sparse, robust least-squares solution places all tiles; links that contradict
       the others are rejected, tiles without any keep their places among neighbours.
    3. Gains of the tiles and the shading of the field from all overlaps at once.
    4. Blocks of the result blend the tiles that reach them, reading nothing else.

    Args:
        tiles: paths, arrays or `Image`s; or a pattern of file names such as
            "scan/tile_{row}_{col}.tif", with `overlap`.
        target: a path that ends in .ome.zarr. The positions are written beside it, as
            `<name>.tiles.json`.
        positions: nominal ones, (tiles, 3) z, y, x of first voxels; or the path of a
            table (file, z, y, x; or Fiji's TileConfiguration.txt); None: from the
            pattern, or from the metadata of the files.
        unit: of an array of positions, "voxels" or "um".
        voxel_size: µm along z, y, x, where the files do not say it.
        overlap: share of a tile that neighbours have in common, for a pattern; one
            number or one per axis.
        time: time point, for tiles with several.
        channel: to register by; all channels are written.
        search: voxels that two tiles may be away from their nominal offset, which is
            twice the error of the stage; None: a tenth of a tile.
        model: "translation", or "affine": tiles may also deform a little.
        stage_sigma: repeatability of the stage between neighbours, voxels.
        weights: of the blend: "linear", "cosine", "content" or "nearest".
        order: of the interpolation, "linear" or "cubic".
        equalise: whether to divide tiles by gains measured from the overlaps.
        flat_field: whether to correct the shading that all tiles share, too.
        background: camera offset, which is left in place; "auto": the darkest parts.
        fill: where no tile reaches.
        dtype: of the result; None: float32 with `equalise` or cubic interpolation, else
            that of the tiles.
        show_stitching: called with where the tiles are, before the plan is made.
        how: block, engine, memory, resume, ...: how to run; see `How`.

    Returns:
        A `Run`, whose `stitching` says where the tiles are; with `dry_run` the `Plan`.

    Raises:
        ValueError: tiles that do not go together, positions that are missing or occur
            twice, unknown options; `RunRefused`.
        FileNotFoundError: no tile fits the pattern.
        BlocksFailed: some blocks could not be done.

    Warns:
        UserWarning: links that were rejected, tiles that nothing links to the others.

    Example:
        >>> import pathlib, tempfile, numpy as np, jaxdecon as jd
        >>> whole = np.random.default_rng(0).poisson(50, (16, 64, 96)).astype("uint16")
        >>> tiles = [whole[:, :, :60], whole[:, :, 38:]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = pathlib.Path(folder) / "mosaic.ome.zarr"
        ...     run = jd.volumes.stitch(
        ...         tiles, target, positions=[(0, 0, 0), (0, 0, 36)], equalise=False)
        ...     jd.io.read(target).shape
        (16, 64, 96)

    References:
        Preibisch et al., Bioinformatics 25, 1463 (2009),
        doi:10.1093/bioinformatics/btp184; Hörl et al., Nature Methods 16, 870 (2019),
        doi:10.1038/s41592-019-0501-0.
    """
    options = Options(**how)
    check_choice("model", model, MODELS)
    check_choice("weights", weights, WEIGHTS)
    check_choice("order", order, ORDERS)
    if model == "affine" and (order != "linear" or fill):
        raise ValueError(
            f'`model="affine"` interpolates linearly and fills with 0; `order` is '
            f"{order!r} and `fill` {fill}."
        )
    placed = find_tiles(tiles, positions, overlap, unit, voxel_size, time)
    path = target_path(target)
    known = known_before(path, resume=bool(options.resume), overwrite=options.overwrite)
    if known is not None:
        found = remembered(placed, known)
        matrices = np.array(known["matrices"]) if known.get("matrices") else None
        facts = known["facts"]
    else:
        found = measure(
            placed,
            channel=channel,
            search=search,
            model=model,
            stage_sigma=stage_sigma,
            equalise=equalise,
            flat_field=flat_field,
            background=background,
        )
        placement = found.placement
        if placement is not None and doubtful(placement):
            warnings.warn(placement.message, stacklevel=2)
        matrices = None if placement is None else placement.matrices
        facts = as_facts(found)
    if show_stitching is not None:
        show_stitching(found)
    box = mosaic_box(placed, found.positions)
    channels = placed[0].channels
    leading = (channels,) if "c" in placed[0].image.axes else ()
    parts = {
        "tiles": placed,
        "positions": found.positions,
        "start": tuple(a for a, _ in box),
        "shape": tuple(b - a for a, b in box),
        "leading": leading,
        "gains": found.gains,
        "weights": weights,
        "order": order,
        "fill": fill,
        "facts": facts,
    }
    if matrices is not None and model == "affine":
        operation: Stitch = StitchAffine(**parts, matrices=matrices)
    else:
        operation = Stitch(**parts)
    exact = not equalise and order == "linear"  # else values may exceed the tiles'
    kind = dtype or (str(placed[0].dtype) if exact else "float32")
    like = stitched_image(placed, operation, voxel_size)
    job = Job(
        operation=operation,
        target=make_target(target, like, operation.shape, kind, 1.0),
        path=path,
        sources=tuple(Source(tile.source) for tile in placed),
        request={
            "nominal": digest([np.array([tile.origin for tile in placed])]),
            "channel": channel,
            "time": time,
            "search": search,
            "model": model,
            "stage_sigma": stage_sigma,
            "weights": weights,
            "order": order,
            "equalise": equalise,
            "flat_field": flat_field,
            "background": background,
            "fill": fill,
        },
    )
    result = run(job, options)
    if not isinstance(result, Run):
        return result
    if path is not None:
        start = {"start": list(operation.start)}
        write_json(path.with_name(path.name + TILES), start | dict(operation.facts))
    return dataclasses.replace(result, stitching=found)


def find_tiles(
    tiles: Any,
    positions: Any,
    overlap: float | Sequence[float] | None,
    unit: str,
    voxel_size: Sequence[float] | None,
    time: int | None,
) -> tuple[Tile, ...]:
    """The tiles at their nominal places, in whatever way these are given.

    Raises:
        ValueError: no positions, or several ways to find them.
    """
    if isinstance(tiles, str | os.PathLike) and "{" in str(tiles):
        if overlap is None or positions is not None:
            raise ValueError(
                f"`tiles` is a pattern, {str(tiles)!r}: give the `overlap` of "
                f"neighbours, and no `positions`."
            )
        return tiles_from_pattern(tiles, overlap, time=time)
    if isinstance(tiles, str | os.PathLike):
        raise ValueError(
            f"`tiles` is {str(tiles)!r}; several paths, or a pattern with {{row}} and "
            f"{{col}}, are needed."
        )
    if isinstance(positions, str | os.PathLike):
        return tiles_from_table(
            positions, files=list(tiles) or None, voxel_size=voxel_size, time=time
        )
    if positions is None:
        return tiles_from_metadata(list(tiles), voxel_size=voxel_size, time=time)
    return tiles_at(list(tiles), positions, unit=unit, voxel_size=voxel_size, time=time)


def stitched_image(
    tiles: tuple[Tile, ...], operation: Stitch, voxel_size: Sequence[float] | None
) -> Image:
    """Axes, voxel size and channels of a mosaic."""
    first = tiles[0].image
    axes = ("c" if operation.leading else "") + "zyx"
    size = tuple(voxel_size) if voxel_size is not None else tiles[0].voxel_size
    pairs = zip(operation.start, size, strict=True)
    origin = tuple(float(a * s) for a, s in pairs if s is not None)
    return Image(
        data=Like(
            shape=(*operation.leading, *operation.shape), dtype=np.dtype("float32")
        ),
        axes=axes,
        voxel_size=size,
        origin=origin if len(origin) == len(size) else (),
        channels=first.channels if operation.leading else (),
    )
