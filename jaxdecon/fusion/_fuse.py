"""One call from raw views to one sharp volume."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_psf
from ..geometry import MODELS, Grid, warp
from ..operators import BOUNDARIES, Weight
from ..registration import Registration
from ._alternating import UPDATES
from ._back_projectors import back_projection_kernels, common_shape
from ._blending import BLENDS, blend
from ._doubts import exchanged_psfs, left_the_data, unequal_residuals
from ._model import Blurs, recorded_views, turned_psfs
from ._refine import refine_scene
from ._register_views import Size, per_view
from ._scene import Scene, agreement, make_scene
from ._solve import solve

WHOLE = 0.999
"""Of the neighbours of a place on the grid, the share that a view is to be used at."""
METHODS = ("deconvolve", *BLENDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fusion:
    """Several views as one volume; from `fuse`.

    Attributes:
        image: (z, y, x) on `grid`.
        matrices: (views, d + 1, d + 1), from voxels of the first view to those of each.
        ncc: of every view with the first, over their overlap, as recorded; of the
            first, 1.
        grid: where the image lies: shape, voxel size, and the matrix from its voxels
            to those of the first view.
        exposures: of every view, in terms of the first.
        residuals: of every view, the mean deviance per voxel of its data from what the
            image predicts, in photons if the data are; NaN without deconvolution.
        registrations: of every view but the first; empty where matrices were given.
        blurs: PSFs and back projectors on `grid`; None without deconvolution.
        offsets: of every view, besides its background; 0 unless refined.
        refinement: mean deviance of all views before every step of the refinement, and
            at its end; empty without.
        notes: doubts, in words.
    """

    image: jax.Array
    matrices: np.ndarray
    ncc: np.ndarray
    grid: Grid
    exposures: np.ndarray
    residuals: np.ndarray
    offsets: np.ndarray
    refinement: np.ndarray
    registrations: tuple[Registration, ...] = ()
    blurs: Blurs | None = None
    notes: tuple[str, ...] = ()


def fuse(
    views: Sequence[ArrayLike],
    psfs: Sequence[ArrayLike] | None,
    *,
    matrices: Sequence[ArrayLike] | None = None,
    iterations: int = 1,
    back_projector: Any = "wiener-butterworth",
    background: ArrayLike | Sequence[ArrayLike] = 0.0,
    method: str = "deconvolve",
    update: str = "alternating",
    voxel_sizes: Sequence[Size] | None = None,
    psf_voxel_sizes: Sequence[Size] | None = None,
    region: str = "first",
    grid: Grid | None = None,
    initial: Sequence[ArrayLike | None] | None = None,
    like: "Fusion | None" = None,
    model: str | Sequence[str] = "rigid",
    exposures: Sequence[ArrayLike] | None = None,
    refine: bool = False,
    refine_model: str = "rigid",
    boundary: str = "extend",
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
) -> Fusion:
    """Bring several views of a specimen together in one volume.

    Registers the views, if their poses are not given, and deconvolves them jointly.
    Every view keeps its own grid: the model of a view blurs the object and samples it
    where the view's voxels are; nothing is resampled but the start of the iteration.

    Args:
        views: two or more, (z, y, x), of any shapes.
        psfs: one per view, in the view's own orientation, centred on n // 2; None
            without deconvolution.
        matrices: from voxels of the first view to those of each, the first included,
            (views, 4, 4); None: `register_views` finds them.
        iterations: sweeps over all views: 1-3 with "wiener-butterworth", 10-20 with
            "matched".
        back_projector: a name or kernel for all views, or a list with one for each, or
            "compound"; kernels on the grid of the result. See `richardson_lucy`.
        background: of all views, or a list with one for each: offset of the camera and
            stray light. What lies below it tells how noisy dark voxels are.
        method: "deconvolve"; or, to look at the views before, "average", "blending"
            (weights that fall to the borders of each view), "content" (and rise with
            what it resolves), "maximum".
        update: "alternating", "additive" or "compound"; see `joint_richardson_lucy`.
        voxel_sizes: of every view, µm, one number or one per axis; None: alike, cubes.
        psf_voxel_sizes: of every PSF; None: as the view's.
        region: of the result, "first" view, "union" or "intersection" of all. The grid
            is isotropic, of the first view's smallest voxel size.
        grid: another one to fuse on, of `geometry.common_grid` or `deskewed_grid`;
            `region` is then without meaning.
        initial: rough poses, as for `register_views`.
        like: an earlier fusion, of another time point or channel on the same grids: its
            grid, PSFs and back projectors are used again, whatever else is said of
            them; registration starts from its poses.
        model: of the poses: "rigid", "affine", ...; see `register`.
        exposures: brightness of every view, a number or one per voxel, 0 where a view
            is not to be used; None: measured, in terms of the first.
        refine: refine poses, exposures and offsets of the views together with the
            object, by gradients through the joint model: where registration is in
            doubt, or matrices are given from elsewhere. Takes minutes.
        refine_model: of the corrections, "translation", "rigid", ... or "affine".
        boundary: as for `richardson_lucy`.
        alpha: see `jaxdecon.back_projector`; as `beta`, `order` and `resolution`.
        beta: see `jaxdecon.back_projector`.
        order: see `jaxdecon.back_projector`.
        resolution: see `jaxdecon.back_projector`.

    Returns:
        A `Fusion`. `notes` says what is doubtful.

    Raises:
        ValueError: fewer than two views; an empty (constant) or mostly saturated one;
            a pose that maps a view outside the result; numbers of views, PSFs,
            matrices or sizes that differ; unknown options.
        RuntimeError: the views could not be registered; the message says why.

    Warns:
        UserWarning: every one of `notes`: PSFs that fit better when exchanged, a view
            that is explained far worse than the others, saturation.

    Example:
        >>> import jax, numpy as np, jaxdecon as jd
        >>> spots = np.zeros((48, 48, 48), np.float32)
        >>> spots[tuple(np.random.default_rng(0).integers(9, 39, (3, 60)))] = 500
        >>> psfs = [jd.psf.gaussian((17, 17, 17), w)
        ...         for w in ((6.0, 2.0, 2.0), (2.0, 2.0, 6.0))]
        >>> views = [jd.operators.Convolution.from_psf(
        ...     p, spots.shape, boundary="periodic")(spots) for p in psfs]
        >>> views = [np.maximum(v, 0) for v in views]
        >>> fused = jd.fuse(views, psfs, matrices=[np.eye(4)] * 2, iterations=2)
        >>> fused.image.shape
        (48, 48, 48)

    References:
        Preibisch et al., Nature Methods 11, 645 (2014), doi:10.1038/nmeth.2929; Wu et
        al., Nature Biotechnology 31, 1032 (2013), doi:10.1038/nbt.2713; content-based
        weights: Preibisch et al., Proc. SPIE 6914, 69140E (2008),
        doi:10.1117/12.770893.
    """
    check_choice("method", method, METHODS)
    check_choice("update", update, UPDATES)
    check_choice("boundary", boundary, BOUNDARIES)
    check_count("iterations", iterations)
    check_choice("refine_model", refine_model, MODELS)
    _check_psfs(psfs, views, method)
    if refine and psfs is None:
        raise ValueError("`refine` needs `psfs`: the model of every view.")
    scene = make_scene(
        views,
        psfs,
        matrices=matrices,
        background=background,
        voxel_sizes=voxel_sizes,
        psf_voxel_sizes=psf_voxel_sizes,
        region=region,
        grid=grid if like is None else like.grid,
        initial=initial,
        near=None if like is None else list(like.matrices),
        model=model,
    )
    shown, inside = scene.show()
    ncc, measured = agreement(shown, inside)
    weights = _weights(exposures, measured, scene)
    offsets, history = np.zeros(len(shown)), np.zeros(0)
    if refine and psfs is not None:
        better = refine_scene(
            scene,
            psfs,
            weights,
            model=refine_model,
            boundary=boundary,
            voxel_sizes=voxel_sizes,
            psf_voxel_sizes=psf_voxel_sizes,
        )
        scene = dataclasses.replace(scene, matrices=better.matrices)
        weights = [w * f for w, f in zip(weights, better.factors, strict=True)]
        offsets, history = better.offsets, better.history
        shown, inside = scene.show()
        ncc, _ = agreement(shown, inside)
    inside = [
        here & _used(scene, weight, view)
        for view, (here, weight) in enumerate(zip(inside, weights, strict=True))
    ]
    levels = [float(w.mean() / max((w > 0).mean(), 1e-9)) for w in weights]
    even = [view / level for view, level in zip(shown, levels, strict=True)]
    found = Fusion(
        image=_blend(
            scene, even, inside, "blending" if method == "deconvolve" else method
        ),
        matrices=scene.matrices,
        ncc=ncc,
        grid=scene.grid,
        exposures=np.array(levels),
        residuals=np.full(len(even), np.nan),
        offsets=offsets,
        refinement=history,
        registrations=scene.registrations,
        notes=scene.notes,
    )
    if method == "deconvolve":
        blurs = None if like is None else like.blurs
        if blurs is None:
            turned = turned_psfs(psfs, scene, voxel_sizes, psf_voxel_sizes)
            kernels = back_projection_kernels(
                turned,
                "compound" if update == "compound" else back_projector,
                alpha=alpha,
                beta=beta,
                order=order,
                resolution=resolution,
            )
            blurs = Blurs(psfs=common_shape(turned), kernels=kernels)
            notes = exchanged_psfs(even, inside, turned)
            found = dataclasses.replace(found, notes=(*found.notes, *notes))
        recorded = recorded_views(scene, blurs, weights, offsets)
        options = {"iterations": iterations, "update": update, "boundary": boundary}
        found = _deconvolved(found, recorded, blurs, options)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found


def _deconvolved(found: Fusion, recorded, blurs: Blurs, options) -> Fusion:
    """A fusion whose image is the start, deconvolved."""
    image, *both = solve(recorded, found.image, shape=found.grid.shape, **options)
    residuals, before = (np.asarray(part) for part in both)
    notes = (
        *unequal_residuals(residuals, [view.data for view in recorded]),
        *left_the_data(residuals, before, options["iterations"]),
    )
    return dataclasses.replace(
        found,
        image=image,
        residuals=residuals,
        blurs=blurs,
        notes=(*found.notes, *notes),
    )


def _check_psfs(psfs: Any, views: Any, method: str) -> None:
    if psfs is None:
        if method == "deconvolve":
            raise ValueError(
                "`psfs` is None; one per view is needed to deconvolve, or another "
                "`method`."
            )
        return
    if len(psfs) != len(views):
        raise ValueError(
            f"there are {len(views)} `views` and {len(psfs)} `psfs`; one PSF per view "
            f"is needed."
        )
    for i, psf in enumerate(psfs):
        check_psf(f"psfs[{i}]", psf, 3)


def _weights(exposures: Any, measured: np.ndarray, scene: Scene) -> list[jax.Array]:
    """Of every view, a number or one per voxel, in terms of the first."""
    given = measured if exposures is None else exposures
    weights = []
    for i, (e, view) in enumerate(
        zip(per_view("exposures", given, len(scene.views)), scene.views, strict=True)
    ):
        weight = Weight.from_values(e, view.shape).values.astype(view.dtype)
        if not bool((weight > 0).any()):
            raise ValueError(
                f"view {i} has no light where the first has; its exposure is "
                f"{float(weight.max()):.3g}: check matrices and backgrounds."
            )
        weights.append(weight)
    return weights


def _used(scene: Scene, weight: jax.Array, view: int) -> jax.Array:
    """Where on the grid a view has weight."""
    if weight.ndim == 0:
        return jnp.asarray(True)
    shape = scene.views[view].shape
    used = jnp.broadcast_to(weight > 0, shape).astype(weight.dtype)
    return warp(used, scene.to_views[view], scene.grid.shape) > WHOLE


def _blend(scene: Scene, even, inside, method: str) -> jax.Array:
    shapes = tuple(view.shape for view in scene.views)
    matrices = [jnp.asarray(m, even[0].dtype) for m in scene.to_views]
    return blend(even, matrices, shapes, inside, method=method)
