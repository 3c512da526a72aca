"""The property every operator must have, as a number that users can compute."""

from typing import Any

import jax
import jax.numpy as jnp

from ._base import LinearOperator, is_shape


def check_adjoint(
    operator: LinearOperator, *, key: jax.Array, dtype: Any = jnp.float32
) -> jax.Array:
    """Relative error of `<A x, y> = <x, A.T y>` for random x and y.

    Args:
        operator: the operator A.
        key: a key of `jax.random.key`.
        dtype: floating-point type of x and y.

    Returns:
        |<A x, y> - <x, A.T y>| / (|A x| |y|): below 1e-5 in float32 and 1e-12 in
        float64 if the adjoint is right.

    Example:
        >>> import jax, jaxdecon as jd
        >>> blur = jd.operators.Convolution.from_psf(jd.psf.gaussian((5, 5), 2), (9, 8))
        >>> bool(check_adjoint(blur, key=jax.random.key(0)) < 1e-5)
        True
    """
    key_x, key_y = jax.random.split(key)
    x = _random(key_x, operator.domain, dtype)
    y = _random(key_y, operator.range, dtype)
    image = operator(x)
    difference = _inner(image, y) - _inner(x, operator.adjoint(y))
    return jnp.abs(difference) / jnp.sqrt(_inner(image, image) * _inner(y, y))


def _random(key: jax.Array, shapes: Any, dtype: Any) -> Any:
    leaves, treedef = jax.tree.flatten(shapes, is_leaf=is_shape)
    keys = jax.random.split(key, len(leaves))
    arrays = [jax.random.normal(k, s, dtype) for k, s in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, arrays)


def _inner(a: Any, b: Any) -> jax.Array:
    products = jax.tree.map(lambda u, v: (u * v).sum(), a, b)
    return jnp.stack(jax.tree.leaves(products)).sum()
