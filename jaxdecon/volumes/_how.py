"""How a run is done, whatever it does."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from ._outcome import Progress
from ._plan import Plan

TRUST = "trust"
"""Value of `resume` with which files of the source may have changed."""


class How(TypedDict, total=False):
    """Keywords that all functions of `volumes` take.

    Attributes:
        block: shape of a block without halo, whole shards of the target; "auto": as
            large as memory allows, up to 2^27 voxels with halo.
        engine: None: this process, on its first device; `Workers`: several processes,
            one per device; a `dask.distributed.Client`, or the address of a scheduler.
        memory: bytes of the device that may be used; None: 60 % of what is free.
        resume: go on where an earlier call was stopped; False: begin anew; "trust": go
            on even where files of the source have changed (a damaged one was mended).
        overwrite: replace a target that is there, once the new one is complete.
        dry_run: return the plan alone; `print` shows it. What the plan depends on
            (poses, places of tiles) is measured.
        checksums: write SHA256SUMS of all files of the result into the journal.
        show_plan: called with the plan before the first block.
        progress: called with a `Progress` after every block.
    """

    block: str | int | Sequence[int]
    engine: Any
    memory: float | None
    resume: bool | str
    overwrite: bool
    dry_run: bool
    checksums: bool
    show_plan: Callable[[Plan], None] | None
    progress: Callable[[Progress], None] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """`How`, with what is not given filled in."""

    block: Any = "auto"
    engine: Any = None
    memory: float | None = None
    resume: bool | str = True
    overwrite: bool = False
    dry_run: bool = False
    checksums: bool = False
    show_plan: Callable[[Plan], None] | None = None
    progress: Callable[[Progress], None] | None = None

    def __post_init__(self) -> None:
        if self.resume not in (True, False, TRUST):
            raise ValueError(
                f"`resume` is {self.resume!r}; True, False or {TRUST!r} is needed."
            )
