"""Options of what commands write."""

from typing import Annotated

import typer

OutputFiles = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Output file, or a folder for several inputs. The suffix decides: "
        ".ome.zarr, .ome.tif, .tif (ImageJ), .npy.",
    ),
]
OutputSuffix = Annotated[
    str, typer.Option(help="Suffix of outputs that are not named.")
]
OutputType = Annotated[
    str, typer.Option(help="float32, uint16 or uint8; never wrapped or clipped.")
]
OutputScale = Annotated[float, typer.Option(help="Factor on the output.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace outputs that exist.")
]


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the user has set an option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def suffix_of(context: typer.Context, suffix: str, *, blocks: bool) -> str:
    """Of outputs that are not named: blocks are written to .ome.zarr, if not told."""
    return ".ome.zarr" if blocks and not is_given(context, "suffix") else suffix
