"""Learn the back projector for a PSF, a noise level and a number of iterations."""

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import (
    check_choice,
    check_count,
    check_positive,
    check_psf,
    check_shape,
)
from ...deconvolution import FluxPreserving, RichardsonLucy, Scheme
from ...deconvolution import back_projector as published_back_projector
from ...operators import Convolution
from ...psf import fwhm
from ._judge import Judge, choose, soft_worst
from ._kernels import FAMILIES
from ._training_images import (
    Camera,
    Exercises,
    check_objects,
    field_of,
    given_exercises,
    simulated_exercises,
)
from ._tune import tune

FAMILIAR = ("points", "filaments", "nuclei", "clouds")
FOREIGN = (("shells", 1.0), ("points", 2.0), ("shells", 2.0))
"""Simulated objects, the latter with how much coarser they are. A free gain learns from
the first only, since one that memorised a spectrum fails on another kind or scale."""
FAMILIAR_ONLY = {"wiener-butterworth": False, "radial": True}
FINEST = 0.7
"""Width of the finest structure of simulated objects, as a share of the PSF's."""
LEAST_WIDTH = 1.5
COPIES, TESTS = 2, 4
"""Training and test images of every kind of simulated object."""
FIELDS = {2: (96, 96), 3: (24, 40, 40)}
SEARCH_STEPS = 40
MOST_ITERATIONS = 3
PUBLISHED = {"alpha": 0.05, "beta": None, "order": 10.0, "resolution": "fwhm"}
"""The settings of Guo et al. 2020."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedBackProjector:
    """A back projector for one PSF, one noise level and a number of iterations.

    Attributes:
        kernel: like the PSF, centred on n // 2, with unit sum; for `richardson_lucy`
            with `back_projector=kernel`, and these `iterations` and `restore_flux`.
        psf: for which it was made.
        iterations: for which it was made. More leave the data, fewer stop early.
        kind: "wiener-butterworth" or "radial".
        parameters: of the kernel. Wiener-Butterworth: arguments of
            `jaxdecon.back_projector`. Radial: logarithms of the gain against the
            published one, at nodes from 0 to `furthest` times the cut-off.
        photons: of the brightest voxel of the training images, above the background.
        background: of these, in photons.
        read_noise: of these, in photons.
        restore_flux: whether the amount of light was kept.
        errors: relative error `|x - t| / |t|` on objects that were not learned from, by
            kind of object: that of the published settings, and of this kernel.
        share: of the way from the published settings to the parameters learned from
            the training objects. 0: these are the published settings, for what was
            learned did worse on some kind of object.
        message: how it went, in words.
        history: of the search: about the largest change of the logarithm of the error
            against the published settings, over the training images.
    """

    kernel: jax.Array
    psf: jax.Array
    iterations: int
    kind: str
    parameters: dict[str, Any]
    photons: float
    background: float
    read_noise: float
    restore_flux: bool
    errors: dict[str, tuple[float, float]]
    share: float
    message: str
    history: jax.Array

    @property
    def about(self) -> dict[str, Any]:
        """All but the arrays, for `jaxdecon.io.write_back_projector`."""
        names = ("kind", "parameters", "photons", "background", "read_noise")
        more = ("restore_flux", "share", "message")
        about = {name: getattr(self, name) for name in (*names, *more)}
        return {**about, "errors": {k: list(pair) for k, pair in self.errors.items()}}

    def scheme(self, operator: Convolution) -> Scheme:
        """The scheme that it was learned for, on another image's operator."""
        return _scheme(self.kernel, operator, self.restore_flux)


def back_projector(
    psf: ArrayLike,
    *,
    iterations: int = 2,
    kind: Literal["wiener-butterworth", "radial"] = "wiener-butterworth",
    photons: float = 200.0,
    background: float = 5.0,
    read_noise: float = 0.0,
    objects: Sequence[ArrayLike] | None = None,
    shape: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    restore_flux: bool = False,
    steps: int = SEARCH_STEPS,
    gradient: Literal["exact", "truncated", "forward"] = "exact",
    key: jax.Array | None = None,
) -> LearnedBackProjector:
    """Learn the back projector with which K iterations come nearest to the object.

    Tunes the parameters of `jaxdecon.back_projector` on images of known objects with
    this PSF and this noise, by gradients through all K updates, for the kind of object
    that gains least. Then tries them on objects that were not learned from, some of
    other kinds. What does worse than the published settings on any kind is taken back,
    by a quarter of the way at a time: the result is never worse than these on the
    objects of the test.

    An unmatched back projector is a fast solver that is stopped early, not a better
    optimum: many matched iterations on bright data end nearer to the object.

    Args:
        psf: (z, y, x) or (y, x), centred on n // 2; divided by its sum.
        iterations: K, 1 to 3.
        kind: "wiener-butterworth": its five parameters (in 2D four): alpha, beta,
            order, resolution axially and laterally. "radial": a free gain over the
            radial frequency with the phase of conj(OTF), which can memorise the
            spectrum of what it learned from: it is only given back if it does no
            worse on any other kind of object.
        photons: of the brightest voxel of an image, above the background.
        background: photons per voxel.
        read_noise: of the camera, in photons.
        objects: two or more, of one shape, at least 8 voxels larger than the PSF; one
            in four is tested on, and simulated objects are, too. None: simulated
            points, filaments, nuclei, clouds, shells, some of them coarser; tested on
            are others of these. "radial" learns from the first four only.
        shape: of the training images; not with `objects`. None: 24 x 40 x 40, or
            96 x 96.
        spacing: relative distance of voxels along each axis, for the form of simulated
            objects; None: equal.
        restore_flux: keep the amount of light after every update, as `richardson_lucy`
            does with the same argument, which then belongs to the use of the kernel.
        steps: of the search.
        gradient: see `tune`.
        key: of `jax.random.key`, for objects and noise; None: always the same.

    Returns:
        A `LearnedBackProjector`.

    Raises:
        ValueError: unusable PSF, or one cut before its half maximum; objects that are
            too few or too small; unknown `kind`.

    Warns:
        UserWarning: what was learned did worse on some kind of object, and was taken
            back in part or altogether.

    Example:
        >>> import jax.numpy as jnp, jaxdecon as jd
        >>> psf = jd.psf.gaussian((15, 15), (4.0, 3.0))
        >>> learned = jd.learning.back_projector(
        ...     psf, iterations=2, shape=(40, 40), steps=5)
        >>> learned.kernel.shape
        (15, 15)
        >>> image = jnp.ones((40, 40)).at[20, 20].set(100.0)
        >>> sharp = jd.richardson_lucy(
        ...     image, psf, iterations=2, back_projector=learned.kernel)

    References:
        Guo et al., Nature Biotechnology 38, 1337 (2020), doi:10.1038/s41587-020-0560-x;
        learned through unrolled iterations: Monga, Li & Eldar, IEEE Signal Process.
        Mag. 38, 18 (2021), doi:10.1109/MSP.2020.3016905.
    """
    psf = check_psf("psf", psf)
    if check_count("iterations", iterations, 1) > MOST_ITERATIONS:
        raise ValueError(
            f"`iterations` is {iterations}; 1 to {MOST_ITERATIONS} are needed: an "
            f"unmatched back projector leaves the data when iterated further."
        )
    check_choice("kind", kind, tuple(FAMILIES))
    check_positive("photons", photons)
    psf = psf / psf.sum()
    published = published_back_projector(psf)  # refuses a PSF that is cut too close
    camera = _camera(photons, background, read_noise)
    operator, train, test = _exercises(
        psf,
        camera,
        objects,
        shape,
        spacing,
        FAMILIAR_ONLY[kind],
        jax.random.key(0) if key is None else key,
    )
    family = FAMILIES[kind](psf, fwhm(psf))
    scheme = functools.partial(_scheme, operator=operator, restore_flux=restore_flux)
    judge = Judge(scheme, iterations)
    reference = jnp.asarray(judge.logs(published, train), psf.dtype)
    tuned = tune(
        lambda parameters: scheme(family.kernel(parameters)),
        train.problems,
        train.truths,
        iterations=iterations,
        start=family.start,
        bounds=family.bounds,
        gradient=gradient,
        steps=steps,
        combine=lambda logs: soft_worst(logs - reference),
    )
    before = judge.by_kind(published, test)

    def tried(parameters: Any) -> dict[str, float]:
        return judge.by_kind(family.kernel(parameters), test)

    choice = choose(family, tuned.parameters, tried, before)
    if choice.worse:
        warnings.warn(choice.message, stacklevel=2)
    settled = choice.share > 0
    return LearnedBackProjector(
        kernel=family.kernel(choice.parameters) if settled else published,
        psf=psf,
        iterations=iterations,
        kind=kind if settled else "wiener-butterworth",
        parameters=family.settings(choice.parameters) if settled else dict(PUBLISHED),
        photons=float(photons),
        background=float(background),
        read_noise=float(read_noise),
        restore_flux=restore_flux,
        errors={name: (before[name], choice.errors[name]) for name in before},
        share=choice.share,
        message=choice.message,
        history=tuned.history,
    )


def _camera(photons: float, background: float, read_noise: float) -> Camera:
    for name, value in {"background": background, "read_noise": read_noise}.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"`{name}` is {value}; zero or more is needed.")
    return Camera(
        photons=float(photons),
        background=float(background),
        read_noise=float(read_noise),
    )


def _scheme(kernel: jax.Array, operator: Convolution, restore_flux: bool) -> Any:
    scheme = RichardsonLucy(back_projector=operator.back_projection(kernel))
    return FluxPreserving(scheme=scheme) if restore_flux else scheme


def _exercises(
    psf, camera, objects, shape, spacing, familiar_only, key
) -> tuple[Convolution, Exercises, Exercises]:
    """The operator, images to learn from, and images to test on."""
    keys = jax.random.split(key, 3)
    width = _finest(psf, spacing)
    if objects is None:
        field = check_shape("shape", FIELDS[psf.ndim] if shape is None else shape)
        operator = Convolution.from_psf(psf, field)
        foreign = () if familiar_only else FOREIGN
        train = _simulated(operator, camera, width, keys[0], foreign, COPIES)
        return operator, train, _tests(operator, camera, width, keys[1])
    if shape is not None:
        raise ValueError("`shape` follows from that of `objects`; leave out either.")
    own = check_objects(objects, psf.shape)
    operator = Convolution.from_psf(psf, field_of(own[0].shape, psf.shape))
    held = max(1, len(own) // 4)
    train = given_exercises(own[held:], operator, camera, keys[0])
    test = given_exercises(own[:held], operator, camera, keys[1])
    return operator, train, test.joined(_tests(operator, camera, width, keys[2]))


def _tests(operator, camera, width, key) -> Exercises:
    return _simulated(operator, camera, width, key, FOREIGN, TESTS)


def _simulated(operator, camera, width, key, foreign, copies: int) -> Exercises:
    kinds = [*((kind, 1.0) for kind in FAMILIAR), *foreign]
    named = [kind for kind in kinds for _ in range(copies)]
    return simulated_exercises(named, operator, camera, width, key)


def _finest(psf: jax.Array, spacing: Sequence[float] | None) -> tuple[float, ...]:
    """Width of the finest structure in voxels, the same in all directions."""
    ndim = psf.ndim
    steps = np.ones(ndim) if spacing is None else np.asarray(spacing, float)
    check_positive("spacing", steps)
    if steps.shape != (ndim,):
        raise ValueError(f"`spacing` is {spacing}; {ndim} numbers are needed.")
    lateral = float((np.asarray(fwhm(psf)) * steps)[-2:].mean())
    return tuple(np.maximum(FINEST * lateral / steps, LEAST_WIDTH).tolist())
