"""Richardson-Lucy as an operation on blocks."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree
from ..deconvolution import Accelerated, Poisson, Problem, RichardsonLucy
from ..deconvolution import memory_needed as model_of_memory
from ..deconvolution._driver import estimate
from ..deconvolution._scheme import Scheme, with_estimate
from ..operators._varying import blur_by
from ..operators._varying_parts import Parts
from ._blocks import Block, Shape
from ._deconvolve_optics import Optics
from ._on_source import OnSource
from ._programs import program, program_bytes

EXACT = 2**24
"""Integers up to it are exact in float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """What is compiled into the program of every block.

    Attributes:
        iterations: of every block, the same.
        boundary: beyond what a block reads.
        accelerated: whether to extrapolate.
        start: "image" or "constant".
    """

    iterations: int
    boundary: str = "extend"
    accelerated: bool = False
    start: str = "image"


@pytree
class ScaledState:
    """State of `Scaled`.

    Attributes:
        inner: state of the wrapped scheme.
        count: updates done.
    """

    inner: Any
    count: jax.Array

    @property
    def estimate(self) -> jax.Array:
        """The object so far."""
        return self.inner.estimate


@pytree
class Scaled:
    """Scale the estimate after every update by factors known before.

    Attributes:
        scheme: the scheme whose estimates are scaled.
        factors: one per update.
    """

    scheme: Scheme
    factors: jax.Array

    def init(self, problem: Problem) -> ScaledState:
        """The wrapped scheme's start."""
        return ScaledState(inner=self.scheme.init(problem), count=jnp.asarray(0))

    def update(self, problem: Problem, state: ScaledState) -> ScaledState:
        """Update, then scale."""
        inner = self.scheme.update(problem, state.inner)
        inner = with_estimate(inner, inner.estimate * self.factors[state.count])
        return ScaledState(inner=inner, count=state.count + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deconvolve(OnSource):
    """Deconvolve a block with a PSF.

    Attributes:
        source: of the image.
        optics: of every channel, or one for all.
        method: how.
        halo: voxels around a block.
        skip_below: a block whose image nowhere reaches it is empty; None: one whose
            image nowhere exceeds the background.
    """

    optics: tuple[Optics, ...]
    method: Method
    halo: Shape
    skip_below: float | None = None

    name = "deconvolve"

    def read(self, block: Block) -> np.ndarray:
        """The image in the block and its halo.

        Raises:
            ValueError: NaN, or negative values where there can be none.
        """
        data = super().read(block)
        if data.dtype.kind == "f" and not np.isfinite(data).all():
            raise ValueError(
                f"the image has NaN or infinite values in block {block.name}; finite "
                f"values are needed."
            )
        if isinstance(self.optics[0].likelihood, Poisson) and data.min() < 0:
            raise ValueError(
                f"the image has negative values in block {block.name}, down to "
                f"{data.min():.6g}: leave the camera offset in the data and pass it as "
                f"`background`."
            )
        if data.dtype.kind in "iu" and data.max() > EXACT:
            raise ValueError(
                f"the image reaches {data.max()} in block {block.name}, and float32 "
                f"holds integers exactly to {EXACT} only: convert it yourself."
            )
        return data

    def is_empty(self, block: Block, inputs: np.ndarray) -> bool:
        """Whether the image nowhere reaches a level, or exceeds the background."""
        if self.skip_below is not None:
            return bool(inputs.max() < self.skip_below)
        return bool(inputs.max() <= self.of_channel(block.index).background)

    def compute(self, block: Block, inputs: Any) -> jax.Array:
        """The deconvolved image in the block and its halo."""
        optics = self.of_channel(block.index).at(block)
        return program(deconvolve_block, inputs, optics, method=self.method)(
            inputs, optics
        )

    def shared(self) -> Mapping[str, Any]:
        """Backgrounds, scales, momenta and means."""
        return {
            "background": [float(one.background) for one in self.optics],
            "scales": [as_list(one.scales) for one in self.optics],
            "momenta": [as_list(one.momenta) for one in self.optics],
            "means": [None if o.mean is None else float(o.mean) for o in self.optics],
        }

    def with_shared(self, shared: Mapping[str, Any] | None) -> "Deconvolve":
        """The operation with what an earlier run has measured."""
        if shared is None:
            return self
        names = ("background", "scales", "momenta", "means")
        values = (shared[name] for name in names)
        optics = [
            dataclasses.replace(
                self.optics[i % len(self.optics)],
                background=np.float32(background),
                scales=as_array(scales),
                momenta=as_array(momenta),
                mean=None if mean is None else np.float32(mean),
            )
            for i, (background, scales, momenta, mean) in enumerate(
                zip(*values, strict=True)
            )
        ]
        return dataclasses.replace(self, optics=tuple(optics))

    def with_backgrounds(self, levels: Sequence[float]) -> "Deconvolve":
        """The operation with a background for every channel."""
        optics = tuple(
            dataclasses.replace(self.optics[i % len(self.optics)], background=b)
            for i, b in enumerate(np.asarray(levels, np.float32))
        )
        return dataclasses.replace(self, optics=optics)

    def of_channel(self, index: Shape) -> Optics:
        """The optics for an index of the leading axes."""
        image = self.source.image
        channel = dict(zip(image.axes, index, strict=False)).get("c", 0)
        return self.optics[channel if len(self.optics) > 1 else 0]

    def memory(self, block: Block) -> tuple[int, int]:
        """Bytes on device and host that a block takes, by a model."""
        voxels = math.prod(block.read_shape)
        itemsize = self.source.image.dtype.itemsize
        device = model_of_memory(
            block.read_shape,
            self.optics[0].psf.shape,
            boundary=self.method.boundary,
            matched=self.optics[0].kernel is None,
            accelerated=self.method.accelerated,
        )
        device += self._weights(block) + itemsize * voxels
        return device, max(itemsize, 4) * voxels

    def _weights(self, block: Block) -> int:
        """Bytes of what a field has more than one PSF."""
        found = 0
        for part in (self.optics[0].psf, self.optics[0].kernel):
            if isinstance(part, Parts):
                where = {"shape": block.read_shape, "boundary": self.method.boundary}
                made = jax.eval_shape(functools.partial(blur_by, **where), part)
                found += sum(
                    leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(made)
                )
        return found

    def measured_memory(self, block: Block) -> int | None:
        """Bytes on the device that the compiled program of a block takes."""
        image = jax.ShapeDtypeStruct(block.read_shape, self.source.image.dtype)
        compiled = program(
            deconvolve_block,
            image,
            self.of_channel(block.index).at(block),
            method=self.method,
        )
        return program_bytes(compiled)


def deconvolve_block(image: jax.Array, optics: Optics, *, method: Method) -> jax.Array:
    """One block, as `richardson_lucy` does it."""
    problem, scheme = block_problem(image, optics, method)
    found = estimate(problem, scheme, iterations=method.iterations)
    return problem.operator.image_region(found)


def block_problem(
    image: jax.Array, optics: Optics, method: Method
) -> tuple[Problem, Scheme]:
    """What is solved for one block, and how."""
    image = image.astype(jnp.float32)
    operator = blur_by(optics.psf, image.shape, boundary=method.boundary)
    kernel, initial = optics.kernel, None
    if optics.mean is not None and method.start == "constant":
        initial = jnp.full(operator.domain, optics.mean, image.dtype)
    scheme: Scheme = RichardsonLucy(
        back_projector=None if kernel is None else operator.back_projection(kernel),
        prior=with_level(optics.prior, optics.mean),
        start=method.start,
        initial=initial,
    )
    if optics.scales is not None:
        scheme = Scaled(scheme=scheme, factors=optics.scales)
    if method.accelerated:
        scheme = Accelerated(scheme=scheme, momenta=optics.momenta)
    problem = Problem(
        data=image,
        operator=operator,
        background=optics.background,
        likelihood=optics.likelihood,
    )
    return problem, scheme


def with_level(prior: Any, mean: Any) -> Any:
    """A penalty that takes the mean of the whole object for that of a block's."""
    if prior is None or mean is None or not hasattr(prior, "level"):
        return prior
    return dataclasses.replace(prior, level=mean)


def as_list(values: Any) -> list[float] | None:
    """Numbers for JSON, exactly."""
    return None if values is None else [float(v) for v in values]


def as_array(values: Any) -> np.ndarray | None:
    """Numbers from JSON."""
    return None if values is None else np.asarray(values, np.float32)


def digest(tree: Any) -> str:
    """A hash of all arrays in a pytree, and of what else it is made of."""
    leaves, structure = jax.tree.flatten(tree)
    found = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.ascontiguousarray(leaf)
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]
