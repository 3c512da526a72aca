"""What is seen of a run in blocks: the plan, a bar, how it went, its journal."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ._console import console, say

MANIFEST = "manifest.json"


def say_plan(plan: Any) -> None:
    """The plan, a row per line."""
    for line in str(plan).splitlines():
        say(line)


class Shown:
    """What is seen of a run while it goes on.

    Attributes:
        target: of the run.
        done: blocks, those of earlier runs too.
        total: blocks that have to be done; 0 before the first was begun.
    """

    def __init__(self, target: Path):
        self.target, self.done, self.total = target, 0, 0
        self._bar, self._before = _Bar(), 0
        self._task = self._bar.add_task("blocks", speed="", left="?")

    def plan(self, plan: Any) -> None:
        """Print the plan, and begin to count blocks."""
        say_plan(plan)
        self.done = self._before = plan.done
        self.total = plan.done + plan.todo
        self._bar.update(self._task, completed=self.done, total=self.total)
        self._bar.start()

    def progress(self, now: Any) -> None:
        """Count a block."""
        self.done = self._before + now.blocks
        failed, (name, seconds) = len(now.failed), now.slowest
        self._bar.note = f"slowest block {name}, {seconds:.1f} s; {failed} failed"
        self._bar.update(
            self._task,
            completed=self.done,
            speed=f"{now.voxels / now.seconds / 1e6:.2f} Mvoxel/s, "
            f"{now.bytes / now.seconds / 1e6:.1f} MB/s read",
            left=datetime.timedelta(seconds=round(now.left)),
        )

    def stop(self) -> None:
        """End the bar, if there is one."""
        if self._bar.live.is_started:
            self._bar.stop()

    @property
    def state(self) -> str:
        """What is done, and how to go on."""
        if not self.total:
            return "no block was begun."
        return (
            f"at least {self.done} of {self.total} blocks are done; the same command "
            f"goes on from there (journal {journal_of(self.target)})."
        )


class _Bar(Progress):
    """A bar with a line below it."""

    note = ""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            console=console,
        )

    def get_renderables(self) -> Iterator[Any]:
        """The bar, and the line."""
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note)


def journal_of(target: Path) -> Path:
    """The folder in which a run in blocks notes what is done."""
    return target.with_name(f"{target.name}.journal")


def has_journal(target: Path) -> bool:
    """Whether a run in blocks has begun to write a target, or has written it."""
    return (journal_of(target) / MANIFEST).exists()


def manifest_of(target: Path) -> dict[str, Any]:
    """What a run in blocks was to do, and what its blocks share."""
    return json.loads((journal_of(target) / MANIFEST).read_text())


def summary(run: Any, target: Path, *, local: bool) -> str:
    """How a run went, in one line."""
    if run.plan.todo == 0 and run.blocks == 0 and run.plan.done:
        return f"{target}: all {run.plan.done} blocks were done before"
    rate = run.voxels / max(run.seconds, 1e-9) / 1e6
    parts = [f"{run.seconds:.1f} s", f"{rate:.2f} Mvoxel/s in all"]
    if run.waited is not None:
        parts.append(f"{run.waited:.0%} of the time waiting")
    if local:  # that of other processes is not known
        parts += _memory(run)
    parts += [f"{len(run.empty)} blocks empty", f"{len(run.split)} split"]
    return f"{target}: {', '.join(parts)}; journal {journal_of(target)}"


def _memory(run: Any) -> Iterator[str]:
    """Projected and used, of device and host, or of both where they are one."""
    plan, used = run.plan, run.peak_bytes
    device, host = plan.device_bytes, plan.host_bytes
    if run.device_bytes is None:
        pairs = [("memory", device + host, used)]
    else:
        pairs = [("device", device, run.device_bytes), ("host", host, used)]
    for name, projected, peak in pairs:
        if peak is not None:
            yield f"{name} {_mib(peak)} of {_mib(projected)} projected"


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
