"""Networks whose parameters all have an effect, as after training."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def randomised(network, scale=0.3):
    """The network with all parameters changed."""
    rng = np.random.default_rng(11)
    graphdef, state = nnx.split(network)

    def change(leaf):
        step = scale * rng.normal(size=leaf.shape) / max(1, leaf.shape[-1])
        return jnp.asarray(np.asarray(leaf) + step.astype(np.float32))

    return nnx.merge(graphdef, jax.tree.map(change, state))
