"""Our registration and deconvolution for multiview-stitcher, which is not needed here.

    from jaxdecon.volumes import multiview_stitcher as ours

    registration.register(msims, ..., pairwise_reg_func=ours.registration())
    fusion.fuse(sims, ..., fusion_func=ours.deconvolution(psfs, iterations=2))

Written for multiview-stitcher 0.1.62 (Albert et al., doi:10.5281/zenodo.13151252).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_psf
from ..deconvolution import Problem
from ..deconvolution._driver import estimate
from ..fusion import joint_scheme
from ..fusion._back_projectors import back_projection_kernels, common_shape
from ..geometry import MODELS
from ..operators import Convolution, Views, Weight
from ..registration import register
from ._halo import deconvolution_halo


def registration(
    model: str = "translation", **options: Any
) -> Callable[..., dict[str, Any]]:
    """A function for `pairwise_reg_func`: `jaxdecon.register` on the overlap of a pair.

    Args:
        model: of the pose, as for `jaxdecon.register`.
        options: of `jaxdecon.register`.

    Returns:
        From `fixed_data` and `moving_data`, (z, y, x) or (y, x) on one grid with NaN
        where a view does not reach, to `affine_matrix` (from fixed to moving voxels)
        and `quality` (their correlation; NaN if the pose is not to be believed, and
        the matrix then is that of no change).

    Raises:
        ValueError: an unknown model.
    """
    check_choice("model", model, MODELS)

    def pairwise(fixed_data: Any, moving_data: Any) -> dict[str, Any]:
        fixed, fixed_mask = _without_nan(fixed_data)
        moving, moving_mask = _without_nan(moving_data)
        found = register(
            fixed,
            moving,
            model=model,
            mask=fixed_mask,
            moving_mask=moving_mask,
            **options,
        )
        if not bool(found.converged):
            return {"affine_matrix": np.eye(fixed.ndim + 1), "quality": np.nan}
        return {
            "affine_matrix": np.asarray(found.matrix, float),
            "quality": float(found.ncc),
        }

    return pairwise


def deconvolution(
    psfs: Sequence[ArrayLike],
    *,
    iterations: int = 2,
    back_projectors: Any = "wiener-butterworth",
    background: float = 0.0,
) -> Callable[..., np.ndarray]:
    """A function for `fusion_func`: joint Richardson-Lucy of the views of a block.

    Args:
        psfs: one for all views, or one for each, in the orientation and voxels of the
            fused image.
        iterations: sweeps over all views.
        back_projectors: as for `jaxdecon.joint_richardson_lucy`.
        background: of all views.

    Returns:
        From `transformed_views`, (views, z, y, x) with NaN where a view does not reach,
        to the fused (z, y, x). Its attribute `required_overlap` tells the program how
        much of the neighbouring blocks a block has to see.
    """
    check_count("iterations", iterations, 1)
    kernels_of = [check_psf(f"psfs[{i}]", psf) for i, psf in enumerate(psfs)]
    even = [psf / psf.sum() for psf in common_shape(kernels_of)]
    kernels = back_projection_kernels(even, back_projectors)

    def fuse(transformed_views: Any) -> np.ndarray:
        views = np.asarray(transformed_views, np.float32)
        if len(even) not in (1, len(views)):
            raise ValueError(
                f"there are {len(even)} `psfs` and {len(views)} views; one, or one per "
                f"view, is needed."
            )
        count = len(views)
        fused = _joint(
            jnp.asarray(np.nan_to_num(views)),
            jnp.asarray(np.isfinite(views)),
            tuple(even[i % len(even)] for i in range(count)),
            None
            if kernels is None
            else tuple(kernels[i % len(kernels)] for i in range(count)),
            jnp.float32(background),
            iterations=iterations,
        )
        return np.asarray(fused)

    def required_overlap(func_kwargs: Any) -> int:
        backs = [None] * len(even) if kernels is None else kernels
        pairs = zip(even, backs, strict=True)
        updates = iterations * max(len(even), 2)  # one PSF may stand for many views
        halos = [deconvolution_halo("auto", p, k, updates) for p, k in pairs]
        return int(np.max(halos))

    fuse.required_overlap = required_overlap  # pyright: ignore[reportFunctionMemberAccess]
    return fuse


def _joint(views, seen, psfs, kernels, background, *, iterations: int) -> jax.Array:
    shape = views.shape[1:]
    blurs = [Convolution.from_psf(psf, shape) for psf in psfs]
    weights = [Weight(values=here.astype(views.dtype), domain=shape) for here in seen]
    backs = None
    if kernels is not None:
        trios = zip(blurs, kernels, weights, strict=True)
        backs = tuple(blur.back_projection(k) @ w for blur, k, w in trios)
    pairs = zip(weights, blurs, strict=True)
    problem = Problem(
        data=tuple(
            jnp.where(h, v, background) for v, h in zip(views, seen, strict=True)
        ),
        operator=Views([weight @ blur for weight, blur in pairs]),
        background=background,
    )
    count = jnp.maximum(seen.sum(0), 1)
    mean = jnp.where(seen, views - background, 0).sum(0) / count
    scheme = joint_scheme(
        "alternating", backs, initial=blurs[0].lift(jnp.maximum(mean, 0))
    )
    found = blurs[0].image_region(estimate(problem, scheme, iterations=iterations))
    return jnp.where(seen.any(0), found, 0)


_joint = jax.jit(_joint, static_argnames="iterations")


def _without_nan(data: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Values, with the mean where there are none, and where there are some."""
    values = np.asarray(data, np.float32)
    seen = np.isfinite(values)
    if seen.all():
        return values, None
    return np.where(seen, values, values[seen].mean()), seen
