"""The pairs that a training file names, and what belongs to them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..learning import (
    Augmentation,
    DiskPairs,
    NormalisedPairs,
    Percentiles,
    SimulatedPairs,
    patches,
)
from ..learning.prediction._model import MEASURED
from ..learning.prediction._optics import operator_of
from ..operators import VaryingConvolution
from ..psf import PSFField
from ._console import say
from ._train_config import Config
from ._train_files import files, looked_at, one_each, partners, split
from ._train_psf import psfs_for

JUDGED = 64
"""Patches of held-out volumes by which a network is judged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """What a network is trained on.

    Attributes:
        pairs: normalised, all of one shape.
        held_out: the same, to judge by; None: nothing.
        raw: some of the pairs as they are.
        raw_held_out: the same of those that were held out; None: nothing.
        normalisation: of the images in prediction.
        operator: of all pairs, or a function of their number; None: not known.
        held_out_operator: the same of those that were held out.
        record_operator: of `raw`, and of what was held out.
        psfs: of every view.
        voxel_size: µm; None: not known.
        background: of the images, in their units; None: it differs, or is not known.
        summary: in words.
    """

    pairs: Any
    held_out: Any
    raw: Any
    raw_held_out: Any
    normalisation: Percentiles
    operator: Any
    held_out_operator: Any
    record_operator: Any
    psfs: Sequence[Any]
    voxel_size: tuple[float, ...] | None
    background: float | None
    summary: str


def material(config: Config, *, physics: bool) -> Material:
    """What the file says to train on.

    Args:
        config: of the training.
        physics: whether the network knows the operator, so that the background has to
            become 0.
    """
    key = jax.random.key(config["training"]["seed"])
    make = _simulated if config["data"] is None else _from_files
    return make(config, physics, jax.random.fold_in(key, 2))


class _AboveBackground(NormalisedPairs):
    """Pairs whose background becomes 0, by what is known of each."""

    def __init__(self, source: Any, of_pair: Callable[[int, Any], float], **how: Any):
        super().__init__(source, **how)
        self._of_pair = of_pair

    def _measured(self, index: int, values: Any) -> Any:
        background = self._of_pair(index, values)
        return Percentiles(self.options["low"], self.options["high"]).normaliser(
            values, background
        )


def _normalised(
    config: Config, source: Any, physics: bool, of_pair: Any, **how: Any
) -> NormalisedPairs:
    rule = config["normalise"]
    how |= {"low": rule["low"], "high": rule["high"]}
    if rule["background"] is not None or not physics:
        return NormalisedPairs(source, background=rule["background"], **how)
    return _AboveBackground(source, of_pair, **how)


def _normalisation(config: Config, physics: bool) -> Percentiles:
    rule = config["normalise"]
    known = rule["background"]
    background = MEASURED if known is None and physics else known
    return Percentiles(rule["low"], rule["high"], background)


def _simulated(config: Config, physics: bool, key: jax.Array) -> Material:
    said = config["simulation"]
    shape, size = tuple(said["shape"]), said["voxel_size"]
    if size is not None and len(size) != len(shape):
        raise ValueError(
            f"{config.path}: [simulation] voxel_size is {size}; {len(shape)} numbers "
            f"are needed, as for shape."
        )
    psfs = psfs_for(config, "simulation", shape, size)
    operators = _operators(psfs, shape, said["places"], jax.random.fold_in(key, 0))
    names = ("photons", "background", "read_noise")
    camera = {
        **{name: _limits(said[name]) for name in names},
        "gain": said["gain"],
        "offset": said["offset"],
        "spacing": _spacing(said, size),
    }

    def pairs(length: int, number: int, blurs: Any) -> SimulatedPairs:
        own = jax.random.fold_in(key, number)
        return SimulatedPairs(
            said["structures"], blurs, length=length, key=own, **camera
        )

    def normalised(source: SimulatedPairs) -> NormalisedPairs:
        def background(index: int, values: Any) -> float:
            photons = float(source.exposure(index).background)
            return source.gain * photons + source.offset

        return _normalised(config, source, physics, background)

    source, held_out = pairs(said["length"], 1, operators), None
    if said["held_out"]:
        held_out = pairs(said["held_out"], 2, operators)
    own = pairs(64, 3, operators[:1]), pairs(64, 4, operators[:1])
    photons = np.broadcast_to(camera["background"], 2)
    background = said["gain"] * float(photons[0]) + said["offset"]
    return Material(
        pairs=normalised(source),
        held_out=None if held_out is None else normalised(held_out),
        raw=own[0],
        raw_held_out=own[1],
        normalisation=_normalisation(config, physics),
        operator=source.operator_of if len(operators) > 1 else operators[0],
        held_out_operator=(
            held_out.operator_of if held_out and len(operators) > 1 else operators[0]
        ),
        record_operator=operators[0],
        psfs=psfs,
        voxel_size=None if size is None else tuple(size),
        background=background if photons[0] == photons[1] else None,
        summary=(
            f"{len(source)} simulated pairs of {_times(shape)}, and "
            f"{said['held_out']} to judge by; {len(operators)} operator(s)"
        ),
    )


def _limits(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _spacing(said: Any, size: Any) -> Any:
    """Of voxels, for structures: their shortest side is one."""
    if said["spacing"] is not None:
        return said["spacing"]
    return 1.0 if size is None else [s / min(size) for s in size]


def _operators(psfs: Any, shape: Any, places: int, key: jax.Array) -> list[Any]:
    """One; of a field of PSFs, those of random places in it."""
    if not isinstance(psfs[0], PSFField):
        return [operator_of(psfs, shape)]
    (field,) = psfs
    spans = [np.asarray(p)[[0, -1]] for p in field.positions]
    numbers = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    found = []
    for _ in range(places):
        corner = [
            low + numbers.random() * max(high - low - n, 0)
            for (low, high), n in zip(spans, shape, strict=True)
        ]
        found.append(VaryingConvolution.from_field(field.shifted(corner), shape))
    return found


def _from_files(config: Config, physics: bool, key: jax.Array) -> Material:
    said = config["data"]
    inputs, targets = files(config)
    say(f"files: {partners(inputs, targets)}")
    volumes = DiskPairs(
        inputs,
        targets,
        channels=said["channels"],
        target_channel=said["target_channel"],
        voxel_size=said["voxel_size"],
    )
    patch, size = tuple(said["patch"]), volumes.voxel_size
    psfs = psfs_for(config, "data", patch, size)
    psfs = one_each(config, psfs, volumes, patch)
    train, judge = volumes, None
    if said["hold_out"]:
        train, judge = split(
            volumes, targets, said["hold_out"], jax.random.fold_in(key, 0)
        )
    operator = operator_of(psfs, patch) if psfs else None

    def cut(source: Any, number: int, shape: Any = patch, **how: Any) -> Any:
        own = jax.random.fold_in(key, number)
        return patches(source, shape, best_of=said["best_of"], key=own, **how)

    def normalised(source: Any) -> Any:
        return _normalised(
            config,
            source,
            physics,
            lambda index, values: _background(values),
            truths_have_offset=said["targets_have_background"],
        )

    augment = _augmentation(config, patch, psfs)
    pairs = cut(normalised(train), 1, augment=augment)
    box = looked_at(patch, judge or train)
    return Material(
        pairs=pairs,
        held_out=None if judge is None else cut(normalised(judge), 2, count=JUDGED),
        raw=cut(train, 3, box, count=JUDGED),
        raw_held_out=None if judge is None else cut(judge, 4, box, count=JUDGED),
        normalisation=_normalisation(config, physics),
        operator=operator,
        held_out_operator=operator,
        record_operator=operator_of(psfs, box) if psfs else None,
        psfs=psfs,
        voxel_size=None if None in size else tuple(float(s) for s in size if s),
        background=config["normalise"]["background"],
        summary=(
            f"{len(train)} volumes in files, and {len(judge or ())} to judge by; "
            f"{len(pairs)} patches of {_times(patch)}, {_words(augment, len(patch))}"
        ),
    )


def _background(values: Any) -> float:
    from ..deconvolution import estimate_background

    return estimate_background(np.asarray(values))


def _augmentation(config: Config, patch: tuple[int, ...], psfs: Any) -> Augmentation:
    """As asked for; else, where the PSF is known, what leaves it as it is."""
    asked = config["data"]["augment"]
    if isinstance(asked, list):
        names = "zyx"[-len(patch) :]
        flips = tuple(axis for axis, name in enumerate(names) if name in asked)
        return Augmentation(flips=flips, turns="turns" in asked)
    if asked is False or (asked is None and not psfs):
        return Augmentation()
    square = patch[-1] == patch[-2]
    if not psfs:
        return Augmentation(flips=tuple(range(len(patch))), turns=square)
    allowed = [
        Augmentation() if isinstance(psf, PSFField) else Augmentation.allowed_by(psf)
        for psf in psfs
    ]
    flips = set(range(len(patch))).intersection(*(one.flips for one in allowed))
    turns = square and all(one.turns for one in allowed)
    return Augmentation(flips=tuple(sorted(flips)), turns=turns)


def _words(augment: Augmentation, ndim: int) -> str:
    axes = [name for axis, name in enumerate("zyx"[-ndim:]) if axis in augment.flips]
    parts = [*(f"flipped along {name}" for name in axes), *["turned"] * augment.turns]
    return " and ".join(parts) or "neither flipped nor turned"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
