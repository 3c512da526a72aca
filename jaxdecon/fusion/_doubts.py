"""What may be wrong with a fusion, in words."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..operators import Convolution

PART = 96
"""Voxels per axis, in the middle, in which PSFs are compared."""
EXCHANGED = 0.5
"""Share of the disagreement of views that is left when their PSFs are exchanged, from
which these are doubted."""
FAR_WORSE = 4.0
"""Deviance of one view over that of the best explained one."""

VISIBLE = 0.02
"""Relative misfit that counts."""
GREW = 1.001
"""Growth of the data residual that counts."""


def exchanged_psfs(
    shown: Sequence[jax.Array], inside: Sequence[jax.Array], psfs: Sequence[jax.Array]
) -> list[str]:
    """Doubts about which PSF belongs to which view.

    Two views, each blurred by the PSF of the other, are alike if the PSFs are right. If
    they are more alike when blurred by their own, the PSFs were exchanged.

    Args:
        shown: the views on one grid.
        inside: where each is.
        psfs: in the orientation of that grid.
    """
    middle = tuple(
        slice((n - min(n, PART)) // 2, (n + min(n, PART)) // 2) for n in shown[0].shape
    )
    notes = []
    for i in range(1, len(shown)):
        both = (inside[0] & inside[i])[middle]
        if not bool(both.any()):
            continue
        parts = (shown[0][middle], shown[i][middle])
        as_given = _likeness(parts, (psfs[i], psfs[0]), both)
        other = _likeness(parts, (psfs[0], psfs[i]), both)
        if 1 - other < EXCHANGED * (1 - as_given):
            notes.append(
                f"the PSFs of view 0 and view {i} seem to be exchanged: the views "
                f"correlate to {as_given:.3f} with the PSFs as given, and to "
                f"{other:.3f} with each other's"
            )
    return notes


def _likeness(parts, psfs, both) -> float:
    blurred = [
        Convolution.from_psf(psf, v.shape, boundary="edge")(v)
        for v, psf in zip(parts, psfs, strict=True)
    ]
    a, b = (np.asarray(v)[np.asarray(both)].astype(float) for v in blurred)
    if min(a.std(), b.std()) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def unequal_residuals(residuals: np.ndarray, views: Sequence[jax.Array]) -> list[str]:
    """Doubts about views that are explained far worse than the best, and visibly so."""
    best = int(np.argmin(residuals))
    least = max(float(residuals[best]), float(jnp.finfo(jnp.float32).tiny))
    return [
        f"view {i} is explained {value / least:.1f} times worse than view {best} "
        f"(deviance {value:.3g} and {least:.3g} per voxel): its PSF, pose or "
        f"background may be wrong"
        for i, value in enumerate(residuals)
        if value > FAR_WORSE * least
        and value > VISIBLE**2 * float(abs(views[i]).mean())
    ]


def left_the_data(after: np.ndarray, before: np.ndarray, iterations: int) -> list[str]:
    """Doubts about an iteration that took the object away from the data."""
    if iterations < 1 or not after.sum() > GREW * before.sum():
        return []
    return [
        f"the data residual grew in iteration {iterations}, from {before.mean():.4g} "
        f"to {after.mean():.4g}: use fewer, or matched back projectors"
    ]
