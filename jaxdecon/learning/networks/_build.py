"""Networks from their configurations."""

import inspect
from typing import Any

import jax

from ._attention import ResidualChannelAttention
from ._config import NetworkConfig
from ._dense_decon_net import DenseDeconNet
from ._network import Network
from ._rln import RLN
from ._unrolled import UnrolledRichardsonLucy

NETWORKS: dict[str, Any] = {
    "densedeconnet": DenseDeconNet,
    "rln": RLN,
    "rcan": ResidualChannelAttention,
    "unrolled": UnrolledRichardsonLucy,
}
"""The class of each kind."""


def build(config: NetworkConfig, key: jax.Array | None = None) -> Network:
    """A network as configured, with random parameters.

    Args:
        config: what it is made of, e.g. `NetworkConfig(kind="rln", physics=True)`, or
            `other.config`.
        key: of the random parameters; None: `jax.random.key(0)`.

    Raises:
        ValueError: a choice that the kind does not have.

    Example:
        >>> from jaxdecon.learning import NetworkConfig, build
        >>> network = build(NetworkConfig(kind="densedeconnet"))
        >>> network.parameter_count
        16785
    """
    kind = NETWORKS[config.kind]
    options = config.to_dict()
    del options["kind"]
    names = inspect.signature(kind.__init__).parameters
    known = [name for name in names if name not in ("self", "key")]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"a network of kind {config.kind!r} has no {', '.join(unknown)}; it has "
            f"{', '.join(known)}."
        )
    return kind(**options, key=key)
