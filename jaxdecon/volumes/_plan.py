"""How a volume will be worked through: blocks, memory, bytes, time."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._core._check import check_count
from .._core._memory import available_memory, host_memory
from ._blocks import BlockGrid, Shape
from ._operation import Operation
from ._target import CHUNKS, chunk_edge
from ._task import THREADS

SHARE = 0.6
"""Of the memory that is free, what a run may take."""
COPIES = 3
"""Of a result, as float32, while it is converted, binned and compressed."""
MOST_VOXELS = 2**27
"""Of a block with its halo: larger ones save little, and more is lost with each."""
LEAST_EDGE = 16
"""Of a block's core, voxels; smaller ones are nearly all halo."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do; `print(plan)` shows it as a table.

    Attributes:
        operation: in a word.
        grid: the blocks.
        shard: shape of a shard of the target, of which cores are made.
        skipped: numbers of blocks without signal, which are written as 0.
        done: how many blocks an earlier run has finished.
        device_bytes: of one block, on the device.
        host_bytes: of all blocks that are on the host at a time.
        device_budget: bytes that the device may be asked for; None if not known.
        host_budget: bytes of the host; None if not known.
        bytes_to_read: of the sources, by all blocks that are not skipped.
        bytes_to_write: of the full image, uncompressed.
        seconds: estimated for what is left to do; None where that was not tried.
        notes: in words.
    """

    operation: str
    grid: BlockGrid
    shard: Shape
    skipped: tuple[int, ...] = ()
    done: int = 0
    device_bytes: int
    host_bytes: int
    device_budget: int | None
    host_budget: int | None
    bytes_to_read: int
    bytes_to_write: int
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def overhead(self) -> float:
        """Voxels computed over those kept, less 1."""
        kept = (
            len(self.grid) // math.prod(self.grid.counts) * math.prod(self.grid.shape)
        )
        return len(self.grid) * math.prod(self.grid.read_shape) / kept - 1

    @property
    def todo(self) -> int:
        """Blocks that are left to do."""
        return len(self.grid) - len(self.skipped) - self.done

    def __str__(self) -> str:
        """The plan as a table."""
        rows = [
            ("operation", self.operation),
            ("volume", f"{_sizes(self.grid.shape)}{self._volumes()}"),
            ("blocks", self._blocks()),
            ("core", f"{_sizes(self.grid.core)} (shards of {_sizes(self.shard)})"),
            ("halo", f"{_sizes(self.grid.halo)}, overhead {self.overhead:.0%}"),
            ("device", _memory(self.device_bytes, self.device_budget, "per block")),
            ("host", _memory(self.host_bytes, self.host_budget, "in all")),
            ("to read", _bytes(self.bytes_to_read)),
            ("to write", f"{_bytes(self.bytes_to_write)} before compression"),
            ("time", "not estimated" if self.seconds is None else _time(self.seconds)),
            *(("note", note) for note in self.notes),
        ]
        return "\n".join(f"{name:<10} {text}" for name, text in rows)

    def _volumes(self) -> str:
        return "".join(
            f" x {n} volumes" for n in [math.prod(self.grid.leading)] if n > 1
        )

    def _blocks(self) -> str:
        text = f"{len(self.grid)} ({_sizes(self.grid.counts)} per volume)"
        if self.skipped:
            text += f", {len(self.skipped)} without signal"
        return text + (f", {self.done} done before" if self.done else "")


@dataclasses.dataclass(frozen=True)
class Budget:
    """Bytes that a run may take.

    Attributes:
        device: of the device; None if not known.
        host: of the host; None if not known.
        shared: whether device and host have one memory.
    """

    device: int | None
    host: int | None
    shared: bool

    @classmethod
    def measured(cls, memory: float | None) -> "Budget":
        """A share of what is free now, or what was given for the device, in bytes."""
        import jax

        shared = jax.default_backend() == "cpu"
        free, host = available_memory(), host_memory()
        device = int(memory) if memory is not None else _share(free)
        return cls(device, device if shared else _share(host), shared)

    def holds(self, device: int, host: int) -> bool:
        """Whether so much fits."""
        if self.shared:
            return self.device is None or device + host <= self.device
        fits = self.device is None or device <= self.device
        return fits and (self.host is None or host <= self.host)


def _share(free: int | None) -> int | None:
    return None if free is None else int(SHARE * free)


def choose_grid(
    operation: Operation,
    shard: Shape | None,
    block: str | int | Sequence[int],
    budget: Budget,
    *,
    workers: int = 1,
) -> tuple[BlockGrid, Shape]:
    """Blocks as large as the budget allows, and the shards of which they are made.

    Args:
        operation: what is done with a block.
        shard: of the target, if it has any yet.
        block: "auto", or the shape of a core.
        budget: of memory.
        workers: that shall all have something to do.

    Raises:
        ValueError: a block that is not made of whole shards.
        MemoryError: not even the smallest block fits.
    """
    shape = operation.shape
    if isinstance(block, str):
        if block != "auto":
            raise ValueError(f"`block` is {block!r}; 'auto' or a shape is needed.")
        return _automatic(operation, shard, budget, workers)
    sizes = (block,) * len(shape) if isinstance(block, int) else tuple(block)
    if len(sizes) != len(shape):
        raise ValueError(f"`block` is {block}; one number, or one per axis, is needed.")
    core = tuple(
        min(check_count("block", c, 1), n) for c, n in zip(sizes, shape, strict=True)
    )
    unit = core if shard is None else shard
    if any(c % u and c < n for c, u, n in zip(core, unit, shape, strict=True)):
        raise ValueError(
            f"`block` is {core}, but the target has shards of {unit}; a block needs "
            f"whole ones, or two would write to one file: give multiples of {unit}."
        )
    return _grid(operation, core), unit


def measured_grid(
    operation: Operation,
    shard: Shape | None,
    block: Any,
    budget: Budget,
    *,
    workers: int,
) -> tuple[BlockGrid, Shape, int | None]:
    """As `choose_grid`, and bytes on the device by the compiler where it is asked.

    Where it asks for more than the model did, and than there is, blocks are chosen
    again, once, for a budget that is smaller by as much.
    """
    grid, unit = choose_grid(operation, shard, block, budget, workers=workers)
    measured = operation.measured_memory(grid[0])
    device, host = needs(operation, grid)
    if measured is None or isinstance(block, str) is False or budget.device is None:
        return grid, unit, measured
    if budget.holds(measured, host):
        return grid, unit, measured
    smaller = dataclasses.replace(budget, device=int(budget.device * device / measured))
    grid, unit = choose_grid(operation, shard, block, smaller, workers=workers)
    return grid, unit, operation.measured_memory(grid[0])


def _automatic(operation, shard, budget: Budget, workers: int):
    shape = operation.shape
    fixed = shard is not None
    edge = chunk_edge(len(shape))
    unit = shard or tuple(min(n, CHUNKS * edge) for n in shape)
    while not _fits(operation, _grid(operation, unit), budget):
        axis = int(np.argmax(unit))
        if fixed or unit[axis] < 2 * LEAST_EDGE:
            raise MemoryError(_too_large(operation, unit, budget))
        half = -(-unit[axis] // 2)
        smaller = -(-half // edge) * edge if half > edge else half
        unit = tuple(min(smaller, n) if a == axis else n for a, n in enumerate(unit))
    core = unit
    while True:
        grown = [_grown(core, axis, unit, shape) for axis in range(len(shape))]
        usable = [
            c
            for c in grown
            if c != core and _worthwhile(operation, c, core, budget, workers)
        ]
        if not usable:
            return _grid(operation, core), unit
        core = min(usable, key=lambda c: _computed(_grid(operation, c)))


def _grown(core: Shape, axis: int, unit: Shape, shape: Shape) -> Shape:
    return tuple(
        min(n + u, size) if a == axis else n
        for a, (n, u, size) in enumerate(zip(core, unit, shape, strict=True))
    )


def _worthwhile(operation, core, before, budget: Budget, workers: int) -> bool:
    """Whether larger blocks fit, leave enough of them, and compute less in all."""
    grid = _grid(operation, core)
    enough = len(grid) >= 2 * workers or workers == 1
    less = _computed(grid) < _computed(_grid(operation, before))
    few = math.prod(grid.read_shape) <= MOST_VOXELS
    return enough and less and few and _fits(operation, grid, budget)


def _computed(grid: BlockGrid) -> int:
    return math.prod(grid.counts) * math.prod(grid.read_shape)


def _grid(operation: Operation, core: Shape) -> BlockGrid:
    return BlockGrid(operation.leading, operation.shape, core, operation.halo)


def _fits(operation: Operation, grid: BlockGrid, budget: Budget) -> bool:
    return budget.holds(*needs(operation, grid))


def needs(operation: Operation, grid: BlockGrid) -> tuple[int, int]:
    """Bytes on the device, and on the host for all blocks in flight."""
    device, host = operation.memory(grid[0])
    waiting = (THREADS - 1) * operation.bytes_to_read(grid[0])  # read ahead
    written = COPIES * 4 * math.prod(grid[0].core_shape)
    return device + waiting, THREADS * (host + written)


def _too_large(operation: Operation, unit: Shape, budget: Budget) -> str:
    device, host = needs(operation, _grid(operation, unit))
    return (
        f"blocks of {_sizes(unit)} with a halo of {_sizes(operation.halo)} need "
        f"{_bytes(device)} on the device and {_bytes(host)} on the host; "
        f"{_bytes(budget.device or 0)} and {_bytes(budget.host or 0)} may be used: "
        f"free some memory, or give a smaller `halo`, or a smaller PSF."
    )


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _memory(needed: int, budget: int | None, what: str) -> str:
    limit = "" if budget is None else f" of {_bytes(budget)} that may be used"
    return f"{_bytes(needed)} {what}{limit}"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"about {seconds:.0f} s"
    if seconds < 7200:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def to_json(plan: Plan) -> dict[str, Any]:
    """A plan for the manifest."""
    return {
        "core": list(plan.grid.core),
        "halo": list(plan.grid.halo),
        "shard": list(plan.shard),
        "skipped": list(plan.skipped),
        "device_bytes": plan.device_bytes,
        "host_bytes": plan.host_bytes,
    }
