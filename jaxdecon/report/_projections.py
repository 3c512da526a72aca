"""Pictures of a volume: maximum projections, and a movie of it as it turns."""

import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_positive
from ..geometry import resample, turned, warp
from ..io import atomic_target, check_target
from ._figure import _size
from ._registration_figure import _scaled

PLANES = {"xy": (1, 2), "xz": (0, 2), "yz": (0, 1)}
"""The axes down and across."""


def projections(
    volume: ArrayLike, *, voxel_size: Sequence[float | None] | None = None
) -> dict[str, np.ndarray]:
    """Maximum projections along z, y and x.

    NaN is passed over; it stays where a line of voxels has nothing else.

    Args:
        volume: (z, y, x).
        voxel_size: µm per axis. Voxels that are not cubes become square pixels, the
            size of the shortest edge, by repetition. None: a pixel per line of voxels.

    Returns:
        "xy", (y, x); "xz", (z, x); "yz", (z, y). Integers become floats.

    Raises:
        ValueError: a volume that is not 3D, or without a finite value; unusable sizes.

    Example:
        >>> import numpy as np
        >>> from jaxdecon import report
        >>> seen = report.projections(np.ones((3, 8, 9)), voxel_size=(0.4, 0.2, 0.2))
        >>> {name: plane.shape for name, plane in seen.items()}
        {'xy': (8, 9), 'xz': (6, 9), 'yz': (6, 8)}
    """
    stack = _checked("volume", volume)
    size, _ = _sizes(voxel_size)
    steps = np.divide(size, min(size))
    planes = {}
    for name, (down, across) in PLANES.items():
        plane = np.fmax.reduce(stack, axis=3 - down - across)
        plane = plane.astype(np.result_type(plane, np.float32))
        rows, columns = (
            _nearest(n, steps[a])
            for n, a in zip(plane.shape, (down, across), strict=True)
        )
        planes[name] = plane[rows[:, None], columns]
    return planes


def rotating_projection(
    volume: ArrayLike,
    *,
    voxel_size: Sequence[float | None] | None = None,
    frames: int = 36,
    axis: str = "y",
    largest: int = 256,
) -> np.ndarray:
    """Maximum projections along z of a volume that turns once about its centre.

    The first frame is the xy projection with a margin, wide enough for all others,
    that has the volume's lowest value. Where x was, z is after a quarter turn about y:
    positive angles are those of `jaxdecon.geometry.turned`.

    Args:
        volume: (z, y, x); NaN is taken for the lowest value.
        voxel_size: µm per axis; None: cubes.
        frames: in a turn, evenly spaced.
        axis: to turn about, "z", "y" or "x".
        largest: edge of the volume, in pixels; a larger one is reduced first.

    Returns:
        (frames, height, width), float32, of square pixels.

    Raises:
        ValueError: a volume that is not 3D, or without a finite value; unusable sizes;
            a count below 1; another axis.

    Example:
        >>> import numpy as np
        >>> from jaxdecon import report
        >>> report.rotating_projection(np.ones((3, 4, 4)), frames=2).shape
        (2, 4, 6)
    """
    stack = _without_gaps(_checked("volume", volume))
    size, _ = _sizes(voxel_size)
    check_choice("axis", axis, ("z", "y", "x"))
    check_count("frames", frames, 1)
    check_count("largest", largest, 1)
    cubes = resample(stack, _shape_of_cubes(stack.shape, size, largest))
    room = _room(cubes.shape, "zyx".index(axis))
    lowest = cubes.min()
    seen = []
    for angle in np.arange(frames) * (-360 / frames):
        matrix = turned(angle, axis=axis, shape=room, to_shape=cubes.shape)
        seen.append(np.asarray(_projected(cubes, matrix, lowest, room), np.float32))
    return np.stack(seen)


def write_movie(
    path: str | os.PathLike[str],
    frames: ArrayLike,
    *,
    seconds_per_frame: float = 0.08,
    overwrite: bool = False,
) -> None:
    """Write an animated GIF of 256 greys that repeats for ever.

    One contrast for all frames, from the 1st to the 99.8th percentile.

    Args:
        path: ends with ".gif".
        frames: (frames, height, width), as of `rotating_projection`; equal ones in
            succession are stored as one that lasts longer.
        seconds_per_frame: rounded to hundredths.
        overwrite: replace a file that is there.

    Raises:
        ImportError: Pillow is missing; the message names the extra.
        ValueError: another ending; frames that are not 3D, or without a finite value;
            a time that is not positive.
        FileExistsError: the file is there.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(
            f"`path` is {str(path)!r}; a name that ends in .gif is needed."
        )
    check_positive("seconds_per_frame", seconds_per_frame)
    stack = _checked("frames", frames, "(frames, height, width)")
    first, *others = map(_pillow().fromarray, _to_bytes(_scaled(stack)))
    hundredths = max(1, round(100 * seconds_per_frame))
    with atomic_target(path, overwrite=overwrite) as partial:
        first.save(
            partial,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=10 * hundredths,
            loop=0,
        )


def write_projections(
    path: str | os.PathLike[str],
    volume: ArrayLike,
    *,
    voxel_size: Sequence[float | None] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write pictures of a volume: three maximum projections, and a movie of a turn.

    The projections are PNGs of square pixels and 256 greys, with one contrast, from
    the 1st to the 99.8th percentile; NaN is black.

    Args:
        path: what the names begin with: of "out/run" they are "out/run_xy.png",
            "out/run_xz.png", "out/run_yz.png" and "out/run_rotating.gif".
        volume: (z, y, x).
        voxel_size: µm per axis; None: cubes.
        overwrite: replace files that are there.

    Returns:
        The paths of the files.

    Raises:
        ImportError: Pillow is missing; the message names the extra.
        ValueError: a volume that is not 3D, or without a finite value; unusable sizes.
        FileExistsError: one of the files is there; none is written.
        FileNotFoundError: the folder is not there.
    """
    prefix = Path(path)
    endings = (*(f"{name}.png" for name in PLANES), "rotating.gif")
    targets = [prefix.with_name(f"{prefix.name}_{ending}") for ending in endings]
    for target in targets:
        check_target(target, overwrite=overwrite)
    pillow = _pillow()
    planes = _contrasted([*projections(volume, voxel_size=voxel_size).values()])
    for target, plane in zip(targets, planes, strict=False):
        with atomic_target(target, overwrite=overwrite) as partial:
            pillow.fromarray(_to_bytes(plane)).save(partial, format="PNG")
    movie = rotating_projection(volume, voxel_size=voxel_size)
    write_movie(targets[-1], movie, overwrite=overwrite)
    return targets


def _checked(name: str, value: ArrayLike, axes: str = "(z, y, x)") -> np.ndarray:
    """With three axes and something to see; infinities become NaN."""
    stack = np.asarray(value)
    if stack.ndim != 3 or stack.size == 0:
        raise ValueError(f"`{name}` has shape {stack.shape}; {axes} is needed.")
    finite = np.isfinite(stack)
    if not finite.any():
        raise ValueError(f"`{name}` is NaN everywhere; finite values are needed.")
    return stack if finite.all() else np.where(finite, stack, np.nan)


def _sizes(voxel_size: Sequence[float | None] | None) -> tuple[list[float], str]:
    """As `_size`, of three axes, and positive."""
    if voxel_size is not None and len(voxel_size) != 3:
        raise ValueError(f"`voxel_size` is {voxel_size}; one per axis, 3, is needed.")
    size, unit = _size(voxel_size)
    check_positive("voxel_size", size)
    return size, unit


def _nearest(n: int, step: float) -> np.ndarray:
    """Indices that stretch an axis of n voxels."""
    m = max(1, round(n * step))
    return ((np.arange(m) + 0.5) * n / m).astype(int)


def _without_gaps(stack: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(stack), np.nanmin(stack), stack)


def _shape_of_cubes(shape, size, largest: int) -> tuple[int, ...]:
    """Of the volume in voxels of equal edges, not more than so many."""
    extent = np.multiply(shape, size)
    step = max(min(size), extent.max() / largest)
    return tuple(max(1, round(e / step)) for e in extent)


def _room(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """That a turn about an axis takes; whole voxels more on either side."""
    across = math.hypot(*(n for a, n in enumerate(shape) if a != axis))
    return tuple(
        n if a == axis else n + 2 * math.ceil((across - n) / 2)
        for a, n in enumerate(shape)
    )


@functools.partial(jax.jit, static_argnums=3)
def _projected(volume, matrix, outside, shape) -> jax.Array:
    return warp(volume, matrix, shape, outside=outside).max(0)


def _contrasted(planes: list[np.ndarray]) -> list[np.ndarray]:
    """Planes from black, 0, to white, 1, with one contrast."""
    scaled = _scaled(np.concatenate([plane.ravel() for plane in planes]))
    ends = np.cumsum([plane.size for plane in planes])
    parts = np.split(scaled, ends[:-1])
    return [part.reshape(p.shape) for part, p in zip(parts, planes, strict=True)]


def _to_bytes(scaled: np.ndarray) -> np.ndarray:
    return np.round(255 * scaled).astype(np.uint8)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        message = 'pictures need Pillow: pip install "jaxdecon[plots]"'
        raise ImportError(message) from error
    return Image
