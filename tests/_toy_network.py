"""A network of one number, whose training NumPy can do as well.

`python _toy_network.py FOLDER RESULT` trains one that is large to write, with
checkpoints in the folder, for tests that kill it.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxdecon.learning import ArrayPairs, Network, NetworkConfig, fit

FIELD = (6, 5)


class Gain(Network):
    """Gives `gain` times the image, or its back projection; `ballast` is not used."""

    traces = 0

    def __init__(self, *, physics=False, norm="none", width=4, ballast=1):
        self.config = NetworkConfig(
            kind="rln", ndim=2, physics=physics, norm=norm, width=width
        )
        self.gain = nnx.Param(jnp.zeros((1,)))
        self.ballast = nnx.Param(jnp.zeros((ballast,)))

    @property
    def halo(self):
        return (0, 0)

    @property
    def needs_operator(self):
        return bool(self.config.physics)

    def _estimate(self, images, operator):
        Gain.traces += 1
        x = images[:, 0]
        if operator is not None:
            x = jax.vmap(operator.adjoint)(x)
        if self.config.norm == "batch":
            x = x / x.std()
        return x * self.gain[...] + 0 * self.ballast[...].sum()


def pairs_of(count, seed=0, factor=3.0):
    """Noise, and `factor` times it with further noise."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, *FIELD), np.float32)
    truths = factor * images + 0.3 * rng.standard_normal(images.shape, np.float32)
    return ArrayPairs(list(images), list(truths))


def arrays_of(pairs):
    """All images (n, *FIELD) and truths, in double precision."""
    images = np.stack([np.asarray(pair.images[0], float) for pair in pairs])
    return images, np.stack([np.asarray(pair.truth, float) for pair in pairs])


if __name__ == "__main__":
    found = fit(
        Gain(ballast=4_000_000),
        pairs_of(8),
        steps=12,
        batch=2,
        loss="mse",
        optimizer=optax.adam(0.1),
        validation=pairs_of(3, seed=1),
        validate_every=1,
        checkpoint=sys.argv[1],
        key=jax.random.key(5),
    )
    np.savez(sys.argv[2], gain=found.network.gain[...], **found.history)
