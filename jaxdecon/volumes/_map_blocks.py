"""Any function on a volume larger than memory."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import jax
import numpy as np

from .._core._check import check_positive
from ._blocks import Block, Shape
from ._deconvolve_blocks import digest
from ._halo import given_halo
from ._how import How, Options
from ._on_source import OnSource
from ._outcome import Run
from ._plan import Plan
from ._run import Job, run
from ._source import Source
from ._targets import make_target, target_path

VOLUMES = 8
"""Volumes of float32 that a function is taken to need on the device, if not told."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapBlocks(OnSource):
    """Apply a function to a block.

    Attributes:
        source: of the image.
        function: from a volume to one of its shape.
        halo: voxels around a block that the function sees.
        volumes: of float32, that it needs on the device.
        skip_below: a block that nowhere reaches it is empty; None: none is.
        arguments: to hand to the function with the volume.
    """

    function: Callable[..., Any]
    halo: Shape
    volumes: float = VOLUMES
    skip_below: float | None = None
    arguments: tuple[Any, ...] = ()

    name = "map_blocks"

    def is_empty(self, block: Block, inputs: np.ndarray) -> bool:
        """Whether the image nowhere reaches `skip_below`."""
        return self.skip_below is not None and bool(inputs.max() < self.skip_below)

    def compute(self, block: Block, inputs: Any) -> jax.Array:
        """The function's result in the block and its halo.

        Raises:
            ValueError: it has another shape than the volume.
        """
        result = jax.numpy.asarray(self.function(inputs, *self.arguments))
        if result.shape != inputs.shape:
            raise ValueError(
                f"`function` returned shape {result.shape} for a volume of "
                f"{inputs.shape}; the same shape is needed."
            )
        return result

    def memory(self, block: Block) -> tuple[int, int]:
        """Bytes on device and host that a block takes."""
        voxels = math.prod(block.read_shape)
        itemsize = max(self.source.image.dtype.itemsize, 4)
        return int(4 * self.volumes * voxels), itemsize * voxels


def map_blocks(
    function: Callable[..., Any],
    source: Any,
    target: Any,
    *,
    halo: int | Sequence[int],
    arguments: Sequence[Any] = (),
    version: Any = None,
    volumes: float = VOLUMES,
    skip_below: float | None = None,
    dtype: str = "float32",
    scale: float = 1.0,
    **how: Unpack[How],
) -> Run | Plan:
    """Apply a function to an image of any size, block by block, to a file.

    Args:
        function: from a volume, (z, y, x) or (y, x), of the source's type, to one of
            the same shape; jitted functions are compiled once, since all blocks have
            one shape. A network's `apply` is one; so is a registration's `warp`, as far
            as its halo reaches. With another process as `engine` it has to be
            importable there (or Dask sends it).
        source: as for `deconvolve`.
        target: as for `deconvolve`.
        halo: voxels around a block that a result can depend on, one number or one per
            axis. With as many, the result equals that of the whole volume.
        arguments: arrays or other pytrees that are handed to the function after the
            volume (weights of a network); a run is taken up again with the same only.
        version: anything JSON can hold that says which function this is, besides its
            name: a run is taken up again with the same version only.
        volumes: of float32, that the function needs on the device at a time.
        skip_below: see there; None: no block is skipped.
        dtype: see there.
        scale: see there.
        how: block, engine, memory, resume, ...: how to run; see `How`.

    Returns:
        A `Run`; with `dry_run` the `Plan`.

    Raises:
        ValueError, BlocksFailed, OSError: as `deconvolve`.

    Example:
        >>> import tempfile, pathlib, numpy as np, jaxdecon as jd
        >>> image = np.random.default_rng(0).poisson(20, (32, 48, 48)).astype("uint16")
        >>> def root(volume):
        ...     return jax.numpy.sqrt(volume.astype("float32"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = pathlib.Path(folder) / "root.ome.zarr"
        ...     run = jd.volumes.map_blocks(root, image, target, halo=0, block=32)
        ...     bool(np.allclose(jd.io.read(target), np.sqrt(image)))
        True
    """
    options = Options(**how)
    check_positive("volumes", volumes)
    opened = Source(source)
    operation = MapBlocks(
        source=opened,
        function=function,
        halo=given_halo(halo, len(opened.shape)),
        volumes=volumes,
        skip_below=skip_below,
        arguments=tuple(arguments),
    )
    request: Mapping[str, Any] = {
        "function": getattr(function, "__qualname__", type(function).__name__),
        "version": version,
        "halo": list(operation.halo),
        "arguments": digest(operation.arguments),
    }
    job = Job(
        operation=operation,
        target=make_target(target, opened.image, opened.shape, dtype, scale),
        path=target_path(target),
        sources=(opened,),
        request=request,
        skip_below=skip_below,
    )
    return run(job, options)
