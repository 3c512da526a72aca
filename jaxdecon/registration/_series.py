"""Register the time points of a series."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count
from ..geometry import Transform, in_micrometres, in_voxels, warp
from ._register import register
from ._result import Registration

TO = ("reference", "previous")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesRegistration:
    """The poses of a series' time points; from `register_series`.

    Attributes:
        matrices: (time, d + 1, d + 1), from voxels of the reference to voxels of each
            time point.
        registrations: of every time point, to the reference or to the one before; that
            of the reference itself is None.
    """

    matrices: np.ndarray
    registrations: tuple[Registration | None, ...]

    @property
    def converged(self) -> np.ndarray:
        """Which poses are to be believed; with `to="previous"` all before it, too."""
        return np.array([r is None or bool(r.converged) for r in self.registrations])

    def warp(self, volumes: Sequence[Any], **options: Any) -> Iterator[np.ndarray]:
        """The time points in the pose of the reference, one after the other.

        Args:
            volumes: those of the registration, or another channel of them.
            options: of `jaxdecon.warp`.
        """
        for volume, matrix in zip(volumes, self.matrices, strict=True):
            yield np.asarray(warp(volume, matrix, **options))


def register_series(
    volumes: Sequence[ArrayLike] | np.ndarray,
    *,
    to: Literal["reference", "previous"] = "reference",
    reference: int = 0,
    model: str = "translation",
    smooth: float = 0.0,
    voxel_size: float | Sequence[float] | None = None,
    **options: Any,
) -> SeriesRegistration:
    """Find the pose of every time point of a series.

    Every registration starts from the pose of the time point before; if its pose is not
    believed, it is tried again from scratch.

    Args:
        volumes: (time, z, y, x) or (time, y, x), or as many arrays of one shape; read
            one at a time.
        to: "reference": every time point to one of them; "previous": to the one
            before, for specimens that change, at the price of errors that add up.
        reference: index of the time point that stays where it is.
        model: as for `register`.
        smooth: standard deviation in time points of a Gaussian, by which the parameters
            of the poses are smoothed; 0: not at all.
        voxel_size: µm, one number or one per axis.
        options: of `register`, e.g. `mask`.

    Returns:
        A `SeriesRegistration`.

    Raises:
        ValueError: no time points, an index that is not there, unknown options, a
            negative `smooth`.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> rng = np.random.default_rng(0)
        >>> scene = np.asarray(jd.operators.Convolution.from_psf(
        ...     jd.psf.gaussian((9, 9), 4.0), (80, 80), boundary="periodic"
        ... )(rng.random((80, 80))))
        >>> series = [scene[8 + t : 72 + t, 8 : 72] for t in range(3)]
        >>> found = jd.registration.register_series(series)
        >>> found.matrices[:, 0, 2].round(1).tolist()
        [0.0, -1.0, -2.0]
    """
    count = len(volumes)
    if not count:
        raise ValueError("`volumes` is empty; one time point or more are needed.")
    check_choice("to", to, TO)
    check_count("reference", reference)
    if reference >= count:
        raise ValueError(f"`reference` is {reference}; there are {count} time points.")
    if not smooth >= 0:
        raise ValueError(f"`smooth` is {smooth}; 0 or more is needed.")
    options = {**options, "model": model, "fixed_voxel_size": voxel_size}
    size = np.ndim(volumes[0]) + 1
    matrices = np.tile(np.eye(size), (count, 1, 1))
    found: list[Registration | None] = [None] * count
    for order in (range(reference + 1, count), range(reference - 1, -1, -1)):
        _follow(volumes, order, to, reference, matrices, found, options)
    if smooth > 0:
        shape = np.shape(volumes[reference])
        matrices = smoothed_poses(matrices, smooth, model, voxel_size, shape)
    return SeriesRegistration(matrices=matrices, registrations=tuple(found))


def _follow(volumes, order, to, reference, matrices, found, options) -> None:
    """Register time points one after the other, away from the reference."""
    step = np.eye(matrices.shape[1])
    for time in order:
        before = time - order.step
        fixed = volumes[reference if to == "reference" else before]
        start = matrices[before] if to == "reference" else step
        result = register(fixed, volumes[time], initial=start, **options)
        if not result.converged:
            again = register(fixed, volumes[time], **options)
            result = again if again.converged else result
        found[time] = result
        step = np.asarray(result.matrix, float)
        matrices[time] = step if to == "reference" else step @ matrices[before]


def smoothed_poses(matrices, sigma: float, model: str, voxel_size, shape) -> np.ndarray:
    """Poses whose parameters, in physical space, run smoothly in time."""
    size = 1.0 if voxel_size is None else voxel_size
    centre = (np.array(shape) - 1) / 2 * np.broadcast_to(size, len(shape))
    kind = "affine" if model == "9-parameter" else model  # a closed one
    poses = [
        Transform.from_matrix(in_micrometres(m, size, size), kind, centre)
        for m in matrices
    ]
    values = np.stack([np.asarray(p.parameters, float) for p in poses])
    times = np.arange(len(values))
    weights = np.exp(-0.5 * ((times[:, None] - times) / sigma) ** 2)
    values = weights @ values / weights.sum(1, keepdims=True)
    return np.stack(
        [
            in_voxels(
                dataclasses.replace(p, parameters=v.astype(p.parameters.dtype)).matrix,
                *(size, size),
            )
            for p, v in zip(poses, values, strict=True)
        ]
    )
