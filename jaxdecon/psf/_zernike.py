"""Zernike polynomials: aberrations of a pupil."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import is_traced
from ._optics import still_known

Aberrations = Mapping[Any, ArrayLike] | Sequence[float] | jax.Array | None
Modes = tuple[tuple[int, int], ...]

NAMES = {
    "piston": (0, 0),
    "tip": (1, -1),
    "tilt": (1, 1),
    "oblique astigmatism": (2, -2),
    "defocus": (2, 0),
    "astigmatism": (2, 2),
    "oblique trefoil": (3, -3),
    "vertical coma": (3, -1),
    "coma": (3, 1),
    "trefoil": (3, 3),
    "spherical": (4, 0),
}
"""Names of the first polynomials and their (n, m)."""

LARGEST_RADIANS = 60
"""A coefficient above this is not in radians, or beyond what a pupil can have."""


def zernike(mode: str | int | tuple[int, int], y: ArrayLike, x: ArrayLike) -> jax.Array:
    """A Zernike polynomial on the unit disc, with unit variance over it (Noll).

    Args:
        mode: (n, m) with cosines for m >= 0 and sines for m < 0, the Noll index (1 is
            piston), or a name: "piston", "tip", "tilt", "defocus", "astigmatism",
            "oblique astigmatism", "coma", "vertical coma", "trefoil", "oblique
            trefoil", "spherical".
        y: position in the pupil in units of its radius; any shape.
        x: of the same shape; the azimuth runs from x towards y.

    Returns:
        The values, also outside the disc, where they mean nothing.

    Raises:
        ValueError: no such polynomial.

    Example:
        >>> float(zernike("defocus", 0.0, 1.0))  # sqrt(3) (2 r^2 - 1)
        1.7320507764816284

    References:
        Noll, J. Opt. Soc. Am. 66, 207 (1976), doi:10.1364/JOSA.66.000207.
    """
    n, m = mode_of(mode)
    x, y = jnp.asarray(x, float), jnp.asarray(y, float)
    squared = x * x + y * y
    # A polynomial in r^2 times (x + iy)^|m|: no root, and so smooth at the centre.
    radial = jnp.zeros_like(squared)
    for factor in _radial_coefficients(n, abs(m)):
        radial = radial * squared + factor
    angular, other = jnp.ones_like(squared), jnp.zeros_like(squared)
    for _ in range(abs(m)):
        angular, other = angular * x - other * y, angular * y + other * x
    norm = math.sqrt(n + 1 if m == 0 else 2 * (n + 1))
    return norm * radial * (angular if m >= 0 else other)


def mode_of(key: Any) -> tuple[int, int]:
    """(n, m) of a name, a Noll index or a pair."""
    if isinstance(key, str) and key in NAMES:
        return NAMES[key]
    if isinstance(key, int | np.integer) and key >= 1:
        return _noll(int(key))
    if isinstance(key, tuple) and len(key) == 2:
        n, m = key
        if n >= abs(m) and (n - m) % 2 == 0:
            return int(n), int(m)
    raise ValueError(
        f"{key!r} is no Zernike polynomial: (n, m) with n >= |m| and n - m even, a "
        f"Noll index from 1, or one of {', '.join(NAMES)} is needed."
    )


def parse_aberrations(
    aberrations: Aberrations, name: str = "aberrations"
) -> tuple[Modes, jax.Array]:
    """Modes and their coefficients, from a mapping or an array in Noll order."""
    if aberrations is None:
        return (), jnp.zeros(0, float)
    if not isinstance(aberrations, Mapping):
        numbers = jnp.asarray(aberrations, float)
        if numbers.ndim != 1:
            raise ValueError(
                f"`{name}` has shape {numbers.shape}; a mapping, or a vector in "
                f"Noll order, is needed."
            )
        aberrations = {j + 1: numbers[j] for j in range(numbers.size)}
    modes = tuple(mode_of(key) for key in aberrations)
    if len(set(modes)) < len(modes):
        raise ValueError(f"`{name}` names a polynomial twice: {list(aberrations)}.")
    values = [jnp.asarray(v, float) for v in aberrations.values()]
    for key, value in zip(aberrations, values, strict=True):
        _check_coefficient(name, key, value)
    return modes, jnp.stack(values) if values else jnp.zeros(0, float)


def _check_coefficient(name: str, key: Any, value: jax.Array) -> None:
    if value.ndim:
        raise ValueError(
            f"`{name}[{key!r}]` has shape {value.shape}; a number is needed (for "
            f"several PSFs use `jax.vmap`)."
        )
    if not is_traced(value) and not abs(float(value)) <= LARGEST_RADIANS:
        unit = "radians (rms)" if name == "aberrations" else "logarithms of a factor"
        raise ValueError(
            f"`{name}[{key!r}]` is {value}; {unit} are needed, at most "
            f"{LARGEST_RADIANS}{': a wave is 6.28' * (name == 'aberrations')}."
        )


def wavefront(modes: Modes, coefficients: jax.Array, y, x) -> jax.Array:
    """The sum of the aberrations, in radians."""
    if not modes:
        return jnp.zeros_like(x)

    def values(y, x):
        return jnp.stack([zernike(mode, y, x) for mode in modes])

    # At nodes that are known they are constants: nothing for a compiler to work out.
    known = still_known(values, y, x)
    return jnp.tensordot(coefficients, known, 1, precision="highest")


@functools.cache
def _radial_coefficients(n: int, m: int) -> tuple[float, ...]:
    """R_n^m(r) / r^m as a polynomial in r^2, highest power first."""
    fact = math.factorial
    half, rest = (n + m) // 2, (n - m) // 2
    return tuple(
        float((-1) ** k * fact(n - k) // (fact(k) * fact(half - k) * fact(rest - k)))
        for k in range(rest + 1)
    )


def _noll(j: int) -> tuple[int, int]:
    """Noll's order: by n, then |m|; even indices are cosines, odd ones sines."""
    n = 0
    while j > (n + 1) * (n + 2) // 2:
        n += 1
    k = j - n * (n + 1) // 2 - 1
    m = 2 * ((k + 1 - n % 2) // 2) + n % 2
    return n, m if j % 2 == 0 else -m
