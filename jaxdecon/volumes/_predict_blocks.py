"""A network's prediction as an operation on blocks."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..deconvolution import estimate_background
from ..learning import Model, NetworkConfig, Normaliser
from ..learning.pairs._normalise import MOST_VOXELS
from ..learning.prediction._optics import operator_of
from ..learning.prediction._weights import skeleton, with_weights
from ._agree import looks
from ._blocks import Block, Shape
from ._on_source import OnSource
from ._programs import program, program_bytes
from ._source import Source

MOST_STREAMED = 2**30
"""Voxels of a volume that is read as a whole to measure its range; of larger ones, 27
places are looked at."""
SLAB = 2**26
"""Voxels that are read at a time for that."""
VOLUMES = {"densedeconnet": 20, "rln": 25, "rcan": 7, "unrolled": 9}
"""Volumes of float32 that a network needs, per channel of its narrow layers and one
more; what the compiler says for blocks of 64 voxels on the CPU, rounded up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(OnSource):
    """Predict a block with a network of one view.

    Attributes:
        source: of the image.
        config: of the network.
        weights: of the network, by name.
        psfs: of every channel, or one for all; None: the network needs none.
        halo: voxels around a block.
        multiple: of voxels, at which what the network sees has to begin.
        rules: offset and scale of every volume; None until they are measured.
        skip_below: a block that nowhere reaches it is empty; None: none is.
    """

    config: NetworkConfig
    weights: Mapping[str, np.ndarray]
    psfs: tuple[np.ndarray, ...] | None
    halo: Shape
    multiple: int = 1
    rules: tuple[tuple[float, float], ...] | None = None
    skip_below: float | None = None

    name = "predict"

    def read(self, block: Block) -> np.ndarray:
        """The image in the block and its halo.

        Raises:
            ValueError: NaN.
        """
        data = super().read(block)
        if data.dtype.kind == "f" and not np.isfinite(data).all():
            raise ValueError(
                f"the image has NaN or infinite values in block {block.name}; finite "
                f"values are needed."
            )
        return data

    def is_empty(self, block: Block, inputs: np.ndarray) -> bool:
        """Whether the image nowhere reaches `skip_below`."""
        return self.skip_below is not None and bool(inputs.max() < self.skip_below)

    def compute(self, block: Block, inputs: Any) -> jax.Array:
        """The prediction in the block and its halo."""
        steps = self._steps(len(block.read))
        cut = [-start % s for (start, _), s in zip(block.read, steps, strict=True)]
        seen = self._seen(jnp.asarray(inputs), cut, steps)
        arguments = (
            seen,
            dict(self.weights),
            self._rule(block.index),
            *self._psf(block),
        )
        found = self._compiled(*arguments)(*arguments)
        sizes = zip(cut, inputs.shape, strict=True)
        found = found[tuple(slice(0, n - c) for c, n in sizes)]
        return jnp.pad(found, [(c, 0) for c in cut])  # of the halo, and not used

    def _steps(self, ndim: int) -> Shape:
        return (1,) * (ndim - self.config.ndim) + (self.multiple,) * self.config.ndim

    def _seen(self, volume: jax.Array, cut: Sequence[int], steps: Shape) -> jax.Array:
        """From a multiple on.

        With the margin that the network itself would add, where that keeps the shape,
        and with it one program for all blocks; operators are for the image alone.
        """
        seen = volume[tuple(slice(c, None) for c in cut)]
        gaps = [-n % s for n, s in zip(seen.shape, steps, strict=True)]
        padded = tuple(n + g for n, g in zip(seen.shape, gaps, strict=True))
        if padded == volume.shape and self.psfs is None:
            return jnp.pad(seen, [(0, g) for g in gaps], mode="edge")
        return seen

    def _rule(self, index: Shape) -> np.ndarray:
        if self.rules is None:
            raise RuntimeError("the range of the volumes was not measured yet.")
        number = int(np.ravel_multi_index(index, self.leading)) if index else 0
        return np.asarray(self.rules[number], np.float32)

    def _psf(self, block: Block) -> tuple[np.ndarray, ...]:
        if self.psfs is None:
            return ()
        image = self.source.image
        channel = dict(zip(image.axes, block.index, strict=False)).get("c", 0)
        return (self.psfs[channel if len(self.psfs) > 1 else 0],)

    def shared(self) -> Mapping[str, Any]:
        """Offsets and scales."""
        return {"rules": [list(rule) for rule in self.rules or ()]}

    def with_shared(self, shared: Mapping[str, Any] | None) -> "Predict":
        """The operation with what an earlier run has measured."""
        if shared is None:
            return self
        rules = tuple((float(a), float(b)) for a, b in shared["rules"])
        return dataclasses.replace(self, rules=rules)

    def memory(self, block: Block) -> tuple[int, int]:
        """Bytes on device and host that a block takes, by a model."""
        itemsize = max(self.source.image.dtype.itemsize, 4)
        needed = memory_needed(self.config, block.read_shape)
        return needed, itemsize * math.prod(block.read_shape)

    def measured_memory(self, block: Block) -> int | None:
        """Bytes on the device that the compiled program of a block takes."""
        image = jax.ShapeDtypeStruct(block.read_shape, self.source.image.dtype)
        rule = np.zeros(2, np.float32)
        arguments = (image, dict(self.weights), rule, *self._psf(block))
        return program_bytes(self._compiled(*arguments))

    def _compiled(self, *arguments: Any) -> Any:
        skeleton(self.config)
        whole = self.source.shape[-self.config.ndim :]
        return program(predict_block, *arguments, config=self.config, whole=whole)


def memory_needed(config: NetworkConfig, shape: Sequence[int]) -> int:
    """Bytes on the device that predicting a volume takes, by a model."""
    channels = int(config.width or 1) + 1
    return 4 * VOLUMES[config.kind] * channels * math.prod(shape)


def predict_block(
    image: jax.Array,
    weights: Any,
    rule: Any,
    *psf: Any,
    config: NetworkConfig,
    whole: Shape,
) -> jax.Array:
    """One block, in units of the image."""
    volume = image.reshape(image.shape[len(image.shape) - config.ndim :])
    network = with_weights(config, weights)
    scale = Normaliser(offset=rule[0], scale=rule[1])
    operator = operator_of(psf, volume.shape, whole) if psf else None
    normalised = scale.apply(volume.astype(jnp.float32))
    estimate = network(normalised[None, None], operator)[0]
    return scale.invert_object(estimate).reshape(image.shape)


def measured_rules(
    source: Source, model: Model, background: float | None
) -> tuple[tuple[float, float], ...]:
    """Offset and scale of every volume, each measured on all of it.

    Raises:
        ValueError: a constant volume; the message says which.
    """
    found = []
    fixed = isinstance(model.normalisation, Normaliser)
    for index in np.ndindex(source.leading):
        sample = np.zeros(1) if fixed else sampled(source, index)
        level = background
        if level is None and model.measures_background:
            level = estimate_background(looked_at(source, index))
        try:
            rule = model.normaliser(sample, level)
        except ValueError as error:
            where = f"the volume at {index} of the leading axes: " if index else ""
            raise ValueError(f"{where}{error}") from error
        found.append((float(rule.offset), float(rule.scale)))
    return tuple(found)


def looked_at(source: Source, index: Shape) -> np.ndarray:
    """A volume, or parts of a large one."""
    if math.prod(source.shape) <= SLAB:
        return source.read(index, tuple((0, n) for n in source.shape))
    return np.stack([source.read(index, region) for region in looks(source.shape)])


def sampled(source: Source, index: Shape) -> np.ndarray:
    """The voxels that `Normaliser.fit` looks at, read a slab at a time."""
    shape, size = source.shape, math.prod(source.shape)
    if size > MOST_STREAMED:
        return looked_at(source, index)
    chosen = _places(size)
    plane = size // shape[0]
    thickness = max(SLAB // plane, 1)
    found = []
    for first in range(0, shape[0], thickness):
        last = min(first + thickness, shape[0])
        whole = tuple((0, n) for n in shape[1:])
        slab = source.read(index, ((first, last), *whole)).ravel()
        if chosen is not None:
            low, high = np.searchsorted(chosen, [first * plane, last * plane])
            slab = slab[chosen[low:high] - first * plane]
        found.append(slab)
    return np.concatenate(found)


def _places(size: int) -> np.ndarray | None:
    """Of the voxels that `Normaliser.fit` looks at, in order; None: all."""
    if size <= MOST_VOXELS:
        return None
    return np.sort(np.random.default_rng(0).integers(size, size=MOST_VOXELS))
