"""What is done with one block: read, compute, write, mark."""

import contextlib
import dataclasses
import errno
import functools
import os
import socket
import time
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from ._blocks import Block, BlockGrid, Shape
from ._journal import Journal
from ._operation import Operation
from ._target import Target

FATAL = (
    errno.ENOSPC,
    errno.EFBIG,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
)
"""Errors of a file system that the next block would meet, too."""
THREADS = 4
"""Blocks in the hands of a process: one computed, others read and written."""
READ_TRIES, PAUSE = 3, 0.2
"""Tries to read a block, and seconds before the second; the pause doubles."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went with a block.

    Attributes:
        number: of the block.
        voxels: of its core.
        seconds: by step, "read", "compute" and "write".
        parts: in how many parts it was computed; 1 unless memory ran out.
        empty: whether there was nothing to compute.
        error: what went wrong; None if nothing did.
    """

    number: int
    voxels: int = 0
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    parts: int = 1
    empty: bool = False
    error: BaseException | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """All that a worker needs to do a block; a call says which.

    Attributes:
        operation: what to do.
        grid: the blocks.
        target: where to write.
        journal: where to mark what is done; None: nowhere.
    """

    operation: Operation
    grid: BlockGrid
    target: Target
    journal: Journal | None

    def __call__(
        self, number: int, device: AbstractContextManager[Any] | None = None
    ) -> Outcome:
        """Do one block from beginning to end.

        Args:
            number: of the block.
            device: held while something is computed; None: nobody else computes.
        """
        times = [time.perf_counter()]
        inputs = self.read(number)
        empty = inputs is None
        times.append(time.perf_counter())
        with contextlib.nullcontext() if device is None else device:
            times.append(time.perf_counter())
            values, parts = self.solve(number, inputs)
            times.append(time.perf_counter())
        del inputs
        outcome = self.finish(number, values, parts, empty=empty)
        read, computed = times[1] - times[0], times[3] - times[2]
        seconds = outcome.seconds | {"read": read, "compute": computed}
        return dataclasses.replace(outcome, seconds=seconds)

    def read(self, number: int) -> Any:
        """What the block is computed from; None if it is empty."""
        block = self.grid[number]
        for tried in range(1, READ_TRIES + 1):
            try:
                inputs = self.operation.read(block)
                break
            except OSError as error:
                if tried == READ_TRIES or is_fatal(error):
                    raise
                time.sleep(PAUSE * 2 ** (tried - 1))
        if self.operation.is_empty(block, inputs):
            return None
        try:
            return jax.device_put(inputs)  # on its way while others are computed
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return inputs

    def solve(self, number: int, inputs: Any) -> tuple[Any, int]:
        """The core of the result, computed, and in how many parts that was done."""
        block = self.grid[number]
        if inputs is None:
            return np.zeros(block.core_shape, np.float32), 1
        try:
            return jax.block_until_ready(self._core(block, inputs)), 1
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        del inputs  # they take memory, too
        return self._by_halves(block)

    def finish(self, number: int, values: Any, parts: int, *, empty: bool) -> Outcome:
        """Write a result and mark it."""
        block = self.grid[number]
        began = time.perf_counter()
        values = np.asarray(values)
        if self.journal is not None:
            self.journal.begin(block)
        shards = self.target.write(block, values)
        seconds = {"write": time.perf_counter() - began}
        if self.journal is not None:
            record = {
                "shards": shards,
                "parts": parts,
                "empty": empty,
                "worker": f"{socket.gethostname()}:{os.getpid()}",
            }
            self.journal.finish(block, record)
        return Outcome(
            number=number,
            voxels=int(np.prod(block.core_shape)),
            seconds=seconds,
            parts=parts,
            empty=empty,
        )

    def _core(self, block: Block, inputs: Any) -> jax.Array:
        """The core of the result, on the device."""
        result = self.operation.compute(block, inputs)
        starts = [part.start for part in block.inner]
        return _cut(result, np.array(starts), block.core_shape)

    def _by_halves(self, block: Block) -> tuple[np.ndarray, int]:
        """Compute a block that does not fit into memory in two parts, or more."""
        try:
            halves = self.grid.halves(block)
        except ValueError as error:
            raise MemoryError(
                f"block {block.name} does not fit into memory."
            ) from error
        found = []
        for half in halves:
            inputs = self.operation.read(half)
            try:
                found.append((np.asarray(self._core(half, inputs)), 1))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                found.append(self._by_halves(half))
        axis = next(
            a
            for a, (c, d) in enumerate(zip(block.core, halves[0].core, strict=True))
            if c != d
        )
        (first, n), (second, m) = found
        return np.concatenate([first, second], axis), n + m


@functools.partial(jax.jit, static_argnums=2)
def _cut(values: jax.Array, starts: jax.Array, shape: Shape) -> jax.Array:
    return jax.lax.dynamic_slice(values, starts, shape)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host had no memory left."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def is_fatal(error: BaseException | None) -> bool:
    """Whether the next block would fail as well: no disk, no source, no right."""
    if not isinstance(error, OSError):
        return False
    return isinstance(error, FileNotFoundError) or error.errno in FATAL
