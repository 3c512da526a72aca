"""What is to be solved: data, operator, background and noise."""

from typing import Any

import jax
import jax.numpy as jnp

from .._core._pytree import pytree
from ..operators import LinearOperator
from ._likelihood import Likelihood, Poisson


@pytree
class Problem:
    """Data y with the model y ~ noise(A x + b).

    Attributes:
        data: image of shape `operator.range`, or a tuple of images for `Views`.
        operator: the forward operator A.
        background: b, a number or an array that broadcasts against the data.
        likelihood: of the noise.
    """

    data: Any
    operator: LinearOperator
    background: Any
    likelihood: Likelihood = Poisson()

    def predict(self, estimate: jax.Array) -> Any:
        """The data that an object would give: A x + b."""
        image = self.operator(estimate)
        return jax.tree.map(lambda leaf: leaf + self.background, image)

    def residual(self, predicted: Any) -> jax.Array:
        """Mean deviance of the data from a prediction."""
        pairs = jax.tree.map(self.likelihood.deviance, self.data, predicted)
        return jnp.stack(jax.tree.leaves(pairs)).mean()
