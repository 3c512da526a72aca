"""How a run goes, and how it went."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._plan import Plan


class BlocksFailed(RuntimeError):
    """Some blocks could not be done; all others are, and the run can be taken up again.

    Attributes:
        failed: names of the blocks, and why.
    """

    def __init__(self, failed: Mapping[str, str], total: int, journal: Path | None):
        self.failed = dict(failed)
        name, why = next(iter(failed.items()))
        again = "" if journal is None else f" Run again to do the rest ({journal})."
        super().__init__(
            f"{len(failed)} of {total} blocks failed, the first is {name}: {why}{again}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        blocks: finished, of those that were left to do.
        total: that were left to do.
        voxels: of the result, written.
        bytes: read from the sources.
        seconds: since the first block was begun.
        failed: names of blocks that could not be done.
        slowest: name of the block that took longest, and its seconds.
    """

    blocks: int
    total: int
    voxels: int
    bytes: int
    seconds: float
    failed: tuple[str, ...] = ()
    slowest: tuple[str, float] = ("", 0.0)

    @property
    def left(self) -> float:
        """Seconds that the rest will take, at this pace."""
        return self.seconds / max(self.blocks, 1) * (self.total - self.blocks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a run did.

    Attributes:
        path: of the result; None for an array in memory.
        plan: what was to be done.
        blocks: done now.
        empty: names of blocks that have nothing but background.
        split: names of blocks for which memory ran out, and that were done in parts.
        seconds: in all.
        voxels: of the result, written now.
        waited: share of the time in which nothing was computed; None where the engine
            does not say.
        peak_bytes: of this process, above what it held before; None if not known.
        device_bytes: most on the device; None where it does not say.
        stitching: where the tiles were found to be, of `stitch`; None else.
    """

    path: Path | None
    plan: Plan
    blocks: int
    empty: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    seconds: float = 0.0
    voxels: int = 0
    waited: float | None = None
    peak_bytes: int | None = None
    device_bytes: int | None = None
    stitching: Any = None
