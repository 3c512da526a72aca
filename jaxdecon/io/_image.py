"""An image at the edge of the library: data, axes and what is known of them."""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

AXES = "tczyx"
"""All axes an image may have, in the order in which it has them."""

VoxelSize = tuple[float | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """Data with axes and physical metadata.

    Attributes:
        data: array-like with `shape`, `dtype` and slicing; read from the file where
            it is sliced (`numpy.asarray(image)` reads all).
        axes: a part of "tczyx", in that order, one letter per axis of `data`.
        voxel_size: µm per spatial axis of `axes`, None where the file does not say.
        origin: µm per spatial axis: position of the centre of the first voxel.
        channels: a name per channel; empty if unnamed.
        time_step: seconds between time points, if known.
        notes: what a reader had to assume, or what a file lacks, in words.
        metadata: anything else that JSON can hold, e.g. the poses of a fusion, or as
            "optics" what an OME-TIFF says of lens and wavelengths; kept in OME-Zarr,
            where it is the attribute "jaxdecon" of the group.
    """

    data: Any
    axes: str
    voxel_size: VoxelSize = ()
    origin: tuple[float, ...] = ()
    channels: tuple[str, ...] = ()
    time_step: float | None = None
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if "".join(a for a in AXES if a in self.axes) != self.axes:
            raise ValueError(
                f"`axes` is {self.axes!r}; letters of {AXES!r} in that order are needed"
            )
        if len(self.axes) != len(self.data.shape):
            raise ValueError(
                f"`axes` is {self.axes!r}, but `data` has shape {self.data.shape}."
            )
        space = len(self.spatial_axes)
        for name, default in (("voxel_size", None), ("origin", 0.0)):
            value = tuple(getattr(self, name)) or (default,) * space
            if len(value) != space:
                raise ValueError(
                    f"`{name}` is {value}; one per axis of {self.spatial_axes!r} is "
                    f"needed."
                )
            object.__setattr__(self, name, value)
        for size in self.voxel_size:
            if size is not None and not (np.isfinite(size) and size > 0):
                raise ValueError(
                    f"`voxel_size` is {self.voxel_size}; positive µm or None are needed"
                )
        count = self.sizes.get("c", 1)
        if self.channels and len(self.channels) != count:
            raise ValueError(f"`channels` is {self.channels}, for {count} channels.")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data[...], dtype=dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the data, in native byte order."""
        return np.dtype(self.data.dtype).newbyteorder("=")

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every axis by its letter."""
        return dict(zip(self.axes, self.shape, strict=True))

    @property
    def spatial_axes(self) -> str:
        """The spatial part of `axes`: "zyx" or "yx"."""
        return "".join(a for a in self.axes if a in "zyx")

    @property
    def volume_shape(self) -> tuple[int, ...]:
        """Shape of one volume (one channel at one time point)."""
        return tuple(self.sizes[a] for a in self.spatial_axes)

    @property
    def known_voxel_size(self) -> tuple[float, ...]:
        """The voxel size in µm.

        Raises:
            ValueError: the file does not give it for every axis.
        """
        sizes = zip(self.spatial_axes, self.voxel_size, strict=True)
        missing = [axis for axis, size in sizes if size is None]
        if missing:
            raise ValueError(
                f"the voxel size along {', '.join(missing)} is missing from the file; "
                f"give it in µm."
            )
        return self.voxel_size  # pyright: ignore[reportReturnType]

    def volumes(self) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """(index, volume) of every time point and channel, each read when its turn is.

        The index addresses the leading axes of `data`.
        """
        leading = self.shape[: -len(self.spatial_axes)]
        for index in np.ndindex(*leading):
            yield index, self.volume(index)

    def volume(
        self, index: Sequence[int] = (), *, t: int | None = None, c: int | None = None
    ) -> np.ndarray:
        """One volume, in native byte order.

        Args:
            index: of the leading axes, all of them, as `volumes` gives it; or
            t: time point, and
            c: channel, where the image has these axes.

        Raises:
            ValueError: a leading axis is left open, or one is given that is not there.
        """
        leading = self.axes[: -len(self.spatial_axes)]
        chosen = dict(zip(leading, index, strict=False))
        chosen |= {a: n for a, n in (("t", t), ("c", c)) if n is not None}
        if set(chosen) != set(leading) or len(index) > len(leading):
            wanted = ", ".join(f"{axis}=0" for axis in leading)
            raise ValueError(
                f"the image has axes {self.axes!r}, shape {self.shape}; say which "
                f"volume: `volume({wanted})`."
            )
        return np.asarray(self.data[tuple(chosen[a] for a in leading)], self.dtype)

    def replace(self, **changes: Any) -> "Image":
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)


class Lazy(abc.ABC):
    """Data of a file that are read when sliced, or all when made an array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @abc.abstractmethod
    def __getitem__(self, index: Any) -> np.ndarray:
        """Read what `index` selects."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


class _Stacked(Lazy):
    """Images of one shape as one array with a new first axis."""

    def __init__(self, parts: Sequence[Any]):
        self._parts = parts
        self.shape = (len(parts), *parts[0].shape)
        self.dtype = parts[0].dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(first, int | np.integer):
            return np.asarray(self._parts[int(first)][tuple(rest)])
        if first is Ellipsis:
            first, rest = slice(None), []
        chosen = self._parts[first]
        return np.stack([np.asarray(part[tuple(rest)]) for part in chosen])


def stack_time(images: Sequence[Image]) -> Image:
    """Join images without time axis, of one shape and type, as a time series.

    Raises:
        ValueError: no images, a time axis already there, shapes, types, voxel sizes or
            channels that differ.
    """
    if not images:
        raise ValueError("`images` is empty.")
    first = images[0]
    if "t" in first.axes:
        raise ValueError("`images` have a time axis already.")
    for number, image in enumerate(images):
        for name in ("axes", "shape", "dtype", "voxel_size", "channels"):
            if getattr(image, name) != getattr(first, name):
                raise ValueError(
                    f"image {number} has {name} {getattr(image, name)}, the first one "
                    f"{getattr(first, name)}; a series needs one for all."
                )
    data = _Stacked([image.data for image in images])
    return first.replace(data=data, axes="t" + first.axes)
