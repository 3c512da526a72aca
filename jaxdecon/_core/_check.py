"""Checkers with one message form: what was given, what is needed, what to do."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def is_traced(*values: Any) -> bool:
    """Whether any leaf is a tracer, so that its numbers cannot be looked at."""
    return any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(values))


def as_float_array(name: str, value: ArrayLike) -> jax.Array:
    """`value` as floats: integers and half precision become float32, others are kept.

    Raises:
        TypeError: not numeric, complex, or a masked array.
        ValueError: an integer too large for float32 to hold exactly.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` is a masked array, whose mask would be lost: pass "
            f"`{name}.filled(value)`."
        )
    try:
        array = value if isinstance(value, jax.Array) else np.asarray(value)
    except ValueError as error:
        raise TypeError(f"`{name}` cannot be made an array: {error}.") from None
    kind = array.dtype.kind
    if isinstance(array, np.ndarray) and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if jnp.issubdtype(array.dtype, jnp.floating):
        narrow = jnp.finfo(array.dtype).bits < 32
        return jnp.asarray(array, jnp.float32 if narrow else None)
    if kind not in "iub":
        raise TypeError(f"`{name}` has dtype {array.dtype}; real numbers are needed.")
    if array.dtype.itemsize > 2 and array.size and not is_traced(array):
        largest = max(int(array.max()), -int(array.min()))
        if largest > 2**24:
            raise ValueError(
                f"`{name}` ({array.dtype}) reaches {largest}, and float32 holds "
                f"integers exactly to {2**24} only: convert it yourself, e.g. "
                f"`{name}.astype('float32')`."
            )
    return jnp.asarray(array, jnp.float32)


@jax.jit
def _facts(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether all is finite, and the least value, in one pass."""
    return jnp.isfinite(array).all(), array.min()


def check_finite(name: str, array: jax.Array) -> None:
    """Refuse NaN and infinities, naming the first one (skipped while tracing)."""
    check_values(name, array, least=-np.inf)


def check_values(name: str, array: jax.Array, *, least: float = 0.0) -> None:
    """Refuse NaN, infinities and values below `least` (skipped while tracing)."""
    if is_traced(array) or array.size == 0:
        return
    with jax.ensure_compile_time_eval():  # known numbers, also where a jit surrounds us
        finite, low = jax.device_get(_facts(array))
    if not finite:
        raise ValueError(_describe_not_finite(name, np.asarray(array)))
    if low < least:
        count = int((np.asarray(array) < least).sum())
        raise ValueError(
            f"`{name}` has {count} negative values, down to {low:.6g}; intensities "
            f"of zero or more are needed: leave the camera offset in the data and "
            f"pass it as `background`, or clip with `numpy.maximum({name}, 0)`."
        )


def _describe_not_finite(name: str, array: np.ndarray) -> str:
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    return (
        f"`{name}` has {int(bad.sum())} NaN or infinite values, the first at index "
        f"{first}; finite values are needed: replace them first, e.g. with "
        f"`numpy.nan_to_num` or a local median."
    )


def check_image(name: str, value: ArrayLike, *, least: float | None = 0.0) -> jax.Array:
    """A non-empty 2D or 3D image of finite numbers, not below `least`, as floats."""
    array = as_float_array(name, value)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"`{name}` has shape {array.shape}; (z, y, x) or (y, x) is needed: for "
            f"channels, time points or batches use `jax.vmap`."
        )
    if array.size == 0:
        raise ValueError(f"`{name}` is empty: its shape is {array.shape}.")
    check_values(name, array, least=-np.inf if least is None else least)
    return array


def check_psf(name: str, value: ArrayLike, ndim: int | None = None) -> jax.Array:
    """A PSF as floats: finite, non-negative, not all zero, of `ndim` axes if given."""
    array = as_float_array(name, value)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(
            f"`{name}` has shape {array.shape}, but the image is {ndim}D; a {ndim}D "
            f"PSF is needed (for a batch of images use `jax.vmap`)."
        )
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"`{name}` has shape {array.shape}; 2D or 3D is needed.")
    if is_traced(array):
        return array
    check_values(name, array)
    if not np.asarray(array).max() > 0:
        raise ValueError(f"`{name}` is zero everywhere; a PSF must have light in it.")
    return array


def check_count(name: str, value: int, least: int = 0) -> int:
    """An integer not below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` is {value!r}; an integer is needed.")
    if value < least:
        raise ValueError(f"`{name}` is {value}; {least} or more is needed.")
    return int(value)


def check_positive(name: str, value: Any) -> None:
    """Numbers above zero, and finite (skipped while tracing)."""
    if is_traced(value):
        return
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` is {value!r}; positive numbers are needed.")
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise ValueError(f"`{name}` is {value}; positive numbers are needed.")


def check_share(name: str, value: float) -> None:
    """A number above 0, at most 1."""
    if not 0 < value <= 1:
        raise ValueError(f"`{name}` is {value}; a share in (0, 1] is needed.")


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """One of `choices`."""
    if value not in choices:
        known = ", ".join(repr(c) for c in choices)
        raise ValueError(f"`{name}` is {value!r}; known are {known}.")
    return value


def check_shape(name: str, shape: Sequence[int] | int) -> tuple[int, ...]:
    """A shape of positive integers, as a tuple."""
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    return tuple(check_count(name, n, 1) for n in sizes)
