"""Choose how to deconvolve an image, with reasons."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import check_choice, check_image
from ..operators import BOUNDARIES
from ..operators._varying import blur_by
from ..psf import PSFField
from ._driver import deconvolve
from ._evidence import Evidence, examine
from ._inputs import warn_about_psf
from ._light import Light, measure_light, with_background
from ._result import Result
from ._trials import Trial, candidates, rehearse
from ._varying import check_blur, taken_apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How to deconvolve an image, and why; from `plan`.

    Attributes:
        gain: units of the image per photon.
        offset: units at which the noise vanishes: without light, less the variance of
            the read noise over the gain.
        background: offset and stray light, in units.
        boundary: as for `richardson_lucy`.
        choice: the scheme chosen, with its number of iterations.
        trials: all that were tried, on a simulation of the data.
        reason: of the choice.
        snr: signal to noise in the brightest voxels.
        evidence: what was found in image and PSF: pairs of a topic and a sentence.
        warnings: what may be wrong with image or PSF.
    """

    gain: float
    offset: float
    background: float
    boundary: str
    choice: Trial
    trials: tuple[Trial, ...]
    reason: str
    snr: float
    evidence: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The choice in one line."""
        count = self.choice.iterations
        return f"{self.choice}, {count} iteration{'s' * (count != 1)}"

    def explain(self) -> str:
        """Evidence, trials, choice and warnings, in words."""
        lines = [f"{topic:<10} {text}" for topic, text in self.evidence]
        lines += [
            f"{'trial':<10} {trial}: error {trial.error:.3f} after {trial.iterations}"
            for trial in self.trials
        ]
        lines += [f"{'choice':<10} {self.summary}", f"{'reason':<10} {self.reason}"]
        lines += [f"{'warning':<10} {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def run(
        self,
        image: ArrayLike,
        psf: ArrayLike | PSFField,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Result:
        """Deconvolve an image as planned.

        Args:
            image: that of the plan, or one like it (another time point or block).
            psf: that of the plan; or a field, of whose mean the plan may be.
            progress: as for `deconvolve`.

        Returns:
            A `Result` whose `value` is in the image's units; its history is that of
            the image in photons.

        Raises:
            ValueError: as `richardson_lucy`.
        """
        image = check_image("image", image)
        psf = check_blur(psf, image.ndim, image.dtype)
        blur = psf if isinstance(psf, PSFField) else psf / psf.sum()
        blur = taken_apart(blur, image.shape, self.boundary)
        operator = blur_by(blur, image.shape, boundary=self.boundary)
        photons = jnp.maximum((image - self.offset) / self.gain, 0)
        result = deconvolve(
            photons.astype(image.dtype),
            operator,
            self.choice.scheme(operator, psf),
            iterations=self.choice.iterations,
            background=max(self.background - self.offset, 0) / self.gain,
            progress=progress,
        )
        return dataclasses.replace(result, value=result.value * self.gain)


def plan(
    image: ArrayLike,
    psf: ArrayLike | PSFField,
    *,
    gain: float | None = None,
    offset: float | None = None,
    background: float | None = None,
    boundary: str = "extend",
    within: float = 0.03,
    key: jax.Array | None = None,
) -> Plan:
    """Choose how to deconvolve an image, with reasons.

    1. Light: gain and offset of the camera from the growth of the noise
       (`estimate_noise`), background from the darkest parts, signal to noise.
    2. PSF: the support of its OTF; whether the voxels sample it; whether the image
       holds detail that it does not transmit (Fourier shell correlation of two halves
       of the photons); whether the residual of a fit with it is as white as that of a
       simulation (`residual_whiteness`). A PSF that is too narrow shows in none of
       these: a smoother object explains the data as well.
    3. Trials: five or six schemes deconvolve a simulation of the data, whose object is
       known (as in `Rehearsal`). Of those that come within a share of the least error,
       the one with the fewest iterations is chosen, with its best number of iterations:
       a fixed number, so that blocks, channels and time points are treated alike.

    Large volumes are judged by a part (a grid of some 2^20 voxels, PSF included), where
    they are brightest. Takes some 300 iterations on that part.

    Args:
        image: (z, y, x) or (y, x), non-negative, in the camera's units or in photons.
        psf: centred on n // 2. Of a field, the mean is looked at and rehearsed with.
        gain: units per photon; None: measured.
        offset: units without light; None: 0 if the gain is given, else measured. With
            a given gain, read noise that is seen in the dim parts lowers it by its
            variance over the gain.
        background: offset and stray light, in units; None: the level of the darkest
            parts, or less if the PSF does not fit with it.
        boundary: as for `richardson_lucy`.
        within: share of the least error that fewer iterations may cost.
        key: of `jax.random.key`, for photons; None: always the same.

    Returns:
        A `Plan`: `print(plan.explain())`, then `plan.run(image, psf)`.

    Raises:
        ValueError: unusable image or PSF, nothing above the background or less than
            one photon per voxel, numbers that contradict each other, an unknown
            boundary.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> spots = np.zeros((64, 64)); spots[16::16, 16::16] = 3000
        >>> blur = jd.operators.Convolution.from_psf(psf, (64, 64), boundary="periodic")
        >>> image = np.random.default_rng(0).poisson(np.maximum(blur(spots), 0) + 5)
        >>> plan = jd.deconvolution.plan(image, psf)
        >>> plan.choice.back_projector
        'matched'
        >>> plan.run(image, psf).value.shape
        (64, 64)

    References:
        Guo et al., Nature Biotechnology 38, 1337 (2020), doi:10.1038/s41587-020-0560-x
        (the unmatched candidates). Camera noise as photons above an offset: Snyder et
        al., J. Opt. Soc. Am. A 12, 272 (1995), doi:10.1364/JOSAA.12.000272.
    """
    image = check_image("image", image)
    blur = check_blur(psf, image.ndim, image.dtype)
    psf = jnp.asarray(blur.mean if isinstance(blur, PSFField) else blur)
    check_choice("boundary", boundary, BOUNDARIES)
    if not 0 <= within < 1:
        raise ValueError(f"`within` is {within}; a number from 0 to below 1 is needed.")
    warn_about_psf(psf)
    light = measure_light(
        np.asarray(image), gain=gain, offset=offset, background=background
    )
    if light.peak <= 0:
        raise ValueError(
            f"`image` has nothing above its background of {light.background:.6g}."
        )
    key = jax.random.key(0) if key is None else key
    look = functools.partial(
        examine, image, psf / psf.sum(), boundary=boundary, key=key
    )
    found = look(light)
    if background is None and not found.fits:
        found = _with_less_background(look, found)
        light = found.light
    trials = tuple(
        rehearse(trial, found.simulated, found.psf, found.pilot)
        for trial in candidates(found.kernels.width, found.kernels.resolution)
    )
    choice = _cheapest(trials, within)
    return Plan(
        gain=light.camera.gain,
        offset=light.camera.offset,
        background=light.background,
        boundary=boundary,
        choice=choice,
        trials=trials,
        reason=_reason(choice, trials),
        snr=light.snr,
        evidence=tuple(found.lines()),
        warnings=tuple(found.warnings()),
    )


def _with_less_background(look: Callable[[Light], Evidence], found: Evidence):
    """The evidence for the highest background with which the PSF fits, if one does.

    In images with structure everywhere the darkest parts are not dark.
    """
    light = found.light
    for share in (0.5, 0.0):
        offset = light.camera.offset
        level = offset + share * (light.background - offset)
        dimmer = with_background(found.image, light.camera, level)
        lower = look(dataclasses.replace(dimmer, lowered_from=light.background))
        if lower.fits:
            return lower
    return found


def _cheapest(trials: tuple[Trial, ...], within: float) -> Trial:
    """The trial with the fewest iterations among those that are near the best."""
    least = min(trial.error for trial in trials)
    near = [trial for trial in trials if trial.error <= (1 + within) * least]
    return min(near, key=lambda trial: (trial.iterations, trial.error))


def _reason(choice: Trial, trials: tuple[Trial, ...]) -> str:
    best = min(trials, key=lambda trial: trial.error)
    text = f"on a simulation of the image its error is least, {choice.error:.3f}"
    if best is not choice:
        text = (
            f"on a simulation of the image it comes within "
            f"{choice.error / best.error - 1:.1%} of the least error, {best.error:.3f} "
            f"({best}, {best.iterations} iterations), in fewer iterations"
        )
    return f"{text}; the number is fixed, for blocks and time points alike"
