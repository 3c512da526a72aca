"""Networks on images in camera units; compiled once per shape."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...deconvolution import estimate_background
from ..networks._network import Network
from ..pairs._normalise import Normaliser, part_of


@functools.partial(jax.jit, static_argnums=0)
def run(
    graphdef: Any, state: Any, images: Any, rule: Normaliser, operator: Any
) -> jax.Array:
    """Estimates in units of the images.

    Args:
        graphdef: of a network, as `nnx.split` gives it.
        state: the rest of it.
        images: (batch, views, *spatial), as they were taken.
        rule: that normalises them.
        operator: of one sample; None: the network needs none.

    Returns:
        (batch, *spatial), float32.
    """
    normalised = rule.apply(jnp.asarray(images, jnp.float32))
    return rule.invert_object(nnx.merge(graphdef, state)(normalised, operator))


class Runner:
    """A network that is split once.

    Args:
        network: to run.
        rule: that normalises images.
    """

    def __init__(self, network: Network, rule: Normaliser):
        self.rule, self.needs_operator = rule, network.needs_operator
        self.graphdef, self.state = nnx.split(network)

    def __call__(self, images: Any, operator: Any = None) -> jax.Array:
        """Estimates of (batch, views, *spatial)."""
        operator = operator if self.needs_operator else None
        return run(self.graphdef, self.state, images, self.rule, operator)


def spread_of(estimates: Sequence[Any]) -> Any:
    """Standard deviation between estimates of several networks; None: of one."""
    if len(estimates) == 1:
        return None
    return jnp.std(jnp.stack([jnp.asarray(one) for one in estimates]), 0)


def measured_rule(model: Any, images: np.ndarray, background: Any) -> Normaliser:
    """The normaliser of all views together; no more than a sample goes to the device.

    Args:
        model: a `Model`, which says how.
        images: (views, *spatial).
        background: None, or one for each view; then each view's becomes 0.

    Raises:
        ValueError: constant images; NaN.
    """
    sample = part_of(images)
    if background is None and model.measures_background:
        background = [estimate_background(view) for view in images]
    if background is None or not model.uses_background:
        return model.normaliser(sample)
    levels = np.asarray(background, np.float32).reshape(-1)
    rule = model.normaliser(sample, float(levels.mean()))
    if np.ptp(levels) == 0:
        return rule
    offsets = jnp.asarray(levels.reshape(-1, *(1,) * (images.ndim - 1)))
    return dataclasses.replace(rule, offset=offsets)
