"""Predict one image, and judge the result."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import as_float_array, check_count
from ...operators import LinearOperator
from .. import trust
from ..networks._config import NetworkConfig
from ..networks._network import Network, check_operator
from ._model import Model, as_model
from ._notes import background_note, psf_to_compare, spread_note, voxel_note
from ._optics import known_psfs, margins_of, operator_of
from ._prediction import Prediction
from ._run import Runner, measured_rule, spread_of
from ._tiles import checked_tile, halo_of, in_tiles, tiles_of

UNCHECKED = "no check was asked for"
DOUBT = 0.5
"""Share of the image in what the repair of a doubtful estimate starts from."""
TILED = (
    "in tiles an unrolled network gives something else than for the whole image: "
    "measured up to 0.3% of the maximum, 8% with a Wiener start"
)


def predict(
    network: Network | Model,
    image: ArrayLike,
    *,
    operator: LinearOperator | None = None,
    psf: Any = None,
    voxel_size: float | Sequence[float | None] | None = None,
    background: float | Sequence[float] | None = None,
    noise: Any = None,
    tile: int | Sequence[int] | None = None,
    batch: int = 1,
    repair: int = 0,
    others: Sequence[Network | Model] = (),
    check: bool = True,
) -> Prediction:
    """Predict the object of an image, and judge whether to believe it.

    The image goes in as the camera gave it; it is normalised as in training, and the
    estimate comes back in its units.

    Args:
        network: a `Model`, or a network, whose images are normalised by percentiles and
            of which only physics can judge the result.
        image: (z, y, x) or (y, x); (views, z, y, x) for networks of several views.
        operator: from the object to its views, for networks that have it in their
            wiring, and for the checks.
        psf: in place of `operator`: centred on n // 2, divided by its sum; one for
            each view, or one for all; or a `PSFField`. Without either, the training's.
        voxel_size: of the image, µm, a number or one for each axis; compared with the
            training's.
        background: of the image, in its units; one number, or one for each view. It is
            for the checks, and what becomes 0 for networks that know the operator or
            were trained with a known background. None: measured for the checks in the
            darkest parts; to the network it is what it was in training.
        noise: of the camera, for the checks: a `CameraNoise`, or of
            `jaxdecon.deconvolution.estimate_noise`; None: measured.
        tile: voxels of the result that are computed at a time, one number or one per
            axis; None: all. The device then holds a tile with its halo. The result is
            that of the whole to 1e-4 of its maximum, but for networks with the
            operator in their wiring: see the notes. The checks are of the whole.
        batch: tiles at a time.
        repair: iterations that pull the estimate back to the data: 3-10, or none. They
            start from the estimate; from half of it and half the image if doubtful.
        others: more networks for the same task; how far they differ is the spread. It
            counts in verdict and trust if the model was made with `others`, too.
        check: whether to judge at all.

    Returns:
        A `Prediction`.

    Raises:
        ValueError: another voxel size than the training's, another number of views or
            axes, a constant image, NaN, no operator where one is needed, tiles of a
            network that sees all of the image.

    Notes:
        With the operator in the wiring, tiles differ from the whole. Measured after
        training, as shares of the maximum: RLN by 4e-5. An unrolled network filters all
        of a tile at once, by kernels with long tails: with `start="matched"` by 3e-4,
        and 2e-3 along the image's rim; with "wiener" by 1e-2, and 8e-2 there. The
        reasons say so: predict the whole where it fits.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> image = np.random.default_rng(0).poisson(20.0, (32, 32))
        >>> network = jd.learning.UnrolledRichardsonLucy(ndim=2)
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> found = jd.learning.predict(network, image, psf=psf, check=False)
        >>> found.image.shape, found.verdict
        ((32, 32), 'unchecked')
    """
    check_count("repair", repair)
    check_count("batch", batch, 1)
    models = [as_model(one) for one in (network, *others)]
    images = _as_views(image, models[0].config)
    if isinstance(voxel_size, int | float):
        voxel_size = (voxel_size,) * models[0].config.ndim
    for model in models:
        _check_alike(model, models[0])
        model.check_voxel_size(voxel_size)
    levels = _levels(background, images)
    psfs, said = (None, []) if operator is not None else known_psfs(models[0], psf)
    compared = psf_to_compare(models[0], psf, psfs, operator)
    said = [*said, *voxel_note(models[0], voxel_size)]
    if tile is not None and models[0].config.kind == "unrolled":
        said = [*said, TILED]
    if check or repair or tile is None:
        operator = _operator(operator, psfs, images)
    if repair and operator is None:
        raise ValueError("`repair` needs an `operator` or a `psf`.")

    def estimate(model: Model) -> Any:
        runner = Runner(model.network, measured_rule(model, images, levels))
        if tile is None:
            return runner(jnp.asarray(images)[None], operator)[0]
        return _tiled(model.network, runner, images, tile, batch, psfs)

    estimates = [estimate(model) for model in models]
    found = Prediction(image=estimates[0], spread=spread_of(estimates))
    physics = {"operator": operator, "background": levels}
    if check:
        said = [*background_note(models[0], images, levels), *said]
        said = [*said, *spread_note(models[0], found.spread)]
        scene = {**physics, "noise": noise, "psf": compared}
        found = _judged(found, images, models[0], scene)
    reasons = found.reasons if check else (UNCHECKED,)
    found = dataclasses.replace(found, reasons=(*reasons, *said))
    if repair:
        doubt = DOUBT if found.verdict == "doubtful" else 0.0
        pulled = trust.repair(
            found.image, images, iterations=repair, doubt=doubt, **physics
        )
        found = dataclasses.replace(found, repaired=pulled.image, change=pulled.change)
    return found


def _operator(
    operator: LinearOperator | None, psfs: Sequence[Any] | None, images: np.ndarray
) -> LinearOperator | None:
    """That of the whole image, checked."""
    if operator is None and psfs is not None:
        operator = operator_of(psfs, images.shape[1:])
    if operator is not None:
        check_operator(operator, (1, *images.shape))
    return operator


def _as_views(image: ArrayLike, config: NetworkConfig) -> np.ndarray:
    """(views, *spatial), float32, on the host."""
    array, views = as_host(image), config.views
    if array.ndim == config.ndim and views == 1:
        array = array[None]
    if array.ndim != config.ndim + 1 or array.shape[0] != views or not array.size:
        axes = "z, y, x" if config.ndim == 3 else "y, x"
        needed = f"({axes})" if views == 1 else f"({views}, {axes})"
        raise ValueError(
            f"`image` has shape {np.shape(image)}; {needed} is needed by this network "
            f"of {views} view(s) in {config.ndim}D."
        )
    return array


def as_host(image: ArrayLike) -> np.ndarray:
    """Finite float32 on the host, as `as_float_array` would have them on a device.

    Raises:
        ValueError: NaN; integers that float32 does not hold.
    """
    array = image if isinstance(image, np.ma.MaskedArray) else np.asarray(image)
    exact = array.dtype.kind == "f" or array.dtype in (np.uint8, np.uint16, np.int16)
    if not exact or isinstance(array, np.ma.MaskedArray):
        array = np.asarray(as_float_array("image", array))  # which may refuse it
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"`image` has {count} NaN or infinite values; finite values are needed."
        )
    return array


def _check_alike(model: Model, first: Model) -> None:
    mine, its = model.config, first.config
    if (mine.views, mine.ndim) != (its.views, its.ndim):
        raise ValueError(
            f"`others` has a network of {mine.views} view(s) in {mine.ndim}D, and "
            f"`network` is one of {its.views} view(s) in {its.ndim}D; networks for the "
            f"same images are needed."
        )


def _tiled(
    network: Network,
    runner: Runner,
    images: np.ndarray,
    tile: Any,
    batch: int,
    psfs: Any,
) -> np.ndarray:
    shape = images.shape[1:]
    halo, multiple = halo_of(network, psfs)
    cores, operator = checked_tile(tile, shape), None
    if network.needs_operator:
        size = np.max([np.shape(psf) for psf in psfs], 0)
        tiles = tiles_of(shape, cores, halo, multiple, margins_of(size, shape))
        read = tuple(part.stop - part.start for part in tiles[0].read)
        operator = operator_of(psfs, read, shape)
    else:
        tiles = tiles_of(shape, cores, halo, multiple)
    return in_tiles(lambda stack: runner(stack, operator), images, tiles, batch)


def _levels(background: Any, images: np.ndarray) -> Any:
    """The background as the checks take it: None, a number, or one for each view."""
    if background is None:
        return None
    levels = np.asarray(background, float).reshape(-1)
    if levels.size not in (1, len(images)) or not np.isfinite(levels).all():
        raise ValueError(
            f"`background` is {background}; one number, or one for each of "
            f"{len(images)} view(s), is needed."
        )
    if len(images) == 1:
        return float(levels[0])
    return tuple(np.broadcast_to(levels, len(images)).tolist())


def _judged(
    found: Prediction, images: np.ndarray, model: Model, scene: dict[str, Any]
) -> Prediction:
    judged = trust.assess(
        found.image, images, record=model.record, spread=found.spread, **scene
    )
    residual, outside = judged.residual, judged.outside
    return dataclasses.replace(
        found,
        residual=None if residual is None else residual.z,
        outside=None if outside is None else float(outside.share),
        outside_map=judged.outside_map,
        familiarity=judged.familiarity,
        trust=judged.map,
        score=None if judged.verdict == trust.UNCHECKED else judged.score,
        verdict=judged.verdict,
        reasons=judged.reasons,
        assessment=judged,
    )
