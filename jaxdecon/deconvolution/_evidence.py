"""What an image and its PSF say of each other, and a simulation of the image."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..metrics import Whiteness
from ..operators import Convolution
from ._comparison import BackProjectorComparison, compare_back_projectors
from ._counts import to_counts
from ._light import Light
from ._pilot import iterate, pilot_object, simulate
from ._problem import Problem
from ._psf_fit import (
    finest_periods,
    residual_fault,
    sampling_faults,
    spectral_fault,
    whiteness,
)
from ._sample import brightest_part

LEAST_SNR = 2.0
"""Signal to noise in the brightest voxels below which no plan can be relied on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is found in an image and a PSF; from `examine`.

    Attributes:
        light: of the image.
        psf: with unit sum.
        kernels: the limits that its OTF sets.
        shape: of the image.
        simulated: problem with an image of `pilot`, of the shape of the part examined.
        pilot: the object of the simulation, inside the field.
        periods: finest periods of the image's detail along each axis, voxels.
        expected_periods: those of the simulation.
        residual: whiteness of what the pilot leaves of the image.
        expected_residual: that of what the same steps leave of the simulation.
    """

    light: Light
    psf: np.ndarray
    kernels: BackProjectorComparison
    shape: tuple[int, ...]
    simulated: Problem
    pilot: jax.Array
    periods: tuple[float, ...]
    expected_periods: tuple[float, ...]
    residual: Whiteness
    expected_residual: Whiteness

    def lines(self) -> Iterator[tuple[str, str]]:
        """Pairs of a topic and what was found."""
        light, part = self.light, self.simulated.data.shape
        if part != self.shape:
            yield (
                "image",
                f"judged by {_times(part)} of {_times(self.shape)} voxels, where it is "
                f"brightest",
            )
        yield (
            "camera",
            f"gain {light.camera.gain:.4g} units per photon, offset "
            f"{light.camera.offset:.4g} ({light.camera.reason})",
        )
        yield (
            "light",
            f"{light.peak:.3g} photons in the brightest voxels over a background of "
            f"{light.dark:.3g} ({light.background:.4g} units): SNR {light.snr:.3g}",
        )
        yield "psf", self.kernels.advice
        yield (
            "detail",
            f"finest periods of the image {_join(self.periods)} voxels, of a "
            f"simulation {_join(self.expected_periods)} (where halves of the photons "
            f"correlate by 1/7)",
        )
        yield (
            "fit",
            f"whiteness of the residual {float(self.residual.score):.1f} standard "
            f"errors, of a simulation's {float(self.expected_residual.score):.1f}; "
            f"chi-square {float(self.residual.chi_square):.3g} and "
            f"{float(self.expected_residual.chi_square):.3g}",
        )

    def warnings(self) -> Iterator[str]:
        """What may be wrong with image or PSF."""
        light, kernels = self.light, self.kernels
        if light.doubt is not None:
            yield light.doubt
        if light.snr < LEAST_SNR:
            yield (
                f"signal to noise is {light.snr:.2g} in the brightest voxels: little "
                f"can be gained"
            )
        yield from sampling_faults(self.psf, self.shape, kernels.width, kernels.cutoffs)
        yield from spectral_fault(self.psf, self.periods, self.expected_periods)
        yield from residual_fault(self.residual, self.expected_residual)


def examine(
    image: jax.Array, psf: jax.Array, light: Light, *, boundary: str, key: jax.Array
) -> Evidence:
    """Fit an image with a PSF of unit sum, simulate it, and compare the two."""
    cut = image[brightest_part(np.asarray(image), psf.shape)]
    if cut.shape != image.shape and boundary == "periodic":
        boundary = "extend"  # the part is not periodic, if the whole is
    counts = to_counts(cut, gain=light.camera.gain, offset=light.camera.offset)
    operator = Convolution.from_psf(psf, cut.shape, boundary=boundary)
    problem = Problem(
        data=counts,
        operator=operator,
        background=jnp.asarray(light.dark, counts.dtype),
    )
    split, noise, halves = jax.random.split(key, 3)
    pilot, count = pilot_object(problem, split)
    simulated = simulate(problem, pilot, noise)
    return Evidence(
        light=light,
        psf=np.asarray(psf),
        kernels=compare_back_projectors(psf, kinds=()),
        shape=image.shape,
        simulated=simulated,
        pilot=operator.image_region(pilot),
        periods=finest_periods(counts, halves),
        expected_periods=finest_periods(simulated.data, halves),
        residual=whiteness(problem, pilot),
        expected_residual=whiteness(simulated, iterate(simulated, count)),
    )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _join(periods: Sequence[float]) -> str:
    return " x ".join("2 or less" if math.isnan(p) else f"{p:.3g}" for p in periods)
