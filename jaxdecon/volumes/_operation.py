"""What can be done to a volume, block by block."""

import abc
from collections.abc import Mapping
from typing import Any

import jax

from ._blocks import Block


class Operation(abc.ABC):
    """Something that is done to a volume, block by block; travels to other processes.

    Attributes:
        name: in a word.
        leading: sizes of the result's leading axes (time, channel).
        shape: of one volume of the result.
        halo: voxels of the result around a block that its computation has to see.
    """

    name: str = "operation"
    leading: Any
    shape: Any
    halo: Any

    @abc.abstractmethod
    def read(self, block: Block) -> Any:
        """Arrays on the host that the block is computed from, in any pytree."""

    @abc.abstractmethod
    def compute(self, block: Block, inputs: Any) -> jax.Array:
        """The result on `block.read`; not waited for."""

    @abc.abstractmethod
    def memory(self, block: Block) -> tuple[int, int]:
        """Bytes that a block takes on the device and on the host, by a model."""

    @abc.abstractmethod
    def bytes_to_read(self, block: Block) -> int:
        """Bytes of the sources that a block is computed from."""

    def measured_memory(self, block: Block) -> int | None:
        """Bytes on the device that a block's compiled program takes, if known."""
        return None

    def is_empty(self, block: Block, inputs: Any) -> bool:
        """Whether the result is 0 without computing."""
        return False

    def dark_level(self) -> Any:
        """Where blocks without signal are looked for: (image, step), or None.

        A coarse copy of what is read, on the grid of the result, and voxels of the
        result per voxel of it.
        """
        return None

    def shared(self) -> Mapping[str, Any] | None:
        """What was measured for all blocks, as JSON."""
        return None

    def with_shared(self, shared: Mapping[str, Any] | None) -> "Operation":
        """The operation with what an earlier run has measured."""
        return self
