"""Training pairs made on the fly: a structure, an operator, a camera."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._check import check_count, check_positive
from ...operators import LinearOperator
from ._pairs import Pair, PairSource, check_index, host_generator
from ._structures import Structure, as_structure

Limits = tuple[float, float]


class Exposure(NamedTuple):
    """How one image was taken.

    Attributes:
        photons: of the brightest voxel of all views, above the background.
        background: photons per voxel.
        read_noise: standard deviation in electrons (photons).
    """

    photons: Any
    background: Any
    read_noise: Any


class SimulatedPairs(PairSource):
    """Images of simulated structures through an operator, with the object as truth.

    A structure is drawn on the operator's domain, so that light comes from beyond the
    field of view where the operator has one. It is scaled until the brightest voxel of
    its image has so many photons, and recorded::

        image = gain * (Poisson(A x + background) + read noise) + offset
        truth = gain * x                         inside the field of view

    so that A truth + gain * background + offset is what the image is on average. Pair
    number i is always the same for a key. Values below zero, which read noise makes,
    are kept.

    Args:
        structure: a name of `STRUCTURES`, a function like them, or several, of which
            each pair has one at random.
        operator: from object to image, or to several views on one grid; or several
            operators of one domain and range (one structure of arrays for all is
            compiled once), of which each pair has one at random.
        photons: limits of the photons in the brightest voxel; uniform in the logarithm.
        background: photons per voxel, a number or limits.
        read_noise: electrons, a number or limits.
        gain: of the camera, in its units per photon.
        offset: units without light.
        spacing: size of a voxel for the structures, one number or one per axis.
        length: number of pairs.
        key: of `jax.random.key`.

    Raises:
        TypeError: no operator; no structure.
        ValueError: unknown structure; views that are not on the grid of the object;
            operators that differ in shape; limits that are negative or not in order.

    Example:
        >>> import jax, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (32, 32))
        >>> pairs = jd.learning.SimulatedPairs(
        ...     "beads", blur, photons=(50, 500), background=5, key=jax.random.key(0))
        >>> images, truth = pairs[7]
        >>> images.shape, truth.shape
        ((1, 32, 32), (32, 32))
    """

    def __init__(
        self,
        structure: Any,
        operator: LinearOperator | Sequence[LinearOperator],
        *,
        photons: float | Limits = (50.0, 1000.0),
        background: float | Limits = 5.0,
        read_noise: float | Limits = 0.0,
        gain: float = 1.0,
        offset: float = 0.0,
        spacing: float | Sequence[float] = 1.0,
        length: int = 1000,
        key: jax.Array,
    ):
        self._structures = _structures(structure)
        self.operators = _operators(operator)
        check_positive("gain", gain)
        check_positive("photons", photons)
        self._limits = Exposure(
            photons=_limits("photons", photons),
            background=_limits("background", background),
            read_noise=_limits("read_noise", read_noise),
        )
        self.gain, self.offset = float(gain), float(offset)
        self._spacing = _hashable(spacing)
        self._length = check_count("length", length, 1)
        self._key = key
        self._shape = _field_of_view(self.operators[0])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Pair:
        index = check_index(index, len(self))
        key = jax.random.fold_in(self._key, index)
        truth, clean = _draw(
            self.operator_of(index),
            jax.random.fold_in(key, 1),
            structure=self._choose(self._structures, index, 0),
            spacing=self._spacing,
        )
        return _record(truth, clean, key, self._limits, self.gain, self.offset)

    def operator_of(self, index: int) -> LinearOperator:
        """The operator through which a pair's image is seen."""
        return self._choose(self.operators, check_index(index, len(self)), 1)

    def exposure(self, index: int) -> Exposure:
        """Photons, background and read noise of a pair."""
        key = jax.random.fold_in(self._key, check_index(index, len(self)))
        return _exposure(key, self._limits)

    def _choose(self, things: Sequence[Any], index: int, what: int) -> Any:
        if len(things) == 1:
            return things[0]
        numbers = host_generator(self._key, what, index)
        return things[int(numbers.integers(len(things)))]

    def spatial_shape(self, index: int) -> tuple[int, ...]:
        """The operator's field of view."""
        return self._shape

    def describe(self, index: int) -> str:
        """Its number, and how it was made."""
        photons, background, _ = (float(v) for v in self.exposure(index))
        return (
            f"simulated pair {index} ({photons:.4g} photons, background "
            f"{background:.3g})"
        )


@functools.partial(jax.jit, static_argnames=("structure", "spacing"))
def _draw(
    operator: LinearOperator, key: jax.Array, *, structure: Structure, spacing: Any
) -> tuple[jax.Array, jax.Array]:
    """An object inside the field of view, and its views, the brightest voxel 1."""
    thing = structure(key, operator.domain, spacing)
    clean = jnp.maximum(_stacked(operator(thing)), 0)  # the FFT leaves -1e-7
    peak = clean.max()
    scale = jnp.where(peak > 0, 1 / jnp.where(peak > 0, peak, 1), 0)
    return scale * operator.image_region(thing), scale * clean


@jax.jit  # on its own: one program for all structures
def _record(
    truth: jax.Array,
    clean: jax.Array,
    key: jax.Array,
    limits: Exposure,
    gain: float,
    offset: float,
) -> Pair:
    """What the camera makes of it."""
    light, read = jax.random.split(jax.random.fold_in(key, 2))
    exposure = _exposure(key, limits)
    counts = jax.random.poisson(light, exposure.photons * clean + exposure.background)
    noise = exposure.read_noise * jax.random.normal(read, clean.shape)
    images = gain * (counts + noise) + offset
    truth = gain * exposure.photons * truth
    return Pair(images.astype(clean.dtype), truth.astype(clean.dtype))


@jax.jit
def _exposure(key: jax.Array, limits: Exposure) -> Exposure:
    shares = jax.random.uniform(jax.random.fold_in(key, 0), (3,))
    low, high = jnp.asarray(limits, shares.dtype).T
    straight = low + shares * (high - low)
    return Exposure(low[0] * (high[0] / low[0]) ** shares[0], *straight[1:])


def _stacked(views: Any) -> jax.Array:
    return jnp.stack(views) if isinstance(views, tuple | list) else views[None]


def _structures(structure: Any) -> tuple[Structure, ...]:
    if isinstance(structure, list | tuple):
        if not structure:
            raise ValueError("`structure` is empty; at least one is needed.")
        return tuple(as_structure(one) for one in structure)
    return (as_structure(structure),)


def _operators(operator: Any) -> tuple[LinearOperator, ...]:
    given = tuple(operator) if isinstance(operator, list | tuple) else (operator,)
    if not given or not all(isinstance(one, LinearOperator) for one in given):
        raise TypeError(
            f"`operator` is {operator!r}; a linear operator is needed, e.g. "
            f"`jaxdecon.operators.Convolution.from_psf(psf, shape)`, or several."
        )
    shapes = {(one.domain, one.range) for one in given}
    if len(shapes) > 1:
        raise ValueError(
            f"`operator` has operators of domains and ranges {sorted(shapes)}; one of "
            f"each is needed."
        )
    return given


def _field_of_view(operator: LinearOperator) -> tuple[int, ...]:
    """The shape of the truth, which must be that of every view."""
    views = (
        operator.range if isinstance(operator.range[0], tuple) else (operator.range,)
    )
    same = len(set(views)) == 1
    domain = jax.ShapeDtypeStruct(operator.domain, jnp.float32)
    field = tuple(jax.eval_shape(operator.image_region, domain).shape)
    if not same or views[0] != field:
        raise ValueError(
            f"`operator` gives views of shape {views} of an object of shape {field}; "
            f"one grid for all is needed, as for networks."
        )
    return field


def _limits(name: str, value: Any) -> Limits:
    limits = np.asarray(value, float)
    if limits.shape not in ((), (2,)) or not np.isfinite(limits).all():
        raise ValueError(f"`{name}` is {value}; a number, or (low, high), is needed.")
    low, high = np.broadcast_to(limits, (2,)).tolist()
    if not 0 <= low <= high:
        raise ValueError(f"`{name}` is {value}; 0 <= low <= high is needed.")
    return low, high


def _hashable(spacing: Any) -> Any:
    values = np.asarray(spacing, float)
    return tuple(values.tolist()) if values.ndim else float(values)
