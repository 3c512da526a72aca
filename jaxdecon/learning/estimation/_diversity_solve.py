"""Parameters of several views' PSFs, by a score that the object does not bias.

With the object x(p) of `ObjectScene.solve` the derivative of the predicted images in a
parameter is d = C G dH x. What is left of d after the best object has explained all
that it can, q = d - A u, is orthogonal to every change of the object: so <q, y - A x> =
0 determines the parameters, to first order whatever is wrong with x (its prior, solver
steps that were saved). Newton's steps on it are accelerated (Anderson), because noise
in x makes <q, d> too large, and them too short.

References:
    Golub & Pereyra, Inverse Problems 19, R1 (2003), doi:10.1088/0266-5611/19/2/201;
    orthogonal scores: Chernozhukov et al., Econom. J. 21, C1 (2018),
    doi:10.1111/ectj.12097; Anderson, J. ACM 12, 547 (1965),
    doi:10.1145/321296.321305.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._pytree import pytree
from ._diversity_object import ObjectScene
from ._parameters import Parameters

MEMORY = 4
LARGEST_STEP = 3.0
TOLERANCE = 0.03
"""Lengths of a step, in units of how far each parameter may be from its start."""
GROWTH = 1.3
"""From this growth of the steps on, what was learned from them is forgotten."""
LEAST_RESPONSE = 0.1
LEAST_SHARE = 0.03
"""What a parameter does to the images is explained by a change of the object if less
than this share of it (in squares) is left: tip and tilt leave 0.007, by what a moved
PSF loses at the border of its array, aberrations 0.2 and more."""


@pytree
class Score:
    """Terms of Newton's method at some parameters.

    Attributes:
        slope: (parameter,), <q, residual>.
        information: (parameter, parameter), <q, d>.
        raw: (parameter, parameter), <d, d>: if the object were known.
        variance: (parameter, parameter), <q, q>: of the slope, by noise.
        chi_square: mean square of the residual in units of the noise.
    """

    slope: jax.Array
    information: jax.Array
    raw: jax.Array
    variance: jax.Array
    chi_square: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 3))
def orthogonal_score(
    views: Any, scene: ObjectScene, vector: jax.Array, steps: int
) -> Score:
    """The score at some parameters; `steps` of the solver for every right side."""
    psfs, tangents = views(vector), jax.jacfwd(views)(vector)
    transfers = scene.transfers(psfs)
    x = scene.solve(transfers, scene.images, steps)
    residual = scene.images - scene.forward(transfers, x)

    def one(tangent):
        d = scene.forward(scene.transfers(tangent), x)
        explained = scene.forward(transfers, scene.solve(transfers, d, steps))
        return d, d - explained

    d, q = jax.lax.map(one, jnp.moveaxis(tangents, -1, 0))
    weighted = (q * scene.weights).reshape(len(q), -1)
    d, q = d.reshape(len(d), -1), q.reshape(len(q), -1)
    information = jnp.matmul(weighted, d.T, precision="highest")
    return Score(
        slope=weighted @ residual.ravel(),
        information=(information + information.T) / 2,
        raw=jnp.matmul(d * scene.weights.ravel(), d.T, precision="highest"),
        variance=jnp.matmul(weighted, q.T, precision="highest"),
        chi_square=(scene.weights * residual**2).mean(),
    )


@functools.partial(jax.jit, static_argnums=(0, 3))
def chi_square(
    views: Any, scene: ObjectScene, vector: jax.Array, steps: int
) -> jax.Array:
    """Mean square of what the best object leaves, in units of the noise."""
    transfers = scene.transfers(views(vector))
    residual = scene.images - scene.forward(
        transfers, scene.solve(transfers, scene.images, steps)
    )
    return (scene.weights * residual**2).mean()


@functools.partial(jax.jit, static_argnums=(0, 3))
def profile_misfit(
    views: Any, scene: ObjectScene, vector: jax.Array, steps: int
) -> jax.Array:
    """Half the weighted squares that the best object leaves."""
    transfers = scene.transfers(views(vector))
    x = scene.solve(transfers, scene.images, steps)
    return scene.misfit(scene.images - scene.forward(transfers, x), x)


@dataclasses.dataclass(frozen=True)
class Solution:
    """Where the steps ended.

    Attributes:
        vector: (parameter,).
        score: there, before the last step.
        response: by how much a Newton step answers a distance from the solution, from
            0 to 1 (an exact one); as measured along the way.
        converged: whether the steps became short enough.
        lengths: of all steps, in units of the parameters' spread.
    """

    vector: np.ndarray
    score: Score
    response: float
    converged: bool
    lengths: list[float]

    @property
    def information(self) -> np.ndarray:
        """Fisher's, less what noise in the object only seems to add."""
        directions, shares = _told(self.score)
        back = np.asarray(self.score.raw, float) @ directions
        return self.response**2 * (back * shares) @ back.T


def solve_parameters(
    views: Any,
    scene: ObjectScene,
    parameters: Parameters,
    first: np.ndarray,
    *,
    iterations: int,
    steps: int,
) -> Solution:
    """Accelerated Newton steps until they are short."""
    dtype, spread = scene.images.dtype, parameters.spread
    place, places, moves, lengths = first, [], [], []
    while True:
        score = orthogonal_score(views, scene, jnp.asarray(place, dtype), steps)
        move = _newton(score, spread)
        within = np.clip(place + move, parameters.low, parameters.high)
        lengths.append(float(np.linalg.norm((within - place) / spread)))
        if len(lengths) > 1 and lengths[-1] > GROWTH * lengths[-2]:
            places, moves = [], []
        places, moves = [*places, place][-MEMORY:], [*moves, within - place][-MEMORY:]
        converged = lengths[-1] < TOLERANCE
        if converged or len(lengths) == iterations or not np.isfinite(lengths[-1]):
            break
        change = _accelerated(places, moves, spread) - place
        change *= min(1.0, LARGEST_STEP / np.linalg.norm(change / spread))
        place = np.clip(place + change, parameters.low, parameters.high)
    return Solution(within, score, _response(places, moves, spread), converged, lengths)


def _told(score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Directions (parameter, direction) that the object does not explain.

    Of unit length in terms of `raw`; and the share of each that the object leaves.
    """
    information, raw = (np.asarray(m, float) for m in (score.information, score.raw))
    size = np.sqrt(np.maximum(np.diag(raw), 1e-30))
    scaled = raw / np.outer(size, size) + 1e-9 * np.eye(len(raw))
    root = np.linalg.inv(np.linalg.cholesky(scaled)) / size
    shares, turns = np.linalg.eigh(root @ information @ root.T)
    return (root.T @ turns)[:, shares > LEAST_SHARE], shares[shares > LEAST_SHARE]


def _newton(score: Score, spread: np.ndarray) -> np.ndarray:
    """A step; what the images do not determine stays where it is."""
    directions, shares = _told(score)
    slope = directions.T @ np.asarray(score.slope, float)
    prior = ((directions / spread[:, None]) ** 2).sum(0)
    return directions @ (slope / (shares + prior))


def _accelerated(places: list, moves: list, spread: np.ndarray) -> np.ndarray:
    """Where the moves seen so far say that they would vanish."""
    place, move = places[-1], moves[-1]
    if len(places) == 1:
        return place + move
    shifts, changes = _differences(places, moves, spread)
    gram = changes @ changes.T
    gram += 1e-6 * np.trace(gram) * np.eye(len(gram))
    mix = np.linalg.solve(gram, changes @ (move / spread))
    return place + move - spread * (mix @ (shifts + changes))


def _response(places: list, moves: list, spread: np.ndarray) -> float:
    """How much shorter the moves became by how much was moved."""
    if len(places) < 2:
        return 1.0
    shifts, changes = _differences(places, moves, spread)
    answer = -(shifts * changes).sum() / max((shifts**2).sum(), 1e-30)
    return float(np.clip(answer, LEAST_RESPONSE, 1.0))


def _differences(places, moves, spread) -> tuple[np.ndarray, np.ndarray]:
    return np.diff(places, axis=0) / spread, np.diff(moves, axis=0) / spread
