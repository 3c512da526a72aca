"""One training step, compiled: gradient, update, and a guard against NaN."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ..._core._pytree import pytree, static
from ..networks._network import Network
from ._devices import Placement
from ._losses import LOSSES
from ._losses_reblur import ReblurLoss


@pytree
class TrainState:
    """What a step changes.

    Attributes:
        parameters: what is learned.
        rest: further variables of the network, if it has any.
        optimizer: the optimiser's state.
        good: whether all losses, gradients and updates were finite so far. From the
            first that is not, nothing changes any more: the host may look later.
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


def loss_name(loss: Any) -> str:
    """Of a loss as it was given: its own, that of its function, or of its class."""
    if isinstance(loss, str):
        return loss
    named = next((name for name, one in LOSSES.items() if one is loss), None)
    return named or getattr(loss, "__qualname__", type(loss).__name__)


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

    def value_of(parameters: Any) -> jax.Array:
        there = dataclasses.replace(state, parameters=parameters)
        return _gradient(there, batch, loss, graphdef, placement)[0]

    # Those that look at the loss get it, e.g. `reduce_on_plateau`; others do not mind.
    change, started = optax.with_extra_args_support(optimizer).update(
        gradient,
        state.optimizer,
        state.parameters,
        value=value,
        grad=gradient,
        value_fn=value_of,
    )
    moved = optax.apply_updates(state.parameters, change)
    finite = jnp.isfinite(value) & jnp.isfinite(_power(gradient)) & _is_finite(moved)
    good = state.good & finite

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


def _is_finite(tree: Any) -> jax.Array:
    """Whether all numbers are: a rate can be NaN where the gradient is not."""
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all()


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
