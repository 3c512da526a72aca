"""Filters whose gain depends on how strongly an operator passes a frequency."""

import jax
import jax.numpy as jnp

from ..._core._pytree import pytree
from ...operators import LinearOperator

NODES = 10
WEAKEST = 1e-3
"""Strength of the weakest node; nodes are even in its logarithm, the last at 1."""

WIENER_ALPHA = 0.05
"""Of Guo et al. 2020."""


@pytree
class Transfer:
    """How strongly an operator and its adjoint pass each frequency.

    Attributes:
        place: 0 for strengths of `WEAKEST` and less, NODES - 1 for full strength, even
            in the logarithm; the half-spectrum of the operator's domain.
    """

    place: jax.Array

    @classmethod
    def of(cls, operator: LinearOperator) -> "Transfer":
        """Measured with a point in the middle of the operator's domain.

        For a blur, |H|; of several views, the root of the sum of squares; for blurs
        that vary, that of the middle.
        """
        shape = operator.domain
        middle = tuple(n // 2 for n in shape)
        point = jnp.zeros(shape, jnp.float32).at[middle].set(1)
        response = operator.adjoint(operator(point))
        # The response is centred, and symmetric but for the borders of the field.
        power = abs(jnp.fft.rfftn(response))
        strength = jnp.sqrt(
            power / jnp.maximum(power.max(), jnp.finfo(jnp.float32).tiny)
        )
        share = 1 - jnp.log(jnp.clip(strength, WEAKEST, 1)) / jnp.log(WEAKEST)
        return cls(place=jax.lax.stop_gradient((NODES - 1) * share))


@pytree
class GainOfTransfer:
    """A filter of objects by a gain that is linear, in its logarithm, between nodes.

    Attributes:
        transfer: where a frequency lies between the nodes.
        log_gain: (NODES,), of which the last counts as zero: full strength is kept.
    """

    transfer: Transfer
    log_gain: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        """Filter an object."""
        change = self.log_gain - self.log_gain[-1]
        # Sums of hat functions: looking up would make the derivative a scatter.
        logarithm = sum(
            jnp.maximum(1 - abs(self.transfer.place - node), 0) * change[node]
            for node in range(NODES - 1)
        )
        spectrum = jnp.fft.rfftn(x) * jnp.exp(jnp.asarray(logarithm))
        return jnp.fft.irfftn(spectrum, s=x.shape)


def strengths() -> jax.Array:
    """Of the nodes."""
    return WEAKEST ** (1 - jnp.arange(NODES) / (NODES - 1))


def wiener_log_gain(alpha: float = WIENER_ALPHA) -> jax.Array:
    """What turns the adjoint into a Wiener filter: 1 / (h^2 + alpha), 1 at h = 1."""
    return jnp.log((1 + alpha) / (strengths() ** 2 + alpha))
