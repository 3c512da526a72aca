"""Train a network on pairs."""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ..._core._check import check_count
from ...operators import LinearOperator
from ..networks._network import Network
from ..pairs._batches import check_enough
from ..pairs._pairs import PairSource, as_source
from ._checkpoints import Checkpoints
from ._devices import Placement
from ._log import Log, check_log
from ._loop import Loop, Plan
from ._losses import as_loss
from ._operators import Operators
from ._optimizer import make_optimizer
from ._result import Fit
from ._step import as_argument, first_state, has_batch_statistics, loss_name
from ._validation import Validation

OperatorOrFunction = LinearOperator | Callable[[int], LinearOperator]


def fit(
    network: Network,
    pairs: Any,
    *,
    steps: int = 1000,
    batch: int = 4,
    optimizer: Any = None,
    loss: Any = "ssim_mse",
    validation: Any = None,
    operator: OperatorOrFunction | None = None,
    validation_operator: OperatorOrFunction | None = None,
    validate_every: int = 100,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool = True,
    mesh: Mesh | Sequence[Any] | None = None,
    log: str | os.PathLike[str] | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
    prefetch: int = 2,
    key: jax.Array,
) -> Fit:
    """Train a network.

    One compiled step makes gradient and update; batches are made ahead by threads, and
    losses are looked at two steps later, so that the device never waits. From a loss, a
    gradient or an update that is not finite on nothing changes any more: the training
    stops, and says at which pair.

    With a folder for checkpoints, a training that was interrupted goes on as if it had
    not been: on one machine with the same loss curve, bit for bit. It has to be called
    with the same network, pairs, batch, loss, validation, key and optimiser; the rest
    may change, `steps` too (the rate of the default optimiser depends on it).

    Args:
        network: to begin with; it is not changed.
        pairs: a source of pairs on the network's scale (`NormalisedPairs`), all of one
            shape (`patches`).
        steps: updates, from the beginning of the training.
        batch: pairs in each.
        optimizer: of optax, with any schedule in it; None: `make_optimizer`.
        loss: a name of `LOSSES`, a function, or a `ReblurLoss`; the mean over a batch.
        validation: a source of pairs to judge by (`hold_out`); None: none.
        operator: for networks with physics, on the scale of the images: one for all
            pairs, or a function of a pair's number in `pairs`, e.g.
            `SimulatedPairs.operator_of`.
        validation_operator: the same for the pairs of `validation`; None: `operator`,
            if that is one for all.
        validate_every: steps between looks at all of `validation`.
        patience: validations without improvement after which to stop; None: never.
        checkpoint: a folder; the last two states and the best network are kept there.
        checkpoint_every: steps between checkpoints; None: as `validate_every`.
        resume: go on from the last checkpoint, if there is one. False: a folder with
            checkpoints is refused.
        mesh: devices, as a list or a `jax.sharding.Mesh`, that share each batch; None:
            one device.
        log: a folder for event files that TensorBoard reads (extra `tensorboard`).
        progress: called with a step's number and its values by name: "loss" of the
            batch, "validation".
        prefetch: batches that are made ahead.
        key: of `jax.random.key`, for the order of the pairs.

    Raises:
        ValueError: too few pairs for a batch; a batch that the devices cannot share; no
            operator where the network needs one; a checkpoint of another architecture,
            optimiser, version, or training; pairs that do not fit.
        TypeError: no network, no source, no loss.
        ImportError: a log, and no tensorboardX.
        OSError: a checkpoint cannot be written; those before it are kept.

    Example:
        >>> import jax, jaxdecon as jd
        >>> truths = jax.random.uniform(jax.random.key(0), (8, 16, 16))
        >>> pairs = [(truth[None] + 0.1, truth) for truth in truths]
        >>> network = jd.learning.ResidualChannelAttention(
        ...     ndim=2, width=4, depth=1, blocks=1, reduction=2)
        >>> found = jd.learning.fit(
        ...     network, pairs, steps=2, batch=2, key=jax.random.key(1))
        >>> found.message
        'did 2 steps; the network is that after step 2, the last one.'
    """
    _check(network, steps=steps, batch=batch, validate_every=validate_every)
    source = as_source(pairs)
    check_enough(source, batch)
    placement = Placement.of(mesh, batch)
    held_out = _held_out(
        validation, network, batch, placement, operator, validation_operator
    )
    if patience is not None and held_out is None:
        raise ValueError("`patience` needs `validation`, whose loss it waits for.")
    if log is not None:
        check_log()
    optimizer = make_optimizer(steps=steps) if optimizer is None else optimizer
    plan = Plan(
        source=source,
        operators=Operators.of(operator, network, "operator"),
        placement=placement,
        validation=held_out,
        optimizer=optimizer,
        loss=placement.everywhere(as_argument(as_loss(loss))),
        steps=steps,
        batch=batch,
        validate_every=validate_every,
        patience=None if patience is None else check_count("patience", patience, 1),
        checkpoint_every=check_count(
            "checkpoint_every",
            validate_every if checkpoint_every is None else checkpoint_every,
            1,
        ),
        prefetch=prefetch,
        progress=progress,
        key=key,
    )
    graphdef, state = first_state(network, optimizer, placement)
    loop = Loop(plan, graphdef, state)
    with contextlib.ExitStack() as last_of_all:
        if checkpoint is not None:
            about = _about(network, plan, loss, validation)
            kept = Checkpoints(checkpoint, about, resume=resume)
            last_of_all.callback(kept.close)
            loop.keep(kept)
        loop.log = Log(log, loop.done)
        last_of_all.callback(loop.log.close)
        return loop.run()


def _about(network: Network, plan: Plan, loss: Any, validation: Any) -> dict[str, Any]:
    """What a training must have in common with one that it goes on with.

    Losses of another kind, or of other pairs, would be compared with the best so far.
    """
    words = np.asarray(jax.random.key_data(plan.key)).ravel()
    return {
        "architecture": network.config.to_dict(),
        "training": {
            "batch": plan.batch,
            "key": [int(word) for word in words],
            "loss": loss_name(loss),
            "pairs": len(plan.source),
            "validation pairs": 0 if validation is None else len(validation),
        },
    }


def _check(network: Any, **counts: int) -> None:
    if not isinstance(network, Network):
        raise TypeError(
            f"`network` is a {type(network).__name__}; one of `jaxdecon.learning` is "
            f"needed, e.g. `DenseDeconNet()`."
        )
    for name, value in counts.items():
        check_count(name, value, 1)


def _held_out(
    validation: Any,
    network: Network,
    batch: int,
    placement: Placement,
    operator: Any,
    own: Any,
) -> Validation | None:
    if validation is None:
        return None
    source: PairSource = as_source(validation)
    if not len(source):
        raise ValueError("`validation` has no pairs; at least one is needed.")
    common = operator if isinstance(operator, LinearOperator) else None
    operators = Operators.of(
        common if own is None else own, network, "validation_operator"
    )
    # Batch statistics: as in prediction, where volumes come one by one.
    alone = has_batch_statistics(network)
    size = 1 if alone else batch
    return Validation(source, size, operators, Placement() if alone else placement)
