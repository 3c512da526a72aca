"""How much memory a training step takes."""

from typing import Any

import jax
import jax.numpy as jnp

from ..networks._network import Network
from ..pairs._batches import load_batch
from ..pairs._pairs import as_source
from ._devices import Placement
from ._losses import as_loss
from ._operators import Operators
from ._optimizer import make_optimizer
from ._step import as_argument, first_state, step


def training_memory(
    network: Network,
    pairs: Any,
    *,
    batch: int = 4,
    optimizer: Any = None,
    loss: Any = "ssim_mse",
    operator: Any = None,
) -> int:
    """Bytes of device memory that a step of `fit` takes, on one device.

    The step is compiled for it, and not run; batches that are made ahead come on top.

    Args:
        network: to be trained.
        pairs: as for `fit`; the first is read.
        batch: pairs in a batch.
        optimizer: of optax; None: that of `fit`.
        loss: as for `fit`.
        operator: as for `fit`.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> network = jd.learning.ResidualChannelAttention(
        ...     ndim=2, width=2, depth=1, blocks=1, reduction=1)
        >>> pairs = [(np.ones((1, 16, 16)), np.ones((16, 16)))]
        >>> jd.learning.training_memory(network, pairs, batch=2) > 10 * 2 * 16**2 * 4
        True
    """
    optimizer = make_optimizer(steps=1) if optimizer is None else optimizer
    graphdef, state = first_state(network, optimizer, Placement())
    one = load_batch(as_source(pairs), [0])
    whole = jax.tree.map(lambda x: jnp.repeat(x, batch, 0), one)
    operators = Operators.of(operator, network, "operator")
    program = step.lower(
        state,
        operators.batch(whole, [0] * batch, Placement()),
        as_argument(as_loss(loss)),
        graphdef=graphdef,
        optimizer=optimizer,
        placement=Placement(),
    )
    use: Any = program.compile().memory_analysis()
    parts = use.argument_size_in_bytes + use.output_size_in_bytes
    return int(parts + use.temp_size_in_bytes - use.alias_size_in_bytes)
