"""Beads cut out of images, each on a background of zero, with what does not count."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ._bead_background import clipped, hot_voxels
from ._find_beads import LOBE, Beads

SHELL = 0.1
"""Thickness of the shell that is taken for background, as a share of the box."""
KEEP_OFF = 1.25
"""Radius about another spot within which nothing counts, FWHM."""
LEAST_OTHER = 0.1
"""Height, as a share of the bead's, from which another spot is cut out."""
CLIP = 2.5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stamps:
    """Equal boxes about the good beads of images; NumPy arrays.

    Attributes:
        values: (n, *box), zero where nothing counts.
        counts: (n, *box), mask of the voxels that count.
        places: (n, ndim), voxel of the image at n // 2 of the box.
        offsets: (n, ndim), of the bead from there, as far as is known.
        heights: (n,), likewise.
        image: (n,), which of the images.
        index: (n,), which spot of it.
    """

    values: np.ndarray
    counts: np.ndarray
    places: np.ndarray
    offsets: np.ndarray
    heights: np.ndarray
    image: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def of(self, chosen: np.ndarray) -> "Stamps":
        """A part of them."""
        fields = dataclasses.fields(self)
        return Stamps(**{f.name: getattr(self, f.name)[chosen] for f in fields})


def cut(
    images: Sequence[np.ndarray], beads: Sequence[Beads], box: Sequence[int]
) -> Stamps:
    """The good beads of images in boxes of that size."""
    found = [
        _cut_one(image, found, int(i), box)
        for number, (image, found) in enumerate(zip(images, beads, strict=True))
        for i in np.flatnonzero(found.good)
    ]
    numbers = [n for n, b in enumerate(beads) for _ in range(int(b.good.sum()))]
    spots = [int(i) for b in beads for i in np.flatnonzero(b.good)]
    values, counts, places = map(np.stack, zip(*found, strict=True))
    positions, heights = (
        np.concatenate([getattr(b, name)[b.good] for b in beads])
        for name in ("positions", "heights")
    )
    return Stamps(
        values=values,
        counts=counts,
        places=places,
        offsets=positions - places,
        heights=heights,
        image=np.asarray(numbers),
        index=np.asarray(spots),
    )


def _cut_one(
    image: np.ndarray, beads: Beads, number: int, box: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = np.round(beads.positions[number]).astype(int)
    start = place - np.asarray(box) // 2
    low = np.maximum(start, 0)
    high = np.minimum(start + box, image.shape)
    inside = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    values, counts = np.zeros(box, np.float32), np.zeros(box, bool)
    part = image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    values[inside], counts[inside] = part, True
    noise = float(beads.noise[number])
    hot = np.zeros(part.shape, bool)
    hot[hot_voxels(part, noise)] = True
    counts[inside] &= ~hot
    counts &= ~_others(beads, number, start, box)
    return np.where(counts, values - background(values, counts), 0), counts, place


def _others(
    beads: Beads, number: int, start: np.ndarray, box: Sequence[int]
) -> np.ndarray:
    """Voxels that belong to other spots: within their reach, and nearer to them.

    What is dim or near to the bead may belong to that.
    """
    taken = np.zeros(box, bool)
    own = beads.positions[number]
    reach = np.asarray(box) / 2 + KEEP_OFF * beads.fwhm
    away = abs(beads.positions - own)
    near = (away < reach).all(1) & (away > np.asarray(beads.size) / 2).any(1)
    near &= beads.heights > LEAST_OTHER * beads.heights[number]
    near &= np.array([s != LOBE for s in beads.status])
    if not near.any():
        return taken
    grid = np.indices(box).reshape(len(box), -1).T + start
    mine = (((grid - own) / beads.fwhm) ** 2).sum(1)
    for other in beads.positions[near]:
        theirs = (((grid - other) / beads.fwhm) ** 2).sum(1)
        taken |= ((theirs < KEEP_OFF**2) & (theirs < mine)).reshape(box)
    return taken


def shell(box: Sequence[int]) -> np.ndarray:
    """Mask of the outermost voxels of a box."""
    inner = np.zeros(box, bool)
    thickness = [max(1, round(SHELL * n)) if n > 4 else 0 for n in box]
    inner[tuple(slice(t, n - t) for t, n in zip(thickness, box, strict=True))] = True
    return ~inner


def background(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """A plane through the shell of a box, past what is bright there."""
    outer = shell(values.shape) & counts
    samples = values[outer].astype(float)
    columns = _plane(values.shape)
    if samples.size < 10 * columns.shape[-1]:
        level = np.median(values[counts]) if samples.size == 0 else np.median(samples)
        return np.full(values.shape, level, np.float32)
    rows = columns[outer]
    fitted = np.zeros(columns.shape[-1])
    fitted[0] = np.median(samples)
    for _ in range(5):
        left = samples - rows @ fitted
        middle, deviation = clipped(left)
        kept = abs(left - middle) <= CLIP * max(deviation, 1e-12 * np.ptp(samples))
        if kept.sum() < 5 * columns.shape[-1]:
            break
        fitted, *_ = np.linalg.lstsq(rows[kept], samples[kept], rcond=None)
    return (columns @ fitted).astype(np.float32)


def _plane(box: Sequence[int]) -> np.ndarray:
    """1 and a coordinate from -1 to 1 per axis, (*box, ndim + 1)."""
    lines = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in box]
    return np.stack([np.ones(box), *np.meshgrid(*lines, indexing="ij")], -1)
