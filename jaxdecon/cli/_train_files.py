"""The files that a training file names: which belong together, and to what end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..learning import DiskPairs, hold_out
from ..learning.pairs._pairs import Subset
from ..psf import PSFField
from ._train_config import Config, expanded

MOST_VOXELS = 2**18
"""Of what a record looks at, if it is more than a patch."""
ENOUGH = 16
"""Places without overlap that there must be for it."""


def files(config: Config) -> tuple[list[Any], list[str]]:
    """Inputs, of several views in tuples, and targets."""
    inputs = config["data"]["inputs"]
    nested = isinstance(inputs, list) and isinstance(inputs[0], list)
    found: list[Any] = (
        [tuple(expanded(config, "data", "inputs", one)) for one in inputs]
        if nested
        else expanded(config, "data", "inputs", inputs)
    )
    return found, expanded(config, "data", "targets", config["data"]["targets"])


def partners(inputs: Sequence[Any], targets: Sequence[str]) -> str:
    """Which files belong together, in words."""
    views = [[one] if isinstance(one, str) else one for one in inputs]
    pairs = [
        f"{' and '.join(Path(path).name for path in paths)} -> {Path(target).name}"
        for paths, target in zip(views, targets, strict=False)
    ]
    return ", ".join(pairs if len(pairs) < 4 else [*pairs[:2], "...", pairs[-1]])


def split(
    volumes: DiskPairs, targets: Sequence[str], share: float, key: jax.Array
) -> tuple[Subset, Subset]:
    """Volumes to train on, and to judge by.

    File by file: time points of one look alike. Of a single file, the last time points
    are held out.

    Args:
        volumes: a pair for every time point of every file.
        targets: the files.
        share: of the files that is held out.
        key: of `jax.random.key`.

    Raises:
        ValueError: a single pair; a share outside (0, 1).
    """
    owners = _owners(volumes, targets)
    if len(targets) == 1:
        count = len(hold_out(volumes, share, key=key)[0])
        parts = range(count), range(count, len(volumes))
    else:
        chosen = hold_out(range(len(targets)), share, key=key)
        parts = (np.isin(owners, one.indices).nonzero()[0].tolist() for one in chosen)
    train, judge = (Subset(volumes, [*numbers]) for numbers in parts)
    return train, judge


def _owners(volumes: DiskPairs, targets: Sequence[str]) -> np.ndarray:
    """The number of the file of each pair."""
    from .. import io

    if len(volumes) == len(targets):
        return np.arange(len(targets))
    times = [io.read(path).sizes.get("t", 1) for path in targets]
    return np.repeat(np.arange(len(targets)), times)


def one_each(
    config: Config, psfs: Sequence[Any], volumes: DiskPairs, patch: Sequence[int]
) -> Sequence[Any]:
    """PSFs, one for each view.

    Raises:
        ValueError: another number; a field of PSFs and patches, which lie anywhere.
    """
    if not psfs:
        return psfs
    shapes = {volumes.spatial_shape(i) for i in range(len(volumes))}
    if isinstance(psfs[0], PSFField) and shapes != {tuple(patch)}:
        raise ValueError(
            f"{config.path}: [data] psf is a field of PSFs, and patches lie anywhere "
            f"in it: images that are all of the patch's shape are needed, or "
            f"`jaxdecon.learning.fit` with operators of your own."
        )
    corner = [0] * len(volumes.spatial_shape(0))
    views = len(volumes.part(0, corner, [1] * len(corner)).images)
    if len(psfs) not in (1, views):
        raise ValueError(
            f"{config.path}: [data] psf has {len(psfs)} PSFs, and the pairs have "
            f"{views} view(s); one for each is needed, or one for all."
        )
    return [*psfs] * views if len(psfs) == 1 else psfs


def looked_at(patch: tuple[int, ...], volumes: Any) -> tuple[int, ...]:
    """What a record looks at: up to four patches along every axis.

    Models are used on whole images, whose percentiles and background are not those of
    small parts. Where there would be too few to tell how they differ: a patch.
    """
    shapes = np.array([volumes.spatial_shape(i) for i in range(len(volumes))])
    boxes = [np.minimum(shapes.min(0), times * np.array(patch)) for times in (4, 3, 2)]
    fits = (
        tuple(box.tolist())
        for box in boxes
        if box.prod() <= MOST_VOXELS and (shapes // box).prod(1).sum() >= ENOUGH
    )
    return next(fits, patch)
