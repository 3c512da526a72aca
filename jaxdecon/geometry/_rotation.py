"""Rotations of space by rotation vectors: exponential map and its inverse."""

import jax
import jax.numpy as jnp
import numpy as np

SMALL = 1e-4
"""Squared angle below which series replace quotients of small numbers."""


def rotation(vector: jax.Array) -> jax.Array:
    """The rotation by a rotation vector (z, y, x), or by one angle in the plane.

    Right-handed in x, y, z: a positive angle about z turns x towards y.

    Args:
        vector: of length 3, its direction the axis and its length the angle in
            radians; or of length 1, the angle of (y, x).

    Returns:
        An orthogonal matrix on (z, y, x) or (y, x).
    """
    if vector.shape[0] == 1:
        c, s = jnp.cos(vector[0]), jnp.sin(vector[0])
        return jnp.stack([jnp.stack([c, s]), jnp.stack([-s, c])])
    squared = (vector**2).sum()
    safe = jnp.where(squared < SMALL, 1, squared)
    angle = jnp.sqrt(safe)
    sine = jnp.where(
        squared < SMALL, 1 - squared / 6 + squared**2 / 120, jnp.sin(angle) / angle
    )
    versine = jnp.where(
        squared < SMALL,
        0.5 - squared / 24 + squared**2 / 720,
        2 * (jnp.sin(angle / 2) / angle) ** 2,
    )
    k = _generator(vector)
    return jnp.eye(3, dtype=vector.dtype) + sine * k + versine * (k @ k)


def _generator(vector: jax.Array) -> jax.Array:
    """The matrix K with expm(K) the rotation: minus the cross product in (z, y, x)."""
    z, y, x = vector
    zero = jnp.zeros_like(z)
    rows = [[zero, x, -y], [-x, zero, z], [y, -z, zero]]
    return jnp.stack([jnp.stack(row) for row in rows])


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """The vector of a rotation, float64; its angle is at most pi.

    By way of the quaternion, whose largest component is found first (Shepperd 1978),
    so that no angle loses digits.
    """
    if matrix.shape == (2, 2):
        return np.array([np.arctan2(matrix[0, 1], matrix[0, 0])])
    # K of the generator, read from the antisymmetric part; minus a cross product.
    m = matrix.T
    trace = np.trace(m)
    choices = np.array([trace, m[0, 0], m[1, 1], m[2, 2]])
    largest = int(choices.argmax())
    if largest == 0:
        q = np.array([1 + trace, *_antisymmetric(m)])
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.zeros(4)
        q[0] = _antisymmetric(m)[i]
        q[1 + i] = 1 + m[i, i] - m[j, j] - m[k, k]
        q[1 + j] = m[i, j] + m[j, i]
        q[1 + k] = m[i, k] + m[k, i]
    q = q / np.linalg.norm(q)
    q = q if q[0] >= 0 else -q
    sine = np.linalg.norm(q[1:])
    angle = 2 * np.arctan2(sine, q[0])
    return q[1:] * (angle / sine if sine > 1e-12 else 2.0)


def _antisymmetric(m: np.ndarray) -> np.ndarray:
    return np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
