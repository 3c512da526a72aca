"""What the arguments of `jaxdecon stitch` mean: tiles, target, numbers."""

import contextlib
from pathlib import Path
from typing import Any

from ._blocks import BlockOptions
from ._blocks_shown import has_journal
from ._inputs import expand, parse_background
from ._optics import parse_voxel_size

ORDERS = ("linear", "cubic")


def refuse_options(options: BlockOptions) -> None:
    """An error for options of blocks that mean nothing here."""
    if options.halo != "auto":
        raise ValueError(
            "--halo: the blocks of a mosaic see nothing around them; leave it out."
        )
    if options.skip_below is not None:
        raise ValueError(
            "--skip-below: blocks that no tile reaches cost nothing anyway; leave it "
            "out."
        )


def named_tiles(tiles: list[str], positions: Path | None, overlap: str | None) -> Any:
    """The files, or the pattern that says where each is in the grid.

    Raises:
        ValueError: no tiles; what is said of the positions does not go together.
        FileNotFoundError: no such file.
    """
    if len(tiles) == 1 and "{" in tiles[0]:
        if overlap is None or positions is not None:
            raise ValueError(
                f"{tiles[0]} is a grid of tiles: give --overlap, and no --positions."
            )
        return tiles[0]
    if overlap is not None:
        raise ValueError(
            "--overlap is for a grid, one quoted pattern like "
            "'tile_{row}_{col}.tif'; give --positions, or leave both out where the "
            "files say where they are."
        )
    if not tiles and positions is None:
        raise ValueError("no tiles: give files, a pattern, or --positions FILE.")
    return expand(tiles)


def mosaic_target(output: str, overwrite: bool) -> Path:
    """Where to write, if that can be done."""
    from .. import io

    target = Path(output)
    if io.format_of(target, writing=True) != "OME-Zarr":
        raise ValueError(
            f"--output is {output}; a mosaic is written in blocks: end it in .ome.zarr."
        )
    if not has_journal(target):  # else it is looked at when that is read
        io.check_target(target, overwrite=overwrite)
    return target


def checked_choices(
    *, model: str, stage_sigma: float, weights: str, order: str
) -> dict[str, Any]:
    """Choices that `volumes.stitch` would refuse late, or by another name."""
    from .._core import _check as check
    from ..registration._links import MODELS
    from ..volumes._mosaic import WEIGHTS

    check.check_positive("--stage-sigma", stage_sigma)
    return {
        "model": check.check_choice("--model", model, MODELS),
        "stage_sigma": stage_sigma,
        "weights": check.check_choice("--weights", weights, WEIGHTS),
        "order": check.check_choice("--order", order, ORDERS),
    }


def tile_voxel_size(text: str | None) -> tuple[float, ...] | None:
    """µm along z, y, x; None if it is not given."""
    size = parse_voxel_size(text)
    if size is not None and len(size) != 3:
        raise ValueError(f"--voxel-size is {text!r}; z,y,x in µm is needed.")
    return size


def parse_shares(text: str | None) -> Any:
    """The overlap: a share of a tile, or one per axis."""
    if text is None:
        return None
    return _numbers(float, text, f"--overlap is {text!r}; 0.1, or shares as z,y,x.")


def parse_voxels(name: str, text: str | None) -> Any:
    """Whole voxels, for all axes or one per axis."""
    if text is None:
        return None
    return _numbers(int, text, f"{name} is {text!r}; voxels, one number or z,y,x.")


def _numbers(kind: type, text: str, refusal: str) -> Any:
    """One number, or three."""
    numbers: tuple[Any, ...] = ()
    with contextlib.suppress(ValueError):
        numbers = tuple(kind(part) for part in text.split(","))
    if len(numbers) not in (1, 3):
        raise ValueError(refusal)
    return numbers if len(numbers) == 3 else numbers[0]


def background_or_auto(text: str) -> float | str:
    """A number, or "auto"."""
    level = parse_background(text)
    return "auto" if level is None else level
