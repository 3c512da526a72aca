"""The normal equations at a pose, and the step that follows from them."""

import jax
import jax.numpy as jnp

from .._core._pytree import pytree

RIDGE = 1e-6
"""Of the diagonal: directions that the image says nothing about stay where they are."""


@pytree
class Normal:
    """The normal equations at a pose, and how good it is.

    Attributes:
        score: what a search raises.
        hessian: J' J of the warped image, (n, n).
        toward_warped: J' g.
        toward_fixed: J' f.
        warped: g' g, means removed, as of the three that follow.
        fixed: f' f.
        both: g' f.
        slopes: squares of the slopes of g along every axis, summed, (d,).
        weight: voxels that overlap.
    """

    score: jax.Array
    hessian: jax.Array
    toward_warped: jax.Array
    toward_fixed: jax.Array
    warped: jax.Array
    fixed: jax.Array
    both: jax.Array
    slopes: jax.Array
    weight: jax.Array

    @classmethod
    def from_gram(cls, gram: jax.Array, into: jax.Array, *, centred: bool) -> "Normal":
        """From inner products of the columns; its score is the correlation.

        Args:
            gram: of `moments`.
            into: (d (d + 1), n), from parameters to the entries of the matrix.
            centred: whether J, too, loses its mean.
        """
        weight = gram[-1, -1]
        means = gram[-1] / jnp.maximum(weight, 1)
        spread = gram - weight * jnp.outer(means, means)
        d = round((gram.shape[0] - 2.75) ** 0.5 - 0.5)
        chosen, jacobian = spread if centred else gram, slice(0, -3)
        warped, fixed = (jnp.maximum(spread[i, i], 0) for i in (-3, -2))
        return cls(
            score=correlation(warped, fixed, spread[-3, -2]),
            hessian=into.T @ chosen[jacobian, jacobian] @ into,
            toward_warped=into.T @ chosen[jacobian, -3],
            toward_fixed=into.T @ chosen[jacobian, -2],
            warped=warped,
            fixed=fixed,
            both=spread[-3, -2],
            slopes=jnp.diagonal(spread)[d : d * (d + 1) : d + 1],
            weight=weight,
        )

    @classmethod
    def nothing(cls, parameters: jax.Array, ndim: int) -> "Normal":
        """Before any pass: no step follows."""
        zero = jnp.zeros((), parameters.dtype)
        return cls(
            score=jnp.asarray(-jnp.inf, parameters.dtype),
            hessian=jnp.eye(parameters.size, dtype=parameters.dtype),
            toward_warped=jnp.zeros_like(parameters),
            toward_fixed=jnp.zeros_like(parameters),
            warped=zero,
            fixed=zero,
            both=zero,
            slopes=jnp.zeros(ndim, parameters.dtype),
            weight=zero,
        )

    @property
    def ncc(self) -> jax.Array:
        """Normalised cross-correlation over the overlap; 0 where one is constant."""
        return correlation(self.warped, self.fixed, self.both)


def correlation(warped, fixed, both) -> jax.Array:
    """From centred inner products; 0 where one image is constant."""
    power = warped * fixed
    tiny = jnp.finfo(power.dtype).tiny
    return jnp.where(power > 0, both / jnp.sqrt(jnp.maximum(power, tiny)), 0)


def solve(normal: Normal, damping, sides: jax.Array) -> jax.Array:
    """Columns solved for, under Levenberg's damping relative to the diagonal."""
    diagonal = jnp.maximum(jnp.diagonal(normal.hessian), 1e-30)
    scale = 1 / jnp.sqrt(diagonal)
    scaled = normal.hessian * jnp.outer(scale, scale)
    scaled = scaled + (damping + RIDGE) * jnp.eye(scale.size, dtype=scale.dtype)
    factor = jax.scipy.linalg.cho_factor(scaled)
    return scale[:, None] * jax.scipy.linalg.cho_solve(factor, sides * scale[:, None])


def correlation_step(normal: Normal, damping: jax.Array) -> jax.Array:
    """The step that maximises the correlation of f with the linearised g.

    Evangelidis & Psarakis, IEEE Trans. Pattern Anal. Mach. Intell. 30, 1858 (2008),
    doi:10.1109/TPAMI.2008.113, equations 19 to 21, with Levenberg's damping.
    """
    sides = jnp.stack([normal.toward_warped, normal.toward_fixed], 1)
    solved = solve(normal, damping, sides)
    own = normal.warped - normal.toward_warped @ solved[:, 0]
    cross = normal.both - normal.toward_warped @ solved[:, 1]
    # Where the linearised images do not correlate: the step of least squares.
    gain = jnp.where(cross > 0, own / jnp.where(cross > 0, cross, 1), 1)
    return gain * solved[:, 1] - solved[:, 0]


def least_squares_step(normal: Normal, damping: jax.Array) -> jax.Array:
    """The step that minimises the squares of f minus the linearised g."""
    side = normal.toward_fixed - normal.toward_warped
    return solve(normal, damping, side[:, None])[:, 0]
