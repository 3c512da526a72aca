"""Work in blocks: the options of every command that can, and the run."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ._blocks_shown import Shown, say_plan, summary
from ._console import errors, say

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Larger than memory")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """What the command line says of the work in blocks."""

    blocks: Annotated[
        bool,
        _option(
            "Work in blocks, to OME-Zarr, even where a volume fits into memory; any "
            "other option here but --memory asks for it too. Where a volume does not "
            "fit, blocks are used anyway.",
            "--blocks",
        ),
    ] = False
    block: Annotated[
        str | None,
        _option(
            "Voxels of a block without halo, as z,y,x or one number; default: as many "
            "as memory allows."
        ),
    ] = None
    halo: Annotated[
        str,
        _option(
            "Voxels that a block sees around it: auto (by PSF and iterations), exact, "
            "or z,y,x or one number."
        ),
    ] = "auto"
    memory: Annotated[
        float | None,
        _option("GB of the device that may be used; default: 60 % of what is free."),
    ] = None
    skip_below: Annotated[
        float | None,
        _option("Write blocks as 0 whose image nowhere reaches this value."),
    ] = None
    dry_run: Annotated[
        bool, _option("Print the plan, with the time it will take.", "--dry-run")
    ] = False
    restart: Annotated[
        bool,
        _option(
            "Begin anew, instead of where an earlier run was stopped.", "--restart"
        ),
    ] = False
    workers: Annotated[
        int | None,
        _option("Processes, each on a device of its own; default: one per GPU."),
    ] = None
    scheduler: Annotated[
        str | None, _option("Address of a Dask cluster: tcp://host:8786.")
    ] = None
    checksums: Annotated[
        bool,
        _option("Write SHA256SUMS of the result beside its journal.", "--checksums"),
    ] = False

    def __post_init__(self) -> None:
        from .._core._check import check_count, check_positive

        if self.memory is not None:
            check_positive("--memory", self.memory)
        if self.workers is not None:
            check_count("--workers", self.workers, 1)
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("give --workers or --scheduler, not both.")
        self.arguments()  # refuses what is no number

    @property
    def asked(self) -> bool:
        """Whether the user wants blocks, whatever the memory."""
        return dataclasses.replace(self, memory=None) != BlockOptions()

    @property
    def memory_bytes(self) -> float | None:
        """Bytes of the device that may be used."""
        return None if self.memory is None else 1e9 * self.memory

    def share_devices(self) -> None:
        """Let this process not keep most of a worker's device; before JAX starts."""
        if self.workers is not None:
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the functions in `jaxdecon.volumes`."""
        given: dict[str, Any] = {
            "block": self._block,
            "memory": self.memory_bytes,
            "resume": not self.restart,
            "dry_run": self.dry_run,
            "checksums": self.checksums,
        }
        if self.halo != "auto":  # not every operation has one
            given["halo"] = self._halo
        if self.skip_below is not None:
            given["skip_below"] = self.skip_below
        return given

    @contextlib.contextmanager
    def engine(self) -> Iterator[Any]:
        """Who does the blocks; let go of at the end."""
        from .. import volumes

        if self.scheduler is not None:
            dask = volumes.Dask.connected(self.scheduler)
            with contextlib.closing(dask.client):
                yield dask
        else:
            yield None if self.workers is None else volumes.Workers(self.workers)

    @property
    def _block(self) -> Any:
        return "auto" if self.block is None else voxels("--block", self.block)

    @property
    def _halo(self) -> Any:
        named = self.halo in ("auto", "exact")
        return self.halo if named else voxels("--halo", self.halo)


def voxels(name: str, text: str) -> int | tuple[int, ...]:
    """Whole numbers of "64,256,256", or one."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"{name} is {text!r}; voxels as z,y,x or one number are needed."
        ) from None
    return sizes if "," in text else sizes[0]


def work_in_blocks(
    work: Callable[..., Any], options: BlockOptions, target: Path, *, overwrite: bool
) -> None:
    """Print the plan, do the work with a progress bar, and say how it went.

    Args:
        work: one of the functions in `jaxdecon.volumes`, with all arguments but those
            that say how to run.
        options: which say that.
        target: of the work.
        overwrite: whether the target may be replaced.

    Raises:
        typer.Exit: interrupted by the user, who is told how to go on.
    """
    shown = Shown(target)
    with options.engine() as engine:
        try:
            done = work(
                **options.arguments(),
                engine=engine,
                overwrite=overwrite,
                show_plan=shown.plan,
                progress=shown.progress,
            )
        except KeyboardInterrupt:
            shown.stop()
            errors.print(f"interrupted: {shown.state}", markup=False)
            raise typer.Exit(INTERRUPTED) from None
        finally:
            shown.stop()
    if options.dry_run:
        say_plan(done)
    else:
        say(summary(done, target, local=engine is None))
