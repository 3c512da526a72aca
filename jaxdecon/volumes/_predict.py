"""Predict a volume larger than memory."""

import dataclasses
import os
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ..psf import PSFField
from ._deconvolve_blocks import digest
from ._halo import Halo, given_halo
from ._how import How, Options
from ._outcome import Run
from ._plan import Plan
from ._run import Job, run
from ._source import Source
from ._targets import make_target, target_path

if TYPE_CHECKING:  # `learning` needs a second to load, and only this function needs it
    from ..learning import Model, Network
    from ._predict_blocks import Predict


def predict(
    source: Any,
    target: Any,
    model: "Model | Network | str | os.PathLike[str]",
    *,
    psf: Any = None,
    background: float | None = None,
    halo: Halo = "auto",
    skip_below: float | None = None,
    dtype: str = "float32",
    scale: float = 1.0,
    **how: Unpack[How],
) -> Run | Plan:
    """Predict an image of any size with a network, block by block, to a file.

    Every block is computed with the halo that the network sees, and equals the same
    part of `learning.predict` of the whole to 1e-4 of its maximum; an unrolled network
    does not: see the figures there. Every volume (channel, time point) is normalised
    by its own percentiles, which are measured before the first block: that reads it
    once more, or parts of it where it has more than 2^30 voxels. A killed run is taken
    up again by the same call. Nothing is judged: predict a part with
    `learning.predict`.

    Args:
        source: as for `deconvolve`; one view.
        target: as for `deconvolve`.
        model: of `learning.load_model`, the path of one, or a network.
        psf: for networks with the operator in their wiring, centred on n // 2; one for
            all channels, or a list. None: the training's.
        background: of the image; what becomes 0 for networks with the operator in their
            wiring, or that were trained with a known background; None: as in training.
        halo: voxels around a block, one number or one per axis; "auto": as many as the
            network depends on.
        skip_below: blocks whose image nowhere reaches it are written as 0; None: none.
        dtype: of the result; values that do not fit are an error.
        scale: factor on the result.
        how: block, engine, memory, resume, ...: how to run; see `How`.

    Returns:
        A `Run`; with `dry_run` the `Plan`.

    Raises:
        ValueError: another voxel size than the training's; a network of several views,
            or one that sees all of the image; a constant volume; a journal of another
            run (`RunRefused`).
        FileExistsError, MemoryError, BlocksFailed, OSError: as `deconvolve`.

    Example:
        >>> import tempfile, pathlib, numpy as np, jaxdecon as jd
        >>> image = np.random.default_rng(0).poisson(20, (48, 64)).astype("uint16")
        >>> network = jd.learning.DenseDeconNet(ndim=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = pathlib.Path(folder) / "sharp.ome.zarr"
        ...     run = jd.volumes.predict(image, target, network, block=32)
        ...     jd.io.read(target).shape, run.blocks
        ((48, 64), 4)
    """
    from ..learning import load_model
    from ..learning.prediction._model import as_model
    from ..learning.prediction._model_file import numbers_of
    from ..learning.prediction._weights import weights_of
    from ._predict_blocks import Predict, measured_rules

    options = Options(**how)
    opened = Source(source)
    if isinstance(model, str | os.PathLike):
        model = load_model(model)
    known = as_model(model)
    flat = _check(known, opened)
    known.check_voxel_size(opened.image.voxel_size[int(flat) :])
    psfs = _psfs(known, psf, opened)
    own, multiple = _halo(known, psfs, halo)
    operation = Predict(
        source=opened,
        config=known.config,
        weights=weights_of(known.network),
        psfs=psfs,
        halo=(0,) * flat + tuple(_rounded(h, multiple) for h in own),
        multiple=multiple,
        skip_below=skip_below,
    )
    request = {
        "network": known.config.to_dict(),
        "weights": digest(dict(operation.weights)),
        "normalisation": numbers_of(known.normalisation),
        "background": background,
        "psf": digest(psfs),
        "halo": list(operation.halo),
    }

    def prepare(operation: "Predict", grid: Any) -> "Predict":
        rules = measured_rules(opened, known, background)
        return dataclasses.replace(operation, rules=rules)

    job = Job(
        operation=operation,
        target=make_target(target, opened.image, opened.shape, dtype, scale),
        path=target_path(target),
        sources=(opened,),
        request=request,
        skip_below=skip_below,
        prepare=prepare,
    )
    return run(job, options)


def _check(model: "Model", source: Source) -> bool:
    """Whether the network is for planes, and the source one plane of a stack.

    Raises:
        ValueError: several views, other axes.
    """
    config, shape = model.config, source.shape
    if config.views != 1:
        raise ValueError(
            f"`model` is for {config.views} views, and blocks are read from one image: "
            f"use `learning.predict` with `tile`."
        )
    flat = config.ndim == 2 and len(shape) == 3 and shape[0] == 1
    if len(shape) != config.ndim and not flat:
        raise ValueError(
            f"`model` is for {config.ndim}D images, and the source has volumes of "
            f"shape {shape}."
        )
    return flat


def _psfs(model: "Model", psf: Any, source: Source) -> tuple[np.ndarray, ...] | None:
    """Of every channel or one for all, where the network needs them.

    Raises:
        ValueError: none, where one is needed; not as many as channels; a field.
    """
    from ..learning.prediction._optics import known_psfs

    if not model.network.needs_operator:
        return None
    given = list(psf) if isinstance(psf, list | tuple) else [psf]
    channels = source.image.sizes.get("c", 1)
    if len(given) not in (1, channels):
        raise ValueError(
            f"there are {len(given)} of `psf` and {channels} channels; one for all, or "
            f"one for each, is needed."
        )
    found = []
    for one in given:
        known, _ = known_psfs(model, one)
        if known is None or isinstance(known[0], PSFField):
            raise ValueError(
                "`psf` must be one PSF, or one for each channel: this network has the "
                "operator in its wiring, and every block needs one of its own."
            )
        found.append(np.asarray(known[0], np.float32))
    return tuple(found)


def _halo(model: "Model", psfs: Any, halo: Halo) -> tuple[tuple[int, ...], int]:
    """The halo, and at multiples of what blocks have to begin."""
    from ..learning.prediction._tiles import halo_of

    own, multiple = halo_of(model.network, psfs)
    return (own if halo == "auto" else given_halo(halo, len(own))), multiple


def _rounded(halo: int, multiple: int) -> int:
    """So that blocks that begin at multiples do so with their halo."""
    return -(-(halo + multiple - 1) // multiple) * multiple
