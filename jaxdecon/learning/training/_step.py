"""One training step, compiled: gradient, update, and a guard against NaN."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ..._core._pytree import pytree, static
from .._losses_reblur import ReblurLoss
from .._network import Network
from ._devices import Placement


@pytree
class TrainState:
    """What a step changes.

    Attributes:
        parameters: what is learned.
        rest: further variables of the network, if it has any.
        optimizer: the optimiser's state.
        good: whether all losses and gradients were finite so far. From the first that
            is not, nothing changes any more: the host may look later.
    """

    parameters: Any
    rest: Any
    optimizer: Any
    good: jax.Array


@pytree
class Batch:
    """What a step is made with.

    Attributes:
        images: (batch, views, *spatial).
        truth: (batch, *spatial), or what else the loss takes.
        operator: of all samples, or stacked along the first axis of its arrays; None.
        stacked: which of the two.
    """

    images: Any
    truth: Any
    operator: Any = None
    stacked: bool = static(default=False)


@pytree
class PlainLoss:
    """A function without arrays of its own, as a part of programs."""

    function: Any = static()

    def __call__(self, prediction: jax.Array, truth: jax.Array) -> jax.Array:
        """Of a batch."""
        return self.function(prediction, truth)


def as_argument(loss: Any) -> Any:
    """A loss that programs take as an argument; arrays of its own are not baked in."""
    return loss if isinstance(loss, ReblurLoss) else PlainLoss(function=loss)


def first_state(
    network: Network, optimizer: Any, placement: Placement
) -> tuple[Any, TrainState]:
    """A network's structure, and the state before the first step."""
    graphdef, parameters, rest = nnx.split(network, nnx.Param, ...)
    parameters, rest = placement.copy(parameters), placement.copy(rest)
    started = placement.copy(optimizer.init(parameters))
    good = placement.copy(jnp.array(True))
    return graphdef, TrainState(
        parameters=parameters, rest=rest, optimizer=started, good=good
    )


@functools.partial(
    jax.jit,
    static_argnames=("graphdef", "optimizer", "placement"),
    donate_argnames="state",
)
def step(
    state: TrainState,
    batch: Batch,
    loss: Any,
    *,
    graphdef: Any,
    optimizer: Any,
    placement: Placement,
) -> tuple[TrainState, jax.Array]:
    """The state after one step, and the loss before it. The old state is gone.

    Args:
        state: before.
        batch: on the devices of `placement`.
        loss: of `as_argument`.
        graphdef: the network's structure.
        optimizer: of optax.
        placement: of the arrays.
    """
    value, gradient = _gradient(state, batch, loss, graphdef, placement)
    finite = jnp.isfinite(value) & jnp.isfinite(_power(gradient))
    good = state.good & finite
    change, started = optimizer.update(gradient, state.optimizer, state.parameters)
    moved = optax.apply_updates(state.parameters, change)

    def keep(new: Any, old: Any) -> Any:
        return jax.tree.map(functools.partial(jnp.where, good), new, old)

    new = TrainState(
        parameters=keep(moved, state.parameters),
        rest=state.rest,
        optimizer=keep(started, state.optimizer),
        good=good,
    )
    return new, jnp.where(good, value, jnp.nan)


def _gradient(state, batch, loss, graphdef, placement) -> tuple[jax.Array, Any]:
    placement = placement if _runs_on_each(graphdef, state) else Placement()

    def on_each(parameters, rest, images, truth, operator, loss):
        def value(parameters):
            part = Batch(
                images=images, truth=truth, operator=operator, stacked=batch.stacked
            )
            return loss(predicted(graphdef, parameters, rest, part), truth)

        return placement.mean(jax.value_and_grad(value)(parameters))

    return placement.on_each(
        on_each, (False, False, True, True, batch.stacked, False), (False, False)
    )(
        state.parameters,
        state.rest,
        batch.images,
        batch.truth,
        batch.operator,
        loss,
    )


@functools.partial(jax.jit, static_argnames=("graphdef", "placement"))
def sample_losses(
    parameters: Any,
    rest: Any,
    batch: Batch,
    loss: Any,
    *,
    graphdef: Any,
    placement: Placement,
) -> jax.Array:
    """The loss of every sample of a batch, (batch,).

    Args:
        parameters: of the network.
        rest: of its variables.
        batch: on the devices of `placement`.
        loss: of `as_argument`.
        graphdef: the network's structure.
        placement: of the arrays.
    """

    def on_each(parameters, rest, images, truth, operator, loss):
        part = Batch(
            images=images, truth=truth, operator=operator, stacked=batch.stacked
        )
        estimate = predicted(graphdef, parameters, rest, part)
        return (jax.vmap(lambda p, t: loss(p[None], t[None]))(estimate, truth),)

    (values,) = placement.on_each(
        on_each, (False, False, True, True, batch.stacked, False), (True,)
    )(parameters, rest, batch.images, batch.truth, batch.operator, loss)
    return values


@functools.partial(jax.jit, static_argnames="graphdef")
def gradient_power(
    state: TrainState, batch: Batch, loss: Any, *, graphdef: Any
) -> jax.Array:
    """The sum of squares of a batch's gradient, on one device."""
    _, gradient = _gradient(state, batch, loss, graphdef, Placement())
    return _power(gradient)


def _power(gradient: Any) -> jax.Array:
    return sum((jnp.vdot(g, g) for g in jax.tree.leaves(gradient)), jnp.zeros(()))


def predicted(graphdef: Any, parameters: Any, rest: Any, batch: Batch) -> jax.Array:
    """What a network makes of a batch."""
    network = nnx.merge(graphdef, parameters, rest)
    if not batch.stacked:
        return network(batch.images, batch.operator)

    def one(image: jax.Array, operator: Any) -> jax.Array:
        return network(image[None], operator)[0]

    return jax.vmap(one)(batch.images, batch.operator)


def _runs_on_each(graphdef: Any, state: TrainState) -> bool:
    """Whether every device takes the gradient of its share, and knows of no other.

    Else XLA spreads the program, by gathering where it has to.
    """
    return not has_batch_statistics(nnx.merge(graphdef, state.parameters, state.rest))


def has_batch_statistics(network: Network) -> bool:
    """Whether what is made of a sample depends on the others of its batch."""
    return network.config.norm == "batch"
