"""Options of `jaxdecon psf --from-beads`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from ._psf_fields import FIELD_SUFFIX, is_field
from ._psf_numbers import check_micrometres
from ._psf_options import option


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Beads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeadOptions:
    """What the command line says of beads."""

    from_beads: Annotated[
        bool, _option("FILE shows many beads: one PSF from all.", "--from-beads")
    ] = False
    grid: Annotated[
        str | None,
        _option(
            "Cells of the field as z,y,x: a PSF from the beads of each. The output is "
            f"a field ({FIELD_SUFFIX}) for `jaxdecon deconvolve --psf`."
        ),
    ] = None
    bead_diameter: Annotated[
        float | None, _option("Of the beads, µm: it is removed from the PSF.")
    ] = None
    bead_box: Annotated[
        str | None,
        _option(
            "Voxels as z,y,x in which a bead has to be alone (default: four times its "
            "FWHM)."
        ),
    ] = None
    bead_threshold: Annotated[
        float | None,
        _option("Least height of a bead as a share of the typical one (0.25)."),
    ] = None
    alike: Annotated[
        float | None,
        _option("Largest ratio of a bead's widths to those of the others (1.6)."),
    ] = None
    saturation: Annotated[
        str | None,
        _option("Intensity from which voxels are saturated, none, or auto (default)."),
    ] = None
    min_beads: Annotated[
        int | None, _option("Least number of good beads (1; with --grid 3 per cell).")
    ] = None
    fill_holes: Annotated[
        bool,
        _option("--grid: fill cells with too few beads from others.", "--fill-holes"),
    ] = False
    keep_curvature: Annotated[
        bool,
        _option(
            "--grid: let the PSFs contain the field curvature, so that deconvolution "
            "takes it out.",
            "--keep-curvature",
        ),
    ] = False
    table: Annotated[
        str | None,
        _option(
            "CSV of all spots with their status; with --grid another one beside it, "
            "NAME_nodes.csv, of the cells."
        ),
    ] = None

    def given(self) -> list[str]:
        """Options that the user has set."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return [option(n) for n, v in values.items() if not (v is None or v is False)]

    @property
    def cells(self) -> tuple[int, ...] | None:
        """Numbers of --grid."""
        return integers("--grid", self.grid)

    @property
    def tables(self) -> list[Path]:
        """Files to be written: of the spots, and of the cells."""
        if self.table is None:
            return []
        path = Path(self.table)
        nodes = path.with_name(f"{path.stem}_nodes{path.suffix}")
        return [path] if self.grid is None else [path, nodes]

    def finding(self) -> dict[str, Any]:
        """Arguments of `find_beads`."""
        given = {
            "size": integers("--bead-box", self.bead_box),
            "threshold": self.bead_threshold,
            "alike": self.alike,
        }
        chosen = {name: v for name, v in given.items() if v is not None}
        if self.saturation is not None:
            chosen["saturation"] = _saturation(self.saturation)
        return chosen


def check_bead_options(
    beads: BeadOptions, measured: str | None, output: str | None, others: list[str]
) -> None:
    """Refuse what does not go together, before anything is read.

    Args:
        beads: the options.
        measured: the file.
        output: where to write to.
        others: options given that are not for beads.
    """
    from .. import io

    if not beads.from_beads:
        if beads.given():
            raise ValueError(f"{', '.join(beads.given())} need --from-beads.")
        return
    if measured is None:
        raise ValueError("--from-beads needs a FILE with beads.")
    if others:
        raise ValueError(f"--from-beads does not use {', '.join(others)}.")
    if beads.grid is None and (beads.fill_holes or beads.keep_curvature):
        raise ValueError("--fill-holes and --keep-curvature are for --grid.")
    if beads.bead_diameter is not None:
        check_micrometres("--bead-diameter", beads.bead_diameter)
    beads.finding()
    if output is None:
        return
    if is_field(output) != (beads.cells is not None):
        raise ValueError(
            f"--output is {output}; with --grid a name that ends in {FIELD_SUFFIX} is "
            f"needed, and without it one of an image."
        )
    if not is_field(output):
        io.format_of(output, writing=True)


def integers(name: str, text: str | None) -> tuple[int, ...] | None:
    """Numbers of "1,3,3"; None stays None."""
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 3) or min(numbers) < 1:
        raise ValueError(f"{name} is {text!r}; positive integers as z,y,x are needed.")
    return numbers


def _saturation(text: str) -> float | str | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--saturation is {text!r}; a number, none or auto is needed."
        ) from None
