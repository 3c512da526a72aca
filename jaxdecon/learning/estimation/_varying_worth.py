"""Whether it pays to deconvolve with PSFs that vary, found by trying both."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_image, check_positive
from ...deconvolution import richardson_lucy, to_counts
from ...deconvolution._sample import brightest_part
from ...operators import Convolution
from ...psf import PSFField

ITERATIONS = 10
"""Accelerated ones, for the object and for the trials."""
WORTH = 0.03
"""Share of the error that a varying PSF must save: what `plan` allows for haste."""
MOST_NODES = 16
"""Nodes that are tried: those whose PSFs differ most from the mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VaryingWorth:
    """What a varying PSF would save; from `varying_worth`.

    Attributes:
        variation: largest distance of a PSF from the mean, as a share of its norm.
        saved: mean share of the error that the right PSF saves over the mean one.
        most_saved: at the node where it saves most.
        worth_it: whether the mean is 3 % or more.
    """

    variation: float
    saved: float
    most_saved: float
    worth_it: bool

    def __str__(self) -> str:
        verdict = "worth its cost" if self.worth_it else "not worth its cost"
        return (
            f"over the field the PSF changes by up to {self.variation:.0%}; one for "
            f"each place saves {self.saved:.1%} of the error, at most "
            f"{self.most_saved:.1%}, of what the mean PSF leaves: {verdict}"
        )


def varying_worth(
    image: ArrayLike,
    field: PSFField,
    *,
    gain: float = 1.0,
    offset: float = 0.0,
    background: float = 0.0,
    key: jax.Array | None = None,
) -> VaryingWorth:
    """Whether to deconvolve an image with a field of PSFs or with their mean.

    A rehearsal: the brightest part of the image is deconvolved with the mean PSF, the
    result is taken for an object, images of it are simulated with the PSF of each node
    and photon noise, and deconvolved with that PSF and with the mean.

    Args:
        image: (z, y, x) or (y, x), non-negative, in the camera's units.
        field: of as many axes.
        gain: units per photon.
        offset: units without light.
        background: offset and stray light, in units.
        key: of `jax.random.key`, for photons; None: always the same.

    Raises:
        ValueError: a field of other dimensionality, a gain that is not positive.
    """
    volume = np.asarray(check_image("image", image))
    check_positive("gain", gain)
    if field.ndim != volume.ndim:
        raise ValueError(
            f"`field` is {field.ndim}D and `image` has shape {volume.shape}."
        )
    part = volume[brightest_part(volume, field.shape)]
    counts = to_counts(part, gain=gain, offset=offset)
    dark = jnp.asarray(max(background - offset, 0) / gain, counts.dtype)
    psfs = _most_different(field)
    mean = jnp.asarray(field.mean, counts.dtype)
    key = jax.random.key(0) if key is None else key
    keys = jax.random.split(key, len(psfs))
    sharp = _solve(counts, mean, dark)
    errors = jax.lax.map(
        lambda node: _errors(sharp, *node, mean, dark),
        (jnp.asarray(psfs, counts.dtype), keys),
    )
    own, common = np.asarray(errors).T
    saved = 1 - own / common
    return VaryingWorth(
        variation=field.variation,
        saved=float(saved.mean()),
        most_saved=float(saved.max()),
        worth_it=bool(saved.mean() >= WORTH),
    )


def _most_different(field: PSFField) -> np.ndarray:
    """PSFs of the nodes, at most some, those farthest from the mean first."""
    psfs = np.asarray(field.psfs).reshape(-1, *field.shape)
    axes = tuple(range(1, psfs.ndim))
    distance = ((psfs - np.asarray(field.mean)) ** 2).sum(axes)
    return psfs[np.argsort(-distance, kind="stable")[:MOST_NODES]]


@functools.partial(jax.jit)
def _errors(sharp, psf, key, mean, dark) -> jax.Array:
    """Relative errors of the object with its own PSF and with the mean one."""
    blur = Convolution.from_psf(psf, sharp.shape, boundary="edge")
    expected = jnp.maximum(blur(sharp), 0) + dark
    data = jax.random.poisson(key, expected).astype(sharp.dtype)
    found = jnp.stack([_solve(data, p, dark, "edge") for p in (psf, mean)])
    axes = tuple(range(1, found.ndim))
    return jnp.sqrt(((found - sharp) ** 2).sum(axes) / (sharp**2).sum())


def _solve(counts, psf, dark, boundary: str = "extend") -> jax.Array:
    return richardson_lucy(
        counts,
        psf,
        iterations=ITERATIONS,
        accelerated=True,
        background=dark,
        boundary=boundary,
        init="constant",
    )
