"""Blocks on a Dask cluster: this machine, SLURM, a cloud."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from ._task import Outcome, Task, is_fatal

RETRIES = 3
"""Times that Dask tries a block again after an error."""
GPU = "GPU"
"""Resource of which a block takes one, where workers have it
(`dask worker --resources GPU=1`)."""


@dataclasses.dataclass
class Dask:
    """A Dask cluster: lost workers, retries and back-pressure are its business.

    Give workers one thread each, and one GPU each where there are some: a block takes
    a whole device. Sources and target must be at the same paths for all of them.

    Args:
        client: of `dask.distributed`.
        retries: of a block that failed.
    """

    client: Any
    retries: int = RETRIES

    @classmethod
    def connected(cls, given: Any) -> "Dask":
        """The engine for a client, or for the address of a scheduler.

        Raises:
            ImportError: Dask is not installed.
            OSError: no scheduler answers there.
        """
        if not isinstance(given, str):
            return cls(given)
        try:
            from distributed import Client
        except ImportError as error:
            raise ImportError(
                'an `engine` on a cluster needs Dask: pip install "jaxdecon[dask]".'
            ) from error
        return cls(Client(given))

    @property
    def workers(self) -> int:
        """Workers that are there now."""
        return max(len(self.client.nthreads()), 1)

    def map(self, task: Task, numbers: Iterable[int]) -> Iterator[Outcome]:
        """Outcomes of blocks, as they come."""
        from distributed import as_completed

        common = self.client.scatter(task, broadcast=True, hash=False)
        futures = self.client.map(
            call,
            list(numbers),
            task=common,
            retries=self.retries,
            pure=False,
            key="jaxdecon-block",
            resources={GPU: 1} if self._have_gpus() else None,
        )
        numbered = {future.key: n for future, n in zip(futures, numbers, strict=True)}
        try:
            for future in as_completed(futures):
                yield _outcome(future, numbered[future.key])
                future.release()
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                self.client.cancel(futures, force=True)

    def _have_gpus(self) -> bool:
        workers = self.client.scheduler_info()["workers"].values()
        return bool(workers) and all(GPU in w.get("resources", {}) for w in workers)


def call(number: int, task: Task) -> Outcome:
    """Do one block; runs on a worker."""
    return task(number)


def _outcome(future: Any, number: int) -> Outcome:
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        error = future.exception()
        if is_fatal(error):
            raise error
        return Outcome(number=number, error=error)
    raise ConnectionError(
        f"the scheduler lost block {number} ({future.status}); the blocks that are "
        f"done are marked: run again to do the rest."
    )
