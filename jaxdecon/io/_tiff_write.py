"""Write OME-TIFF and ImageJ hyperstacks, through tifffile."""

import math
from pathlib import Path
from typing import Any

import tifffile

from ._image import Image

OME_DTYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32")
OME_DTYPES += ("float64",)
IMAGEJ_DTYPES = ("uint8", "uint16", "float32")


def write_tiff(path: Path, image: Image, *, ome: bool) -> None:
    """Write an OME-TIFF or an ImageJ hyperstack, volume by volume.

    Raises:
        ValueError: a type that ImageJ does not know, or more than its 4 GB.
    """
    full = _check_ome(image) if ome else _check_imagej(image)
    shape = tuple(full.sizes.get(axis, 1) for axis in "tzcyx")
    planes = _planes(full)
    big = math.prod(shape) * full.dtype.itemsize > 2**32 - 2**25
    with tifffile.TiffWriter(path, bigtiff=big, ome=ome, imagej=not ome) as writer:
        writer.write(
            planes,
            shape=shape,
            dtype=full.dtype,
            photometric="minisblack",
            resolution=_tiff_resolution(full),
            resolutionunit="NONE",
            metadata=(_ome_attributes if ome else _imagej_attributes)(full),
        )


def _planes(image: Image):
    """All planes in the order t, z, c, as the metadata say."""
    sizes = {axis: image.sizes.get(axis, 1) for axis in "tzc"}
    for t in range(sizes["t"]):
        leading = [
            tuple({"t": t, "c": c}[a] for a in image.axes if a in "tc")
            for c in range(sizes["c"])
        ]
        volumes = [image.volume(index) for index in leading]
        for z in range(sizes["z"]):
            for volume in volumes:
                yield volume[z] if "z" in image.axes else volume


def _check_ome(image: Image) -> Image:
    if str(image.dtype) not in OME_DTYPES:
        raise ValueError(
            f"OME-TIFF cannot hold {image.dtype}, only {', '.join(OME_DTYPES)}: write "
            f".ome.zarr, or convert."
        )
    return image


def _check_imagej(image: Image) -> Image:
    if str(image.dtype) not in IMAGEJ_DTYPES:
        raise ValueError(
            f"ImageJ TIFF cannot hold {image.dtype}, only {', '.join(IMAGEJ_DTYPES)}: "
            f"write .ome.tif or .ome.zarr, or convert."
        )
    if math.prod(image.shape) * image.dtype.itemsize > 2**32 - 2**25:
        raise ValueError(
            "ImageJ TIFF cannot hold more than 4 GB: write .ome.tif or .ome.zarr."
        )
    return image


def _tiff_resolution(image: Image) -> tuple[float, float] | None:
    y, x = image.voxel_size[-2:]
    if None in image.voxel_size or y is None or x is None:
        return None
    return 1 / x, 1 / y


def _ome_attributes(image: Image) -> dict[str, Any]:
    attributes: dict[str, Any] = {"axes": "TZCYX"}
    for axis, size in zip(image.spatial_axes, image.voxel_size, strict=True):
        if size is not None:
            attributes[f"PhysicalSize{axis.upper()}"] = size
            attributes[f"PhysicalSize{axis.upper()}Unit"] = "µm"
    if image.channels:
        attributes["Channel"] = {"Name": list(image.channels)}
    if image.time_step is not None:
        attributes["TimeIncrement"] = image.time_step
        attributes["TimeIncrementUnit"] = "s"
    if any(image.origin):
        count = math.prod(image.sizes.get(axis, 1) for axis in "tzc")
        position = dict(zip(image.spatial_axes, image.origin, strict=True))
        attributes["Plane"] = {}
        for axis, value in position.items():
            attributes["Plane"][f"Position{axis.upper()}"] = [value] * count
            attributes["Plane"][f"Position{axis.upper()}Unit"] = ["µm"] * count
    return attributes


def _imagej_attributes(image: Image) -> dict[str, Any]:
    sizes = dict(zip(image.spatial_axes, image.voxel_size, strict=True))
    complete = None not in image.voxel_size
    attributes: dict[str, Any] = {
        "axes": "TZCYX",
        "unit": "um" if complete else "pixel",
    }
    if complete and "z" in sizes:
        attributes["spacing"] = sizes["z"]
    if not complete and any(sizes.values()):
        # One unit for all is all that ImageJ knows.
        known = ["?" if size is None else repr(size) for size in image.voxel_size]
        attributes["voxel_size_um"] = " ".join(known)
    if image.time_step is not None:
        attributes["finterval"] = image.time_step
    for axis, value in zip(image.spatial_axes, image.origin, strict=True):
        size = sizes[axis]
        if value and size:
            attributes[f"{axis}origin"] = -value / size
    if image.channels:
        planes = image.sizes.get("t", 1) * image.sizes.get("z", 1)
        attributes["Labels"] = list(image.channels) * planes
    return attributes
