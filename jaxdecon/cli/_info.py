"""`jaxdecon info`."""

import importlib.metadata
import os
import platform
from typing import Annotated

import typer

from ._console import cache_folder, idle_gpu_hint, say

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "zarr", "tifffile")


def info(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="Images to describe."),
    ] = None,
) -> None:
    """Describe this machine (devices, versions, memory), or image files."""
    if files:
        for file in files:
            describe_file(file)
    else:
        describe_machine()


def describe_file(path: str) -> None:
    """Axes, shape, type, voxel size and what is missing."""
    from ..io import read

    image = read(path)
    sizes = " ".join(f"{axis}={n}" for axis, n in image.sizes.items())
    voxel = ", ".join("?" if s is None else f"{s:.6g}" for s in image.voxel_size)
    say(f"{path}: {sizes}, {image.dtype}, voxel ({voxel}) µm")
    if image.channels:
        say(f"  channels: {', '.join(image.channels)}")
    if image.time_step is not None:
        say(f"  time step: {image.time_step:g} s")
    for note in image.notes:
        say(f"  note: {note}")


def describe_machine() -> None:
    """Versions, devices and memory."""
    import jax

    from .. import __version__
    from .._core._memory import available_memory

    say(f"jaxdecon {__version__}, Python {platform.python_version()}")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    say(", ".join(versions))
    say(f"{platform.platform()}, {os.cpu_count()} CPU cores")
    for device in jax.devices():
        say(f"device {device.id}: {device.platform} {device.device_kind}")
    memory = available_memory()
    if memory is not None:
        say(f"memory available: {memory / 2**30:.1f} GiB")
    say(f"compiled programs: {cache_folder()}")
    hint = idle_gpu_hint()
    if hint:
        say(f"note: {hint}")
