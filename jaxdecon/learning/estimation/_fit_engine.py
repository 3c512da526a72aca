"""Maximum likelihood of a PSF's parameters and of every bead's own, by Fisher scoring.

The noise is a Poisson variable plus read noise of variance r^2, by a Poisson variable
of mean m + r^2 (Snyder et al. 1995). Its score is J^T (y - m) / (m + r^2), its Fisher
information J^T J / (m + r^2): the normal equations of Gauss and Newton with weights
that follow the model. Levenberg's and Marquardt's damping makes every step a descent.

Every bead has position, photons and background of its own. They are eliminated bead by
bead (a Schur complement), so that the system to solve is as large as the model's
parameters, however many beads there are.

References:
    Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963), doi:10.1137/0111030; Snyder et
    al., J. Opt. Soc. Am. A 12, 272 (1995), doi:10.1364/JOSAA.12.000272.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..._core._pytree import pytree, static
from ._fit_likelihood import normal_equations, value_and_jacobian
from ._fit_render import render, spectra

OWN = 5
"""Parameters of a bead: position (z, y, x), photons, background."""
FIRST_DAMPING, LOWER, HIGHER, STUCK = 1e-2, 0.1, 8.0, 1e7
ENOUGH = 1e-3
"""Gain of log-likelihood, as a step predicts it, that is not worth a step."""


@pytree
class Scene:
    """What is fitted.

    Attributes:
        counts: (bead, z, y, x), photons.
        floor: variance of the read noise, photons^2.
        basis: (bead, term), values at each bead of the polynomials that the parameters
            are made of; one term, 1, where all beads share them.
        transfer: of the bead's shape, one for each cosine.
        low: (term, parameter), least values.
        high: (term, parameter).
        spread: (parameter,), how far each may be expected from its start.
        model: from a vector (parameter,) to a PSF.
    """

    counts: jax.Array
    floor: jax.Array
    basis: jax.Array
    transfer: jax.Array
    low: jax.Array
    high: jax.Array
    spread: jax.Array
    model: Callable[[jax.Array], jax.Array] = static()

    @property
    def shared(self) -> bool:
        """Whether all beads have one PSF."""
        return self.basis.shape[1] == 1

    def expected(self, spectrum: jax.Array, own: jax.Array) -> jax.Array:
        """Photons in every voxel of one bead."""
        return own[3] * render(spectrum, own[:3], self.counts.shape[1:]) + own[4]


@pytree
class Fit:
    """Where a fit is.

    Attributes:
        values: (term, parameter).
        own: (bead, 5).
        score: negative log-likelihood, up to a constant: half the deviance.
        misfit: squares of the residual, each over its variance, summed.
        information: (bead, parameter + 5, parameter + 5), Fisher's, of each bead.
        slope: (bead, parameter + 5), downhill.
        damping: of the next step.
        promised: by how much the last step was to lower the score.
        done: whether no step is worth taking.
        count: of steps.
        history: (steps,), the score; NaN once done.
    """

    values: jax.Array
    own: jax.Array
    score: jax.Array
    misfit: jax.Array
    information: jax.Array
    slope: jax.Array
    damping: jax.Array
    promised: jax.Array
    done: jax.Array
    count: jax.Array
    history: jax.Array


def solve(scene: Scene, values: jax.Array, own: jax.Array, iterations: int) -> Fit:
    """Fit from a start, until no step is worth taking."""
    dtype, size = values.dtype, values.shape[1] + OWN
    # Nothing is known yet: the first step goes nowhere, and finds out.
    first = Fit(
        values=values,
        own=own,
        score=jnp.asarray(jnp.inf, dtype),
        misfit=jnp.asarray(jnp.inf, dtype),
        information=jnp.zeros((len(own), size, size), dtype),
        slope=jnp.zeros((len(own), size), dtype),
        damping=jnp.asarray(FIRST_DAMPING / LOWER, dtype),
        promised=jnp.asarray(jnp.inf, dtype),
        done=jnp.asarray(False),
        count=jnp.asarray(0),
        history=jnp.full(iterations + 1, jnp.nan, dtype),
    )

    def going(fit: Fit):
        return ~fit.done & (fit.count <= iterations)

    return jax.lax.while_loop(going, lambda fit: _step(scene, fit), first)


def linear_start(scene: Scene, psf: jax.Array, positions: jax.Array) -> jax.Array:
    """Photons and background of every bead, for a PSF, by least squares, (bead, 5)."""
    spectrum = spectra(psf, scene.transfer)

    def one(place):
        counts, position = place
        shape = render(spectrum, position, counts.shape)
        centred = shape - shape.mean()
        photons = (centred * counts).sum() / (centred**2).sum()
        photons = jnp.maximum(photons, 1.0)
        background = jnp.maximum(counts.mean() - photons * shape.mean(), 0)
        return jnp.concatenate([position, jnp.stack([photons, background])])

    return jax.lax.map(one, (scene.counts, positions))


def _step(scene: Scene, fit: Fit) -> Fit:
    """Try a step; take it if it lowers the score, else damp more."""
    change, own_change, promised = _solve_normal(scene, fit)
    values = jnp.clip(fit.values + change, scene.low, scene.high)
    own = fit.own + own_change
    score, misfit, information, slope = _expand(scene, values, own)
    better = score < fit.score
    stuck = ~better & (fit.damping > STUCK)

    def pick(new, old):
        return jnp.where(better, new, old)

    return Fit(
        values=pick(values, fit.values),
        own=pick(own, fit.own),
        score=pick(score, fit.score),
        misfit=pick(misfit, fit.misfit),
        information=pick(information, fit.information),
        slope=pick(slope, fit.slope),
        damping=jnp.where(better, LOWER, HIGHER) * fit.damping,
        promised=promised,
        done=((promised < ENOUGH) & (fit.count > 0)) | stuck,
        count=fit.count + 1,
        history=fit.history.at[fit.count].set(pick(score, fit.score)),
    )


def _solve_normal(scene: Scene, fit: Fit) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Changes of the coefficients and of every bead's own, and what they promise."""
    n = fit.values.shape[1]
    a, b, d, gain = _eliminated(fit.information, fit.slope, n, fit.damping)
    matrix, slope = gather(scene.basis, a, b)
    free = _free(scene, fit, slope)
    known = jnp.tile(scene.spread**-2, len(fit.values))
    change = free * _damped_solve(matrix, slope, fit.damping, free, known)
    change = change.reshape(fit.values.shape)
    own = d - jnp.einsum("bij,bj->bi", gain, scene.basis @ change)
    own_slope = fit.slope[:, n:]
    promised = 0.5 * ((scene.basis @ change) * fit.slope[:, :n]).sum()
    return change, own, promised + 0.5 * (own * own_slope).sum()


def _eliminated(information, slope, n: int, damping):
    """Information and slope of the parameters, free of the beads' own."""
    own = _damped(information[:, n:, n:], damping)
    cross = information[:, :n, n:]
    right = jnp.concatenate([jnp.swapaxes(cross, 1, 2), slope[:, n:, None]], -1)
    scale = jnp.sqrt(jnp.diagonal(own, axis1=1, axis2=2))[..., None]
    solved = jnp.linalg.solve(own / scale / jnp.swapaxes(scale, 1, 2), right / scale)
    solved = solved / scale
    gain, d = solved[..., :-1], solved[..., -1]
    a = information[:, :n, :n] - cross @ gain
    return a, slope[:, :n] - jnp.einsum("bij,bj->bi", cross, d), d, gain


def gather(basis, matrices, slopes) -> tuple[jax.Array, jax.Array]:
    """Normal equations of the coefficients (term, parameter), flattened."""
    matrix = jnp.einsum("bs,bt,bij->sitj", basis, basis, matrices, precision="highest")
    slope = jnp.einsum("bs,bi->si", basis, slopes, precision="highest")
    size = slope.size
    return matrix.reshape(size, size), slope.reshape(size)


def _free(scene: Scene, fit: Fit, slope: jax.Array) -> jax.Array:
    """1 for what may move, 0 for what its bound holds."""
    slope = slope.reshape(fit.values.shape)
    low = (fit.values <= scene.low) & (slope < 0)
    high = (fit.values >= scene.high) & (slope > 0)
    return (~(low | high)).astype(slope.dtype).reshape(-1)


def _damped(matrices: jax.Array, damping) -> jax.Array:
    eye = jnp.eye(matrices.shape[-1], dtype=matrices.dtype)
    return matrices * (1 + damping * eye) + 1e-12 * eye


def _damped_solve(matrix, slope, damping, free, known) -> jax.Array:
    """Marquardt's step, damped also by what was known before of each parameter.

    That slows none that the data determine, and keeps the others from running away.
    """
    matrix = matrix * free * free[:, None]
    scale = jnp.sqrt(jnp.diagonal(matrix) + known)
    eye = jnp.eye(slope.size, dtype=matrix.dtype)
    scaled = (matrix + known * eye) / scale / scale[:, None] + damping * eye
    return jnp.linalg.solve(scaled, free * slope / scale) / scale


def _expand(scene: Scene, values: jax.Array, own: jax.Array):
    """Score and misfit, and information and slope of every bead."""
    blur = scene.transfer

    def pieces(theta):
        """Spectra (1 + parameter, ...) of the PSF and of its derivatives."""
        psf, slopes = value_and_jacobian(scene.model, theta)
        return spectra(jnp.concatenate([psf[None], slopes]), blur)

    if scene.shared:
        parts = pieces(values[0])
        found = jax.lax.map(
            lambda bead: normal_equations(bead[0], bead[1], parts, scene.floor),
            (scene.counts, own),
        )
    else:

        def one(bead):
            counts, own, basis = bead
            return normal_equations(counts, own, pieces(basis @ values), scene.floor)

        found = jax.lax.map(one, (scene.counts, own, scene.basis))
    scores, misfits, information, slope = found
    score = scores.sum()
    sound = jnp.isfinite(score) & jnp.isfinite(information).all()
    score = jnp.where(sound, score, jnp.inf)
    return score, misfits.sum(), information, slope


def predicted(scene: Scene, psf: jax.Array, own: jax.Array) -> jax.Array:
    """Photons in every voxel of every bead, all of one PSF."""
    spectrum = spectra(psf, scene.transfer)
    return jax.lax.map(lambda bead: scene.expected(spectrum, bead), own)


def run(scene: Scene, values, low, high, own, iterations: int) -> Fit:
    """`solve` with bounds of its own, so that one program does for many starts."""
    return solve(
        dataclasses.replace(scene, low=low, high=high), values, own, iterations
    )


run_all = jax.jit(
    jax.vmap(run, (None, 0, 0, 0, None, None)), static_argnames=("iterations",)
)
