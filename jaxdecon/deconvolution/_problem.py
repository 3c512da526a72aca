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
        background: b, a number or an array that broadcasts against the data; or a
            tuple of them, one for every image of a tuple.
        likelihood: of the noise.
    """

    data: Any
    operator: LinearOperator
    background: Any
    likelihood: Likelihood = Poisson()

    def predict(self, estimate: jax.Array) -> Any:
        """The data that an object would give: A x + b."""
        return jax.tree.map(jnp.add, self.operator(estimate), self.backgrounds)

    @property
    def backgrounds(self) -> Any:
        """One background for every image of the data, in their structure."""
        if isinstance(self.background, tuple):
            return self.background
        return jax.tree.map(lambda _: self.background, self.data)

    @property
    def excess(self) -> Any:
        """The data less their background."""
        return jax.tree.map(jnp.subtract, self.data, self.backgrounds)

    def residual(self, predicted: Any) -> jax.Array:
        """Mean deviance of the data from a prediction."""
        pairs = jax.tree.map(self.likelihood.deviance, self.data, predicted)
        return jnp.stack(jax.tree.leaves(pairs)).mean()
