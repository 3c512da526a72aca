"""The support of an OTF: which frequencies a PSF lets through."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_psf, check_share
from .._core._pytree import pytree

LEAST_GAIN = 1e-3
"""Gains below this never count as support."""
NOISE_QUANTILE, NOISE_FACTOR = 0.1, 9.0
"""The lowest tenth of the gains lies outside any support (the corners of the grid hold
more), and noise hardly ever exceeds nine times the tenth percentile of its magnitudes
(a Rayleigh distribution does once in 7000)."""
DIRECTIONS = 96
"""Pairs of half-spaces whose intersection, with their mirror images along every axis,
stands for the convex hull of a support."""


@pytree
class OTFSupport:
    """The frequencies that a PSF lets through.

    Attributes:
        mask: of the PSF's shape, zero frequency at n // 2 of every axis.
        threshold: least gain `|OTF|` of the support.
        cutoffs: highest frequency of the support along each axis, cycles per voxel.
    """

    mask: jax.Array
    threshold: jax.Array
    cutoffs: jax.Array


def otf_support(psf: ArrayLike, *, share: float = 0.9) -> OTFSupport:
    """Segment the support of an OTF.

    The largest gains that make up `share` of the sum of all are kept, unless they are
    below 0.001 or not above noise; of these, what is connected with zero frequency.

    Args:
        psf: (z, y, x) or (y, x).
        share: of the sum of `|OTF|` that the support holds.

    Raises:
        ValueError: unusable PSF; `share` outside (0, 1].

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.widefield((33, 33, 33), (0.2, 0.1, 0.1), na=1.1,
        ...                        wavelength=0.52, index=1.33)
        >>> support = jd.psf.otf_support(psf)
        >>> bool(support.cutoffs[2] < 0.1 * 2 * 1.1 / 0.52)  # below the optical limit
        True

    References:
        Ruan et al., Nature Methods 21, 2342 (2024), doi:10.1038/s41592-024-02475-4.
    """
    psf = check_psf("psf", psf)
    check_share("share", share)
    return _support(psf, share)


@functools.partial(jax.jit, static_argnums=1)
def _support(psf: jax.Array, share: float) -> OTFSupport:
    gain = gains(psf)
    falling = jnp.sort(gain.ravel())[::-1]
    held = jnp.cumsum(falling)
    by_share = falling[jnp.argmax(held >= share * held[-1])]
    noise = NOISE_FACTOR * falling[int((1 - NOISE_QUANTILE) * (falling.size - 1))]
    # Noise that fills everything would leave nothing: then the share alone decides.
    noise = jnp.where(noise < 0.5, noise, 0)
    threshold = jnp.maximum(jnp.maximum(by_share, noise), LEAST_GAIN)
    mask = _connected(gain >= threshold)
    cutoffs = [
        jnp.where(mask, abs(_frequencies(n, axis, psf.ndim)), 0).max()
        for axis, n in enumerate(psf.shape)
    ]
    return OTFSupport(mask=mask, threshold=threshold, cutoffs=jnp.stack(cutoffs))


def gains(psf: jax.Array) -> jax.Array:
    """|OTF| with zero frequency at n // 2 of every axis, 1 there."""
    return jnp.fft.fftshift(abs(jnp.fft.fftn(psf / psf.sum())))


def hull_gauge(support: OTFSupport) -> jax.Array:
    """How far out a frequency lies in the convex hull of a support: 0 to 1 at its rim.

    The hull is the intersection of half-spaces u . k <= h(u), h the largest u . k of
    the support; the gauge is the largest u . k / h(u) over all directions u.
    """
    mask = support.mask
    # On a scale on which the support is about as long as it is wide.
    grids = [
        _frequencies(n, axis, mask.ndim) / jnp.maximum(support.cutoffs[axis], 0.5 / n)
        for axis, n in enumerate(mask.shape)
    ]

    def along(direction):
        return sum(u * k for u, k in zip(direction, grids, strict=True))

    def widen(gauge, direction):
        distance = abs(along(direction))  # supports of real PSFs are symmetric
        reach = jnp.where(mask, distance, -jnp.inf).max()
        # A support of one frequency along u: what lies off it is outside.
        return jnp.maximum(gauge, distance / jnp.maximum(reach, 1e-3)), None

    directions = jnp.asarray(_directions(mask.ndim), support.cutoffs.dtype)
    start = jnp.zeros(mask.shape, support.cutoffs.dtype)
    return jax.lax.scan(widen, start, directions)[0]


def _frequencies(n: int, axis: int, ndim: int) -> np.ndarray:
    """Cycles per voxel along an axis, zero at n // 2, shaped to broadcast."""
    k = (np.arange(n) - n // 2) / n
    return k.reshape([-1 if a == axis else 1 for a in range(ndim)])


def _connected(mask: jax.Array) -> jax.Array:
    """The part of a mask on a periodic grid that is connected with its centre."""

    def grow(state):
        region, _ = state
        wider = region
        for axis in range(mask.ndim):
            for step in (1, -1):
                wider = wider | jnp.roll(wider, step, axis)
        wider = wider & mask
        return wider, (wider != region).any()

    centre = jnp.zeros(mask.shape, bool).at[tuple(n // 2 for n in mask.shape)].set(True)
    return jax.lax.while_loop(lambda s: s[1], grow, (centre, jnp.asarray(True)))[0]


def _directions(ndim: int) -> np.ndarray:
    """Unit vectors spread evenly: the axes, and a circle or a Fibonacci sphere.

    With every vector come its mirror images, so that mirrored supports have mirrored
    hulls.
    """
    index = np.arange(DIRECTIONS) + 0.5
    if ndim == 2:
        angle = np.pi / 2 * index / DIRECTIONS
        spread = np.stack([np.sin(angle), np.cos(angle)], -1)
    else:
        z, angle = index / DIRECTIONS, np.pi * (1 + 5**0.5) * index
        flat = np.sqrt(1 - z**2)
        spread = np.stack([z, flat * np.sin(angle), flat * np.cos(angle)], -1)
    # Of u and -u one is enough, for the distance is taken without its sign.
    signs = itertools.product((1.0,), *[(1.0, -1.0)] * (ndim - 1))
    return np.concatenate([np.eye(ndim), *(spread * np.array(s) for s in signs)])
