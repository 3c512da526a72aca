"""Cut a volume into blocks: what each writes, and what it has to see for that."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

Shape = tuple[int, ...]
Region = tuple[tuple[int, int], ...]
"""First index and the one after the last, per spatial axis."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of a volume: coordinates, no data.

    Attributes:
        number: among the blocks of its grid.
        index: of the leading axes (time, channel).
        core: region of the result that the block writes.
        read: region that it computes on, core and halo.
    """

    number: int
    index: Shape
    core: Region
    read: Region

    @property
    def name(self) -> str:
        """Leading indices and first voxel, e.g. "0.1-0.256.0"."""
        parts = [self.index, tuple(start for start, _ in self.core)]
        return "-".join(".".join(map(str, part)) for part in parts if part)

    @property
    def core_shape(self) -> Shape:
        """Shape of the core."""
        return shape_of(self.core)

    @property
    def read_shape(self) -> Shape:
        """Shape of core and halo."""
        return shape_of(self.read)

    @property
    def inner(self) -> tuple[slice, ...]:
        """Where the core lies in what is read."""
        pairs = zip(self.core, self.read, strict=True)
        return tuple(slice(a - r, b - r) for (a, b), (r, _) in pairs)


@dataclasses.dataclass(frozen=True)
class BlockGrid:
    """All blocks of a volume, made when they are asked for.

    Every block reads a region of the same shape, so that one compiled program serves
    all: at the borders of the volume the region is moved inwards, and the last cores
    are smaller.

    Attributes:
        leading: sizes of the leading axes.
        shape: of the volume.
        core: shape of a core; a block at the end may have less.
        halo: voxels that a block has to see on every side of its core.
    """

    leading: Shape
    shape: Shape
    core: Shape
    halo: Shape

    @property
    def counts(self) -> Shape:
        """Blocks along every spatial axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.core, strict=True))

    @property
    def read_shape(self) -> Shape:
        """Shape of the region that every block reads."""
        sizes = zip(self.shape, self.core, self.halo, strict=True)
        return tuple(min(n, c + 2 * h) for n, c, h in sizes)

    def __len__(self) -> int:
        return math.prod(self.leading) * math.prod(self.counts)

    def __iter__(self) -> Iterator[Block]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Block:
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} blocks, and no number {number}.")
        place = unravel(number, (*self.leading, *self.counts))
        index, position = place[: len(self.leading)], place[len(self.leading) :]
        sizes = zip(position, self.core, self.shape, strict=True)
        core = tuple((p * c, min((p + 1) * c, n)) for p, c, n in sizes)
        return Block(number=number, index=index, core=core, read=self.around(core))

    def around(self, core: Region) -> Region:
        """The region to read for a core: of `read_shape`, inside the volume."""
        halos = zip(core, self.halo, self.read_shape, self.shape, strict=True)
        starts = [min(max(a - h, 0), n - r) for (a, _), h, r, n in halos]
        return tuple((s, s + r) for s, r in zip(starts, self.read_shape, strict=True))

    def halves(self, block: Block) -> tuple[Block, Block]:
        """A block as two, cut across its core's longest axis, with halos of their own.

        Raises:
            ValueError: its core is a single voxel.
        """
        shape = block.core_shape
        axis = max(range(len(shape)), key=shape.__getitem__)
        start, stop = block.core[axis]
        if stop - start < 2:
            raise ValueError(f"block {block.name} cannot be cut any further.")
        middle = (start + stop + 1) // 2
        first, second = (
            (*block.core[:axis], part, *block.core[axis + 1 :])
            for part in ((start, middle), (middle, stop))
        )
        halved = dataclasses.replace(
            self,
            core=tuple(-(-n // 2) if a == axis else n for a, n in enumerate(shape)),
        )
        return tuple(
            dataclasses.replace(block, core=core, read=halved.around(core))
            for core in (first, second)
        )  # pyright: ignore[reportReturnType]


def shape_of(region: Region) -> Shape:
    """The shape of a region."""
    return tuple(stop - start for start, stop in region)


def slices(region: Region) -> tuple[slice, ...]:
    """A region as slices."""
    return tuple(slice(start, stop) for start, stop in region)


def unravel(number: int, shape: Sequence[int]) -> Shape:
    """The index whose place in C order is `number`; exact beyond 2^63."""
    index = []
    for n in reversed(shape):
        number, rest = divmod(number, n)
        index.append(rest)
    return tuple(reversed(index))
