"""Work through a plan: journal, engine, progress, and an end that is whole."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from .. import __version__
from .._core._memory import Peak, watch_memory
from ..io import check_target
from ._blocks import BlockGrid
from ._checksums import write_checksums
from ._dark import dark_blocks
from ._engine import Engine
from ._engines import as_engine, workers_of
from ._journal import Journal, RunRefused, check_same
from ._operation import Operation
from ._outcome import BlocksFailed, Progress, Run
from ._plan import Budget, Plan, choose_grid, needs, to_json
from ._source import Source, files_digest
from ._target import OmeZarrTarget, Target
from ._task import Outcome, Task
from ._trial import with_estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to run, whatever is run; see `volumes.deconvolve`."""

    block: Any = "auto"
    engine: Any = None
    memory: float | None = None
    resume: bool = True
    overwrite: bool = False
    dry_run: bool = False
    checksums: bool = False
    skip_below: float | None = None
    show_plan: Callable[[Plan], None] | None = None
    progress: Callable[[Progress], None] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """An operation, where its result goes, and all that it depends on.

    Attributes:
        operation: what to do.
        target: where to write; its shards are chosen with the blocks.
        path: of the result, beside which the journal is kept; None: no journal.
        sources: that are read.
        request: what was asked for, all that the result depends on, as JSON.
        prepare: measures on some blocks what all have to share.
    """

    operation: Operation
    target: Target
    path: Path | None
    sources: tuple[Source, ...]
    request: Mapping[str, Any]
    prepare: Callable[[Any, BlockGrid], Any] = lambda operation, grid: operation

    def wanted(self, options: Options) -> dict[str, Any]:
        """What has to stay the same when the run is taken up again."""
        return {
            "jaxdecon": __version__,
            "jax": jax.__version__,
            "operation": self.operation.name,
            "options": dict(self.request),
            "block": options.block,
            "skip_below": options.skip_below,
            "sources": {str(i): s.fingerprint() for i, s in enumerate(self.sources)},
            "target": self.target.describe(),
        }


def run(job: Job, options: Options) -> Run | Plan:
    """Do a job, or what is left of it; with `dry_run` the plan alone.

    Raises:
        BlocksFailed: some blocks could not be done.
        RunRefused: what is there belongs to another run, or is being written to.
        FileExistsError: the result is there already.
    """
    engine = as_engine(options.engine)
    try:
        return _run(job, options, engine)
    finally:
        if isinstance(options.engine, str):  # the connection is ours
            engine.client.close()  # pyright: ignore[reportAttributeAccessIssue]


def _run(job: Job, options: Options, engine: Engine) -> Run | Plan:
    journal = None if job.path is None else Journal.beside(job.path)
    if options.dry_run:
        plan, _ = _new_plan(job, options, engine)
        return with_estimate(plan, job.operation)
    if journal is None:
        plan, target = _new_plan(job, options, engine)
        operation = job.prepare(job.operation, plan.grid)
        ready = dataclasses.replace(job, operation=operation, target=target)
        return _work(ready, plan, None, engine, options)
    wanted = job.wanted(options)
    check_result(job, journal, options)
    with journal.locked():
        earlier = _earlier(journal, job, wanted, options)
        if earlier is not None and earlier.get("finished"):
            _check_untouched(job, earlier, journal)
            plan, _ = _old_plan(job, earlier, journal, options)
            return Run(path=job.path, plan=plan, blocks=0)
        if earlier is None:
            job, plan = _begin(job, journal, wanted, options, engine)
        else:
            plan, target = _old_plan(job, earlier, journal, options)
            operation = job.operation.with_shared(earlier["shared"])
            job = dataclasses.replace(job, operation=operation, target=target)
        return _work(job, plan, journal, engine, options)


def check_result(job: Job, journal: Journal, options: Options) -> None:
    """Refuse a result that is there already and was not made by this journal's run."""
    if job.path is None or not isinstance(job.target, OmeZarrTarget):
        return
    manifest = journal.manifest()
    ours = manifest is not None and manifest.get("finished")
    if not (ours and options.resume and not options.overwrite):
        check_target(job.path, overwrite=options.overwrite)


def _earlier(journal: Journal, job: Job, wanted, options: Options) -> Any:
    """The manifest of the run to take up; None to begin anew."""
    if job.path is None:
        return None
    earlier = journal.to_take_up(
        job.path, resume=options.resume, overwrite=options.overwrite
    )
    if earlier is None:
        job.target.discard()
        return None
    check_same(earlier["request"], wanted, journal.folder)
    return earlier


def _begin(job: Job, journal: Journal, wanted, options: Options, engine: Engine):
    """Plan a run, measure what its blocks share, and write both down."""
    journal.discard()
    plan, target = _new_plan(job, options, engine)
    operation = job.prepare(job.operation, plan.grid)
    target.create()
    journal.write_manifest(
        {"request": wanted, "plan": to_json(plan), "shared": operation.shared()}
    )
    return dataclasses.replace(job, operation=operation, target=target), plan


def _new_plan(job: Job, options: Options, engine: Engine) -> tuple[Plan, Target]:
    operation, target = job.operation, job.target
    budget = Budget.measured(options.memory)
    grid, shard = choose_grid(
        operation, target.shard, options.block, budget, workers=workers_of(engine)
    )
    if isinstance(target, OmeZarrTarget):
        target = dataclasses.replace(target, shard=shard)
    skipped = dark_blocks(operation, grid, options.skip_below)
    device, host = needs(operation, grid)
    measured = operation.measured_memory(grid[0])
    plan = Plan(
        operation=operation.name,
        grid=grid,
        shard=shard,
        skipped=skipped,
        device_bytes=device if measured is None else measured,
        host_bytes=host,
        device_budget=budget.device,
        host_budget=budget.host,
        bytes_to_read=_bytes_to_read(operation, grid, skipped),
        bytes_to_write=target.bytes(),
    )
    return plan, target


def _old_plan(job: Job, earlier, journal: Journal, options: Options):
    """The plan of the run that is taken up again."""
    known, operation, target = earlier["plan"], job.operation, job.target
    grid = BlockGrid(
        operation.leading, operation.shape, tuple(known["core"]), tuple(known["halo"])
    )
    shard, skipped = tuple(known["shard"]), tuple(known["skipped"])
    if isinstance(target, OmeZarrTarget):
        target = dataclasses.replace(target, shard=shard)
    budget = Budget.measured(options.memory)
    plan = Plan(
        operation=operation.name,
        grid=grid,
        shard=shard,
        skipped=skipped,
        done=len(journal.done() - set(skipped)),
        device_bytes=known["device_bytes"],
        host_bytes=known["host_bytes"],
        device_budget=budget.device,
        host_budget=budget.host,
        bytes_to_read=_bytes_to_read(operation, grid, skipped),
        bytes_to_write=target.bytes(),
    )
    return plan, target


def _bytes_to_read(operation: Operation, grid: BlockGrid, skipped) -> int:
    return (len(grid) - len(skipped)) * operation.bytes_to_read(grid[0])


def _work(
    job: Job, plan: Plan, journal: Journal | None, engine: Engine, options: Options
) -> Run:
    """Do all blocks that are left, then finish the target."""
    if options.show_plan is not None:
        options.show_plan(with_estimate(plan, job.operation))
    done = set() if journal is None else journal.done()
    skipped = set(plan.skipped)
    todo = [n for n in range(len(plan.grid)) if n not in done and n not in skipped]
    began = getattr(engine, "busy", None)
    task = Task(
        operation=job.operation, grid=plan.grid, target=job.target, journal=journal
    )
    tally = Tally(plan=plan, total=len(todo), job=job, journal=journal)
    with watch_memory() as peak, _logged(journal, plan, tally):
        outcomes = _outcomes(engine, task, todo)
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                tally.add(outcome)
                if options.progress is not None:
                    options.progress(tally.progress)
        if tally.failed:
            folder = None if journal is None else journal.folder
            raise BlocksFailed(tally.failed, len(plan.grid), folder)
        _finish(job, journal, options)
    busy = None if began is None else engine.busy - began  # pyright: ignore[reportAttributeAccessIssue]
    return tally.result(job.path, busy, peak)


def _outcomes(
    engine: Engine, task: Task, todo: Sequence[int]
) -> Generator[Outcome, None, None]:
    yield from engine.map(task, todo)


def _finish(job: Job, journal: Journal | None, options: Options) -> None:
    """Complete the target, put it into its place, and say so in the manifest."""
    moved = job.path is not None and journal is not None and not journal.store.exists()
    if not (isinstance(job.target, OmeZarrTarget) and moved):
        job.target.finish()
    if journal is None:
        return
    if isinstance(job.target, OmeZarrTarget) and job.path is not None and not moved:
        job.target.move_to(job.path)
    if options.checksums and job.path is not None:
        write_checksums(job.path, journal.folder / "SHA256SUMS")
    files = None if job.path is None else files_digest(job.path)
    journal.write_manifest(
        (journal.manifest() or {}) | {"finished": True, "files": files}
    )


def _check_untouched(job: Job, earlier: Any, journal: Journal) -> None:
    """Refuse to call a result finished that is not what the run has left."""
    if job.path is not None and files_digest(job.path) != earlier.get("files"):
        raise RunRefused(
            f"{job.path} has been changed since the run of {journal.folder} finished: "
            f"begin anew (`resume=False` with `overwrite=True`)."
        )


@contextlib.contextmanager
def _logged(journal: Journal | None, plan: Plan, tally: "Tally") -> Iterator[None]:
    """Log how a run begins and ends, in whatever way it ends."""
    if journal is None:
        yield
        return
    journal.log("begin", plan=to_json(plan), blocks=tally.total)
    try:
        yield
    except BaseException as error:
        journal.log("stopped", error=f"{type(error).__name__}: {error}")
        raise
    journal.log("end", blocks=tally.blocks, seconds=round(tally.seconds, 3))


@dataclasses.dataclass
class Tally:
    """What has been done so far."""

    plan: Plan
    total: int
    job: Job
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
        self.bytes += self.job.operation.bytes_to_read(block)
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
