"""Work through a plan: journal, engine, progress, and an end that is whole."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from .. import __version__
from .._core._memory import watch_memory
from ..io import check_target
from ._blocks import BlockGrid
from ._checksums import write_checksums
from ._dark import dark_blocks
from ._engine import Engine, Local
from ._engines import as_engine, workers_of
from ._how import TRUST, Options
from ._journal import Journal, RunRefused, check_same
from ._operation import Operation
from ._outcome import BlocksFailed, Run
from ._plan import Budget, Plan, measured_grid, needs, to_json
from ._source import Source, files_digest
from ._tally import Tally
from ._target import OmeZarrTarget, Target
from ._task import Outcome, Task
from ._trial import with_estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """An operation, where its result goes, and all that it depends on.

    Attributes:
        operation: what to do.
        target: where to write; its shards are chosen with the blocks.
        path: of the result, beside which the journal is kept; None: no journal.
        sources: that are read.
        request: what was asked for, all that the result depends on, as JSON.
        skip_below: blocks that nowhere reach it are not done; None: all are.
        prepare: measures on some blocks what all have to share.
    """

    operation: Operation
    target: Target
    path: Path | None
    sources: tuple[Source, ...]
    request: Mapping[str, Any]
    skip_below: float | None = None
    prepare: Callable[[Any, BlockGrid], Any] = lambda operation, grid: operation

    def wanted(self, options: Options) -> dict[str, Any]:
        """What has to stay the same when the run is taken up again."""
        return {
            "jaxdecon": __version__,
            "jax": jax.__version__,
            "operation": self.operation.name,
            "options": dict(self.request),
            "block": options.block,
            "skip_below": self.skip_below,
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
    check_reachable(job, engine)
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
        if earlier is not None:
            journal = dataclasses.replace(journal, run=earlier["run"])
        if earlier is not None and earlier.get("finished"):
            _check_untouched(job, earlier, journal)
            plan, _ = _old_plan(job, earlier, journal, options)
            return Run(path=job.path, plan=plan, blocks=0)
        if earlier is None:
            job, plan, journal = _begin(job, journal, wanted, options, engine)
        else:
            plan, target = _old_plan(job, earlier, journal, options)
            operation = job.operation.with_shared(earlier["shared"])
            job = dataclasses.replace(job, operation=operation, target=target)
        return _work(job, plan, journal, engine, options)


def check_reachable(job: Job, engine: Engine) -> None:
    """Refuse arrays in memory where other processes do the work.

    Raises:
        ValueError: a target that they would have a copy of.
    """
    if job.path is None and not isinstance(engine, Local):
        raise ValueError(
            "`target` is an array in memory, of which other processes would fill "
            "copies: give a path, or `engine=volumes.Local()`."
        )


def check_result(job: Job, journal: Journal, options: Options) -> None:
    """Refuse a result that is there already and was not made by this journal's run."""
    if job.path is None or not isinstance(job.target, OmeZarrTarget):
        return
    manifest = journal.manifest()
    ours = False
    if manifest is not None:
        # Killed between giving the result its name and saying so, it is there as well.
        store = dataclasses.replace(journal, run=manifest["run"]).store
        ours = manifest.get("finished") or not store.exists()
    if not (ours and options.resume and not options.overwrite):
        check_target(job.path, overwrite=options.overwrite)


def _earlier(journal: Journal, job: Job, wanted, options: Options) -> Any:
    """The manifest of the run to take up; None to begin anew."""
    if job.path is None:
        return None
    earlier = journal.to_take_up(
        job.path, resume=bool(options.resume), overwrite=options.overwrite
    )
    if earlier is None:
        return None
    if earlier.get("mixed"):
        raise RunRefused(
            f"the source of {journal.folder} was changed while it was read, and what "
            f"is done is a mixture: begin anew (`resume=False`, on the command line "
            f"`--restart`)."
        )
    if options.resume == TRUST:
        earlier["request"]["sources"] = wanted["sources"]
        journal.write_manifest(earlier)
    check_same(earlier["request"], wanted, journal.folder)
    return earlier


def _begin(job: Job, journal: Journal, wanted, options: Options, engine: Engine):
    """Plan a run, measure what its blocks share, and write both down."""
    plan, target = _new_plan(job, options, engine)
    operation = job.prepare(job.operation, plan.grid)
    journal = journal.start()
    target = _stored(target, journal)
    target.create()
    journal.write_manifest(
        {
            "run": journal.run,
            "request": wanted,
            "plan": to_json(plan),
            "shared": operation.shared(),
        }
    )
    job = dataclasses.replace(job, operation=operation, target=target)
    return job, plan, journal


def _stored(target: Target, journal: Journal) -> Target:
    """The target where it is while it is not finished."""
    if isinstance(target, OmeZarrTarget):
        return dataclasses.replace(target, store=journal.store)
    return target


def _new_plan(job: Job, options: Options, engine: Engine) -> tuple[Plan, Target]:
    operation, target = job.operation, job.target
    budget = Budget.measured(options.memory)
    grid, shard, measured = measured_grid(
        operation, target.shard, options.block, budget, workers=workers_of(engine)
    )
    if isinstance(target, OmeZarrTarget):
        target = dataclasses.replace(target, shard=shard)
    skipped: tuple[int, ...] = ()
    if isinstance(target, OmeZarrTarget):  # an array has to be written all over
        skipped = dark_blocks(operation, grid, job.skip_below)
    device, host = needs(operation, grid)
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
    target = _stored(target, journal)
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
    tally = Tally(plan=plan, total=len(todo), operation=job.operation, journal=journal)
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
        _check_complete(job, plan, journal)
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


def _check_complete(job: Job, plan: Plan, journal: Journal | None) -> None:
    """Refuse to finish what is not whole, or was made of a source that has changed."""
    if journal is None:
        return
    missing = len(plan.grid) - len(journal.done() | set(plan.skipped))
    if missing:
        raise RuntimeError(f"{missing} blocks have no marker in {journal.folder}.")
    wanted = (journal.manifest() or {})["request"]["sources"]
    now = {str(i): source.fingerprint() for i, source in enumerate(job.sources)}
    try:
        check_same(wanted, now, journal.folder)
    except RunRefused as error:
        journal.write_manifest((journal.manifest() or {}) | {"mixed": True})
        raise RuntimeError(
            f"the source was changed while it was read, and the result is a mixture: "
            f"begin anew. {error}"
        ) from error


def _check_untouched(job: Job, earlier: Any, journal: Journal) -> None:
    """Refuse to call a result finished that is not what the run has left."""
    if job.path is not None and files_digest(job.path) != earlier.get("files"):
        raise RunRefused(
            f"{job.path} has been changed since the run of {journal.folder} finished: "
            f"begin anew (`resume=False` with `overwrite=True`)."
        )


@contextlib.contextmanager
def _logged(journal: Journal | None, plan: Plan, tally: Tally) -> Iterator[None]:
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
