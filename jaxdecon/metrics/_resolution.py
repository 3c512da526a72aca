"""Resolution of a single image."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.typing import ArrayLike

from .._core._check import check_choice, check_image
from ._shells import CONE, ShellCorrelation, correlate
from ._spectrum import check_sector, check_window, per_axis, shell_sums
from ._split import split_photons


def image_resolution(
    image: ArrayLike,
    *,
    split: str = "photons",
    key: jax.Array | None = None,
    voxel_size: float | Sequence[float] = 1.0,
    window: str | None = "hann",
    axis: int | None = None,
    angles: tuple[float, float] = CONE,
) -> ShellCorrelation:
    """Fourier shell correlation of one image with itself, split into two.

    - "photons": every photon goes to one of two images at random (Rieger et al. 2024).
      For counted photons only. Each half has half of the signal, as the threshold 1/7
      presumes; two exposures as bright as `image` correlate further. Noise beyond
      Poisson's (read noise, an electron multiplier, a gain set too high) goes to both
      halves, correlates up to the Nyquist frequency and feigns a fine resolution; a
      camera offset that was left in adds noise and hides some.
    - "checkerboard": neighbours on the diagonals of each plane go to two images of half
      the size, and the two pairs that there are are averaged (after Koho et al. 2019,
      with the half-voxel shift undone by its phase instead of a calibration). Needs no
      counts, but noise that is independent between neighbours. In the plane it finds
      no resolution finer than 4 voxels, and detail finer than that folds back.

    The answer is about raw data. Deconvolved, denoised, interpolated or deskewed images
    are neither counts nor independent between neighbours: their correlation measures
    the filter, not the detail. Deconvolve two halves separately instead, and pass them
    to `fourier_shell_correlation`; even then, it is consistency that is measured, and
    two images may share what is wrong.

    Args:
        image: (z, y, x) or (y, x).
        split: "photons" or "checkerboard".
        key: of `jax.random.key`, for "photons".
        voxel_size: of `image`, one number, or one per axis.
        window: as in `fourier_shell_correlation`.
        axis: as there.
        angles: as there.

    Returns:
        A `ShellCorrelation`; its `resolution()` is in units of `voxel_size`, NaN where
        the correlation does not fall below the threshold.

    Raises:
        ValueError: an image that is not 2D or 3D, has NaN, or is no photon counts for
            "photons"; no key; an unknown split, axis or window.

    Example:
        >>> import jax, numpy as np, jaxdecon as jd
        >>> rng = np.random.default_rng(0)
        >>> spots = 1e5 * rng.binomial(1, 0.02, (96, 96))
        >>> psf = jd.psf.gaussian((31, 31), (6.0, 6.0))
        >>> blur = jd.operators.Convolution.from_psf(psf, (96, 96), boundary="periodic")
        >>> image = rng.poisson(np.maximum(blur(spots), 0))
        >>> curve = image_resolution(image, key=jax.random.key(0), voxel_size=0.1)
        >>> bool(0.2 < curve.resolution() < 0.6)
        True

    References:
        Rieger et al., Optics Express 32, 21767 (2024).
        Koho et al., Nature Communications 10, 3103 (2019),
        doi:10.1038/s41467-019-11024-z.
    """
    image = check_image("image", image, least=None)
    check_window(window)
    pairs = SPLITS[check_choice("split", split, tuple(SPLITS))](image, key)
    sizes = per_axis(voxel_size, image.ndim)
    sector = check_sector(axis, angles, image.ndim)
    curves = [_curve(pair, sizes, window=window, sector=sector) for pair in pairs]
    return jax.tree.map(lambda *values: sum(values) / len(values), *curves)


class Pair(NamedTuple):
    """Two images of one object, `b` sampled `shift` of its voxels further.

    Their voxels are `coarser` times as large as those of the image that was split.
    """

    a: jax.Array
    b: jax.Array
    shift: tuple[float, ...] | None = None
    coarser: tuple[int, ...] = (1, 1, 1)


def _curve(pair: Pair, sizes: tuple[float, ...], **options: Any) -> ShellCorrelation:
    factors = pair.coarser[-len(sizes) :]
    sizes = tuple(s * f for s, f in zip(sizes, factors, strict=True))
    sums = shell_sums(pair.a, pair.b, sizes=sizes, shift=pair.shift, **options)
    return correlate(sums)


def _photons(image: jax.Array, key: jax.Array | None) -> list[Pair]:
    if key is None:
        raise ValueError('`key` is None; split="photons" needs `jax.random.key(seed)`.')
    return [Pair(*split_photons(image, key=key))]


def _checkerboard(image: jax.Array, key: jax.Array | None) -> list[Pair]:
    rows, columns = (n // 2 * 2 for n in image.shape[-2:])
    image = image[..., :rows, :columns]
    even, odd = image[..., ::2, :], image[..., 1::2, :]
    still, coarser = (0.0,) * (image.ndim - 2), (1, 2, 2)
    return [
        Pair(even[..., ::2], odd[..., 1::2], (*still, 0.5, 0.5), coarser),
        Pair(even[..., 1::2], odd[..., ::2], (*still, 0.5, -0.5), coarser),
    ]


SPLITS: dict[str, Callable[[jax.Array, jax.Array | None], list[Pair]]] = {
    "photons": _photons,
    "checkerboard": _checkerboard,
}
