"""Poses: translation, rigid, similarity, 9-parameter and affine transforms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice
from .._core._pytree import pytree, static
from ._matrix import check_matrix
from ._rotation import rotation, rotation_vector

TOLERANCE = 1e-5
"""Relative misfit up to which a matrix is of a model."""


@pytree
class Transform:
    """A pose about a centre::

        y = centre + L(parameters) (x - centre) + shift(parameters)

    | model | parameters | L |
    | --- | --- | --- |
    | translation | shift | identity |
    | rigid | rotation vector, shift | rotation R |
    | similarity | rotation vector, log scale, shift | e^s R |
    | 9-parameter | rotation vector, log scale per axis, shift | R diag(e^s) |
    | affine | L - identity by rows, shift | any |

    All zero is the identity. In space a rotation vector has three components
    (z, y, x), in the plane one. Differentiable, also at the identity.

    Attributes:
        parameters: as in the table.
        centre: (z, y, x) or (y, x).
        model: one of `MODELS`.
    """

    parameters: jax.Array
    centre: jax.Array
    model: str = static()

    @classmethod
    def identity(cls, model: str, centre: ArrayLike) -> "Transform":
        """The transform that changes nothing.

        Raises:
            ValueError: unknown model.
        """
        centre = jnp.asarray(centre, float)
        size = parameter_count(model, centre.shape[0])
        parameters = jnp.zeros(size, centre.dtype)
        return cls(parameters=parameters, centre=centre, model=model)

    @classmethod
    def from_matrix(
        cls, matrix: ArrayLike, model: str, centre: ArrayLike
    ) -> "Transform":
        """The transform with a homogeneous matrix, which must be of the model.

        Args:
            matrix: (4, 4) or (3, 3).
            model: one of `MODELS`.
            centre: as many components as axes.

        Raises:
            ValueError: a matrix that is not of the model, or singular.
        """
        check_choice("model", model, MODELS)
        given = check_matrix("matrix", matrix)
        middle = np.asarray(centre, float)
        linear = given[:-1, :-1]
        shift = linear @ middle + given[:-1, -1] - middle
        parameters = np.concatenate([_PARAMETERS[model](linear), shift])
        found = cls(
            parameters=jnp.asarray(parameters, float),
            centre=jnp.asarray(middle, float),
            model=model,
        )
        misfit = abs(np.asarray(found.matrix, float) - given)[:-1, :-1].max()
        if misfit > TOLERANCE * abs(linear).max():
            raise ValueError(
                f"`matrix` is not of the model {model!r}: its linear part differs by "
                f'{misfit:.2g} from the nearest; use model="affine".'
            )
        return found

    @property
    def linear(self) -> jax.Array:
        """L, (d, d)."""
        return _LINEAR[self.model](self.parameters, self.centre.shape[0])

    @property
    def matrix(self) -> jax.Array:
        """The homogeneous matrix, (d + 1, d + 1)."""
        d = self.centre.shape[0]
        linear, shift = self.linear, self.parameters[-d:]
        offset = self.centre + shift - linear @ self.centre
        top = jnp.concatenate([linear, offset[:, None]], 1)
        last = jnp.zeros((1, d + 1), top.dtype).at[0, -1].set(1)
        return jnp.concatenate([top, last])

    def inverse(self) -> "Transform":
        """The inverse; of a 9-parameter transform it is an affine one."""
        model = "affine" if self.model == "9-parameter" else self.model
        inverse = np.linalg.inv(np.asarray(self.matrix, float))
        return type(self).from_matrix(inverse, model, self.centre)

    def compose(self, first: "Transform") -> "Transform":
        """This transform after another; affine, unless both are of one closed model."""
        closed = self.model == first.model and self.model != "9-parameter"
        product = np.asarray(self.matrix, float) @ np.asarray(first.matrix, float)
        model = self.model if closed else "affine"
        return type(self).from_matrix(product, model, self.centre)

    def __call__(self, points: ArrayLike) -> jax.Array:
        """Where points (..., d) go."""
        matrix = self.matrix
        return jnp.asarray(points) @ matrix[:-1, :-1].T + matrix[:-1, -1]


def parameter_count(model: str, ndim: int) -> int:
    """How many parameters a model has in the plane or in space.

    Raises:
        ValueError: unknown model.
    """
    check_choice("model", model, MODELS)
    turns = 3 if ndim == 3 else 1
    linear = {
        "translation": 0,
        "rigid": turns,
        "similarity": turns + 1,
        "9-parameter": turns + ndim,
        "affine": ndim**2,
    }
    return linear[model] + ndim


def _turns(p: jax.Array, d: int) -> jax.Array:
    return p[: 3 if d == 3 else 1]


_LINEAR: dict[str, Callable[[jax.Array, int], jax.Array]] = {
    "translation": lambda p, d: jnp.eye(d, dtype=p.dtype),
    "rigid": lambda p, d: rotation(_turns(p, d)),
    "similarity": lambda p, d: jnp.exp(p[-d - 1]) * rotation(_turns(p, d)),
    "9-parameter": lambda p, d: rotation(_turns(p, d)) * jnp.exp(p[-2 * d : -d]),
    "affine": lambda p, d: jnp.eye(d, dtype=p.dtype) + p[: d * d].reshape(d, d),
}
MODELS = tuple(_LINEAR)
"""From few parameters to many."""


def _scaled(linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and scales of R diag(scales)."""
    scales = np.linalg.norm(linear, axis=0)
    return rotation_vector(_nearest_rotation(linear / scales)), np.log(scales)


def _nearest_rotation(linear: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(linear)
    flip = np.ones(len(u))
    flip[-1] = np.sign(np.linalg.det(u @ v))
    return u * flip @ v


def _similar(linear: np.ndarray) -> np.ndarray:
    vector, logs = _scaled(linear)
    return np.append(vector, logs.mean())


_PARAMETERS: dict[str, Callable[[np.ndarray], Any]] = {
    "translation": lambda linear: np.zeros(0),
    "rigid": lambda linear: rotation_vector(_nearest_rotation(linear)),
    "similarity": _similar,
    "9-parameter": lambda linear: np.concatenate(_scaled(linear)),
    "affine": lambda linear: (linear - np.eye(len(linear))).ravel(),
}
