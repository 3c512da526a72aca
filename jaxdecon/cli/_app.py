"""The commands, and how errors leave the program."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from .._version import __version__
from ._console import errors, plain_warnings, say
from ._deconvolve import deconvolve
from ._demo import demo
from ._fuse import fuse
from ._info import info
from ._predict import predict
from ._psf import psf
from ._register import register
from ._selftest import selftest
from ._stitch import stitch
from ._train import train
from ._tune import tune

app = typer.Typer(
    help="Deconvolve, register, fuse, stitch microscopy volumes, on CPU or GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    deconvolve,
    predict,
    register,
    fuse,
    stitch,
    psf,
    tune,
    train,
    demo,
    info,
    selftest,
)
for command in COMMANDS:
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"jaxdecon {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it."
        ),
    ] = False,
) -> None:
    """Deconvolve, register, fuse, stitch microscopy volumes, on CPU or GPU."""


BAD_INPUT = (ValueError, TypeError, FileNotFoundError, FileExistsError, ImportError)


def run(arguments: Sequence[str]) -> int:
    """Run a command; errors become one line and an exit code (see `jaxdecon.cli`)."""
    with plain_warnings():
        try:
            app(list(arguments), standalone_mode=True)
        except SystemExit as end:
            return int(end.code or 0)
        except BAD_INPUT as error:
            return _fail(error, 2)
        except Exception as error:
            if os.environ.get("JAXDECON_DEBUG"):
                raise
            return _fail(error, 1)
    return 0


def _fail(error: Exception, code: int) -> int:
    text = " ".join(str(error).split()) or type(error).__name__
    ours = type(error).__module__.startswith("jaxdecon.")
    known = (*BAD_INPUT, OSError, MemoryError, FloatingPointError)
    if not (ours or isinstance(error, known)):
        text = f"{type(error).__name__}: {text} (JAXDECON_DEBUG=1 shows where)"
    errors.print(f"error: {text}", markup=False)
    return code
