"""Models as programs that need nothing but JAX."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from ..._core._check import check_shape
from ...io._atomic import atomic_target, check_target
from ..networks._network import Network
from ._model import Model, as_model
from ._optics import known_psfs, operator_of
from ._weights import skeleton, weights_of, with_weights

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_model(
    model: Model | Network,
    shape: Sequence[int],
    path: str | os.PathLike[str] | None = None,
    *,
    psf: Any = None,
    background: float | None = None,
    batch: bool = False,
    platforms: Sequence[str] = ("cpu", "cuda"),
    overwrite: bool = False,
) -> bytes:
    """A program from an image as it was taken to the prediction in its units.

    Weights, normalisation and PSF are inside. It runs wherever there is JAX, without
    jaxdecon and Flax, and judges nothing::

        import jax.export
        data = pathlib.Path("model.jaxexport").read_bytes()
        prediction = jax.export.deserialize(bytearray(data)).call(image)   # float32

    Args:
        model: or a network.
        shape: of an image, (z, y, x) or (y, x).
        path: where to write it, too; None: nowhere.
        psf: for networks with the operator in their wiring; None: the training's.
        background: of all images, what becomes 0 for networks that know the operator or
            were trained with a known background; None: as in training.
        batch: whether a first axis of any length counts images, each normalised for
            itself. Images of several views come as `(views, *shape)`, after it.
        platforms: it can run on: "cpu", "cuda", "rocm", "tpu".
        overwrite: replace what is at `path`.

    Returns:
        The serialised program, what is in the file. JAX reads it for at least six
        months after the version that wrote it.

    Raises:
        FileExistsError: `path` is there, and `overwrite` is not set.
        ImportError: flatbuffers is missing; the message names the extra.
        ValueError: a shape of other axes; an unknown platform; no PSF or background
            where one is needed.

    Notes:
        Percentiles are those of all voxels, and not, as in `predict`, of a sample where
        there are more than 4 million. A constant image gives NaN.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> network = jd.learning.DenseDeconNet(ndim=2)
        >>> data = jd.learning.export_model(network, (32, 32), platforms=("cpu",))
        >>> image = np.random.default_rng(0).poisson(20.0, (32, 32))
        >>> jd.learning.load_exported(data)(image).shape
        (32, 32)
    """
    check_export()
    if path is not None:
        check_target(Path(path), overwrite=overwrite)
    model, sizes = as_model(model), check_shape("shape", shape)
    config = model.config
    if len(sizes) != config.ndim:
        raise ValueError(
            f"`shape` is {sizes}, and the network is for {config.ndim}D images."
        )
    if not platforms or set(platforms) - set(PLATFORMS):
        raise ValueError(
            f"`platforms` are {platforms}; some of {PLATFORMS} are needed."
        )
    psfs, _ = known_psfs(model, psf)
    if model.network.needs_operator and psfs is None:
        raise ValueError("`psf` is needed: the operator is part of this network.")
    if background is None and model.measures_background:
        raise ValueError("`background` is needed: it cannot be measured in a program.")
    if background is not None and not np.isfinite(background):
        raise ValueError(f"`background` is {background}; a finite number is needed.")
    inside = psfs if model.network.needs_operator else None
    function = _program(model, inside, background)
    image = sizes if config.views == 1 else (config.views, *sizes)
    if batch:
        function = jax.vmap(function)
        image = (*export.symbolic_shape("batch"), *image)
    lowered = export.export(jax.jit(function), platforms=tuple(platforms))
    exported = lowered(jax.ShapeDtypeStruct(image, jnp.float32))
    data = bytes(exported.serialize())
    if path is not None:
        with atomic_target(Path(path), overwrite=overwrite) as partial:
            partial.write_bytes(data)
    return data


def load_exported(
    program: str | os.PathLike[str] | bytes,
) -> Callable[[Any], jax.Array]:
    """The function in a file of `export_model`, or in what it returned.

    Raises:
        FileNotFoundError: no such file.
        ImportError: flatbuffers is missing; the message names the extra.
        ValueError: another file, or a broken one; when called, an image of another
            shape.
    """
    check_export()
    if isinstance(program, bytes | bytearray):
        data, name = program, "`program`"
    else:
        data, name = Path(program).read_bytes(), str(program)
    try:
        exported = export.deserialize(bytearray(data))
    except Exception as error:  # whatever a parser of bytes raises
        raise ValueError(f"{name} is no exported model, or is broken.") from error
    (needed,) = exported.in_avals

    def predict(image: Any) -> jax.Array:
        array = np.asarray(image, np.float32)
        sizes = [n if isinstance(n, int) else None for n in needed.shape]
        fits = len(sizes) == array.ndim and all(
            n in (None, m) for n, m in zip(sizes, array.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"the image has shape {array.shape}; this program is for "
                f"{needed.shape}."
            )
        return exported.call(array)

    return predict


def check_export() -> None:
    """Say what to install if programs cannot be written or read.

    Raises:
        ImportError: flatbuffers is missing.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError(
            'exported programs need flatbuffers: pip install "jaxdecon[export]"'
        )


def _program(
    model: Model, psfs: Any, background: Any
) -> Callable[[jax.Array], jax.Array]:
    """From one image, (views, *spatial) or (*spatial), to its prediction."""
    config, weights = model.config, weights_of(model.network)
    skeleton(config)

    def predict(image: jax.Array) -> jax.Array:
        images = image if config.views > 1 else image[None]
        network = with_weights(config, weights)
        rule = model.normaliser(images, background)
        operator = None if psfs is None else operator_of(psfs, images.shape[1:])
        estimate = network(rule.apply(images)[None], operator)[0]
        return rule.invert_object(estimate)

    return predict
