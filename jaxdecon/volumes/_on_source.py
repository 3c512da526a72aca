"""Operations whose result has the shape of one source."""

import abc
import dataclasses
import math
from typing import Any

import numpy as np

from ._blocks import Block, Shape
from ._operation import Operation
from ._source import Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnSource(Operation, abc.ABC):
    """Something that is done to a volume, of which a block needs its own region.

    Attributes:
        source: of the image.
    """

    source: Source

    @property
    def leading(self) -> Shape:
        """Sizes of the source's leading axes."""
        return self.source.leading

    @property
    def shape(self) -> Shape:
        """Of one volume."""
        return self.source.shape

    def read(self, block: Block) -> np.ndarray:
        """The image in the block and its halo."""
        return self.source.read(block.index, block.read)

    def bytes_to_read(self, block: Block) -> int:
        """Bytes of the image in the block and its halo."""
        return self.source.image.dtype.itemsize * math.prod(block.read_shape)

    def dark_level(self) -> Any:
        """A coarse level of the source's pyramid."""
        return self.source.coarse()
