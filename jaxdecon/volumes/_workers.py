"""Several processes of this machine, each with a device of its own."""

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any

import jax

from ._engine import Local
from ._task import THREADS, Outcome, Task, is_fatal

READY = "ready"


@dataclasses.dataclass
class Workers:
    """Spawned processes; each reads, computes and writes blocks on its own device.

    A worker that dies is replaced. The blocks that it had in hand are given out again,
    one at a time, and one that takes a worker with it twice has failed.

    Spawned processes import the program that starts them: keep what a script does
    below `if __name__ == "__main__":`. Functions must be importable there. On GPUs set
    `XLA_PYTHON_CLIENT_PREALLOCATE=false` before Python starts, or this process keeps
    most of the first one's memory to itself.

    Args:
        count: of processes; None: one per GPU.
    """

    count: int | None = None

    @property
    def workers(self) -> int:
        """How many there are."""
        return self.count or max(len(gpus()), 1)

    def map(self, task: Task, numbers: Iterable[int]) -> Iterator[Outcome]:
        """Outcomes of blocks, as they come.

        Raises:
            RuntimeError: a worker started this, not a program of yours.
            ChildProcessError: a worker could not be started.
        """
        if multiprocessing.parent_process() is not None:
            raise RuntimeError(
                "a worker process has run your program again: keep what it does below "
                '`if __name__ == "__main__":`.'
            )
        crew = Crew(pickle.dumps(task), collections.deque(numbers), self.workers)
        try:
            while crew.at_work:
                yield from crew.next()
        finally:
            crew.dismiss()


@dataclasses.dataclass
class Worker:
    """A process and what it has to do.

    Attributes:
        process: that works.
        link: to it.
        device: its number.
        has: numbers of blocks that were given to it and are not done.
        ready: whether it has begun.
        suspect: the block that it is given alone, since a worker died that had it.
    """

    process: Any
    link: Connection
    device: int
    has: list[int] = dataclasses.field(default_factory=list)
    ready: bool = False
    suspect: int | None = None

    @classmethod
    def start(cls, packed: bytes, device: int) -> "Worker":
        """A new process, which takes the device of that number."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        visible = visible_devices(device)
        process = context.Process(
            target=serve, args=(packed, theirs, visible), daemon=True
        )
        process.start()
        theirs.close()
        return cls(process=process, link=ours, device=device)

    def give(self, number: int) -> None:
        """A block to do."""
        self.has.append(number)
        with contextlib.suppress(OSError):  # it has died; `take` will find out
            self.link.send(number)

    def take(self) -> Any:
        """An outcome, or READY; None if the process has died."""
        try:
            found = self.link.recv()
        except (EOFError, OSError):
            return None
        if isinstance(found, Outcome):
            self.has.remove(found.number)
        return found

    def dismiss(self) -> None:
        """Let it finish what it is writing, and go."""
        self.link.close()
        self.process.join(timeout=60)
        if self.process.is_alive():
            self.process.terminate()


class Crew:
    """Workers, and the blocks that are left for them.

    Args:
        packed: the task.
        todo: numbers of blocks.
        count: of workers.
    """

    def __init__(self, packed: bytes, todo: collections.deque[int], count: int):
        self._packed, self._todo = packed, todo
        self._suspects: collections.deque[int] = collections.deque()
        self._workers = [
            Worker.start(packed, device) for device in range(min(count, len(todo)))
        ]

    @property
    def at_work(self) -> bool:
        """Whether anything is left to do or to wait for."""
        busy = any(worker.has for worker in self._workers)
        return bool(busy or self._todo or self._suspects)

    def next(self) -> list[Outcome]:
        """Give out blocks, and wait until something comes back."""
        for worker in self._workers:
            self._supply(worker)
        links = {worker.link: worker for worker in self._workers}
        found = []
        for link in wait(list(links)):
            worker = links[link]  # pyright: ignore[reportArgumentType]
            outcome = worker.take()
            if isinstance(outcome, Outcome):
                if outcome.error is not None and is_fatal(outcome.error):
                    raise outcome.error
                worker.suspect = None
                found.append(outcome)
            elif outcome is None:
                found += self._replace(worker)
            else:
                worker.ready = True
        return found

    def dismiss(self) -> None:
        """Let all finish what they are writing."""
        for worker in self._workers:
            worker.dismiss()

    def _supply(self, worker: Worker) -> None:
        if worker.suspect is not None:
            return
        if self._suspects:
            if not worker.has:
                worker.suspect = self._suspects.popleft()
                worker.give(worker.suspect)
            return
        while self._todo and len(worker.has) < THREADS:
            worker.give(self._todo.popleft())

    def _replace(self, worker: Worker) -> list[Outcome]:
        """Start another for a worker that died; blocks that have failed for good."""
        worker.process.join()
        code = worker.process.exitcode
        if not worker.ready:
            raise ChildProcessError(
                f"a worker process could not be started (exit code {code}); its own "
                f"messages say why."
            )
        self._workers.remove(worker)
        self._workers.append(Worker.start(self._packed, worker.device))
        if worker.suspect is None:
            self._suspects.extend(worker.has)
            return []
        error = MemoryError(
            f"two worker processes died of it (the last with exit code {code}): was "
            f"there too little memory?"
        )
        return [Outcome(number=worker.suspect, error=error)]


def serve(packed: bytes, link: Connection, visible: str | None) -> None:
    """Do blocks as their numbers come, until nobody is there; runs in a worker."""
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    task, local, sending = pickle.loads(packed), Local(), threading.Lock()
    link.send(READY)

    def do(number: int) -> None:
        outcome = portable(local.do(task, number))
        with sending, contextlib.suppress(OSError):  # nobody is there any more
            link.send(outcome)

    with ThreadPoolExecutor(local.threads) as pool:
        while True:
            try:
                pool.submit(do, link.recv())
            except (EOFError, OSError):
                return


def portable(outcome: Outcome) -> Outcome:
    """An outcome whose error can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(outcome))
    except Exception:
        error = RuntimeError(f"{type(outcome.error).__name__}: {outcome.error}")
        return dataclasses.replace(outcome, error=error)
    return outcome


def visible_devices(number: int) -> str | None:
    """The GPU for a worker, among those that this process may use; None without."""
    count = len(gpus())
    if not count:
        return None
    known = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = known.split(",") if known else [str(i) for i in range(count)]
    return names[number % len(names)]


def gpus() -> list[Any]:
    """The GPUs of this machine that JAX uses."""
    return [device for device in jax.local_devices() if device.platform == "gpu"]
