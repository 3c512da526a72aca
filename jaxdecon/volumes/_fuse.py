"""Fuse views larger than memory."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_count, check_psf
from ..fusion import METHODS, UPDATES
from ..fusion._back_projectors import back_projection_kernels, common_shape
from ..fusion._model import Blurs
from ..fusion._register_views import per_view
from ..fusion._turned_psf import turned_psf
from ..geometry import REGIONS, Grid, common_grid
from ..io import Image
from ._agree import first_index, spread_blocks
from ._blocks import Block, BlockGrid
from ._deconvolve_blocks import digest
from ._fuse_blocks import Fuse, box_of
from ._halo import Halo, deconvolution_halo, given_halo
from ._how import How, Options
from ._journal import known_before, write_json
from ._measure import FINE, Measured, measure
from ._outcome import Run
from ._plan import Plan
from ._run import Job, run
from ._source import Source
from ._targets import make_target, target_path
from ._views import check_poses, linear_parts

BRIGHT = 3
"""Blocks on which the amount of light is measured."""
CONTENT_HALO = 40
"""Voxels that the weights of "content" see: four widths of their Gaussians."""
POSES = ".poses.json"
"""Suffix of the file beside the result with the poses, which OME-Zarr cannot hold."""


def fuse(
    sources: Sequence[Any],
    target: Any,
    psfs: Sequence[ArrayLike] | None,
    *,
    matrices: Sequence[ArrayLike] | None = None,
    iterations: int = 1,
    back_projector: Any = "wiener-butterworth",
    background: Any = 0.0,
    method: str = "deconvolve",
    update: str = "alternating",
    psf_voxel_sizes: Sequence[Any] | None = None,
    region: str = "first",
    initial: Sequence[ArrayLike | None] | None = None,
    fine: str | None = "auto",
    model: str | Sequence[str] = "rigid",
    exposures: Sequence[float] | None = None,
    boundary: str = "extend",
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] = "fwhm",
    channel: int = 0,
    halo: Halo = "auto",
    dtype: str = "float32",
    scale: float = 1.0,
    **how: Unpack[How],
) -> Run | Plan:
    """Bring views of any size together in one deconvolved volume, block by block.

    As `jaxdecon.fuse`. Every block of the result reads only the box of each view that
    shows it, and models it on the view's own grid. Poses and exposures are measured on
    coarse copies of the views (from their pyramids, if they have any), noise and the
    amount of light on a few parts; they are the same for all blocks.

    Args:
        sources: two or more, as for `deconvolve`; with the same channels and times.
        target: a path that ends in .ome.zarr. The poses are written beside it, as
            `<name>.poses.json`.
        psfs: one per view, in the view's own orientation; None without deconvolution.
        matrices: from voxels of the first view to those of each, the first included;
            None: found on the coarse copies.
        iterations: as for `jaxdecon.fuse`; as `back_projector`, `method`, `update`,
            `region`, `model`, `boundary`, `alpha`, `beta`, `order` and `resolution`.
        back_projector: see there.
        background: of all views, or a list with one for each; "auto": measured.
        method: see there.
        update: see there.
        psf_voxel_sizes: µm, of every PSF; None: as the view's.
        region: see there.
        initial: rough poses, from which the search begins.
        fine: what local registrations of regions all over the views, at full
            resolution, are used for: "pose", one better pose on which most agree;
            "field", a smooth displacement field for each view, for specimens that
            deform (Preibisch et al.; Guo et al. refined every block by itself); None:
            nothing. "auto": "pose" where poses were found on reduced copies.
        model: see there.
        exposures: of every view; None: measured.
        boundary: see there.
        alpha: see there.
        beta: see there.
        order: see there.
        resolution: see there.
        channel: from which the poses are found.
        halo: see there.
        dtype: see there.
        scale: see there.
        how: block, engine, memory, resume, ...: how to run; see `How`.

    Returns:
        A `Run`; with `dry_run` the `Plan`.

    Raises:
        ValueError: as `jaxdecon.fuse`, and as `volumes.deconvolve`.
        RuntimeError: the views could not be registered; `BlocksFailed`.
    """
    options = Options(**how)
    check_choice("method", method, METHODS)
    check_choice("update", update, UPDATES)
    check_choice("region", region, REGIONS)
    check_choice("boundary", boundary, ("extend", "reflect", "edge"))
    if fine is not None:
        check_choice("fine", fine, FINE)
    check_count("iterations", iterations, 1)
    views = _checked(sources)
    count = len(views)
    deconvolved = method == "deconvolve"
    if deconvolved and (psfs is None or len(psfs) != count):
        raise ValueError(f"there are {count} `sources`; one of `psfs` for each needed.")
    checked = None
    if psfs is not None:
        checked = [check_psf(f"psfs[{i}]", p, 3) for i, p in enumerate(psfs)]
    psf_sizes = per_view("psf_voxel_sizes", psf_voxel_sizes, count)
    sizes = [_size(view.image) for view in views]
    path = target_path(target)
    request = {
        "psfs": digest(checked),
        "matrices": None if matrices is None else digest([np.asarray(matrices)]),
        "iterations": iterations,
        "back_projector": back_projector
        if isinstance(back_projector, str)
        else digest(back_projector),
        "background": background if isinstance(background, str) else digest(background),
        "method": method,
        "update": update,
        "psf_voxel_sizes": psf_sizes,
        "region": region,
        "initial": None if initial is None else digest(list(initial)),
        "model": model,
        "exposures": exposures,
        "boundary": boundary,
        "kernel": digest([alpha, beta, order]) + str(resolution),
        "channel": channel,
        "fine": fine,
        "halo": halo,
    }
    known = known_before(path, resume=bool(options.resume), overwrite=options.overwrite)
    if known is not None:
        measured = Measured.from_json(known)
    else:
        measured = measure(
            views,
            checked,
            sizes=sizes,
            psf_sizes=psf_sizes,
            matrices=None if matrices is None else check_poses(matrices, count),
            initial=initial,
            model=model,
            fine=fine,
            background=background,
            exposures=exposures,
            region=region,
            channel=channel,
        )
    poses = measured.poses
    grid = common_grid(
        [view.shape for view in views], list(poses), voxel_sizes=sizes, region=region
    )
    to_views = np.stack([pose @ grid.matrix for pose in poses])
    blurs, reach = None, (0, 0, 0)
    if deconvolved:
        blurs, reach = _blurs(
            checked,
            linear_parts(to_views, sizes, psf_sizes),
            grid,
            iterations,
            halo,
            "compound" if update == "compound" else back_projector,
            alpha=alpha,
            beta=beta,
            order=order,
            resolution=resolution,
        )
    elif method == "content":
        reach = (CONTENT_HALO,) * 3
    elif halo != "auto":
        reach = given_halo(halo, 3)
    operation = Fuse(
        views=tuple(views),
        poses=poses,
        matrices=to_views,
        grid=grid,
        lights=measured.lights,
        fields=measured.fields,
        blurs=blurs,
        method=method,
        iterations=iterations,
        update=update,
        boundary=boundary,
        halo=reach,
    )
    like = fused_image(views, grid, poses)
    job = Job(
        operation=operation,
        target=make_target(target, like, grid.shape, dtype, scale),
        path=path,
        sources=tuple(views),
        request=request,
        prepare=with_scales,
    )
    found = run(job, options)
    if path is not None and not options.dry_run:
        write_json(path.with_name(path.name + POSES), like.metadata["fusion"])
    return found


def _checked(sources: Sequence[Any]) -> list[Source]:
    if len(sources) < 2:
        raise ValueError(
            f"there are {len(sources)} `sources`; two or more are needed: for one use "
            f"`volumes.deconvolve`."
        )
    views = [Source(source) for source in sources]
    for i, view in enumerate(views):
        if len(view.shape) != 3:
            raise ValueError(f"`sources[{i}]` has axes {view.image.axes!r}; z, y, x.")
        if view.leading != views[0].leading:
            raise ValueError(
                f"`sources[{i}]` has channels and times {view.leading}, the first one "
                f"{views[0].leading}; the same are needed."
            )
    return views


def _size(image: Image) -> Any:
    """The voxel size; None if it is not known."""
    return None if None in image.voxel_size else image.voxel_size


def _blurs(
    psfs, linear, grid: Grid, iterations: int, halo: Halo, kind: Any, **options: Any
) -> tuple[tuple[Blurs, ...], tuple[int, ...]]:
    """PSFs and back projectors on the grid, and the halo that they need."""
    turned = [
        turned_psf(jnp.asarray(psf, jnp.float32), m, largest=grid.shape)
        for psf, m in zip(psfs, linear, strict=True)
    ]
    kernels = back_projection_kernels(turned, kind, **options)
    updates = iterations * len(turned)
    each = [None] * len(turned) if kernels is None else kernels
    halos = [
        deconvolution_halo(halo, psf, kernel, updates)
        for psf, kernel in zip(turned, each, strict=True)
    ]
    even = tuple(np.asarray(psf) for psf in common_shape(turned))
    found = Blurs(
        psfs=even,  # pyright: ignore[reportArgumentType]
        kernels=None if kernels is None else tuple(np.asarray(k) for k in kernels),  # pyright: ignore[reportArgumentType]
    )
    reach = tuple(int(n) + 2 for n in np.max(halos, 0))  # 2 for the interpolation
    return (found,), reach


def with_scales(operation: Fuse, grid: BlockGrid) -> Fuse:
    """The operation with a factor that keeps the light of its brightest blocks."""
    if operation.blurs is None:
        return operation
    scales = []
    for channel in range(len(operation.lights)):
        index = first_index(operation.views[0], channel)
        blocks = spread_blocks(grid, index)
        blocks.sort(key=lambda block: -_brightness(operation, block))
        sums = np.sum(
            [
                np.asarray(operation.solve(block, operation.read(block))[1])
                for block in blocks[:BRIGHT]
            ],
            0,
        )
        scales.append(float(sums[0] / sums[1]) if min(sums) > 0 else 1.0)
    return dataclasses.replace(operation, scales=tuple(scales))


def _brightness(operation: Fuse, block: Block) -> float:
    """Mean of the first view in the middle of a block."""
    middle = [(a + b) // 2 for a, b in block.core]
    centre = tuple((m - min(m, 8), m + 8) for m in middle)
    view = operation.views[0]
    region = box_of(centre, operation.matrices[0], view.shape)
    return float(view.read(block.index, region).mean())


def fused_image(views: Sequence[Source], grid: Grid, poses: np.ndarray) -> Image:
    """Axes, voxel size and metadata of a fusion."""
    first = views[0].image
    known = None not in first.voxel_size
    origin = ()
    if known:
        offset = grid.matrix[:3, 3] * np.asarray(first.voxel_size)
        pairs = zip(first.origin, offset, strict=True)
        origin = tuple(float(o + s) for o, s in pairs)
    facts = {
        "convention": "matrices map (z, y, x, 1) voxels of the first view to those of "
        "each; `grid` maps voxels of the result to those of the first view",
        "views": [str(view.path or "") for view in views],
        "matrices": poses.tolist(),
        "grid": grid.matrix.tolist(),
        "shape": list(grid.shape),
        "voxel_size_um": list(grid.voxel_size) if known else None,
    }
    return first.replace(
        voxel_size=grid.voxel_size if known else (),
        origin=origin,
        metadata={"fusion": facts},
    )
