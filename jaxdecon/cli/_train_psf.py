"""The PSF that a training file names: files, fields of PSFs, or optics."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._console import say
from ._psf_fields import is_field, read_field
from ._train_config import Config, expanded

KINDS = ("gaussian", "widefield", "confocal", "light_sheet", "gibson_lanni")
WIDEST = 65
"""Voxels along x and y of a PSF that is modelled, where no shape is given."""
ENERGY = 0.995
"""Share of its energy that is kept."""
OWN = ("kind", "shape", "energy")


def psfs_for(
    config: Config, section: str, shape: Sequence[int], voxel_size: Any
) -> list[Any]:
    """A PSF for every view: arrays, or one `PSFField`.

    Args:
        config: of the training.
        section: which has the key "psf".
        shape: of the images.
        voxel_size: µm; None or with None where unknown.

    Raises:
        ValueError: optics that are unknown or incomplete; as the PSF's model.
    """
    value = config[section]["psf"]
    if value is None:
        return []
    size = (None,) * len(shape) if voxel_size is None else tuple(voxel_size)
    if isinstance(value, Mapping):
        return [_modelled(config, section, value, shape, size)]
    files = expanded(config, section, "psf", value)
    psfs = [_from_file(file, shape, size) for file in files]
    if len(psfs) > 1 and any(is_field(file) for file in files):
        raise ValueError(
            f"{config.path}: [{section}] psf has fields of PSFs for several views; "
            f"that is for `jaxdecon.learning.fit` with operators of your own."
        )
    return psfs


def _from_file(path: str, shape: Sequence[int], voxel_size: tuple) -> Any:
    from .. import io, psf

    if is_field(path):
        return read_field(path, shape, voxel_size, say)
    image = io.read(path)
    volumes = [volume for _, volume in image.volumes()]
    if len(volumes) != 1 or volumes[0].ndim != len(shape):
        raise ValueError(
            f"{path} has {len(volumes)} volume(s) of {len(image.volume_shape)} axes; "
            f"one PSF of {len(shape)} axes is needed."
        )
    known = None not in image.voxel_size and None not in voxel_size
    if not known:
        say(f"psf: voxel size of {path} or of the images unknown; taken to be the same")
    prepared = psf.from_measured(
        volumes[0],
        voxel_size=image.known_voxel_size if known else None,
        target_voxel_size=voxel_size if known else None,
        energy=ENERGY,
    )
    for message in prepared.messages:
        say(f"psf: {message}")
    return np.asarray(prepared.psf)


def _modelled(config, section, given, shape, voxel_size) -> np.ndarray:
    """By a function of `jaxdecon.psf`, with its keywords."""
    from .. import psf

    where = f"{config.path}: [{section}.psf]"
    kind = given.get("kind")
    if kind not in KINDS:
        raise ValueError(
            f"{where} kind is {kind!r}; one of {', '.join(KINDS)} is needed."
        )
    make = getattr(psf, kind)
    parameters = dict(inspect.signature(make).parameters)
    del parameters["shape"]
    sized = parameters.pop("voxel_size", None) is not None
    options = {key: value for key, value in given.items() if key not in OWN}
    if unknown := sorted(set(options) - set(parameters)):
        raise ValueError(
            f"{where} has no {', '.join(unknown)}; {kind} has "
            f"{', '.join((*OWN, *parameters))}."
        )
    needed = [name for name, p in parameters.items() if p.default is p.empty]
    if missing := [name for name in needed if name not in options]:
        raise ValueError(f"{where} needs {', '.join(missing)}.")
    if sized and None in voxel_size:
        raise ValueError(
            f"{where} needs the voxel size: give [{section}] voxel_size in µm."
        )
    size = given.get("shape", list(_usual(shape)))
    if not isinstance(size, list) or len(size) != len(shape):
        raise ValueError(f"{where} shape is {size}; {len(shape)} numbers are needed.")
    size = tuple(size)
    whole = make(size, voxel_size, **options) if sized else make(size, **options)
    kept = np.asarray(psf.crop_to_energy(whole, given.get("energy", ENERGY)))
    widths = ", ".join(f"{w:.2f}" for w in np.asarray(psf.fwhm(whole)))
    say(f"psf: {kind}, {'x'.join(map(str, kept.shape))}, FWHM {widths} voxels")
    return kept / kept.sum()


def _usual(shape: Sequence[int]) -> tuple[int, ...]:
    """As deep as the images, and not too wide; odd."""
    *depth, y, x = shape
    return tuple(n - 1 + n % 2 for n in (*depth, min(y, WIDEST), min(x, WIDEST)))
