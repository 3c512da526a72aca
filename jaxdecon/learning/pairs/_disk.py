"""Training pairs in files, of which only what is needed is read."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._pairs import Pair, PairSource, check_as_many, check_index

Path = str | os.PathLike[str]
TOLERANCE = 0.01
"""By which voxel sizes may differ."""
PLANES = 8
"""Of a volume that are read to know its range."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Entry:
    """One pair: its files, opened, and where in them it is."""

    views: tuple[tuple[Any, tuple[int, ...]], ...]
    truth: tuple[Any, tuple[int, ...]]
    shape: tuple[int, ...]
    name: str


class DiskPairs(PairSource):
    """Pairs in files of any format that `jaxdecon.io.read` opens.

    Opens them, compares their metadata, and reads when a pair, or a part of it, is
    asked for: `patches(DiskPairs(...), shape, ...)` reads patches alone where the
    format allows it (OME-Zarr by chunks, TIFF by planes or tiles). Every time point of
    a file is a pair.

    Args:
        inputs: what goes into the network: a path for each sample, or a tuple of paths,
            one for each view.
        targets: what should come out: a path for each sample. `deconvolved_targets`
            makes them.
        channels: of the input files, each a view; None: the only one.
        target_channel: of the target files; None: the only one.
        voxel_size: µm per spatial axis, where files do not say, or say it wrongly;
            None: that of the files, which must agree.

    Attributes:
        voxel_size: µm per spatial axis, of all; None where no file says.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: not as many inputs as targets; shapes, axes or voxel sizes that
            differ within a pair; voxel sizes that differ between pairs; several
            channels and none chosen. When it is read: NaN.

    Example:
        >>> import tempfile, numpy as np, jaxdecon as jd
        >>> folder = tempfile.mkdtemp()
        >>> for name in "ab":
        ...     jd.io.write(f"{folder}/{name}.npy", np.ones((8, 8), np.float32))
        >>> pairs = jd.learning.DiskPairs([f"{folder}/a.npy"], [f"{folder}/b.npy"])
        >>> pairs[0].images.shape
        (1, 8, 8)
    """

    def __init__(
        self,
        inputs: Sequence[Path | Sequence[Path]],
        targets: Sequence[Path],
        *,
        channels: Sequence[int] | None = None,
        target_channel: int | None = None,
        voxel_size: Sequence[float] | None = None,
    ):
        inputs, targets = _listed("inputs", inputs), _listed("targets", targets)
        check_as_many("inputs", len(inputs), "targets", len(targets))
        if not inputs:
            raise ValueError("`inputs` is empty; one file or more is needed.")
        self._entries: list[_Entry] = []
        sizes: dict[str, tuple[float | None, ...]] = {}
        for given, target in zip(inputs, targets, strict=True):
            paths = (given,) if isinstance(given, str | os.PathLike) else tuple(given)
            images = {os.fspath(path): _open(path) for path in (*paths, target)}
            sizes |= {name: image.voxel_size for name, image in images.items()}
            views = [images[os.fspath(path)] for path in paths]
            truth = images[os.fspath(target)]
            names = [os.fspath(path) for path in (*paths, target)]
            _check_fit([*views, truth], names)
            self._entries += _entries(views, truth, names, channels, target_channel)
        self.voxel_size = _common_voxel_size(sizes, voxel_size)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Pair:
        entry = self._entries[check_index(index, len(self))]
        return self.part(index, (0,) * len(entry.shape), entry.shape)

    def spatial_shape(self, index: int) -> tuple[int, ...]:
        """Of the files; nothing is read."""
        return self._entries[check_index(index, len(self))].shape

    def part(self, index: int, corner: Sequence[int], shape: Sequence[int]) -> Pair:
        """The box of a pair from `corner` on; no more is read than the files need."""
        entry = self._entries[check_index(index, len(self))]
        box = tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))
        views = [_read(data, (*lead, *box), entry.name) for data, lead in entry.views]
        data, lead = entry.truth
        return Pair(np.stack(views), _read(data, (*lead, *box), entry.name))

    def sample(self, index: int, pair: Pair | None = None) -> np.ndarray:
        """Some planes, evenly through the volume."""
        entry = self._entries[check_index(index, len(self))]
        if len(entry.shape) == 2:
            return (self[index] if pair is None else pair).images
        planes = np.linspace(0, entry.shape[0] - 1, min(PLANES, entry.shape[0]))
        chosen = [round(z) for z in planes]
        if pair is not None:
            return pair.images[:, chosen]
        return np.stack(
            [
                [_read(data, (*lead, z), entry.name) for z in chosen]
                for data, lead in entry.views
            ]
        )

    def describe(self, index: int) -> str:
        """Its number and file."""
        return f"pair {index} ({self._entries[check_index(index, len(self))].name})"


def _listed(name: str, paths: Any) -> list[Any]:
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"`{name}` is {str(paths)!r}; a list of paths is needed.")
    return list(paths)


def _open(path: Path) -> Any:
    from ...io import read  # reading files is no business of those who only train

    return read(path)


def _entries(views, truth, names, channels, target_channel) -> list[_Entry]:
    """A pair for every time point."""
    times = truth.sizes.get("t", 1)
    found = []
    for time in range(times):
        leads = []
        for image, name in zip(views, names, strict=False):
            chosen = _channels(image, channels, name)
            leads += [(image.data, _lead(image, time, c)) for c in chosen]
        (channel,) = _channels(
            truth, None if target_channel is None else [target_channel], names[-1]
        )
        found.append(
            _Entry(
                views=tuple(leads),
                truth=(truth.data, _lead(truth, time, channel)),
                shape=truth.volume_shape,
                name=names[0] if times == 1 else f"{names[0]}, time point {time}",
            )
        )
    return found


def _channels(image: Any, chosen: Sequence[int] | None, name: str) -> Sequence[int]:
    count = image.sizes.get("c", 1)
    if chosen is None and count > 1:
        raise ValueError(
            f"{name} has {count} channels; say which: `channels=[0]` of inputs (each "
            f"is a view), `target_channel=0` of targets."
        )
    chosen = [0] if chosen is None else chosen
    if not all(0 <= c < count for c in chosen):
        raise ValueError(f"{name} has {count} channels; {list(chosen)} were asked for.")
    return chosen


def _lead(image: Any, time: int, channel: int) -> tuple[int, ...]:
    where = {"t": time, "c": channel}
    return tuple(where[axis] for axis in image.axes if axis in where)


def _check_fit(images: Sequence[Any], names: Sequence[str]) -> None:
    """Refuse files of one pair that are not on one grid."""
    here = images[-1]
    for image, name in zip(images, names, strict=True):
        if image.volume_shape != here.volume_shape:
            raise ValueError(
                f"{name} has shape {image.volume_shape} ({image.spatial_axes}), and "
                f"its target {names[-1]} {here.volume_shape}; one grid is needed."
            )
        if image.sizes.get("t", 1) != here.sizes.get("t", 1):
            raise ValueError(
                f"{name} has {image.sizes.get('t', 1)} time points, and its target "
                f"{names[-1]} {here.sizes.get('t', 1)}; as many are needed."
            )


def _common_voxel_size(
    sizes: dict[str, tuple[float | None, ...]], given: Sequence[float] | None
) -> tuple[float | None, ...]:
    """The voxel size of all files, or of the user."""
    lengths = {len(size) for size in sizes.values()}
    if len(lengths) > 1:
        raise ValueError(
            "some files are 2D and others 3D; files of one kind are needed."
        )
    (ndim,) = lengths
    if given is not None:
        if len(given) != ndim:
            raise ValueError(f"`voxel_size` is {given}; {ndim} numbers are needed.")
        return tuple(float(size) for size in given)
    common: list[float | None] = [None] * ndim
    owner = [""] * ndim
    for name, size in sizes.items():
        for axis, value in enumerate(size):
            known = common[axis]
            if value is None:
                continue
            if known is None:
                common[axis], owner[axis] = value, name
            elif abs(value / known - 1) > TOLERANCE:
                raise ValueError(
                    f"{name} has voxel size {_rounded(size)} um, and {owner[axis]} "
                    f"{_rounded(sizes[owner[axis]])} um; one for all is needed: "
                    f"resample them, or give `voxel_size` if the files are wrong."
                )
    return tuple(common)


def _rounded(size: Sequence[float | None]) -> tuple[float | None, ...]:
    """For people: files hold 0.3 as 0.29999999999999993."""
    return tuple(None if s is None else float(f"{s:.6g}") for s in size)


def _read(data: Any, index: tuple[Any, ...], name: str) -> np.ndarray:
    values = np.asarray(data[index])
    values = values if values.dtype.kind == "f" else values.astype(np.float32)
    if values.dtype.itemsize < 4 or not values.dtype.isnative:
        values = values.astype(np.float32)
    if not np.isfinite(values.min()) or not np.isfinite(values.max()):
        raise ValueError(
            f"{name} (or its target) has NaN or infinite values in "
            f"{_words(index)}; finite values are needed."
        )
    return values


def _words(index: tuple[Any, ...]) -> str:
    parts = [f"{i.start}:{i.stop}" if isinstance(i, slice) else str(i) for i in index]
    return f"[{', '.join(parts)}]"
