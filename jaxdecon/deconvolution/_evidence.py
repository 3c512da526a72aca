"""What an image and its PSF say of each other, and a simulation of the image."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..metrics import Whiteness
from ..operators import Convolution
from ..psf import crop_to_energy
from ._comparison import BackProjectorComparison, compare_back_projectors
from ._counts import to_counts
from ._defects import defects
from ._light import Light
from ._pilot import PILOT_ITERATIONS, SHARPER, iterate, pilot_object, simulate
from ._problem import Problem
from ._psf_fit import (
    endless_fault,
    finest_periods,
    noise_fault,
    residual_fault,
    sampling_faults,
    spectral_fault,
    whiteness,
)
from ._sample import brightest_part

NEGLIGIBLE = 1e-4
"""Of the PSF's energy, far out: left away for planning."""
LEAST_SNR = 2.0
"""Signal to noise in the brightest voxels below which no plan can be relied on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is found in an image and a PSF; from `examine`.

    Attributes:
        light: of the image.
        psf: with unit sum.
        defects: voxels that are no data, in words.
        kernels: the limits that its OTF sets.
        image: the whole image.
        simulated: problem with an image of `pilot`, of the shape of the part examined.
        pilot: the object of the simulation, inside the field.
        periods: finest periods of the image's detail along each axis, voxels.
        expected_periods: those of the simulation.
        endless: whether photons that were held out were predicted better to the last.
        residual: whiteness of what a fit leaves of the image.
        expected_residual: that of what the same steps leave of the simulation.
    """

    light: Light
    psf: np.ndarray
    defects: tuple[str, ...]
    kernels: BackProjectorComparison
    image: np.ndarray
    simulated: Problem
    pilot: jax.Array
    periods: tuple[float, ...]
    expected_periods: tuple[float, ...]
    endless: bool
    residual: Whiteness
    expected_residual: Whiteness

    def lines(self) -> Iterator[tuple[str, str]]:
        """Pairs of a topic and what was found."""
        light, part = self.light, self.simulated.data.shape
        whole = self.image.shape
        if part != whole:
            yield (
                "image",
                f"judged by {_times(part)} of {_times(whole)} voxels, where it is "
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
        yield from light.doubts()
        if light.snr < LEAST_SNR:
            yield (
                f"signal to noise is {light.snr:.2g} in the brightest voxels: little "
                f"can be gained"
            )
        yield from sampling_faults(
            self.psf, self.image.shape, kernels.width, kernels.cutoffs
        )
        yield from self.defects
        yield from spectral_fault(self.psf, self.periods, self.expected_periods)
        yield from endless_fault(self.endless, light.peak)
        yield from noise_fault(self.residual, self.expected_residual)
        yield from residual_fault(self.residual, self.expected_residual)

    @property
    def fits(self) -> bool:
        """Whether the residual is as white as it should be."""
        return not any(residual_fault(self.residual, self.expected_residual))


def examine(
    image: jax.Array, psf: jax.Array, light: Light, *, boundary: str, key: jax.Array
) -> Evidence:
    """Fit an image with a PSF of unit sum, simulate it, and compare the two."""
    psf = crop_to_energy(psf, 1 - NEGLIGIBLE)
    psf = psf / psf.sum()
    cut = image[brightest_part(np.asarray(image), psf.shape)]
    if cut.shape != image.shape and boundary == "periodic":
        boundary = "extend"  # the part is not periodic, if the whole is
    counts = to_counts(cut, gain=light.camera.gain, offset=light.camera.offset)
    if not counts.max() > 0:
        raise ValueError(
            f"`image` holds less than one photon in every voxel, if "
            f"{light.camera.gain} units are one; check `gain` and `offset`."
        )
    operator = Convolution.from_psf(psf, cut.shape, boundary=boundary)
    problem = Problem(
        data=counts,
        operator=operator,
        background=jnp.asarray(light.dark, counts.dtype),
    )
    split, noise, halves = jax.random.split(key, 3)
    pilot, count = pilot_object(problem, split)
    simulated = simulate(problem, pilot, noise)
    fitted = jnp.ceil(count / SHARPER).astype(int)  # where no noise is fitted yet
    return Evidence(
        light=light,
        psf=np.asarray(psf),
        defects=tuple(defects(np.asarray(cut), np.asarray(psf), light)),
        kernels=compare_back_projectors(psf, kinds=()),
        image=np.asarray(image),
        simulated=simulated,
        pilot=operator.image_region(pilot),
        periods=finest_periods(counts, halves),
        expected_periods=finest_periods(simulated.data, halves),
        endless=int(count) >= SHARPER * PILOT_ITERATIONS,
        residual=whiteness(problem, iterate(problem, fitted)),
        expected_residual=whiteness(simulated, iterate(simulated, fitted)),
    )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _join(periods: Sequence[float]) -> str:
    words = {math.inf: "none", 2.0: "2 or less"}
    return " x ".join(
        "?" if math.isnan(p) else words.get(p, f"{p:.3g}") for p in periods
    )
