"""Checks of estimates by physics: calibrated at the truth, and not blind."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxdecon as jd
from jaxdecon import learning
from jaxdecon.learning.trust._squares import noise_felt, squared
from jaxdecon.operators import (
    Convolution,
    Crop,
    LightSheet,
    VaryingConvolution,
    Views,
    Weight,
)

KEY = jax.random.key(0)
FIELD = (96, 96)
PSF = jd.psf.gaussian((15, 15), 4.0)
PHOTONS = learning.CameraNoise.of()


@functools.cache
def blur(boundary="extend"):
    return Convolution.from_psf(PSF, FIELD, boundary=boundary)


def seen(structure, operator, index=0, photons=300, **camera):
    """Image and truth of a simulated pair with a background of 5 photons."""
    pairs = learning.SimulatedPairs(
        structure, operator, photons=photons, background=5, key=KEY, **camera
    )
    return pairs[index]


def residual(estimate, images, operator, **how):
    how = {"background": 5.0, "noise": PHOTONS, **how}
    return learning.residual_map(estimate, images, operator=operator, **how)


def matrix(operator):
    """The operator's matrix, float64."""
    columns = jnp.eye(int(np.prod(operator.domain)))
    image = jax.vmap(lambda x: operator(x.reshape(operator.domain)))(columns)
    leaves = [np.asarray(leaf, float) for leaf in jax.tree.leaves(image)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1).T


def small(name):
    plain = Convolution.from_psf(jd.psf.gaussian((5, 5), 2.0), (9, 8))
    weight = Weight.from_values(np.linspace(0.2, 1, 8), (9, 8))
    other = Convolution.from_psf(jd.psf.gaussian((5, 5), (1.5, 3.0)), (9, 8))
    within = Weight.from_values(np.linspace(0.2, 1, plain.domain[1]), plain.domain)
    return {
        "extend": plain,
        "periodic": Convolution.from_psf(
            jd.psf.gaussian((5, 4), 2.0), (9, 8), boundary="periodic"
        ),
        "weighed": weight @ plain @ within,
        "cropped": Crop.centred((9, 8), (5, 4)) @ plain,
        "views": Views([plain, weight @ other]),
    }[name]


@pytest.mark.parametrize("name", ["extend", "periodic", "weighed", "cropped", "views"])
def test_felt_noise_is_exact_where_squares_are_known(name):
    operator = small(name)
    rng = np.random.default_rng(0)
    shapes = operator.range if isinstance(operator.range[0], tuple) else None
    weights = tuple(rng.uniform(0.2, 2, s) for s in shapes or (operator.range,))
    flat = np.concatenate([w.ravel() for w in weights])
    wanted = (matrix(operator) ** 2).T @ flat
    found = noise_felt(
        operator, jax.tree.map(jnp.float32, weights if shapes else weights[0]), KEY
    )
    unseen = wanted < 1e-4 * wanted.mean()
    assert squared(operator) is not None
    rounding = 1e-6 * wanted.max()
    assert np.asarray(found).ravel()[~unseen] == pytest.approx(
        wanted[~unseen], rel=1e-3, abs=rounding
    )


def test_squares_that_are_not_known_are_not_guessed():
    assert squared(blur("reflect")) is None
    assert squared(blur() @ Crop.centred((150, 150), blur().domain)) is not None
    chain = Convolution.from_psf(PSF, (60, 60), boundary="periodic")
    assert squared(chain @ chain) is None


def test_felt_noise_by_random_signs():
    """Against the exact one of the same matrix, under another name."""
    hidden = blur("periodic") @ blur("periodic")
    transfer = blur("periodic").transfer ** 2
    exact = dataclasses.replace(blur("periodic"), transfer=transfer)
    truth = seen("spheres", blur())[1]
    weights = 1 / (5 + blur("periodic")(truth))
    ratio = noise_felt(hidden, weights, KEY) / noise_felt(exact, weights, KEY)
    error = np.sqrt(np.asarray(ratio)) - 1
    assert np.sqrt((error**2).mean()) < 0.1
    assert abs(error.mean()) < 0.02


def operators(name):
    if name == "views":
        psfs = [jd.psf.gaussian((15, 15), w) for w in ((2.5, 5.0), (5.0, 2.5))]
        return Views([Convolution.from_psf(p, FIELD) for p in psfs])
    if name == "varying":
        psfs = jnp.stack([jd.psf.gaussian((11, 11), w) for w in (2.0, 3.0, 4.5)])
        nodes = ([0.0], [0.0, 48.0, 95.0])
        field = jd.psf.PSFField.from_grid(psfs[None], nodes)
        return VaryingConvolution.from_field(field, FIELD)
    if name == "sheet":
        psf = jd.psf.gaussian((7, 5, 5), (3.5, 2.0, 2.0))
        return LightSheet.from_psf(psf, (16, 32, 32), fwhm=4.0, rayleigh=12.0)
    return blur(name)


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("extend", "spheres"),
        ("extend", "filaments"),
        ("periodic", "spheres"),
        ("reflect", "spheres"),
        ("views", "spheres"),
        ("varying", "spheres"),
        ("sheet", "spheres"),
    ],
)
def test_calibrated_at_the_truth(name, structure):
    """Also where light comes from outside the field, which the truth does not hold."""
    operator = operators(name)
    squares, most = [], 0.0
    for index in range(2 if name == "sheet" else 4):
        images, truth = seen(structure, operator, index)
        z = residual(truth, images, operator).z
        squares.append(float(jnp.square(z).mean()))
        most = max(most, float(abs(z).max()))
    assert 0.95 < np.sqrt(np.mean(squares)) < 1.05
    # As the largest of so many normal numbers: between none that are independent
    # within the PSF, and all of them.
    count = len(squares) * np.prod(truth.shape)
    assert stats.norm.isf(5 / count * 16) < most < stats.norm.isf(1e-3 / count)


@pytest.mark.parametrize("structure", ["spheres", "filaments"])
@pytest.mark.parametrize("sign", [1, -1])
def test_small_errors_are_found_that_no_chi_square_sees(structure, sign):
    """Structure of a tenth of the contrast that is invented, or removed."""
    operator = blur()
    images, truth = seen(structure, operator, photons=150)
    spot = np.asarray(jd.psf.gaussian(FIELD, 6.0))
    place = np.unravel_index(np.argmax(jnp.where(_middle(), truth, 0)), FIELD)
    move = [p - n // 2 for p, n in zip(place, FIELD, strict=True)]
    spot = np.roll(spot, move, (0, 1)) * float(truth.max()) / spot.max()
    wrong = jnp.maximum(truth + sign * 0.1 * spot, 0)
    right, found = (residual(x, images, operator) for x in (truth, wrong))
    near = np.hypot(*(np.indices(FIELD) - np.reshape(place, (2, 1, 1)))) < 4
    assert abs(right.z).max() < 4.5
    assert (-sign * np.asarray(found.z))[near].max() > 5
    scatter = np.sqrt(2 / np.prod(FIELD))  # of the chi-square of pure noise
    assert abs(float(found.chi_square - right.chi_square)) < scatter


def _middle():
    inside = jnp.zeros(FIELD, bool)
    return inside.at[16:-16, 16:-16].set(True)


def test_units_do_not_matter():
    operator = blur()
    images, truth = seen("spheres", operator)
    camera = learning.CameraNoise.of(gain=3.0, offset=100.0)
    in_units = residual(
        3 * truth, 3 * images + 100, operator, background=115.0, noise=camera
    )
    plain = residual(truth, images, operator)
    difference = np.asarray(in_units.z - plain.z)
    assert abs(difference[20:-20, 20:-20]).max() < 0.05
    # An offset is background to the deconvolution of what lies outside.
    assert abs(difference).max() < 2


def test_noise_and_background_are_measured_where_they_are_not_given():
    operator = blur()
    images, truth = seen("spheres", operator, gain=2.0, offset=50.0, photons=500)
    z = learning.residual_map(truth, images, operator=operator).z
    assert 0.85 < jnp.sqrt(jnp.square(z).mean()) < 1.15
    given = jd.deconvolution.estimate_noise(images[0])
    same = learning.residual_map(truth, images, operator=operator, noise=given).z
    assert np.array_equal(z, same)


def test_light_from_outside_is_not_held_against_an_estimate():
    """The truth's rim would be 20 standard deviations off."""
    operator = blur()
    images, truth = seen("spheres", operator, photons=2000)
    found = residual(truth, images, operator)
    zeros = jnp.pad(truth, operator._margins)
    alone = images[0] - 5 - operator(zeros)
    assert (alone / jnp.sqrt(found.predicted)).max() > 20
    rim = np.asarray(found.z)[[0, -1]]
    assert abs(rim).max() < 4.5


def test_energy_outside_the_support():
    operator = blur()
    _, columns = np.indices(FIELD)
    inside = 1 + np.cos(2 * np.pi * columns / 16)
    beyond = 1 + np.cos(2 * np.pi * columns / 2.6)
    low, high = (
        learning.outside_support(x, operator=operator) for x in (inside, beyond)
    )
    views = learning.outside_support(beyond, operator=operators("views"))
    assert views.share < 1e-3  # one of them sees it
    # Energy of 1 + cos: 1 + 1/2, of which the wave has 1/3.
    assert low.share < 1e-3
    assert high.share == pytest.approx(1 / 3, rel=0.1)
    assert np.asarray(high.map)[20:-20, 20:-20] == pytest.approx(1 / 3, rel=0.15)


def test_energy_outside_is_mapped_where_it_is():
    x = np.ones(FIELD, np.float32)
    x[:, 48:] += np.cos(2 * np.pi * np.indices(FIELD)[1][:, 48:] / 2.6)
    found = learning.outside_support(x, operator=blur())
    assert found.map[20:-20, :30].max() < 0.02
    assert found.map[20:-20, 66:-20].min() > 0.2


def test_support_where_blur_varies_is_that_of_the_sharpest_place():
    varying = operators("varying")
    columns = np.indices(FIELD)[1]
    wave = 1 + np.cos(2 * np.pi * columns / 3.5)  # passes 2.2 wide PSFs, not 4.5 wide
    sharp, wide = (
        Convolution.from_psf(jd.psf.gaussian((15, 15), w), FIELD) for w in (2.2, 4.5)
    )
    shares = [
        float(learning.outside_support(wave, operator=op).share)
        for op in (varying, sharp, wide)
    ]
    assert max(shares[:2]) < 0.01
    assert shares[2] > 0.3


def invented(operator, images, truth):
    """The truth, and something in the band that is not there."""
    spot = np.roll(np.asarray(jd.psf.gaussian(FIELD, 5.0)), (14, -9), (0, 1))
    return truth + jnp.asarray(spot * float(truth.max()) / spot.max())


def test_repair_takes_away_what_is_invented():
    """Lines narrower than the PSF on an even body: 36, 17, 7 and 4 % are left.

    Of 50 photons on 100, after 1, 3, 10 and 30 plain updates; lines of two thirds of
    that width leave 47, 29, 18 and 12 %.
    """
    operator = blur()
    body = np.full(FIELD, 100.0, np.float32)
    light = operator(jnp.full(operator.domain, 100.0)) + 5
    images = jax.random.poisson(KEY, light).astype(jnp.float32)[None]
    lines = np.asarray(learning.filaments(jax.random.key(4), FIELD, width=3.0))
    added = 50 * lines / lines.max()
    how = {"operator": operator, "background": 5.0}

    def left(**options):
        with_it, without = (
            learning.repair(x, images, **how, **options).image
            for x in (body + added, body)
        )
        return float(((with_it - without) * added).sum() / (added**2).sum())

    plain = [left(iterations=n, accelerated=False) for n in (1, 3, 10, 30)]
    assert plain == pytest.approx([0.36, 0.17, 0.07, 0.04], abs=0.03)
    assert left(iterations=5) < 0.1
    assert left(iterations=5, doubt=0.5) < 0.6 * left(iterations=5)
    found = learning.repair(body + added, images, **how, iterations=5)
    assert jnp.linalg.norm(found.image - body) < 0.9 * np.linalg.norm(added)


def test_zeros_come_back():
    operator = blur()
    images, truth = seen("spheres", operator, photons=2000)
    hole = jnp.where(_middle(), 0.0, truth)
    found = learning.repair(
        hole, images, operator=operator, background=5.0, iterations=10
    )
    assert found.image[16:-16, 16:-16].min() > 0
    light = [float(x[16:-16, 16:-16].sum()) for x in (found.image, truth)]
    assert light[0] == pytest.approx(light[1], rel=0.2)
    bright = (truth > 0.5 * truth.max()) & _middle()
    assert np.asarray(found.change)[np.asarray(bright)].min() > 1.5


def test_repair_of_no_updates_changes_nothing_and_doubt_takes_the_image():
    operator = blur()
    images, truth = seen("spheres", operator)
    how = {"operator": operator, "background": 5.0, "iterations": 0}
    kept = learning.repair(truth, images, **how)
    # What is darker than a hundredth of the mean is raised to it, so that it can grow.
    assert abs(kept.image - truth).max() < 0.02 * float(truth.mean())
    taken = learning.repair(truth, images, doubt=1.0, **how).image
    image = np.maximum(images[0] - 5, 0)
    assert np.corrcoef(np.ravel(taken), np.ravel(image))[0, 1] > 0.999


def test_several_views():
    operator = operators("views")
    images, truth = seen("filaments", operator, photons=2000)
    wrong = invented(operator, images, truth)
    found = learning.repair(
        wrong, images, operator=operator, background=(5.0, 5.0), iterations=5
    )
    assert jnp.linalg.norm(found.image - truth) < jnp.linalg.norm(wrong - truth)
    assert abs(residual(wrong, tuple(images), operator).z).max() > 20


def test_without_a_record():
    operator = blur()
    images, truth = seen("filaments", operator, photons=2000)
    good = learning.assess(truth, images, operator=operator)
    bad = learning.assess(invented(operator, images, truth), images, operator=operator)
    none = learning.assess(truth, images)
    verdicts = [found.verdict for found in (good, bad, none)]
    assert verdicts == ["no objection", "doubtful", "unchecked"]
    assert "contradict" in bad.reasons[0]
    assert "not seen" in bad.reasons[-1]
    assert "at the rim, what light from outside" in bad.reasons[-1]
    periodic = learning.assess(truth, images, operator=blur("periodic"))
    assert "at the rim" not in periodic.reasons[-1]
    assert none.map is None
    assert np.isnan(none.score)
    assert np.min(bad.map) < 1e-6
    assert np.mean(good.map) == pytest.approx(0.5, abs=0.05)  # of noise, evenly spread


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"estimate": np.ones((8, 8))}, ValueError, "field of view"),
        ({"images": np.ones((2, 8, 8))}, ValueError, "operator` gives"),
        ({"estimate": np.full(FIELD, np.nan)}, ValueError, "NaN"),
        ({"operator": PSF}, TypeError, "linear operator"),
        ({"noise": 3.0}, TypeError, "CameraNoise"),
        ({"background": (5.0, 5.0)}, ValueError, "2 parts; 1"),
    ],
)
def test_bad_input(change, error, words):
    given = {"estimate": np.ones(FIELD), "images": np.ones(FIELD), "operator": blur()}
    given |= {"background": 0.0} | change
    estimate, images = given.pop("estimate"), given.pop("images")
    with pytest.raises(error, match=words):
        learning.residual_map(estimate, images, **given)
