"""A network as a configuration and named arrays, and back."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..networks._build import build
from ..networks._config import NetworkConfig
from ..networks._network import Network

SHOWN = 3
"""Parameters that do not fit and are named in an error."""


class Skeleton(NamedTuple):
    """What a network is without its numbers.

    Attributes:
        graphdef: of `nnx.split`.
        tree: of the state.
        shapes: of every parameter, by its name, in the tree's order.
    """

    graphdef: Any
    tree: Any
    shapes: dict[str, tuple[int, ...]]


@functools.lru_cache(maxsize=32)
def skeleton(config: NetworkConfig) -> Skeleton:
    """Of networks with a configuration; made once."""
    with jax.ensure_compile_time_eval():
        graphdef, state = nnx.split(build(config))
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    shapes = {_name(path): tuple(leaf.shape) for path, leaf in leaves}
    return Skeleton(graphdef, tree, shapes)


def weights_of(network: Network) -> dict[str, np.ndarray]:
    """All numbers of a network, by dotted names."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.split(network)[1])
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def with_weights(config: NetworkConfig, weights: Mapping[str, Any]) -> Network:
    """The network with these numbers.

    Raises:
        ValueError: they are not those of such a network.
    """
    bones = skeleton(config)
    _check(bones, weights, config)
    leaves = [jnp.asarray(weights[name]) for name in bones.shapes]
    return nnx.merge(bones.graphdef, jax.tree.unflatten(bones.tree, leaves))


def _name(path: Any) -> str:
    return ".".join(str(key.key) for key in path if hasattr(key, "key"))


def _check(bones: Skeleton, weights: Mapping[str, Any], config: NetworkConfig) -> None:
    given = {name: tuple(np.shape(value)) for name, value in weights.items()}
    names = [*bones.shapes, *(n for n in given if n not in bones.shapes)]
    wrong = [n for n in names if given.get(n) != bones.shapes.get(n)]
    if wrong:
        shown = "; ".join(
            f"{n} has shape {given.get(n, 'none')}, not {bones.shapes.get(n, 'none')}"
            for n in wrong[:SHOWN]
        )
        raise ValueError(
            f"{len(wrong)} parameters are not those of a network of kind "
            f"{config.kind!r} with {config.to_dict()}: {shown}."
        )
