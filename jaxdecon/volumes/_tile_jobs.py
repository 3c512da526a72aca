"""Common parts of pairs of tiles, read and registered in batches of like shapes."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from ..fourier import next_fast_len
from ..registration._links import Links
from ..registration._pairs import LEAST_NCC, PairShifts, register_pairs
from ._tiles import Box, Tile

MOST_VOXELS = 2**20
"""Of a pair's common part; larger ones are binned."""
LEAST_VOXELS = 24
"""Along an axis, that binning leaves."""
BATCH_VOXELS, BATCH_PAIRS = 2**22, 32
"""Voxels, and pairs, that are registered at once."""
STEP = 1.2
"""Ratio of neighbouring sizes: crops are padded to one of few, for few programs."""
ROOM = 4.0
"""Times its own size that a crop is padded to, if that saves a program."""
READERS = 4
"""Threads that read."""


class Job(NamedTuple):
    """Two tiles, a box in each, and the shift of their contents that is expected."""

    first: int
    second: int
    first_box: Box
    second_box: Box
    expected: tuple[int, ...]

    def shape(self) -> np.ndarray:
        """(3,) that holds both boxes."""
        boxes = np.array([self.first_box, self.second_box])
        return (boxes[..., 1] - boxes[..., 0]).max(0)


def register_jobs(
    tiles: Sequence[Tile],
    jobs: Sequence[Job],
    *,
    search: Sequence[int],
    channel: int,
    binning: Sequence[int] | None,
    least_ncc: float = LEAST_NCC,
    progress: Callable[[int, int], Any] | None = None,
) -> Links:
    """A link per job, in their order."""
    if binning is None:
        binning = _fast_binning([job.shape() for job in jobs])
    bins = np.array(binning)
    reach = tuple(int(np.ceil(r / b)) for r, b in zip(search, bins, strict=True))
    found: dict[int, Any] = {}
    done, waiting = 0, None
    with ThreadPoolExecutor(READERS) as pool:
        for numbers, shape, size in _batches([job.shape() // bins for job in jobs]):
            batch = [jobs[n] for n in numbers]
            crops = pool.map(lambda job: _read(tiles, job, bins, channel), batch)
            shifts = _register(list(crops), batch, bins, shape, size, reach, least_ncc)
            done += len(batch)
            if waiting is not None:  # read ahead of the computation by one batch
                _collect(found, *waiting)
            waiting = numbers, shifts
            if progress is not None:
                progress(done, len(jobs))
        if waiting is not None:
            _collect(found, *waiting)
    return _links(jobs, found, bins)


def _fast_binning(shapes: list[np.ndarray]) -> tuple[int, ...]:
    """Factors of two, equal along y and x, that make the largest part small enough."""
    bins = np.ones(3, int)
    largest = np.max(shapes, 0) if shapes else np.ones(3)
    while (largest // bins).prod() > MOST_VOXELS:
        halved = largest // bins // 2
        choices = [axes for axes in ([1, 2], [0]) if halved[axes].min() >= LEAST_VOXELS]
        if not choices:
            break
        bins[max(choices, key=lambda axes: halved[axes].max())] *= 2
    return tuple(bins.tolist())


def _batches(
    shapes: list[np.ndarray],
) -> Iterator[tuple[list[int], tuple[int, ...], int]]:
    """(numbers of jobs, shape that their crops are padded to, size of the batch)."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, shape in enumerate(shapes):
        groups[tuple(_padded(int(n)) for n in shape)].append(number)
    for shape, numbers in _merged(groups).items():
        most = max(1, min(BATCH_PAIRS, BATCH_VOXELS // int(np.prod(shape))))
        size = min(most, len(numbers))
        for batch in _cut(numbers, size):
            yield batch, shape, size


def _cut(numbers: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _padded(n: int) -> int:
    """The next of few sizes, a fast one."""
    if n <= 1:
        return 1
    steps = np.ceil(np.log(max(n, 8) / 8) / np.log(STEP) - 1e-9)
    return next_fast_len(int(np.ceil(8 * STEP**steps)))


def _merged(groups: dict) -> dict:
    """Groups, the smaller ones in the place of a larger one where that has room."""
    merged: dict[tuple[int, ...], list[int]] = {}
    for shape in sorted(groups, key=np.prod, reverse=True):
        hosts = [
            other
            for other in merged
            if all(n <= m for n, m in zip(shape, other, strict=True))
            and np.prod(other) <= ROOM * np.prod(shape)
        ]
        home = min(hosts, key=np.prod, default=shape)
        merged.setdefault(home, []).extend(groups[shape])
    return merged


def _read(tiles: Sequence[Tile], job: Job, bins, channel: int):
    """Both crops as float32, binned."""
    crops = []
    boxes = ((job.first, job.first_box), (job.second, job.second_box))
    for number, box in boxes:
        crop = tiles[number].read(box, channel=channel).astype(np.float32)
        if not np.isfinite(crop).all():
            raise ValueError(
                f"{tiles[number].name} has NaN or infinite values; finite ones are "
                f"needed: replace them first."
            )
        crops.append(_binned(crop, bins))
    return crops


def _binned(crop: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Means over bins; what does not fill one is left out."""
    if (bins == 1).all():
        return crop
    counts = np.maximum(np.array(crop.shape) // bins, 1)
    used = np.minimum(counts * bins, crop.shape)
    z, y, x = (slice(n) for n in used)
    split = [n for pair in zip(counts, used // counts, strict=True) for n in pair]
    return crop[z, y, x].reshape(split).mean((1, 3, 5))


def _register(crops, batch, bins, shape, size, reach, least_ncc) -> PairShifts:
    """The shifts of a batch, filled up with the last pair to its static size."""
    rows = [*range(len(batch)), *[len(batch) - 1] * (size - len(batch))]
    volumes = np.zeros((2, size, *shape), np.float32)
    sizes = np.zeros((2, size, 3), np.int32)
    for row, number in enumerate(rows):
        for side, crop in enumerate(crops[number]):
            z, y, x = (slice(n) for n in crop.shape)
            volumes[side, row, z, y, x] = crop
            sizes[side, row] = crop.shape
    expected = np.array([batch[n].expected for n in rows])
    return register_pairs(
        *volumes,
        fixed_size=sizes[0],
        moving_size=sizes[1],
        expected=np.rint(expected / bins).astype(np.int32),
        search=reach,
        least_ncc=least_ncc,
    )


def _collect(found: dict[int, Any], numbers: list[int], shifts: PairShifts) -> None:
    values = jax.device_get(shifts)
    for row, number in enumerate(numbers):
        found[number] = {k: v[row] for k, v in vars(values).items()}


def _links(jobs: Sequence[Job], found: dict[int, Any], bins: np.ndarray) -> Links:
    """In voxels of the tiles."""
    count = len(jobs)
    starts = np.array([(j.first_box, j.second_box) for j in jobs]).reshape(
        count, 2, 3, 2
    )
    rows = [found[n] for n in range(count)]

    def column(name: str, *shape: int) -> np.ndarray:
        return np.array([row[name] for row in rows]).reshape(count, *shape)

    centre = (starts[:, 0, :, 1] - starts[:, 0, :, 0] - 1) / 2
    first = starts[:, 0, :, 0] + centre
    shift = column("shift", 3).astype(float) * bins
    covariance = column("covariance", 3, 3).astype(float) * np.outer(bins, bins)
    usable = column("usable").astype(bool)
    finite = np.isfinite(covariance.sum((1, 2)) + shift.sum(1))
    sound = finite[:, None]
    return Links(
        pairs=np.array([(j.first, j.second) for j in jobs], int).reshape(count, 2),
        first=first,
        second=starts[:, 1, :, 0] + centre + np.where(sound, shift, 0),
        covariance=np.where(sound[:, None], covariance, np.eye(3)),
        usable=usable & finite,
        ncc=column("ncc"),
        significance=column("significance"),
        overlap=column("overlap") * bins.prod(),
    )
