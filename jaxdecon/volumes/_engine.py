"""Who does the blocks: this process, with reading and writing beside the computing."""

import concurrent.futures
import dataclasses
import itertools
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ._task import THREADS, Outcome, Task, is_fatal


class Engine(Protocol):
    """Does blocks in any order, any number at a time.

    A task carries coordinates and paths, never data. An engine gives back one outcome
    per block, with the error in it if there was one; an error that will hit every
    block (a full disk, a source that is gone) it raises.
    """

    def map(self, task: Task, numbers: Iterable[int]) -> Iterator[Outcome]:
        """Outcomes of blocks, as they come."""
        ...


@dataclasses.dataclass
class Local:
    """This process: blocks are read and written while one is computed.

    Args:
        threads: blocks in hand at a time.

    Attributes:
        busy: seconds in which something was computed.
    """

    threads: int = THREADS
    busy: float = 0.0

    def __post_init__(self) -> None:
        self._device = threading.Lock()

    def map(self, task: Task, numbers: Iterable[int]) -> Iterator[Outcome]:
        """Outcomes of blocks, as they come."""
        todo = iter(numbers)
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="block")
        hands = {
            pool.submit(self.do, task, n) for n in itertools.islice(todo, self.threads)
        }
        try:
            while hands:
                done, hands = concurrent.futures.wait(
                    hands, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    outcome = future.result()
                    if outcome.error is not None and is_fatal(outcome.error):
                        raise outcome.error
                    more = itertools.islice(todo, 1)
                    hands |= {pool.submit(self.do, task, n) for n in more}
                    yield outcome
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def do(self, task: Task, number: int) -> Outcome:
        """Read, compute and write a block; only one is computed at a time."""
        try:
            outcome = task(number, self._device)
        except Exception as error:
            return Outcome(number=number, error=error)
        self.busy += outcome.seconds["compute"]
        return outcome
