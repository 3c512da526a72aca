"""Time series of views: poses once, or followed from one time point to the next."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice
from ..registration._series import smoothed_poses
from ._fuse import Fusion, fuse

POSES = ("once", "each")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimePoint:
    """A time point of a series; from `fuse_series`.

    Attributes:
        index: in the series.
        fusion: None where the time point was skipped.
        note: why it was skipped, or what its pose is worth; empty if all went well.
    """

    index: int
    fusion: Fusion | None
    note: str = ""


def fuse_series(
    time_points: Iterable[Sequence[ArrayLike] | None],
    psfs: Sequence[ArrayLike] | None,
    *,
    poses: Literal["once", "each"] | str = "each",
    **options: Any,
) -> Iterator[TimePoint]:
    """Fuse the time points of a series, one after the other.

    The grid, the PSFs on it and all compiled programs are those of the first time point
    that can be registered.

    Args:
        time_points: the views of every time point, as for `fuse`; None for one that is
            missing. Taken one at a time, when its turn is.
        psfs: as for `fuse`.
        poses: "once": those of the first time point for all; "each": every time point
            is registered, starting from the last. A registration that fails leaves the
            last good pose in use, and is told.
        options: of `fuse`; with `matrices` nothing is registered.

    Yields:
        A `TimePoint` for each; those that are missing, empty or cannot be registered
        before any other could have no fusion.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> view = np.random.default_rng(0).random((8, 16, 16))
        >>> series = [(view, view), None, (view, view)]
        >>> done = jd.fusion.fuse_series(
        ...     series, None, matrices=[np.eye(4)] * 2, method="average")
        >>> [(point.index, point.fusion is not None) for point in done]
        [(0, True), (1, False), (2, True)]
    """
    check_choice("poses", poses, POSES)
    last: Fusion | None = None
    for index, views in enumerate(time_points):
        if views is None:
            yield TimePoint(index=index, fusion=None, note="missing")
            continue
        point = fuse_next(views, psfs, last, poses=poses, **options)
        point = dataclasses.replace(point, index=index)
        last = point.fusion or last
        yield point


def fuse_next(
    views: Sequence[ArrayLike],
    psfs: Sequence[ArrayLike] | None,
    last: Fusion | None,
    *,
    poses: str = "each",
    **options: Any,
) -> TimePoint:
    """The next time point after a fusion; see `fuse_series`.

    Args:
        views: of the time point.
        psfs: as for `fuse`.
        last: the fusion before; None: there is none.
        poses: "once" or "each".
        options: of `fuse`.
    """
    if poses == "once" and last is not None and "matrices" not in options:
        options["matrices"] = last.matrices
    options["like"] = last
    note = ""
    with warnings.catch_warnings():
        if last is not None:  # what was told of the first one is known
            warnings.simplefilter("ignore", UserWarning)
        try:
            fusion = fuse(views, psfs, **options)
        except RuntimeError as failure:
            if last is None:
                return TimePoint(index=0, fusion=None, note=str(failure))
            note = f"the last good poses are used: {failure}"
            options["matrices"] = last.matrices
            fusion = fuse(views, psfs, **options)
        except ValueError as failure:
            if last is None:
                raise
            return TimePoint(index=0, fusion=None, note=str(failure))
    return TimePoint(index=0, fusion=fusion, note=note)


def smooth_poses(
    matrices: np.ndarray,
    sigma: float,
    *,
    model: str = "rigid",
    voxel_size: float | Sequence[float] | None = None,
    shape: Sequence[int],
) -> np.ndarray:
    """Poses of a series that run smoothly in time.

    Args:
        matrices: (time, views, 4, 4), as of the fusions of a series.
        sigma: standard deviation of a Gaussian, in time points.
        model: of the poses.
        voxel_size: of the first view.
        shape: of the first view.

    Returns:
        Matrices of the same shape, for `fuse(..., matrices=...)`.
    """
    if not sigma > 0:
        raise ValueError(f"`sigma` is {sigma}; a positive number is needed.")
    smooth = np.array(matrices, float)
    for view in range(1, smooth.shape[1]):
        first = smooth[0, view].copy()
        steps = np.linalg.inv(first) @ smooth[:, view]
        even = smoothed_poses(steps, sigma, model, voxel_size, tuple(shape))
        smooth[:, view] = first @ even
    return smooth
