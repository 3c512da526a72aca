"""Whether an image has structure from which a PSF could be told."""

import jax
import jax.numpy as jnp
import numpy as np

from ...fourier import filter_real, frequency_grid

FINE, COARSE = 1.0, 4.0
"""Widths of the band in which structure is looked for, voxels (standard deviations)."""
LEAST_EXCESS = 6.0
"""Standard errors by which the image must vary more than photon noise."""


def highpass_gate(shape: tuple[int, ...], widths) -> jax.Array:
    """What a Gaussian of `widths` (standard deviations, voxels) leaves, half-spectrum.

    It is zero at frequency zero: no background passes.
    """
    squared = sum(
        (f * w) ** 2 for f, w in zip(frequency_grid(shape), widths, strict=True)
    )
    return jnp.asarray(1 - np.exp(-2 * np.pi**2 * squared), float)


def check_structure(name: str, image: jax.Array) -> None:
    """Refuse images that hold nothing but even light and photon noise.

    Raises:
        ValueError: they do.
    """
    excess = structure_excess(image)
    if not excess > LEAST_EXCESS:
        raise ValueError(
            f"`{name}` has no structure beyond photon noise ({excess:.2g} standard "
            f"errors, {LEAST_EXCESS:.0f} are needed): its PSF is not identifiable. An "
            f"image of something, with more light, or beads are needed."
        )


def structure_excess(image: jax.Array) -> float:
    """How much more an image of photon counts varies than noise, standard errors."""
    widths = [min(COARSE, n / 4) for n in image.shape]
    fine = [min(FINE, n / 8) for n in image.shape]
    band = highpass_gate(image.shape, widths) * (1 - highpass_gate(image.shape, fine))
    seen = filter_real(image - image.mean(), band)
    # Edges of the field are no structure: where the filter wraps around is left away.
    margins = [
        min(int(2 * w), n // 4) for w, n in zip(widths, image.shape, strict=True)
    ]
    inside = tuple(slice(m, n - m) for m, n in zip(margins, image.shape, strict=True))
    seen, whole = seen[inside], image[inside]
    kernel = jnp.fft.irfftn(band**2, s=image.shape)
    noise = float(whole.mean()) * float(kernel.ravel()[0])
    correlated = float((kernel**2).sum() / kernel.ravel()[0] ** 2)
    error = np.sqrt(2 * correlated / seen.size)
    return (float((seen**2).mean()) / max(noise, 1e-30) - 1) / error
