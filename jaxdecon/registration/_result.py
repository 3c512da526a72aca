"""What a registration returns, and when it is not to be believed."""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import is_traced
from .._core._pytree import pytree, static
from ..geometry import warp

LEAST_NCC, LEAST_SIGNIFICANCE = 0.2, 7.0
"""Association below which a pose is not believed, and standard errors that it must be
away from zero: the search finds the best of very many poses."""
LEAST_OVERLAP = 0.1
"""Share of the smaller volume."""
MOST_STRETCH, MOST_SHEAR = 2.0, 1.5
"""Of the linear part, in physical space: largest scale or its inverse, and the ratio of
its largest to its smallest singular value."""
LEAST_LEAD = 1.5
"""Significance of the best pose over that of the next, if that is elsewhere."""


class Status(enum.IntEnum):
    """How a registration ended."""

    CONVERGED = 0
    """The last step was small, and nothing speaks against the pose."""
    NOT_CONVERGED = 1
    """The passes ran out before the steps became small."""
    AMBIGUOUS = 2
    """Another pose, elsewhere, is nearly as good."""
    NO_CORRELATION = 3
    """The volumes hardly correlate at the best pose."""
    LITTLE_OVERLAP = 4
    """The volumes hardly overlap at the best pose."""
    IMPLAUSIBLE = 5
    """The best pose stretches or shears more than a specimen could."""
    NOT_FINITE = 6
    """The pose has NaN or infinite values."""


REASONS = {
    Status.CONVERGED: "converged",
    Status.NOT_CONVERGED: "the steps did not become small; allow more `iterations`",
    Status.AMBIGUOUS: (
        "another pose is nearly as good: the volumes may not show the same thing, or "
        "look alike in several poses; give `initial`"
    ),
    Status.NO_CORRELATION: (
        "the volumes hardly agree at the best pose: not the same content, a mirror "
        "image, or a start too far away; give `initial` (with a negative determinant "
        "for a mirror image), or another `metric`"
    ),
    Status.LITTLE_OVERLAP: "the volumes hardly overlap at the best pose",
    Status.IMPLAUSIBLE: (
        "the best pose stretches or shears beyond what is likely; use a model with "
        "fewer parameters, or give `initial`"
    ),
    Status.NOT_FINITE: "the pose is not finite",
}


@pytree
class Registration:
    """The pose of a moving volume, and whether to believe it.

    Attributes:
        matrix: (d + 1, d + 1), from fixed to moving voxel coordinates.
        score: of the metric there; of "ssd" in variances of the fixed volume.
        ncc: normalised cross-correlation over the overlap, of the softened volumes of
            the finest level.
        overlap: share of the smaller volume that overlaps.
        iterations: passes over the volumes on every level, coarse to fine, of one stage
            after the other; with `robust` those of the last search on the finest.
        history: (levels, passes) score of the best pose after every pass, NaN for none.
        uncertainty: standard error of the corners' places, voxels, root mean square;
            from the residual, as if it were noise and the model right.
        covariance: of the model's parameters, about the pose found.
        status: one of `Status`.
        metric: name of the score.
    """

    matrix: jax.Array
    score: jax.Array
    ncc: jax.Array
    overlap: jax.Array
    iterations: jax.Array
    history: jax.Array
    uncertainty: jax.Array
    covariance: jax.Array
    status: jax.Array
    metric: str = static(default="ncc")

    @property
    def converged(self) -> Any:
        """Whether the pose is to be believed."""
        return self.status == Status.CONVERGED

    @property
    def message(self) -> str:
        """The status in words, with the numbers."""
        if np.ndim(self.status):
            worst = int(np.argmax(np.asarray(self.status)))
            element = jax.tree.map(lambda leaf: leaf[worst], self)
            return f"batch element {worst}: {element.message}"
        status = Status(int(self.status))
        score = (
            "" if self.metric == "ncc" else f"{self.metric} {float(self.score):.4g}, "
        )
        return (
            f"{REASONS[status]} ({score}correlation {float(self.ncc):.3f}, overlap "
            f"{float(self.overlap):.0%}, uncertainty {float(self.uncertainty):.2g} "
            f"voxels, {int(self.iterations.sum())} passes)"
        )

    def warp(self, moving: ArrayLike, shape: Any = None, **options: Any) -> jax.Array:
        """The moving volume in the place of the fixed one; see `jaxdecon.warp`.

        Args:
            moving: that of the registration, or another channel of it.
            shape: of the fixed volume; None: that of the moving one.
            options: of `jaxdecon.warp`.
        """
        return warp(moving, self.matrix, shape, **options)

    def raise_for_status(self) -> "Registration":
        """Raise if the pose is not to be believed.

        Raises:
            RuntimeError: with the message.
        """
        if not is_traced(self.status) and int(np.max(np.asarray(self.status))) > 0:
            raise RuntimeError(f"registration failed: {self.message}")
        return self


def judge(
    *,
    matrix,
    physical,
    mirrored,
    done,
    association,
    sure,
    overlap,
    best,
    rival,
    dtype=jnp.int32,
) -> jax.Array:
    """The status of a pose.

    Args:
        matrix: the pose.
        physical: its linear part in physical space.
        done: whether the last step was small.
        mirrored: whether it turns a right hand into a left one, and was not told to.
        association: from 0 to 1, how far one volume says what the other is.
        sure: standard errors that it is away from zero.
        overlap: share of the smaller volume.
        best: evidence for the pose when it was chosen.
        rival: that for the best one elsewhere.
    """
    scales = jnp.linalg.svd(physical, compute_uv=False)
    stretch = jnp.maximum(scales.max(), 1 / jnp.maximum(scales.min(), 1e-6))
    sheared = scales.max() > MOST_SHEAR * scales.min()
    related = (association >= LEAST_NCC) & (sure >= LEAST_SIGNIFICANCE)
    checks = [
        (Status.NOT_CONVERGED, ~done),
        (Status.AMBIGUOUS, best < LEAST_LEAD * rival),
        (Status.NO_CORRELATION, ~related),
        (Status.LITTLE_OVERLAP, ~(overlap >= LEAST_OVERLAP)),
        (Status.IMPLAUSIBLE, (stretch > MOST_STRETCH) | sheared | mirrored),
        (Status.NOT_FINITE, ~jnp.isfinite(matrix).all()),
    ]
    status = jnp.asarray(Status.CONVERGED, dtype)
    for code, failed in checks:
        status = jnp.where(failed, jnp.asarray(code, dtype), status)
    return status
