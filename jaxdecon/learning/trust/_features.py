"""Fixed local features of images: what kind of structure there is, at three scales."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp

from ...fourier import frequency_grid
from ...geometry._resample import smoothed

SCALES = (1.0, 2.0, 4.0, 8.0)
"""Standard deviations in voxels; what lies between two is a band."""
WINDOW = 6.0
"""Standard deviation, in voxels, of the neighbourhood that local features describe."""
TINY = 1e-6
"""Energy of a band, as a share of the image's, that nothing falls below."""
LEAST = 1e-3
"""Least value of other ratios in logarithms."""


def feature_names(ndim: int) -> tuple[str, ...]:
    """What the entries of a feature vector are, in words."""
    bands = ("fine", "middle", "coarse")
    names = [f"{b} {what}" for what in ("steps", "asymmetry", "peaks") for b in bands]
    names += [f"{b} direction" for b in bands]
    if ndim == 3:
        names += [f"{b} flatness" for b in bands]
    return (*names, "emptiness", "coarse energy")


@functools.partial(jax.jit, static_argnames="local")
def features(image: jax.Array, *, local: bool = False) -> jax.Array:
    """Features of an image: (count,), or (count, *spatial) of every neighbourhood.

    All are ratios, so that brightness and units do not matter. In each of three bands
    (differences of Gaussians): how the energy compares with the next band's; the
    asymmetry (third moment: bright on dark, or holes); the peaks (fourth moment: few
    and strong, or everywhere); how the structure tensor is stretched (its second
    invariant: lines in 2D, sheets in 3D, against blobs) and, in 3D, its third. Over
    all: the square of the mean over the mean square.

    Args:
        image: background subtracted.
    """
    moments = _moments(image)
    if local:
        moments = jax.vmap(lambda m: smoothed(m, WINDOW))(moments)
    else:
        moments = moments.reshape(len(moments), -1).mean(1)
    return _of_moments(moments, image.ndim)


def _moments(image: jax.Array) -> jax.Array:
    scale = jnp.sqrt(jnp.square(image).mean()) + jnp.finfo(image.dtype).tiny
    unit = image / scale
    levels = [smoothed(unit, scale) for scale in SCALES]
    maps = [unit, unit**2]
    for k in range(len(SCALES) - 1):
        band = levels[k] - levels[k + 1]
        maps += [band**2, band**3, band**4, *_tensor(levels[k], SCALES[k])]
    return jnp.stack(maps)


def _tensor(level: jax.Array, scale: float) -> list[jax.Array]:
    """Invariants of the structure tensor J: (tr J)^2, tr J^2 and, in 3D, (..)^3 too."""
    slopes: list[Any] = [
        jnp.gradient(level, axis=a) if level.shape[a] > 1 else 0 * level
        for a in range(level.ndim)
    ]
    pairs = {
        (a, b): smoothed(slopes[a] * slopes[b], 1.5 * scale)
        for a in range(level.ndim)
        for b in range(a, level.ndim)
    }

    def entry(a, b):
        return pairs[min(a, b), max(a, b)]

    axes = range(level.ndim)
    trace: Any = sum(entry(a, a) for a in axes)
    second: Any = sum(entry(a, b) ** 2 for a in axes for b in axes)
    found: list[Any] = [trace**2, second]
    if level.ndim == 3:
        third: Any = sum(
            entry(a, b) * entry(b, c) * entry(c, a)
            for a in axes
            for b in axes
            for c in axes
        )
        found += [jnp.maximum(trace, 0) ** 3, third]
    return found


def _of_moments(moments: jax.Array, ndim: int) -> jax.Array:
    level, square, *rest = moments
    square = jnp.maximum(square, 0) + TINY
    width = 5 if ndim == 2 else 7
    bands = [rest[k * width : (k + 1) * width] for k in range(len(SCALES) - 1)]
    energies = [jnp.maximum(band[0], 0) + TINY for band in bands]
    return jnp.stack(
        [
            *_steps(energies, square),
            *(_asymmetry(b, e) for b, e in zip(bands, energies, strict=True)),
            *(_peaks(b, e) for b, e in zip(bands, energies, strict=True)),
            *(_share(b[4], b[3], 1 / ndim) for b in bands),
            *(_share(b[6], b[5], 1 / ndim**2) for b in bands if ndim == 3),
            jnp.log(level**2 / square + LEAST),
            jnp.log(energies[1] / square),
        ]
    )


def _steps(energies: list[jax.Array], square: jax.Array) -> list[jax.Array]:
    """How the energies of neighbouring bands compare, and of the last with all."""
    pairs = itertools.pairwise([*energies, square])
    return [jnp.log(one / other) for one, other in pairs]


def _asymmetry(band: list[jax.Array], energy: jax.Array) -> jax.Array:
    return jnp.arcsinh(band[1] / energy**1.5)


def _peaks(band: list[jax.Array], energy: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(band[2], 0) / energy**2 + LEAST)


def _share(part: jax.Array, whole: jax.Array, least: float) -> jax.Array:
    """A share between `least` and 1 on a scale without ends."""
    share = part / jnp.maximum(whole, jnp.finfo(whole.dtype).tiny)
    unit = jnp.clip((share - least) / (1 - least), LEAST, 1 - LEAST)
    return jnp.log(unit / (1 - unit))


def spectrum(image: jax.Array, bins: int = 8) -> jax.Array:
    """Logarithms of the energy in shells of frequency, as shares of the whole.

    In 3D those along the optical axis (within 45 degrees of z) and across are apart.

    Args:
        image: background subtracted.
        bins: shells, equally wide from 0 to 0.5 cycles per voxel.
    """
    windowed = image * _window(image.shape)
    energy = abs(jnp.fft.rfftn(windowed)) ** 2
    grids = frequency_grid(image.shape)
    radius = jnp.sqrt(sum(jnp.asarray(k) ** 2 for k in grids))
    shell = jnp.clip((radius * 2 * bins).astype(int), 0, bins - 1)
    groups = 1
    if image.ndim == 3:
        across = grids[1] ** 2 + grids[2] ** 2
        shell = shell + bins * jnp.asarray(grids[0] ** 2 > across)
        groups = 2
    sums = jnp.zeros(groups * bins).at[shell.ravel()].add(energy.ravel())
    return jnp.log(sums / jnp.maximum(sums.sum(), 1e-30) + 1e-9)


def _window(shape: tuple[int, ...]) -> jax.Array:
    """A Hann window along every axis."""
    axes = [jnp.hanning(n + 2)[1:-1] for n in shape]
    return functools.reduce(jnp.multiply, jnp.ix_(*axes))
