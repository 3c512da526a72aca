"""Trainings on eight devices against one; prints figures that tests judge.

XLA_FLAGS=--xla_force_host_platform_device_count=8 python tests/_trains_on_eight.py
"""

import contextlib
import json
import tempfile

import jax
import numpy as np
import optax
from flax import nnx

import jaxdecon as jd
from jaxdecon.learning import RLN, DenseDeconNet, NormalisedPairs, SimulatedPairs

SHAPE = (12, 12)
PSFS = [jd.psf.gaussian((5, 5), width) for width in (1.5, 2.0, 2.5)]
BLURS = [jd.operators.Convolution.from_psf(psf, SHAPE) for psf in PSFS]
RAW = SimulatedPairs("beads", BLURS, length=40, key=jax.random.key(0))
PAIRS = NormalisedPairs(RAW)


def train(network, mesh, **options):
    return jd.learning.fit(
        network,
        PAIRS,
        steps=3,
        batch=16,
        loss="mse",
        optimizer=optax.sgd(0.1),
        validation=PAIRS,
        validate_every=3,
        mesh=mesh,
        key=jax.random.key(1),
        **options,
    )


def difference(network, **options):
    """Of losses, and of the networks' parameters, relative to what they moved."""
    one, many = (train(network, mesh, **options) for mesh in (None, jax.devices()))
    curves = [
        np.abs(many.history[name] / one.history[name] - 1).max()
        for name in ("loss", "validation")
    ]
    before, after, other = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(nnx.state(n))])
        for n in (network, one.network, many.network)
    )
    moved = np.abs(other - after).max() / np.abs(after - before).max()
    return [*map(float, curves), float(moved)]


def resumed():
    """Whether a resumed run on eight devices goes on as one that was not."""
    network = DenseDeconNet(ndim=2, width=1)
    with tempfile.TemporaryDirectory() as folder:

        def stop(step, values):
            if "validation" not in values and step == 2:
                raise InterruptedError

        options = {"checkpoint": folder, "checkpoint_every": 1}
        with contextlib.suppress(InterruptedError):
            train(network, jax.devices(), progress=stop, **options)
        again = train(network, jax.devices(), **options)
    whole = train(network, jax.devices())
    same = np.array_equal(again.history["loss"], whole.history["loss"])
    return bool(same and again.best == whole.best)


if __name__ == "__main__":
    plain = difference(DenseDeconNet(ndim=2, width=1))
    pooled = difference(DenseDeconNet(ndim=2, width=1, norm="batch"))
    physics = difference(
        RLN(ndim=2, physics=True, width=1),
        operator=RAW.operator_of,
        validation_operator=RAW.operator_of,
    )
    figures = {"plain": plain, "pooled": pooled, "physics": physics}
    print(json.dumps({**figures, "resumed": resumed()}))
