"""The metadata of OME-Zarr 0.5, made and checked through yaozarrs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._image import Image


def ome_attributes(
    image: Image,
    steps: list[tuple[int, ...]],
    windows: Sequence[tuple[float, float]] = (),
) -> dict[str, Any]:
    """The attribute "ome" of the group of an image with its pyramid.

    Args:
        image: its axes, voxel size (µm), origin (µm), channels and time step (s) count.
        steps: per level, voxels of the full image per voxel along each spatial axis.
        windows: per channel, the values that viewers show as black and white; if not
            given, the whole range of an integer type, or 0 to 1.

    Returns:
        What JSON can hold, valid by the model of OME-Zarr 0.5.

    Raises:
        ValueError: axes that OME-Zarr cannot hold.
    """
    from yaozarrs import v05  # 0.2 s, for those who write OME-Zarr

    datasets = [
        v05.Dataset(
            path=str(level), coordinateTransformations=_level_transforms(image, step)
        )
        for level, step in enumerate(steps)
    ]
    try:
        multiscale = v05.Multiscale(
            name="image", type="mean", axes=_axes(image), datasets=datasets
        )
    except ValueError as error:
        raise ValueError(
            f"OME-Zarr cannot hold axes {image.axes!r}: it needs 2 or 3 of z, y, x."
        ) from error
    model = v05.Image(multiscales=[multiscale], omero=_omero(image, windows))
    return model.model_dump(mode="json", exclude_none=True)


def _axes(image: Image) -> list[Any]:
    from yaozarrs import v05

    sizes = dict(zip(image.spatial_axes, image.voxel_size, strict=True))
    second = None if image.time_step is None else "second"
    axes: dict[str, Any] = {
        "t": v05.TimeAxis(name="t", unit=second),
        "c": v05.ChannelAxis(name="c"),
    }
    for name, size in sizes.items():
        unit = None if size is None else "micrometer"
        axes[name] = v05.SpaceAxis(name=name, unit=unit)
    return [axes[name] for name in image.axes]


def _omero(image: Image, windows: Sequence[tuple[float, float]]) -> Any:
    """Names and display windows of the channels; OME-Zarr wants both or none.

    None if the channels have no names.
    """
    from yaozarrs import v05

    if not image.channels:
        return None
    windows = windows or [_range(image.dtype)] * len(image.channels)
    channels = [
        v05.OmeroChannel(
            label=name, color="FFFFFF", active=True, window=_window(image.dtype, shown)
        )
        for name, shown in zip(image.channels, windows, strict=True)
    ]
    return v05.Omero(channels=channels)


def _window(dtype: np.dtype, shown: tuple[float, float]) -> Any:
    from yaozarrs import v05

    low, high = _range(dtype) if dtype.kind in "iu" else shown
    return v05.OmeroWindow(min=low, max=high, start=shown[0], end=shown[1])


def _range(dtype: np.dtype) -> tuple[float, float]:
    if dtype.kind not in "iu":
        return 0.0, 1.0
    return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)


def _level_transforms(image: Image, step: tuple[int, ...]) -> list[Any]:
    """A voxel of a level is centred on the mean of those it averages."""
    from yaozarrs import v05

    size = [s or 1.0 for s in image.voxel_size]
    leading = len(image.axes) - len(step)
    first = [1.0] * leading
    if "t" in image.axes and image.time_step is not None:
        first[0] = float(image.time_step)
    scale = [v * s for v, s in zip(size, step, strict=True)]
    offsets = zip(image.origin, size, step, strict=True)
    translation = [o + v * (s - 1) / 2 for o, v, s in offsets]
    return [
        v05.ScaleTransformation(scale=[*first, *scale]),
        v05.TranslationTransformation(translation=[0.0] * leading + translation),
    ]
