"""All that is measured of large views before they are fused, or known from before."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..fusion._part import Light
from ..fusion._turned_psf import turned_psf
from ..geometry import common_grid
from ..registration._field import Field
from ._agree import first_index
from ._fine import better_poses, fields, local_shifts
from ._fuse_blocks import Fuse, from_json
from ._source import Source
from ._views import Overview, backgrounds, linear_parts, measured_lights

FINE = ("auto", "pose", "field")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What all blocks of a fusion share.

    Attributes:
        poses: from voxels of the first view to those of each.
        lights: per channel, of every view.
        fields: of every view, displacements on the grid; None: none.
    """

    poses: np.ndarray
    lights: tuple[tuple[Light, ...], ...]
    fields: tuple[Field | None, ...] | None = None

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Measured":
        """What an earlier run has written down (`Fuse.shared`)."""
        found = known["fields"]
        return cls(
            poses=np.array(known["poses"]),
            lights=tuple(
                tuple(
                    Light(
                        background=np.float32(level),
                        exposure=np.float32(exposure),
                        noise=np.float32(noise),
                    )
                    for level, exposure, noise in lights
                )
                for lights in known["lights"]
            ),
            fields=None if found is None else tuple(from_json(one) for one in found),
        )


def measure(
    views: Sequence[Source],
    psfs: Any,
    *,
    sizes: Sequence[Any],
    psf_sizes: Sequence[Any],
    matrices: np.ndarray | None,
    initial: Any,
    model: Any,
    fine: str | None,
    background: Any,
    exposures: Any,
    region: str,
    channel: int,
) -> Measured:
    """Poses, light and displacements; the arguments are those of `volumes.fuse`."""
    index = first_index(views[0], channel)
    overview = Overview(views=tuple(views), sizes=tuple(sizes), index=index)
    poses = matrices
    if poses is None:
        levels = backgrounds(background, [[copy.volume] for copy in overview.copies])
        poses = overview.register(psfs, psf_sizes, levels, initial=initial, model=model)
    if fine == "auto":
        found_here = matrices is None
        reduced = found_here and any(max(copy.step) > 1 for copy in overview.copies)
        fine = "pose" if reduced else None
    displaced = None
    if fine is not None:
        operation = _plain(views, sizes, poses, region)
        linear = linear_parts(operation.matrices, sizes, psf_sizes)
        turned = None if psfs is None else _turned(psfs, linear)
        shifts = local_shifts(operation, index, turned)
        if fine == "pose":
            poses = better_poses(operation, shifts, _last(model))
        else:
            displaced = fields(operation, shifts)
    lights = []
    for c in range(views[0].image.sizes.get("c", 1)):
        mine = first_index(views[0], c)
        seen = overview if mine == index else dataclasses.replace(overview, index=mine)
        lights.append(measured_lights(seen, mine, poses, background, exposures))
    return Measured(poses=poses, lights=tuple(lights), fields=displaced)


def _plain(views, sizes, poses: np.ndarray, region: str) -> Fuse:
    """A fusion that only shows the views on the grid."""
    grid = common_grid(
        [view.shape for view in views],
        list(poses),
        voxel_sizes=list(sizes),
        region=region,
    )
    return Fuse(
        views=tuple(views),
        poses=poses,
        matrices=np.stack([pose @ grid.matrix for pose in poses]),
        grid=grid,
        lights=(),
        blurs=None,
        method="average",
        iterations=0,
        update="alternating",
        boundary="extend",
        halo=(0, 0, 0),
    )


def _turned(psfs: Any, linear: Sequence[np.ndarray]) -> list[np.ndarray]:
    pairs = zip(psfs, linear, strict=True)
    return [np.asarray(turned_psf(jnp.asarray(p, jnp.float32), m)) for p, m in pairs]


def _last(model: Any) -> str:
    """The freest of several models, as `fit_pose` knows it."""
    name = model if isinstance(model, str) else list(model)[-1]
    return name if name in ("translation", "affine") else "rigid"
