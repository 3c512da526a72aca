"""Programs compiled ahead, one per shape, so that their memory is known."""

import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_programs: dict[Any, Any] = {}
_lock = threading.Lock()


def program(function: Callable[..., Any], *arguments: Any, **choices: Any) -> Any:
    """A function compiled for arguments of these shapes, once per process.

    Args:
        function: pure; a module's own, or one object used again and again.
        arguments: arrays, or their shapes and types, in any pytrees.
        choices: hashable, compiled in.
    """
    leaves, tree = jax.tree.flatten(arguments)
    shapes = tuple((np.shape(v), str(getattr(v, "dtype", type(v)))) for v in leaves)
    key = (function, tree, shapes, tuple(sorted(choices.items())))
    with _lock:
        if key not in _programs:
            jitted = jax.jit(function, static_argnames=tuple(choices))
            _programs[key] = jitted.lower(*arguments, **choices).compile()
        return _programs[key]


def program_bytes(compiled: Any) -> int | None:
    """Bytes on the device: arguments, result, and all between; None if not known."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
    )
