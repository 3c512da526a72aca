"""`jaxdecon stitch`."""

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from ._blocks import BlockOptions, work_in_blocks
from ._blocks_shown import has_journal
from ._console import say, start_jax
from ._outputs import Overwrite
from ._psf_options import with_options
from ._stitch_inputs import (
    background_or_auto,
    checked_choices,
    mosaic_target,
    named_tiles,
    parse_shares,
    parse_voxels,
    refuse_options,
    tile_voxel_size,
)

POSITIONS, REGISTRATION, BLEND = "Positions", "Registration", "Blending"


@with_options(in_blocks=BlockOptions)
def stitch(
    tiles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TILE...",
            help="Tiles (TIFF, OME-Zarr, ...): files; a quoted pattern, 'scan/*.tif'; "
            "or one with the place of each in the grid, 'scan/tile_{row}_{col}.tif', "
            "with --overlap. With --positions: those that are wanted; none: all.",
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The mosaic, an .ome.zarr.")
    ] = "mosaic.ome.zarr",
    positions: Annotated[
        Path | None,
        typer.Option(
            help="Table of positions by the stage: file, z, y, x and perhaps unit "
            "(voxels or um), or Fiji's TileConfiguration.txt. Default: the metadata of "
            "the files.",
            rich_help_panel=POSITIONS,
        ),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            help="For a grid: share of a tile that neighbours have in common, 0.1, or "
            "as z,y,x.",
            rich_help_panel=POSITIONS,
        ),
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option(
            help="µm as z,y,x, where the files do not say or are wrong.",
            rich_help_panel=POSITIONS,
        ),
    ] = None,
    time: Annotated[
        int | None,
        typer.Option(help="Time point, of tiles with several.", min=0),
    ] = None,
    channel: Annotated[
        int,
        typer.Option(
            help="Channel to register by; all are written.",
            rich_help_panel=REGISTRATION,
        ),
    ] = 0,
    search: Annotated[
        str | None,
        typer.Option(
            help="Voxels that two tiles may be away from their nominal offset, one "
            "number or z,y,x; default: a tenth of a tile.",
            rich_help_panel=REGISTRATION,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="translation; affine: tiles may also deform a little.",
            rich_help_panel=REGISTRATION,
        ),
    ] = "translation",
    stage_sigma: Annotated[
        float,
        typer.Option(
            help="Repeatability of the stage between neighbours, voxels.",
            rich_help_panel=REGISTRATION,
        ),
    ] = 5.0,
    weights: Annotated[
        str,
        typer.Option(
            help="Where tiles overlap: linear, cosine, content or nearest.",
            rich_help_panel=BLEND,
        ),
    ] = "linear",
    order: Annotated[
        str,
        typer.Option(help="Interpolation: linear or cubic.", rich_help_panel=BLEND),
    ] = "linear",
    equalise: Annotated[
        bool,
        typer.Option(
            help="Divide tiles by gains measured where they overlap.",
            rich_help_panel=BLEND,
        ),
    ] = True,
    flat_field: Annotated[
        bool,
        typer.Option(
            help="Correct the shading that all tiles share, too.",
            rich_help_panel=BLEND,
        ),
    ] = True,
    background: Annotated[
        str,
        typer.Option(
            help="Camera offset, which is left in place, or auto (the darkest parts).",
            rich_help_panel=BLEND,
        ),
    ] = "auto",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, uint16, uint8, ...; never wrapped or clipped. Default: "
            "float32; with --no-equalise that of the tiles."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="PNG of the layout, the links and how far they agree."),
    ] = None,
    overwrite: Overwrite = False,
    in_blocks: BlockOptions = BlockOptions(),
) -> None:
    """Join overlapping tiles to one volume of any size, block by block.

    Tiles whose files say where they are:

        jaxdecon stitch 'scan/*.ome.tif' -o brain.ome.zarr --figure layout.png

    A grid, by the names of the files:

        jaxdecon stitch 'scan/tile_{row}_{col}.tif' --overlap 0.1 -o brain.ome.zarr

    By a table, or what Fiji has written; first the plan:

        jaxdecon stitch --positions scan/TileConfiguration.txt -o brain.ome.zarr
          --dry-run

    Beside the mosaic, `brain.ome.zarr.tiles.json` says where every tile is.
    """
    from .. import io, report, volumes

    refuse_options(in_blocks)
    named = named_tiles(tiles or [], positions, overlap)
    target = mosaic_target(output, overwrite)
    if isinstance(named, list) and target.resolve() in [f.resolve() for f in named]:
        raise ValueError(f"{target} is a tile; it is not overwritten.")
    begins = in_blocks.restart or not has_journal(target)
    if figure is not None:
        report.check_plots()
        if begins:
            io.check_target(figure, overwrite=overwrite)
    choices = checked_choices(
        model=model, stage_sigma=stage_sigma, weights=weights, order=order
    )
    how = {
        "positions": positions,
        "overlap": parse_shares(overlap),
        "voxel_size": tile_voxel_size(voxel_size),
        "time": time,
        "channel": channel,
        "search": parse_voxels("--search", search),
        "equalise": equalise,
        "flat_field": flat_field,
        "background": background_or_auto(background),
        "dtype": dtype,
    }
    in_blocks.share_devices()
    start_jax()
    if begins:
        say("registering the tiles")

    def show(found: Any) -> None:
        _tell(found, target)
        if figure is not None:
            _draw(found, figure, overwrite=overwrite)

    work = functools.partial(
        volumes.stitch, named, target, **choices, **how, show_stitching=show
    )
    work_in_blocks(work, in_blocks, target, overwrite=overwrite)


def _tell(found: Any, target: Path) -> None:
    """Where the tiles are, in a line."""
    if found.placement is None:
        say(
            f"{len(found.tiles)} tiles, where an earlier run has placed them; "
            f"positions in {target}.tiles.json"
        )
    else:
        say(f"{found.placement.message}; positions in {target}.tiles.json")


def _draw(found: Any, figure: Path, *, overwrite: bool) -> None:
    """The layout, as a PNG."""
    from .. import io, report

    if found.placement is None:
        if figure.exists():
            return
        say(
            f"{figure} is not drawn: the links are those of an earlier run; --restart "
            f"makes them again."
        )
        return
    drawn = report.stitch_figure(
        found.placement,
        found.links,
        found.nominal,
        found.shapes,
        voxel_size=found.tiles[0].voxel_size,
    )
    with io.atomic_target(figure, overwrite=overwrite) as partial:
        drawn.savefig(partial, format="png")
    say(f"wrote {figure}")
