"""What is measured of images and estimates to know them again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._features import feature_names, features, spectrum

PERCENTILES = (50.0, 99.0, 99.9)
LEAST_PHOTONS = 0.3
"""What fewer photons count as, in logarithms."""
LIGHT_NAMES = (
    "photons (median)",
    "photons (99 %)",
    "photons (brightest)",
    "background",
    "signal to noise",
)


def light_traits(images: np.ndarray, background: Any, noise: Any) -> np.ndarray:
    """Logarithms of photons, background and signal to noise: `LIGHT_NAMES`.

    Photons are variances: they do not depend on the units.

    Args:
        images: any shape.
        background: a number or an array; the mean of it counts.
        noise: with `variance(predicted)`.
    """
    level = float(np.mean([np.mean(part) for part in jax.tree.leaves(background)]))
    values = np.percentile(images, PERCENTILES)
    signal = np.maximum(values - level, 0)
    dark = _variance(noise, level)
    photons = [_photons(noise, level, s) for s in signal]
    ratio = signal[-1] / np.sqrt(_variance(noise, level + signal[-1]))
    background_photons = dark / max(_gain(noise, level, signal[-1]), 1e-12) ** 2
    return np.log(np.maximum([*photons, background_photons, ratio], LEAST_PHOTONS))


def _photons(noise: Any, level: float, signal: float) -> float:
    return signal / max(_gain(noise, level, signal), 1e-12)


def _gain(noise: Any, level: float, signal: float) -> float:
    """Units per photon: by how much the variance grows with the signal."""
    if signal <= 0:
        return 1.0
    growth = _variance(noise, level + signal) - _variance(noise, level)
    if growth <= 0:  # the same noise everywhere: as many photons as had this noise
        growth = _variance(noise, level)
    return growth / signal


def _variance(noise: Any, level: float) -> float:
    return float(noise.variance(jnp.asarray(level, jnp.float32)))


def picture_traits(image: jax.Array) -> dict[str, np.ndarray]:
    """Features and power spectrum of an image without background."""
    image = jnp.asarray(image)
    return {
        "features": np.asarray(features(image)),
        "spectrum": np.asarray(spectrum(image)),
    }


def trait_names(kind: str, ndim: int, count: int) -> tuple[str, ...]:
    """Names of the entries of a vector, in words."""
    if kind == "light":
        return LIGHT_NAMES
    if kind in ("input", "output"):
        return feature_names(ndim)
    bins = count if ndim == 2 else count // 2
    shells = tuple(
        f"{(k + 0.5) / (2 * bins):.2f} cycles per voxel" for k in range(bins)
    )
    if ndim == 2:
        return shells
    return (*(f"{s} across" for s in shells), *(f"{s} along z" for s in shells))
