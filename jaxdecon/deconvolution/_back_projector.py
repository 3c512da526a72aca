"""Back projectors: what may replace the flipped PSF inside Richardson-Lucy."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_positive, check_psf, is_traced
from ..fourier import centre_kernel, frequency_grid, transfer_function
from ..psf import FWHM_PER_SIGMA, fwhm, gaussian
from ._omw import masked_wiener

KINDS = (
    *("matched", "gaussian", "butterworth", "wiener", "wiener-butterworth"),
    "omw",
)
PUBLISHED_WIDTH = FWHM_PER_SIGMA / 2.3548
"""The published program rounds FWHM / sigma to 2.3548, which moves values by 2.5e-5."""
RESOLUTIONS = ("fwhm", "fwhm/sqrt2")
Gain = Callable[[jax.Array, jax.Array], jax.Array]
"""From a profile of gains and a cut-off to the gain there."""


def back_projector(
    psf: ArrayLike,
    kind: str = "wiener-butterworth",
    *,
    alpha: ArrayLike | None = 0.05,
    beta: ArrayLike | None = None,
    order: ArrayLike = 10,
    resolution: str | Sequence[float] | jax.Array = "fwhm",
    interpolate: bool = False,
) -> jax.Array:
    """The back projector of a PSF, as a kernel of the PSF's shape with unit sum.

    With F the OTF, k_c = 1 / resolution the cut-off and w = sum_axes (k / k_c)^2::

        matched             conj(F)
        gaussian            a Gaussian as wide as the PSF
        butterworth         1 / sqrt(1 + e2 w^order),  e2 = 1 / beta^2 - 1
        wiener              conj(F) / (|F|^2 + alpha)
        wiener-butterworth  wiener * butterworth with e2 = (beta_w / beta)^2 - 1,
                            beta_w the gain of the Wiener filter at the cut-off
        omw                 wiener inside the convex hull of the OTF's support, with
                            a Hann taper to its rim, 0 outside

    The kernel is centred on n // 2 like the PSF; conj(F) and frequency grids that are
    symmetric about zero keep even-sized PSFs from being shifted.

    Args:
        psf: (z, y, x) or (y, x), centred on n // 2.
        kind: one of the six above. "omw" needs no resolution limit and fits OTFs of
            any shape, those of skewed light sheets included; its authors use `alpha`
            0.005 and two iterations.
        alpha: Wiener constant; None: the gain of the OTF at the cut-off ("omw": the
            square of the gain at the rim of the support).
        beta: gain of the result at the cut-off; None: that of the OTF.
        order: of the Butterworth filter (n in the paper).
        resolution: resolution limit, "fwhm", "fwhm/sqrt2" (for instant SIM), or voxels
            per axis.
        interpolate: take gains at the cut-off between the frequencies of the PSF's
            grid, instead of at the nearest one as the published program does. Then the
            kernel is smooth in `resolution`, too.

    Returns:
        The kernel, which may have negative values; differentiable in `psf`, `alpha`,
        `beta` and `order`, with `interpolate` also in a numeric `resolution`.

    Raises:
        ValueError: unusable PSF, unknown kind, parameters that are not positive, a
            PSF cut before its half maximum while `resolution` needs its width.

    Example:
        >>> import jaxdecon as jd
        >>> psf = jd.psf.gaussian((31, 31, 31), (6.0, 3.0, 3.0))
        >>> kernel = jd.back_projector(psf, "wiener-butterworth")
        >>> bool(jd.psf.fwhm(abs(kernel))[0] < jd.psf.fwhm(psf)[0])
        True

    References:
        Guo et al., Nature Biotechnology 38, 1337 (2020), doi:10.1038/s41587-020-0560-x,
        with the gain at the cut-off by its equation 27; omw: Ruan et al., Nature
        Methods 21, 2342 (2024), doi:10.1038/s41592-024-02475-4.
    """
    psf = check_psf("psf", psf)
    check_choice("kind", kind, KINDS)
    for name, value in {"alpha": alpha, "beta": beta, "order": order}.items():
        if value is not None:
            check_positive(name, value)
    if beta is not None and not is_traced(beta) and not np.max(beta) < 1:
        raise ValueError(f"`beta` is {beta}; a gain below 1 is needed.")
    if kind == "matched":
        return _kernel(_otf(psf).conj(), psf.shape)
    if kind == "omw":
        return _omw(psf, alpha)
    limit = _resolution(psf, kind, resolution)
    how = {"kind": kind, "interpolate": bool(interpolate)}
    return _build(psf, limit, alpha, beta, order, **how)


@jax.jit
def _omw(psf, alpha) -> jax.Array:
    return _kernel(masked_wiener(psf, _otf(psf), alpha), psf.shape)


@functools.partial(jax.jit, static_argnames=("kind", "interpolate"))
def _build(psf, limit, alpha, beta, order, *, kind: str, interpolate: bool):
    if kind == "gaussian":
        return gaussian(psf.shape, limit * PUBLISHED_WIDTH).astype(psf.dtype)
    otf = _otf(psf)
    cutoff = 1 / limit
    at_cutoff = _between if interpolate else _nearest
    gain = _cutoff_gain(psf, cutoff, at_cutoff)
    alpha = gain if alpha is None else alpha
    beta = gain if beta is None else beta
    wiener = otf.conj() / (abs(otf) ** 2 + alpha)
    if kind == "wiener":
        return _kernel(wiener, psf.shape)
    grids = frequency_grid(psf.shape)
    w = jnp.asarray(sum((k / c) ** 2 for k, c in zip(grids, cutoff, strict=True)))
    if kind == "butterworth":
        return _kernel(_butterworth(w, 1 / beta**2 - 1, order) + 0j, psf.shape)
    gain_of_wiener = _wiener_gain(psf, alpha, cutoff, at_cutoff)
    e2 = jnp.maximum((gain_of_wiener / beta) ** 2 - 1, 0)
    return _kernel(wiener * _butterworth(w, e2, order), psf.shape)


def _resolution(psf, kind, resolution) -> jax.Array:
    """Resolution limit in voxels per axis; the width of the PSF for a Gaussian."""
    if kind == "gaussian":
        resolution = "fwhm"
    if not isinstance(resolution, str):
        check_positive("resolution", resolution)
        limit = jnp.asarray(resolution, psf.dtype)
        if limit.shape != (psf.ndim,):
            raise ValueError(
                f"`resolution` is {resolution}; {psf.ndim} numbers are needed."
            )
        return limit
    check_choice("resolution", resolution, RESOLUTIONS)
    width = fwhm(psf)
    if not is_traced(width) and bool(jnp.isnan(width).any()):
        raise ValueError(
            f"`psf` of shape {psf.shape} is cut before it falls to half of its maximum "
            f"along some axis (widths {width}): give a larger PSF, or `resolution` in "
            f"voxels per axis."
        )
    return width / np.sqrt(2) if resolution == "fwhm/sqrt2" else width


def _otf(psf: jax.Array) -> jax.Array:
    return transfer_function(psf / psf.sum(), psf.shape)


def _kernel(transfer: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The kernel of a transfer function, with unit sum."""
    kernel = centre_kernel(jnp.fft.irfftn(transfer, s=shape))
    return kernel / kernel.sum()


def _butterworth(w: jax.Array, e2: ArrayLike, order: ArrayLike) -> jax.Array:
    # w is 0 at zero frequency, where the derivative of a power in its exponent is not
    # finite.
    positive = jnp.where(w > 0, w, 1)
    return 1 / jnp.sqrt(1 + e2 * jnp.where(w > 0, positive**order, 0))


def _nearest(profile: jax.Array, cutoff: jax.Array) -> jax.Array:
    """Mean gain at +k_c and -k_c, to the nearest frequency of the grid.

    `profile` has zero frequency at n // 2.
    """
    n = profile.size
    step = jnp.floor(cutoff * n + 0.5).astype(int)
    ends = jnp.clip(jnp.stack([n // 2 + step, n // 2 - step]), 0, n - 1)
    return profile[ends].mean()


def _between(profile: jax.Array, cutoff: jax.Array) -> jax.Array:
    """As `_nearest`, but linear between frequencies."""
    n = profile.size
    ends = jnp.stack([n // 2 + cutoff * n, n // 2 - cutoff * n])
    return jnp.interp(ends, jnp.arange(n, dtype=profile.dtype), profile).mean()


def _cutoff_gain(psf: jax.Array, cutoff: jax.Array, at_cutoff: Gain) -> jax.Array:
    """Gain of the OTF at the cut-off, mean over both ends of every axis."""
    magnitude = _magnitude(psf)
    magnitude = magnitude / magnitude.max()
    gains = []
    for axis in range(psf.ndim):
        others = tuple(a for a in range(psf.ndim) if a != axis)
        gains.append(at_cutoff(magnitude.max(others), cutoff[axis]))
    return jnp.stack(gains).mean()


def automatic_beta(psf: jax.Array, resolution: jax.Array) -> jax.Array:
    """The gain that `beta=None` stands for, between frequencies of the grid."""
    return _cutoff_gain(psf, 1 / resolution, _between)


def _wiener_gain(
    psf: jax.Array, alpha: ArrayLike, cutoff: jax.Array, at_cutoff: Gain
) -> jax.Array:
    """Gain of the Wiener filter at the cut-off along x, in the plane k_z = 0."""
    magnitude = _magnitude(psf)
    filtered = magnitude / (magnitude**2 + alpha)
    if psf.ndim == 3:
        filtered = filtered[psf.shape[0] // 2]
    return at_cutoff(filtered.max(0), cutoff[-1])


def _magnitude(psf: jax.Array) -> jax.Array:
    """|OTF| with zero frequency at n // 2 of every axis."""
    return jnp.fft.fftshift(abs(jnp.fft.fftn(psf / psf.sum())))
