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

from ._engine import THREADS, Local
from ._task import Outcome, Task, is_fatal

MOST_DEATHS = 2
"""Workers that a block may take with it before it counts as failed."""


@dataclasses.dataclass
class Workers:
    """Spawned processes; each reads, computes and writes blocks on its own device.

    The blocks of a worker that dies are given to the others; one that takes two workers
    with it has failed. Function and operation must be importable there, as anything
    that is pickled. On GPUs set `XLA_PYTHON_CLIENT_PREALLOCATE=false` before Python
    starts, or this process keeps most of the first one's memory to itself.

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
            ChildProcessError: all workers died.
        """
        todo = collections.deque(numbers)
        deaths: collections.Counter[int] = collections.Counter()
        packed = pickle.dumps(task)
        team = [Worker.start(packed, i) for i in range(min(self.workers, len(todo)))]
        try:
            while todo or any(worker.has for worker in team):
                if not team:
                    raise ChildProcessError(
                        f"all workers died, with {len(todo)} blocks left to do: run "
                        f"again with more memory, or smaller blocks."
                    )
                for worker in team:
                    worker.give(todo)
                for worker in _ready(team):
                    outcome = worker.take()
                    if outcome is not None:
                        if outcome.error is not None and is_fatal(outcome.error):
                            raise outcome.error
                        yield outcome
                        continue
                    team.remove(worker)
                    yield from _lost(worker, todo, deaths)
        finally:
            for worker in team:
                worker.dismiss()


@dataclasses.dataclass
class Worker:
    """A process and what it has to do.

    Attributes:
        process: that works.
        link: to it.
        has: numbers of blocks that were given to it and are not done.
    """

    process: Any
    link: Connection
    has: list[int] = dataclasses.field(default_factory=list)

    @classmethod
    def start(cls, packed: bytes, device: int) -> "Worker":
        """A new process, which takes the device of that number."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(packed, theirs, device, len(gpus())), daemon=True
        )
        process.start()
        theirs.close()
        return cls(process=process, link=ours)

    def give(self, todo: collections.deque[int]) -> None:
        """Blocks, up to as many as it may know of."""
        while todo and len(self.has) < THREADS:
            self.has.append(todo.popleft())
            try:
                self.link.send(self.has[-1])
            except OSError:  # it has died; `take` will find out
                return

    def take(self) -> Outcome | None:
        """An outcome; None if the process has died."""
        try:
            outcome = self.link.recv()
        except (EOFError, OSError):
            return None
        self.has.remove(outcome.number)
        return outcome

    def dismiss(self) -> None:
        """Let it finish what it is writing, and go."""
        self.link.close()
        self.process.join(timeout=60)
        if self.process.is_alive():
            self.process.terminate()


def _ready(team: list[Worker]) -> list[Worker]:
    links = {worker.link: worker for worker in team}
    return [links[link] for link in wait(list(links))]  # pyright: ignore


def _lost(worker: Worker, todo: collections.deque[int], deaths) -> Iterator[Outcome]:
    """Hand on the blocks of a worker that died."""
    worker.process.join()
    for number in worker.has:
        deaths[number] += 1
        if deaths[number] < MOST_DEATHS:
            todo.appendleft(number)
            continue
        code = worker.process.exitcode
        error = MemoryError(
            f"{MOST_DEATHS} workers died of it (the last with exit code {code}): was "
            f"there too little memory?"
        )
        yield Outcome(number=number, error=error)


def serve(packed: bytes, link: Connection, device: int, count: int) -> None:
    """Do blocks as their numbers come, until nobody is there; runs in a worker."""
    if count:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(device % count)
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    task, local, sending = pickle.loads(packed), Local(), threading.Lock()

    def do(number: int) -> None:
        outcome = local.do(task, number)
        with sending, contextlib.suppress(OSError):  # nobody is there any more
            link.send(outcome)

    with ThreadPoolExecutor(local.threads) as pool:
        while True:
            try:
                pool.submit(do, link.recv())
            except (EOFError, OSError):
                return


def gpus() -> list[Any]:
    """The GPUs of this machine that JAX uses."""
    return [device for device in jax.local_devices() if device.platform == "gpu"]
