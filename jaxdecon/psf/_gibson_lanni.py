"""Widefield PSFs through layers whose refractive indices do not match."""

import functools
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import (
    check_choice,
    check_count,
    check_positive,
    check_shape,
    is_traced,
)
from .._core._pytree import pytree
from ._optics import (
    MODELS,
    as_number,
    broadcast_size,
    check_grid,
    check_light,
    still_known,
    warn_if_undersampled,
)
from ._pupil import Deviation, Pupil, intensity, quadrature_nodes
from ._widefield import LEAST_NODES
from ._zernike import Aberrations

GRAZING_FACTOR = 3
SEARCHED_PLANES = 512
"""Planes on which the brightest one is looked for before it is refined."""


@pytree
class Layers:
    """Sample, coverslip and immersion; lengths in µm, named as in the literature.

    Attributes:
        ns: index of the sample.
        ni: index of the immersion.
        ni0: index of the immersion that the lens is made for.
        ng: index of the coverslip.
        ng0: index of the coverslip that the lens is made for.
        tg: thickness of the coverslip.
        tg0: thickness of the coverslip that the lens is made for.
        ti0: thickness of the immersion at focus on the coverslip.
        depth: of the point below the coverslip.
    """

    ns: Any
    ni: Any
    ni0: Any
    ng: Any
    ng0: Any
    tg: Any
    tg0: Any
    ti0: Any
    depth: Any

    def path(self, s: jax.Array) -> jax.Array:
        """Optical path in µm at paraxial focus, less that of the axial ray."""
        ti = self.ni * (
            self.ti0 / self.ni0
            + self.tg0 / self.ng0
            - self.tg / self.ng
            - self.depth / self.ns
        )
        return (
            self.depth * _shortening(self.ns, s)
            + ti * _shortening(self.ni, s)
            - self.ti0 * _shortening(self.ni0, s)
            + self.tg * _shortening(self.ng, s)
            - self.tg0 * _shortening(self.ng0, s)
        )

    def pupil(self, s, z, wavelength, model: str) -> Pupil:
        """The pupil with the lens moved by z (µm) towards the sample."""
        stage = z.reshape(-1, *(1,) * s.ndim) * _shortening(self.ni, s)
        phase = 2 * np.pi / wavelength * (self.path(s) - stage)
        if model == "scalar":
            return Pupil(amplitudes=(jnp.ones_like(s),), phase=phase)
        (ts, tp), cosine = self._transmission(s), _cosine(self.ns, s)
        collected = 1 / jnp.sqrt(_cosine(self.ni, s))
        amplitudes = (ts + tp * cosine, tp * s / self.ns, ts - tp * cosine)
        return Pupil(amplitudes=tuple(collected * a for a in amplitudes), phase=phase)

    def _transmission(self, s) -> tuple[jax.Array, jax.Array]:
        """Fresnel coefficients (s, p), immersion to coverslip to sample.

        By reciprocity these are what light from the sample meets, too, once the
        solid angles on either side are accounted for.
        """
        ts, tp = jnp.ones_like(s), jnp.ones_like(s)
        for n, m in ((self.ni, self.ng), (self.ng, self.ns)):
            a, b = _cosine(n, s), _cosine(m, s)
            ts = ts * 2 * n * a / (n * a + m * b)
            tp = tp * 2 * n * a / (m * a + n * b)
        return ts, tp


def gibson_lanni(
    shape: Sequence[int],
    voxel_size: ArrayLike | Sequence[float],
    *,
    na: ArrayLike,
    wavelength: ArrayLike,
    depth: ArrayLike = 0.0,
    ns: ArrayLike = 1.33,
    ni: ArrayLike = 1.515,
    ni0: ArrayLike | None = None,
    ng: ArrayLike = 1.515,
    ng0: ArrayLike | None = None,
    tg: ArrayLike = 170.0,
    tg0: ArrayLike | None = None,
    ti0: ArrayLike = 150.0,
    model: str = "scalar",
    aberrations: Aberrations = None,
    apodisation: Aberrations = None,
    nodes: int | None = None,
    centre: Literal["peak", "paraxial"] = "peak",
) -> jax.Array:
    """The widefield PSF of a point in a sample that the immersion does not match.

    The pupil's phase is 2 pi / wavelength times the optical path difference between
    the layers as they are and as the lens was designed for (Gibson and Lanni 1992),
    for a point at `depth` below the coverslip; the stage moves the lens. Light that
    leaves the sample beyond its index (NA above `ns`) is totally reflected, and the
    pupil ends there. "vectorial" adds the Fresnel transmission of the layers and the
    integrals of Richards and Wolf.

    Args:
        shape: (z, y, x) of the result, or (y, x) for its brightest plane.
        voxel_size: µm, one number or one per axis; z is the travel of the stage (or
            objective), larger z is focused deeper into the sample.
        na: numerical aperture.
        wavelength: of the emitted light in vacuum, µm.
        depth: of the point below the coverslip, µm.
        ns: refractive index of the sample.
        ni: refractive index of the immersion.
        ni0: that the lens is made for; None: `ni`.
        ng: refractive index of the coverslip.
        ng0: that the lens is made for; None: `ng`.
        tg: thickness of the coverslip, µm.
        tg0: that the lens is made for; None: `tg`.
        ti0: thickness of the immersion when the coverslip is in focus, µm.
        model: "scalar" or "vectorial".
        aberrations: as for `widefield`, on the pupil that light passes.
        apodisation: of the pupil, as for `widefield`.
        nodes: as for `widefield`.
        centre: what lies on plane n // 2: "peak", the stage position at which the
            axis is brightest, or "paraxial", that at which paraxial rays focus.

    Returns:
        The PSF, centred on n // 2, with unit sum; differentiable in all numbers.

    Raises:
        ValueError: as `widefield`; an NA that the immersion or coverslip cannot hold;
            a depth below zero, or out of reach of the lens.

    Warns:
        UserWarning: the NA exceeds the sample's index.
        UndersampledWarning: voxels larger than Nyquist's.

    Example:
        >>> import jaxdecon as jd
        >>> near, deep = (
        ...     jd.psf.gibson_lanni((41, 9, 9), (0.2, 0.1, 0.1), na=1.2,
        ...                         wavelength=0.52, depth=depth)
        ...     for depth in (0.0, 10.0))
        >>> bool(jd.psf.fwhm(deep)[0] > jd.psf.fwhm(near)[0])
        True

    References:
        Gibson & Lanni, J. Opt. Soc. Am. A 9, 154 (1992), doi:10.1364/JOSAA.9.000154;
        vectorial: Haeberlé, Opt. Commun. 216, 55 (2003),
        doi:10.1016/S0030-4018(02)02282-4.
    """
    shape = check_shape("shape", shape)
    check_choice("model", model, MODELS)
    check_choice("centre", centre, ("peak", "paraxial"))
    check_grid(shape, voxel_size)
    given = {"depth": depth, "ns": ns, "ni": ni, "ng": ng, "tg": tg, "ti0": ti0}
    given |= {"ni0": ni if ni0 is None else ni0, "ng0": ng if ng0 is None else ng0}
    given |= {"tg0": tg if tg0 is None else tg0}
    _check_layers(na, wavelength, given)
    warn_if_undersampled(shape, voxel_size, na=na, wavelength=wavelength, index=ni)
    deviation = Deviation.parse(aberrations, apodisation)
    layers = Layers(**{name: as_number(v) for name, v in given.items()})
    na, wavelength = as_number(na), as_number(wavelength)
    na = still_known(jnp.minimum, na, layers.ns)
    size = broadcast_size(shape, voxel_size)
    full = (1,) * (3 - len(shape)) + shape
    if nodes is None:
        nodes = _nodes(full, size, na, wavelength, layers, deviation)
    nodes = check_count("nodes", nodes, LEAST_NODES)
    psf = _gibson_lanni(
        full, nodes, model, centre, size, na, wavelength, layers, deviation
    )
    return psf.reshape(shape)


def _check_layers(na, wavelength, given) -> None:
    for name, value in given.items():
        if name != "depth":
            check_positive(name, value)
    index = {name: given[name] for name in ("ni", "ni0", "ng", "ng0")}
    for value in index.values():
        check_light(na=na, wavelength=wavelength, index=value)
    if is_traced((na, given)):
        return
    depth, reach = (
        float(given["depth"]),
        float(given["ti0"] * given["ns"]) / given["ni"],
    )
    if not 0 <= depth < reach:
        raise ValueError(
            f"`depth` is {depth} µm; the lens reaches from 0, the coverslip, to "
            f"{reach:.4g} µm, where it would touch it (`ti0` is {given['ti0']})."
        )
    if float(na) > float(given["ns"]):
        warnings.warn(
            f"`na` {float(na):.4g} exceeds the sample's index {given['ns']}: light "
            f"beyond that angle does not leave the sample, and the pupil ends there.",
            stacklevel=3,
        )


def _nodes(shape, size, na, wavelength, layers, deviation) -> int:
    """Nodes for the pupil; more if it ends where light grazes the coverslip.

    There the cosine of the angle in the sample ends as a square root does, and Gauss-
    Legendre rules converge slowly: 2e-4 of the maximum without, 6e-6 with the factor.
    """

    def rim_to_axis() -> Pupil:
        s = na * jnp.linspace(0, 1, 257)
        z = jnp.asarray([-1, 0, 1]) * (shape[0] // 2 * size[0] + 0.2 * layers.depth)
        return layers.pupil(s, z, wavelength, "scalar")

    grazing = not is_traced((na, layers.ns)) and float(na) >= float(layers.ns)
    nodes = quadrature_nodes(rim_to_axis, shape, size, na, wavelength, deviation)
    return GRAZING_FACTOR * nodes if grazing else nodes


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _gibson_lanni(
    shape, nodes, model, centre, size, na, wavelength, layers, deviation
) -> jax.Array:
    z = (jnp.arange(shape[0]) - shape[0] // 2) * size[0]
    if centre == "peak":
        z = z + _brightest(layers, na, wavelength, nodes)

    def pupil(s):
        return layers.pupil(s, z, wavelength, model)

    return intensity(pupil, shape, nodes, size[1:], na, wavelength, deviation)


def _brightest(layers: Layers, na, wavelength, nodes: int) -> jax.Array:
    """The stage position, µm, at which the axis is brightest.

    Looked for on a grid over the places where rays of any angle cross the axis, then
    refined by Newton's method, whose last step carries the derivative.
    """
    points, weights = np.polynomial.legendre.leggauss(nodes)
    s = na * jnp.asarray((points + 1) / 2, na.dtype)
    weight = s * jnp.asarray(weights, na.dtype)

    def light(z):
        phase = layers.pupil(s, z[None], wavelength, "scalar").phase[0]
        return (weight @ jnp.cos(phase)) ** 2 + (weight @ jnp.sin(phase)) ** 2

    bend = jax.vmap(jax.grad(layers.path))(s)
    crossing = bend / jax.vmap(jax.grad(lambda r: _shortening(layers.ni, r)))(s)
    margin = 2 * wavelength / na**2
    low, high = crossing.min() - margin, crossing.max() + margin
    grid = jnp.linspace(low, high, SEARCHED_PLANES)
    z = jax.lax.stop_gradient(grid[jnp.argmax(jax.vmap(light)(grid))])
    slope = jax.grad(light)
    for _ in range(3):
        z = jax.lax.stop_gradient(z)
        z = z - slope(z) / jax.lax.stop_gradient(jax.grad(slope)(z))
    return z


def _shortening(n, s) -> jax.Array:
    """sqrt(n^2 - s^2) - n without the difference of two large numbers."""
    return -(s**2) / (n + jnp.sqrt(jnp.maximum(n**2 - s**2, 0)))


def _cosine(n, s) -> jax.Array:
    return jnp.sqrt(jnp.maximum(1 - (s / n) ** 2, 0))
