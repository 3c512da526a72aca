"""Count what a run has done, and log it."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax

from .._core._memory import Peak
from ._journal import Journal
from ._operation import Operation
from ._outcome import Progress, Run
from ._plan import Plan
from ._task import Outcome


@dataclasses.dataclass
class Tally:
    """What has been done so far."""

    plan: Plan
    total: int
    operation: Operation
    journal: Journal | None
    blocks: int = 0
    voxels: int = 0
    bytes: int = 0
    began: float = dataclasses.field(default_factory=time.perf_counter)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    empty: list[str] = dataclasses.field(default_factory=list)
    split: list[str] = dataclasses.field(default_factory=list)
    slowest: tuple[str, float] = ("", 0.0)

    @property
    def seconds(self) -> float:
        """Since the first block was begun."""
        return time.perf_counter() - self.began

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        return Progress(
            blocks=self.blocks,
            total=self.total,
            voxels=self.voxels,
            bytes=self.bytes,
            seconds=self.seconds,
            failed=tuple(self.failed),
            slowest=self.slowest,
        )

    def add(self, outcome: Outcome) -> None:
        """Count a block, and log it."""
        block = self.plan.grid[outcome.number]
        if outcome.error is not None:
            why = " ".join(str(outcome.error).split()) or type(outcome.error).__name__
            self.failed[block.name] = why
            self._log("failed", block=block.name, error=why)
            return
        self.blocks += 1
        self.voxels += outcome.voxels
        self.bytes += self.operation.bytes_to_read(block)
        took = sum(outcome.seconds.values())
        self.slowest = max(self.slowest, (block.name, took), key=lambda pair: pair[1])
        if outcome.empty:
            self.empty.append(block.name)
        if outcome.parts > 1:
            self.split.append(block.name)
        seconds = {k: round(v, 4) for k, v in outcome.seconds.items()}
        self._log("done", block=block.name, parts=outcome.parts, seconds=seconds)

    def result(self, path: Path | None, busy: float | None, peak: Peak) -> Run:
        """What the run did."""
        skipped = [self.plan.grid[n].name for n in self.plan.skipped]
        used = None if peak.most is None else peak.most - (peak.before or 0)
        stats = jax.local_devices()[0].memory_stats() or {}
        return Run(
            path=path,
            plan=self.plan,
            blocks=self.blocks,
            empty=(*skipped, *self.empty),
            split=tuple(self.split),
            seconds=self.seconds,
            voxels=self.voxels,
            waited=None if busy is None else 1 - busy / max(self.seconds, 1e-9),
            peak_bytes=used,
            device_bytes=stats.get("peak_bytes_in_use"),
        )

    def _log(self, event: str, **facts: Any) -> None:
        if self.journal is not None:
            self.journal.log(event, **facts)
