"""Fourier shell correlation: up to which frequency two images agree."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._check import check_choice
from .._core._pytree import pytree
from ._pair import as_image_pair
from ._spectrum import ShellSums, check_sector, check_window, per_axis, shell_sums

CONE = (0.0, math.pi / 4)


@pytree
class ShellCorrelation:
    """Correlation of two images in shells of frequency (rings in 2D).

    Attributes:
        frequency: centres of the shells, in cycles per unit of `voxel_size`, (n,).
        correlation: in [-1, 1], (n,); 0 in a shell where an image has no power, NaN in
            one without voxels.
        voxels: Fourier voxels in each shell, (n,). Half of them are independent, and a
            window leaves still fewer.
    """

    frequency: jax.Array
    correlation: jax.Array
    voxels: jax.Array

    def resolution(self, threshold: float | str = 1 / 7) -> jax.Array:
        """The period, 1 / frequency, at which the correlation first falls too low.

        Args:
            threshold: 1/7 is the convention for two independent halves of the data
                (Rosenthal & Henderson 2003; Nieuwenhuizen et al. 2013). "half-bit":
                where the two images together carry half a bit per Fourier voxel, which
                asks more of shells with few voxels (van Heel & Schatz 2005). It takes
                half of the voxels as independent, and is lenient under a window, which
                leaves about a fourth (2D) or a seventh (3D) of those.

        Returns:
            In units of `voxel_size`, interpolated between shells. NaN if the
            correlation never falls below: the images agree up to the Nyquist
            frequency, and the resolution is limited by the voxels, or what they share
            is no signal. Infinity if it is below from the first shell on.
        """
        return _resolution(self.frequency, self.correlation - self._limit(threshold))

    def _limit(self, threshold: float | str) -> ArrayLike:
        if not isinstance(threshold, str):
            return threshold
        check_choice("threshold", threshold, ("half-bit",))
        noise = 1 / jnp.sqrt(jnp.maximum(self.voxels, 1))
        return (0.2071 + 1.9102 * noise) / (1.2071 + 0.9102 * noise)


@jax.jit
def _resolution(frequency: jax.Array, margin: jax.Array) -> jax.Array:
    """1 / frequency where the margin first crosses zero; NaN margins are passed by."""
    index = jnp.arange(margin.size)
    low = margin < 0
    after = jnp.argmax(low)
    before = jnp.max(jnp.where((margin >= 0) & (index < after), index, -1))
    share = margin[before] / (margin[before] - margin[after])
    start = frequency[before]
    crossing = start + share * (frequency[after] - start)
    period = jnp.where(before < 0, jnp.inf, 1 / crossing)
    return jnp.where(low.any(), period, jnp.nan)


def fourier_shell_correlation(
    a: ArrayLike,
    b: ArrayLike,
    *,
    voxel_size: float | Sequence[float] = 1.0,
    window: str | None = "hann",
    axis: int | None = None,
    angles: tuple[float, float] = CONE,
) -> ShellCorrelation:
    """Correlation of two images of one object, shell by shell in Fourier space::

        FSC(k) = Re sum A B* / sqrt( sum |A|^2  sum |B|^2 )

    with sums over frequencies of about the same length k; in 2D, the ring correlation.
    `image_resolution` gets the two images from one.

    The images must share nothing but the signal: fixed-pattern noise, a common filter's
    ringing or a common start of a deconvolution correlate as well, and a shift between
    the images lowers the correlation. Figures compare only between images of like
    content, field and window.

    Args:
        a: (z, y, x) or (y, x).
        b: of the same shape, registered to `a`.
        voxel_size: one number, or one per axis; shells are round in physical
            frequency, also where voxels are not cubes.
        window: "hann" over the field, else its borders correlate. None: no window, for
            images that are periodic or dark at their borders. Stacks of few planes
            lose much of their light to a window.
        axis: look only at frequencies at certain angles to this axis, as the
            resolution of a microscope differs between axes. None: at all.
        angles: least and greatest angle to the axis, in radians. With `axis=0` of a
            stack, (0, pi/4) is the axial resolution and (pi/4, pi/2) the lateral one.

    Returns:
        Frequencies, correlations and numbers of voxels. Shells are as thick as the
        coarsest frequency spacing of the axes looked at, and reach up to the highest
        Nyquist frequency of these. Differentiable in both images.

    Raises:
        ValueError: the shapes differ, are not 2D or 3D, or too small for one shell;
            NaN in an image; no such axis, angles or window.

    Example:
        >>> import jax
        >>> image = jax.random.uniform(jax.random.key(0), (32, 32))
        >>> curve = fourier_shell_correlation(image, image, voxel_size=0.1)
        >>> round(float(curve.frequency[-1]), 3), round(float(curve.correlation[-1]), 3)
        (5.0, 1.0)

    References:
        van Heel & Schatz, Journal of Structural Biology 151, 250 (2005),
        doi:10.1016/j.jsb.2005.05.009.
        Rosenthal & Henderson, Journal of Molecular Biology 333, 721 (2003),
        doi:10.1016/j.jmb.2003.07.013.
        Nieuwenhuizen et al., Nature Methods 10, 557 (2013), doi:10.1038/nmeth.2448.
        Koho et al., Nature Communications 10, 3103 (2019),
        doi:10.1038/s41467-019-11024-z (sections).
    """
    a, b = as_image_pair(a=a, b=b)
    sizes = per_axis(voxel_size, a.ndim)
    check_window(window)
    sector = check_sector(axis, angles, a.ndim)
    return correlate(shell_sums(a, b, sizes=sizes, window=window, sector=sector))


def correlate(sums: ShellSums) -> ShellCorrelation:
    """Normalise sums over shells to a correlation."""
    cross, voxels = sums.cross, sums.voxels
    light = (sums.power_a > 0) & (sums.power_b > 0)
    # Roots before the product: of squared spectra it would overflow float32.
    a, b = (jnp.sqrt(jnp.where(light, p, 1)) for p in (sums.power_a, sums.power_b))
    correlation = jnp.where(light, cross / a / b, 0)
    return ShellCorrelation(
        frequency=sums.frequency,
        correlation=jnp.where(voxels > 0, correlation, jnp.nan),
        voxels=voxels,
    )
