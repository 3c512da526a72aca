"""From a pupil to the intensity around the focus, by quadrature.

A pupil is a function of its radius s, the sine of the ray's angle times the index (so
that s runs from 0 to the numerical aperture): amplitudes and phase. Scalar light has
one amplitude. Vectorial light has three, a0, a1, a2, whose Hankel transforms of orders
0, 1, 2 are the integrals I0, I1, I2 of Richards and Wolf; the intensity of a point that
emits all polarisations alike is |I0|^2 + 2 |I1|^2 + |I2|^2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import is_traced
from .._core._pytree import pytree, static
from ._zernike import Aberrations, Modes, parse_aberrations, wavefront

PLANES_AT_ONCE = 16
"""Planes whose pupils are held in memory together."""


@pytree
class Pupil:
    """Amplitudes and phase at radii s of any shape.

    Attributes:
        amplitudes: one (scalar) or three (vectorial) arrays of the shape of s.
        phase: radians, (z, *s.shape).
    """

    amplitudes: tuple[jax.Array, ...]
    phase: jax.Array


PupilFunction = Callable[[jax.Array], Pupil]

TRACED_STRENGTH = 10.0
"""Sum of the coefficients, radians, that is assumed where they are not known."""


@pytree
class Deviation:
    """What a pupil has beyond its ideal: Zernike polynomials of phase and amplitude.

    Attributes:
        modes: of the phase.
        phases: their coefficients, radians rms.
        amplitude_modes: of the logarithm of the amplitude.
        amplitudes: their coefficients.
    """

    modes: Modes = static()
    phases: jax.Array
    amplitude_modes: Modes = static()
    amplitudes: jax.Array

    @classmethod
    def parse(cls, aberrations: Aberrations, apodisation: Aberrations) -> "Deviation":
        """From what `widefield` takes."""
        modes, phases = parse_aberrations(aberrations)
        if apodisation is None:
            return cls(
                modes=modes, phases=phases, amplitude_modes=(), amplitudes=phases[:0]
            )
        amplitude_modes, amplitudes = parse_aberrations(apodisation, "apodisation")
        return cls(
            modes=modes,
            phases=phases,
            amplitude_modes=amplitude_modes,
            amplitudes=amplitudes,
        )

    @property
    def round(self) -> bool:
        """Whether nothing depends on azimuth."""
        return all(m == 0 for _, m in self.modes + self.amplitude_modes)

    @property
    def order(self) -> float:
        """How fast it can vary over the pupil: degree times strength."""
        numbers = (self.phases, self.amplitudes)
        strength = TRACED_STRENGTH
        if not is_traced(numbers):
            strength = sum(float(abs(np.asarray(n)).sum()) for n in numbers)
        degrees = [n for n, _ in self.modes + self.amplitude_modes]
        return max(degrees, default=0) * (1 + strength)

    def applied(self, pupil: Pupil, y: ArrayLike, x: ArrayLike) -> Pupil:
        """The pupil with it, at positions in units of its radius."""
        phase = pupil.phase + wavefront(self.modes, self.phases, y, x)
        if not self.amplitude_modes:
            return Pupil(amplitudes=pupil.amplitudes, phase=phase)
        logarithm = wavefront(self.amplitude_modes, self.amplitudes, y, x)
        # A factor on all amplitudes changes no PSF: let the largest be 1.
        gain = jnp.exp(logarithm - jax.lax.stop_gradient(logarithm.max()))
        amplitudes = tuple(gain * a for a in pupil.amplitudes)
        return Pupil(amplitudes=amplitudes, phase=phase)


def intensity(
    pupil: PupilFunction,
    shape: tuple[int, int, int],
    nodes: int,
    size: jax.Array,
    na: jax.Array,
    wavelength: jax.Array,
    deviation: Deviation,
) -> jax.Array:
    """The PSF (z, y, x) with unit sum; fewer operations if nothing depends on azimuth.

    Args:
        pupil: of the microscope.
        shape: of the result.
        nodes: of the quadrature along the pupil's radius.
        size: voxel size in y and x, µm.
        na: radius of the pupil.
        wavelength: in vacuum, µm.
        deviation: on the pupil of radius `na`.
    """
    k = 2 * np.pi * na / wavelength
    if deviation.round:
        psf = _by_rings(pupil, shape, nodes, size, na, k, deviation)
    else:
        psf = _by_chords(pupil, shape, 2 * nodes, size, na, k, deviation)
    return psf / psf.sum()


def quadrature_nodes(
    pupil: Callable[[], Pupil], shape, size, na, wavelength, deviation: Deviation
) -> int:
    """Enough Gauss-Legendre nodes along the radius for the fastest phase on the grid.

    Chords meet phases that count along one axis only, with two nodes for each of the
    radius: half as many are enough, to 1e-6 of the maximum.

    Args:
        pupil: gives the pupil at radii from 0 to its rim (called if it is known).
        shape: (z, y, x).
        size: voxel size (z, y, x), µm.
        na: radius of the pupil.
        wavelength: in vacuum, µm.
        deviation: of the pupil from its ideal.
    """
    lateral, extra = (np.hypot, 1) if deviation.round else (max, 0.25)
    phase = _phase(pupil, shape, size, na, wavelength, lateral)
    more = int(np.ceil(extra * deviation.order / 8))
    if deviation.round:
        return 32 + 16 * int(np.ceil(0.5 * phase / 16)) + 8 * more
    return 12 + 8 * int(np.ceil(0.35 * phase / 8)) + 8 * more


def _phase(pupil, shape, size, na, wavelength, lateral) -> float:
    """Largest phase from the axis to the rim of the pupil, radians."""
    half = np.asarray(shape) // 2
    if is_traced((size, na, wavelength)):  # unknown: assume three times Nyquist
        return 1.5 * np.pi * (lateral(*half[1:]) + half[0]) + 30
    with jax.ensure_compile_time_eval():
        distance = float(lateral(*(half * np.asarray(size))[1:]))
        steps = pupil().phase
        further = 30.0 if is_traced(steps) else _variation(np.asarray(steps))
        return 2 * np.pi * float(na) / float(wavelength) * distance + further


def _variation(phase: np.ndarray) -> float:
    """The largest total variation of a phase along the radius."""
    return float(abs(np.diff(phase, axis=-1)).sum(-1).max(initial=0))


def _by_rings(pupil, shape, nodes, size, na, k, deviation) -> jax.Array:
    """Hankel transforms at every distance from the axis that occurs on the grid."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    rho = ((points + 1) / 2).astype(size.dtype)
    seen = deviation.applied(pupil(na * rho), np.zeros_like(rho), rho)
    y, x, where = _radii(*shape[1:])
    radius = _safe_sqrt((y * size[0]) ** 2 + (x * size[1]) ** 2)
    orders = bessel(k * rho[:, None] * radius, len(seen.amplitudes), nodes // 2)
    psf = jnp.zeros((shape[0], radius.size), size.dtype)
    for amplitude, kernel, share in zip(
        seen.amplitudes, orders, (1, 2, 1), strict=False
    ):
        weight = amplitude * rho * jnp.asarray(weights, size.dtype)
        real = jnp.matmul(weight * jnp.cos(seen.phase), kernel, precision="highest")
        sines = weight * jnp.sin(seen.phase)
        imaginary = jnp.matmul(sines, kernel, precision="highest")
        psf = psf + share * (real**2 + imaginary**2)
    return psf[:, where]


def _by_chords(pupil, shape, nodes, size, na, k, deviation) -> jax.Array:
    """The Fourier integral over the disc, chord by chord.

    With u = sin(a) across the chords and v = cos(a) t along them, Gauss-Legendre rules
    in a and t converge as for a smooth function on a square: the rim of the pupil
    leaves no error. The transforms along y and along x are two products with matrices.
    """
    points, weights = np.polynomial.legendre.leggauss(nodes)
    angle = np.pi / 2 * points
    u = np.broadcast_to(np.sin(angle)[:, None], (nodes, nodes))
    v = np.cos(angle)[:, None] * points
    area = np.cos(angle)[:, None] ** 2 * np.outer(weights, weights)
    v, u = (a.astype(size.dtype) for a in (v, u))
    area = jnp.asarray(area, size.dtype)
    seen = deviation.applied(pupil(na * jnp.sqrt(u * u + v * v)), v, u)
    fields = area * _cartesian(seen.amplitudes, v, u)
    y, x = ((jnp.arange(n) - n // 2) * s for n, s in zip(shape[1:], size, strict=True))
    along_y = _unit(k * v[..., None] * y)
    along_x = _unit(k * u[:, 0, None] * x)

    def plane(phase):
        rays = fields * _unit(phase)
        rows = jnp.einsum("pij,ijy->piy", rays, along_y, precision="highest")
        light = jnp.einsum("piy,ix->pyx", rows, along_x, precision="highest")
        return (light.real**2 + light.imag**2).sum(0)

    batch = _batch(seen.phase.shape[0])
    return jax.lax.map(plane, seen.phase, batch_size=batch)


def _batch(planes: int) -> int:
    """Planes at once: all equal where they can be, so that one program does."""
    even = max(b for b in range(1, PLANES_AT_ONCE + 1) if planes % b == 0)
    return even if even > PLANES_AT_ONCE // 3 else PLANES_AT_ONCE


def _cartesian(amplitudes, v, u) -> jax.Array:
    """Camera fields (component, i, j) of dipoles along x, y and z.

    Polarisation x from x, y from y, either from the other (which counts twice), x and
    y from z. Their intensities sum to what the radial integrals give.
    """
    if len(amplitudes) == 1:
        return amplitudes[0][None]
    a0, a1, a2 = amplitudes
    squared = u * u + v * v
    cosine, sine = (u * u - v * v) / squared, 2 * u * v / squared
    radius = jnp.sqrt(squared)
    return jnp.stack(
        [
            (a0 - a2 * cosine) / np.sqrt(2),
            (a0 + a2 * cosine) / np.sqrt(2),
            a2 * sine,
            np.sqrt(2) * a1 * u / radius,
            np.sqrt(2) * a1 * v / radius,
        ]
    )


def _unit(phase: jax.Array) -> jax.Array:
    return jax.lax.complex(jnp.cos(phase), jnp.sin(phase))


def _radii(ny: int, nx: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (|y|, |x|) offsets from the centre, and where each voxel finds its."""
    y, x = abs(np.arange(ny) - ny // 2), abs(np.arange(nx) - nx // 2)
    pairs = np.stack(np.broadcast_arrays(y[:, None], x[None, :]), -1).reshape(-1, 2)
    distinct, where = np.unique(pairs, axis=0, return_inverse=True)
    return distinct[:, 0], distinct[:, 1], where.reshape(ny, nx)


def bessel(x: jax.Array, count: int, nodes: int) -> tuple[jax.Array, ...]:
    """J0 (count 1), or J0, J1 and J2 (count 3), by the midpoint rule over an angle.

    J0 is the mean of cos(x sin t) over a quarter turn, J1 that of sin(t) sin(x sin t),
    J2 that of cos(2 t) cos(x sin t). The rule is exact up to J_4n(x) and its like,
    nothing once 4 n exceeds x by a few dozen; unlike series it is differentiable to
    all orders.
    """
    angles = jnp.asarray((np.arange(nodes) + 0.5) * (np.pi / 2 / nodes), x.dtype)

    @jax.checkpoint
    def add(sums, angle):
        inner = x * jnp.sin(angle)
        even = jnp.cos(inner)
        terms = (even,)
        if count == 3:
            odd = jnp.sin(angle) * jnp.sin(inner)
            terms = (even, odd, jnp.cos(2 * angle) * even)
        return tuple(s + t for s, t in zip(sums, terms, strict=True)), None

    sums, _ = jax.lax.scan(add, (jnp.zeros_like(x),) * count, angles)
    return tuple(s / nodes for s in sums)


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root whose derivative at zero is zero instead of infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)
