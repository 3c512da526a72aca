"""What the blocks of a channel are deconvolved with."""

import dataclasses
from typing import Any

from .._core._pytree import pytree
from ..deconvolution import Likelihood, Poisson
from ..operators._varying_parts import Parts
from ._blocks import Block


@pytree
class Optics:
    """What a channel is deconvolved with.

    Attributes:
        psf: with unit sum; or a field of them, taken apart.
        kernel: back projector with unit sum, or a field of them; None: matched.
        background: in the image's units.
        scales: factors on the estimate after every iteration; None: none.
        mean: of the whole object, for a constant start and for penalties; None: each
            block's own.
        momenta: how far `Accelerated` extrapolates; None: each block finds its own.
        likelihood: of the noise.
        prior: penalty on the object; None: none.
    """

    psf: Any
    kernel: Any = None
    background: Any = 0.0
    scales: Any = None
    momenta: Any = None
    mean: Any = None
    likelihood: Likelihood = Poisson()
    prior: Any = None

    def at(self, block: Block) -> "Optics":
        """With what varies over the volume as it is in a block."""
        origin = [start for start, _ in block.read]
        moved = {
            name: value.shifted(origin)
            for name, value in (("psf", self.psf), ("kernel", self.kernel))
            if isinstance(value, Parts)
        }
        return dataclasses.replace(self, **moved)
