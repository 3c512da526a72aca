"""As few kernels as a PSF field needs: principal components of its nodes."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ..psf import PSFField
from ._varying_modes import Modes

NOISE = 1e-7
"""Singular values, as shares of the largest PSF's norm, that are but rounding."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrum:
    """What makes up the PSFs of a field, by falling importance; on the host.

    Attributes:
        mean: of the nodes' PSFs, flat.
        components: unit kernels that sum to zero, (modes, voxels).
        scores: of every node's PSF along them, (nodes, modes).
        norms: of every node's PSF.
    """

    mean: np.ndarray
    components: np.ndarray
    scores: np.ndarray
    norms: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """By rank, from 1: the largest error of a node's PSF, relative to its norm."""
        beyond = np.cumsum((self.scores**2)[:, ::-1], 1)[:, ::-1]
        left = np.pad(beyond, [(0, 0), (0, 1)])
        return (np.sqrt(left) / self.norms[:, None]).max(0)


def spectrum(field: PSFField) -> Spectrum:
    """The principal components of a field's PSFs.

    They are taken about the mean: what remains of a PSF sums to zero, so do the
    components, and a sum of few still conserves light.
    """
    psfs = np.asarray(field.psfs, np.float64).reshape(int(np.prod(field.nodes)), -1)
    mean, norms = psfs.mean(0), np.linalg.norm(psfs, axis=1)
    rest = psfs - mean
    # The matrix of inner products is small; half of the digits of float64 are plenty.
    values, vectors = np.linalg.eigh(rest @ rest.T)
    values, vectors = np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1]
    kept = values > NOISE * norms.max()
    values, vectors = values[kept], vectors[:, kept]
    return Spectrum(
        mean=mean,
        components=vectors.T @ rest / values[:, None],
        scores=vectors * values,
        norms=norms,
    )


def rank_needed(found: Spectrum, accuracy: float) -> int:
    """The least rank at which no node's PSF is off by more than a share of its norm."""
    return 1 + int(np.argmax(found.errors <= accuracy))


def low_rank(field: PSFField, found: Spectrum, rank: int) -> Modes:
    """A field as a sum of `rank` kernels, the mean PSF among them."""
    rank = min(rank, 1 + len(found.components))
    kernels = np.concatenate([found.mean[None], found.components[: rank - 1]])
    ones = np.ones((1, len(found.scores)))
    weights = np.concatenate([ones, found.scores[:, : rank - 1].T])
    dtype = field.psfs.dtype
    return Modes(
        kernels=jnp.asarray(kernels.reshape(rank, *field.shape), dtype),
        weights=jnp.asarray(weights.reshape(rank, *field.nodes), dtype),
        positions=field.positions,
    )
