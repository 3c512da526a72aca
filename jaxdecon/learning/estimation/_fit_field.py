"""A pupil that changes over the field of view, fitted to scattered beads in one go."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_count, check_shape
from ...psf import PSFField
from ._estimate import NullTest
from ._fit_engine import Fit, Scene, linear_start, run_all
from ._fit_fisher import (
    check_found,
    explained,
    knowledge,
    likelihood_ratio,
    without_own,
)
from ._fit_inputs import Model, OnVector, Photons, evaluate, first_positions, make_scene
from ._parameters import Parameters

LEAST_SPREAD = 0.02
"""Least singular value of the polynomials at the beads, as a share of the largest."""
OUT_OF_REACH = 0.1
MOST_CHI_SQUARE = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PupilField:
    """Parameters of a PSF model as polynomials of the position in the image.

    Attributes:
        coefficients: a tree like `start`, each number an array (term,) in front of its
            own axes.
        errors: one standard deviation of each, from the Fisher information; infinite
            where the beads say nothing.
        covariance: (term x parameter, term x parameter) of all, term by term, each in
            the order of `jax.tree.leaves`.
        terms: the powers of the position along every axis of the image, in each term;
            positions count from -1 to 1 between the image's first and last voxels.
        field_shape: of the image, voxels.
        model: what gives the PSF.
        positions: (bead, 3), of each bead from voxel n // 2 of its crop.
        reliable: whether the fit converged and the beads prefer it to one PSF for all.
        message: what was done, and what is doubtful, in words.
        null_test: whether the beads prefer it to one PSF for all.
        unidentified: combinations of coefficients that the beads do not determine.
        chi_square: per degree of freedom; NaN if the gain was not known.
        history: negative log-likelihood, iteration by iteration.
    """

    coefficients: Any
    errors: Any
    covariance: jax.Array
    terms: tuple[tuple[int, ...], ...]
    field_shape: tuple[int, ...]
    model: Model
    positions: jax.Array
    reliable: bool
    message: str
    null_test: NullTest
    unidentified: tuple[str, ...]
    chi_square: float
    history: jax.Array

    def parameters(self, position: ArrayLike | Sequence[float]) -> Any:
        """The model's parameters at a position in voxels of the image.

        Args:
            position: (z, y, x); or (y, x) if `field_shape` is (y, x).
        """
        basis = self._basis(position)
        return jax.tree.map(lambda c: jnp.tensordot(basis, c, 1), self.coefficients)

    def errors_at(self, position: ArrayLike | Sequence[float]) -> Any:
        """One standard deviation of the parameters there; large far from the beads."""
        basis = self._basis(position)
        leaves, tree = jax.tree.flatten(self.coefficients)
        size = sum(leaf[0].size for leaf in leaves)
        blocks = self.covariance.reshape(len(basis), size, len(basis), size)
        variance = jnp.einsum("s,t,siti->i", basis, basis, blocks)
        unknown = jnp.concatenate(
            [
                jnp.isinf(leaf.reshape(len(basis), -1))
                for leaf in jax.tree.leaves(self.errors)
            ],
            axis=1,
        )
        counts = abs(basis)[:, None] > 0
        variance = jnp.where((unknown & counts).any(0), jnp.inf, variance)
        ends = np.cumsum([leaf[0].size for leaf in leaves])[:-1]
        parts = jnp.split(jnp.sqrt(variance), ends)
        shaped = [p.reshape(v.shape[1:]) for p, v in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(tree, shaped)

    def at(self, position: ArrayLike | Sequence[float]) -> jax.Array:
        """The PSF at a position, as for `parameters`."""
        parameters = self.parameters(position)
        vector = jnp.concatenate([p.ravel() for p in jax.tree.leaves(parameters)])
        return evaluate(OnVector.of(self.model, parameters), vector)

    def field(self, nodes: int | Sequence[int] = 5) -> PSFField:
        """PSFs on a grid over the image, for `VaryingConvolution` and its users.

        Args:
            nodes: along every axis that matters, or for each axis of the image.
        """
        matters = np.any(self.terms, 0)
        counts = np.broadcast_to(nodes, len(self.field_shape)) * matters
        places = [
            np.linspace(0, n - 1, c) if c > 1 else np.array([(n - 1) / 2])
            for n, c in zip(self.field_shape, counts, strict=True)
        ]
        planes = [np.zeros(1)] * (3 - len(places))  # of an image (y, x): any
        return PSFField.from_model(self.at, [*planes, *places])

    def _basis(self, position) -> jax.Array:
        position = jnp.asarray(position, float)[-len(self.field_shape) :]
        scale = jnp.maximum(jnp.asarray(self.field_shape, float) - 1, 1)
        u = 2 * position / scale - 1
        return jnp.prod(u ** jnp.asarray(self.terms), axis=1)


def fit_pupil_field(
    beads: ArrayLike,
    positions: ArrayLike | Sequence[Sequence[float]],
    model: Model,
    *,
    start: Mapping[str, Any],
    field_shape: Sequence[int],
    degree: int = 2,
    along: str = "yx",
    spread: Mapping[str, Any] | None = None,
    noise: Any = None,
    offset: float = 0.0,
    diameter: Any = 0.0,
    starts: int = 1,
    iterations: int = 50,
    key: jax.Array | None = None,
) -> PupilField:
    """Fit a PSF model whose parameters vary over the field of view.

    Every parameter is a polynomial of the position; all coefficients are fitted to all
    beads together, with each bead's own position, brightness and background (see
    `fit_beads`). Aberrations vary slowly, PSFs do not: a few coefficients describe what
    many PSFs would be needed for.

    Args:
        beads: (bead, z, y, x), crops of one bead each.
        positions: (bead, ndim), of the crops' centres in the image, voxels.
        model: as for `fit_beads`.
        start: as for `fit_beads`, at all positions.
        field_shape: of the image, (z, y, x) or (y, x).
        degree: of the polynomials, in all axes together.
        along: axes along which the parameters vary, of "zyx".
        spread: as for `fit_beads`.
        noise: as for `fit_beads`.
        offset: as for `fit_beads`.
        diameter: as for `fit_beads`.
        starts: how many; all but the first are thrown about `start`.
        iterations: at most.
        key: of the random starts; None: always the same.

    Raises:
        ValueError: as `fit_beads`; too few beads for the degree, or beads so placed
            (on a line, in a corner) that they do not determine the polynomials.
    """
    degree, starts = check_count("degree", degree), check_count("starts", starts, 1)
    field_shape = check_shape("field_shape", field_shape)
    key = jax.random.key(0) if key is None else key
    photons = Photons.of(beads, noise, offset)
    terms = _terms(degree, along, len(field_shape))
    basis = _basis_at(positions, len(photons.counts), field_shape, terms)
    _check_beads(basis, degree, along)
    parameters = Parameters.parse(start, None, spread)
    scene, psf = make_scene(photons, model, start, parameters, basis, diameter)
    own = _linear_start(scene, psf, first_positions(scene.counts, psf))
    constant = parameters.random(starts, key)
    values = np.zeros((starts + 1, len(terms), parameters.size))
    values[:-1, 0], values[-1, 0] = constant, constant[0]
    fit, uniform = _solve(scene, jnp.asarray(values, psf.dtype), own, iterations)
    check_found(fit)
    return _result(scene, photons, parameters, fit, uniform, terms, field_shape, model)


_linear_start = jax.jit(linear_start)


def _terms(degree: int, along: str, ndim: int) -> tuple[tuple[int, ...], ...]:
    """Powers of all monomials up to a degree: the constant first."""
    axes = "zyx"[-ndim:]
    if not along or not set(along) <= set(axes):
        raise ValueError(f"`along` is {along!r}; some of {axes!r} are needed.")
    powers = [range(degree + 1) if axis in along else (0,) for axis in axes]
    found = [p for p in itertools.product(*powers) if sum(p) <= degree]
    return tuple(sorted(found, key=lambda p: (sum(p), p)))


def _basis_at(positions, count: int, shape, terms) -> np.ndarray:
    places = np.asarray(positions, float)
    if places.shape != (count, len(shape)) or not np.isfinite(places).all():
        raise ValueError(
            f"`positions` has shape {places.shape}; ({count}, {len(shape)}), a finite "
            f"position for every bead in an image of shape {shape}, is needed."
        )
    u = 2 * places / np.maximum(np.asarray(shape) - 1, 1) - 1
    if (abs(u) > 1.01).any():
        outside = np.flatnonzero((abs(u) > 1.01).any(1)).tolist()
        raise ValueError(
            f"`positions` of beads {outside} are outside the image of shape {shape}."
        )
    return np.prod(u[:, None] ** np.asarray(terms), axis=2)


def _check_beads(basis: np.ndarray, degree: int, along: str) -> None:
    count, terms = basis.shape
    if count < terms:
        raise ValueError(
            f"`beads` are {count}: too few for polynomials of `degree` {degree} along "
            f"{along!r}, which have {terms} terms. Twice as many beads, or a lower "
            f"degree, are needed."
        )
    values = np.linalg.svd(basis, compute_uv=False)
    if values[-1] < LEAST_SPREAD * values[0]:
        raise ValueError(
            f"`positions` do not determine polynomials of `degree` {degree} along "
            f"{along!r}: the beads lie on a line, or in a small part of the field. "
            f"Spread them, or lower the degree."
        )


def _solve(scene: Scene, values, own, iterations: int) -> tuple[Fit, Fit]:
    """The best fit, and that of one PSF for all, whose other terms are held at 0."""
    low = np.full(values.shape, -np.inf)
    high = -low
    low[-1, 1:] = high[-1, 1:] = 0
    low, high = (jnp.asarray(side, values.dtype) for side in (low, high))
    fits = run_all(scene, values, low, high, own, iterations)
    best = int(np.argmin(np.asarray(fits.score)[:-1]))
    return tuple(jax.tree.map(lambda a, i=i: a[i], fits) for i in (best, -1))


def _result(
    scene: Scene,
    photons: Photons,
    parameters: Parameters,
    fit: Fit,
    uniform: Fit,
    terms,
    field_shape,
    model,
) -> PupilField:
    basis, size = np.asarray(scene.basis, float), parameters.size
    freedom = scene.counts.size - fit.own.size - len(terms) * size
    chi_square = float(fit.misfit) / freedom
    excess = 1.0 if photons.known else chi_square
    raw = np.asarray(fit.information, float)
    matrices = without_own(raw, size)
    information = np.einsum("bs,bt,bij->sitj", basis, basis, matrices)
    information = information.reshape(2 * (len(terms) * size,)) / excess
    known = knowledge(
        information,
        np.tile(parameters.spread, len(terms)),
        [f"{n}{_power(t)}" for t in terms for n in parameters.names],
        np.tile(explained(raw, matrices), len(terms)),
    )
    test = likelihood_ratio(fit, uniform, (len(terms) - 1) * size, excess)
    converged = bool(fit.done) and float(fit.promised) < OUT_OF_REACH
    doubts = [] if converged else ["the fit did not converge"]
    if not np.isfinite(known.errors).any():
        doubts.append("the beads determine no coefficient")
    if photons.known and chi_square > MOST_CHI_SQUARE:
        doubts.append("chi-square says that model or noise are wrong")
    if not test.passed and len(terms) > 1:
        doubts.append(f"the beads do not prefer it to one PSF for all ({test})")
    text = f"{len(terms)} terms fitted to {len(fit.own)} beads"
    if photons.known:
        text += f"; chi-square {chi_square:.3g} per degree of freedom"
    if known.unidentified:
        text += f"; not determined: {'; '.join(known.unidentified)}"

    def tree(numbers):
        rows = jnp.asarray(numbers, scene.counts.dtype).reshape(len(terms), size)
        return jax.vmap(parameters.unravel)(rows)

    return PupilField(
        coefficients=tree(fit.values),
        errors=tree(known.errors),
        covariance=jnp.asarray(known.covariance, scene.counts.dtype),
        terms=terms,
        field_shape=tuple(field_shape),
        model=model,
        positions=fit.own[:, :3],
        reliable=not doubts,
        message="; ".join([text, *doubts]),
        null_test=test,
        unidentified=known.unidentified,
        chi_square=chi_square if photons.known else float("nan"),
        history=fit.history[: int(fit.count)],
    )


def _power(term: Sequence[int]) -> str:
    """E.g. " y x^2" for a term."""
    axes = "zyx"[-len(term) :]
    return "".join(
        f" {axis}" + (f"^{power}" if power > 1 else "")
        for axis, power in zip(axes, term, strict=True)
        if power
    )
