"""PSFs from images of unknown objects: crops of larger fields, never periodic ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.learning.estimation import _whittle
from jaxdecon.learning.estimation._diversity_object import make_object_scene
from jaxdecon.learning.estimation._structure import structure_excess
from jaxdecon.psf._zernike import mode_of

BACKGROUND = 4.0
OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
PLANE = functools.partial(jd.psf.widefield, (25, 25), 0.1, **OPTICS)
STACK = functools.partial(jd.psf.widefield, (9, 17, 17), (0.3, 0.1, 0.1), **OPTICS)
SHEET = functools.partial(
    jd.psf.light_sheet, (21, 13, 13), 0.15, na=0.8, wavelength=0.52, index=1.33
)
TRUTH = {5: 0.5, 6: -0.4, 8: 0.45, 11: -0.4}


def photograph(psfs, crop, photons=300.0, seed=0, density=0.02):
    """Counts of crops from the middle of one larger object of specks."""
    rng = np.random.default_rng(seed)
    margins = [n - 1 for n in psfs[0].shape]
    large = [n + m for n, m in zip(crop, margins, strict=True)]
    thing = rng.gamma(2.0, 1.0, large) * (rng.uniform(size=large) < density)
    soft = np.asarray(jd.psf.gaussian((5,) * len(crop), 2.0))
    inside = tuple(
        slice(m // 2, m // 2 + n) for m, n in zip(margins, crop, strict=True)
    )
    images = []
    for psf in psfs:
        transfers = [embedded(kernel, large) for kernel in (soft, np.asarray(psf))]
        spectrum = np.fft.fftn(thing) * transfers[0] * transfers[1]
        images.append(np.fft.ifftn(spectrum).real[inside])
    scale = photons / np.percentile(images[0], 99)
    return [
        rng.poisson(scale * np.maximum(image, 0) + BACKGROUND).astype(np.float32)
        for image in images
    ]


def embedded(kernel, shape):
    """Its transform on a periodic grid, the centre n // 2 at index 0."""
    whole = np.zeros(shape)
    whole[tuple(map(slice, kernel.shape))] = kernel
    shift = [-(n // 2) for n in kernel.shape]
    return np.fft.fftn(np.roll(whole, shift, range(len(shape))))


def with_known(aberrations, known):
    total = {mode_of(key): value for key, value in aberrations.items()}
    for key, value in known.items():
        total[mode_of(key)] = total.get(mode_of(key), 0.0) + value
    return total


def start_like(truth, *more):
    return {"aberrations": dict.fromkeys((*truth, *more), 0.0)}


def distance(estimate, truth):
    found = estimate.parameters["aberrations"]
    return np.linalg.norm([float(found[key]) - truth[key] for key in truth])


PLANE_DIVERSITY = [{}, {"defocus": 1.5}, {"defocus": -1.5}, {"astigmatism": 1.5}]


@pytest.fixture(scope="module")
def plane():
    """Four images of one plane, and their estimate."""
    psfs = [PLANE(aberrations=with_known(TRUTH, k)) for k in PLANE_DIVERSITY]
    images = photograph(psfs, (64, 60), 1000.0)
    estimate = jd.learning.phase_diversity(
        images,
        PLANE,
        start=start_like(TRUTH, 2),
        diversities=PLANE_DIVERSITY,
        background=BACKGROUND,
    )
    return images, estimate


def test_phase_diversity_finds_aberrations_of_a_crop(plane):
    _, estimate = plane
    assert distance(estimate, TRUTH) < 0.126  # 0.02 waves
    assert estimate.reliable, estimate.message
    truth = PLANE(aberrations=TRUTH)
    assert jd.metrics.ncc(estimate.psf, truth) > 0.99


def test_phase_diversity_tells_the_twin_and_no_aberration(plane):
    _, estimate = plane
    test = estimate.null_test
    assert test.passed
    assert min(test.null, test.twin) > test.score + test.threshold


def test_a_shift_of_all_views_is_not_identified(plane):
    _, estimate = plane
    errors = estimate.errors["aberrations"]
    assert np.isinf(errors[2])
    assert all(np.isfinite(errors[key]) for key in TRUTH)
    assert any("[2]" in said for said in estimate.unidentified)


def test_wrong_diversity_is_not_called_reliable(plane):
    images, _ = plane
    wrong = [PLANE_DIVERSITY[i] for i in (0, 2, 1, 3)]
    estimate = jd.learning.phase_diversity(
        images,
        PLANE,
        start=start_like(TRUTH, 2),
        diversities=wrong,
        background=BACKGROUND,
    )
    assert not estimate.reliable


def test_views_of_several_models():
    """Two stacks, the second seen from behind: its planes and rows run backwards."""

    def behind(**parameters):
        return STACK(**parameters)[::-1, ::-1]

    def tilted(aberrations):
        return STACK(aberrations=with_known(aberrations, {"astigmatism": 1.5}))

    truth = {6: 0.6, 11: -0.5}
    models = [STACK, behind, tilted]
    psfs = [model(aberrations=truth) for model in models]
    images = photograph(psfs, (20, 36, 36), 500.0, density=0.004)
    estimate = jd.learning.phase_diversity(
        images, models, start=start_like(truth), background=BACKGROUND
    )
    assert distance(estimate, truth) < 0.126
    assert estimate.reliable, estimate.message


def test_forward_and_adjoint_of_the_eliminated_object():
    rng = np.random.default_rng(0)
    counts = jnp.asarray(rng.poisson(50.0, (2, 21, 24)), jnp.float32)
    scene = make_object_scene(counts, np.ones(2), (8, 7), (1.0, 1.5))
    psfs = jnp.asarray(rng.uniform(size=(2, 8, 7)), jnp.float32)
    transfers = scene.transfers(psfs)
    x = jnp.asarray(rng.normal(size=scene.grid), jnp.float32)
    y = jnp.asarray(rng.normal(size=scene.images.shape), jnp.float32)
    seen, back = scene.forward(transfers, x), scene.adjoint(transfers, y)
    assert np.isclose((seen * y).sum(), (x * back).sum(), rtol=1e-4)
    solved = jax.jit(lambda y: scene.solve(transfers, y, 200))(scene.images)
    left = scene.weights * (scene.images - scene.forward(transfers, solved))
    pull = jd.fourier.filter_real(solved, scene.precision)
    slope = scene.adjoint(transfers, left) - pull
    assert abs(slope).max() < 1e-3 * abs(scene.adjoint(transfers, scene.images)).max()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 1}, "two to four"),
        ({"diversities": [{}, {}]}, "all alike"),
        ({"diversities": None}, "known"),
        ({"diversities": [{}]}, "one per image"),
    ],
)
def test_phase_diversity_refuses(plane, change, words):
    images = plane[0][: change.pop("images", 2)]
    arguments = {"diversities": [{}, {"defocus": 1.0}], **change}
    with pytest.raises(ValueError, match=words):
        jd.learning.phase_diversity(images, PLANE, start=start_like(TRUTH), **arguments)


def test_images_without_structure_are_refused():
    rng = np.random.default_rng(0)
    flat = rng.poisson(100.0, (40, 40)).astype(np.float32)
    start = start_like({11: 0.0})
    bounds = {"aberrations": (0.0, 1.0)}
    with pytest.raises(ValueError, match="not identifiable"):
        jd.learning.phase_diversity(
            [flat, flat], PLANE, start=start, diversities=[{}, {"defocus": 1.0}]
        )
    with pytest.raises(ValueError, match="not identifiable"):
        jd.learning.semi_blind(flat, PLANE, start=start, bounds=bounds)
    with (
        pytest.warns(jd.learning.ExperimentalWarning),
        pytest.raises(ValueError, match="not identifiable"),
    ):
        jd.learning.experimental_blind(flat, PLANE, start=start)


def test_structure_is_measured_in_standard_errors_of_noise():
    rng = np.random.default_rng(1)
    flat = [
        structure_excess(jnp.asarray(rng.poisson(30.0, (16, 40, 40)), jnp.float32))
        for _ in range(20)
    ]
    assert abs(np.mean(flat)) < 1
    assert 0.5 < np.std(flat) < 2


def test_mean_periodogram_is_that_of_crops_of_a_larger_field():
    """Against the average over simulated fields, white light behind a wide PSF."""
    rng = np.random.default_rng(2)
    psf = np.asarray(jd.psf.gaussian((15, 15), (6.0, 3.0)))
    image = jnp.asarray(rng.normal(size=(24, 22)), jnp.float32)
    blocks = _whittle.Blocks.of(image, (1.0, 1.0))
    white = len(_whittle.POWERS)  # no width: white
    means = jax.jit(_whittle._mean_periodograms)(jnp.asarray(psf), blocks)
    model = np.asarray(means[white])
    transfer = embedded(psf, (80, 80))
    total = 0
    for _ in range(400):
        field = np.fft.ifftn(np.fft.fftn(rng.normal(size=(80, 80))) * transfer).real
        crops = [field[a : a + 24, b : b + 22] for a in (10, 40) for b in (10, 40)]
        spectra = np.fft.rfft2(np.stack(crops) * np.asarray(blocks.taper))
        total = total + (abs(spectra) ** 2).sum(0)
    ratio = model / total
    strong = total > 0.01 * total.max()
    assert np.std(ratio[strong]) / np.mean(ratio[strong]) < 0.06


LIMITS = {"sheet_fwhm": (0.6, 4.0)}


def sheet_images(truth, seed=0):
    (image,) = photograph(
        [SHEET(sheet_fwhm=truth)], (40, 40, 40), 500.0, seed, density=0.002
    )
    return image


def test_semi_blind_finds_the_thickness_of_a_sheet():
    estimate = jd.learning.semi_blind(
        sheet_images(1.4), SHEET, start={"sheet_fwhm": 3.0}, bounds=LIMITS, points=9
    )
    error = float(estimate.errors["sheet_fwhm"])
    assert estimate.reliable, estimate.message
    assert abs(float(estimate.parameters["sheet_fwhm"]) - 1.4) < min(3 * error, 0.4)


@pytest.mark.parametrize(
    ("truth", "start", "limits", "words"),
    [
        (1.4, 1.4, (0.6, 4.0), "not prefer"),
        (1.0, 3.0, (2.0, 5.4), "at a bound"),
    ],
)
def test_semi_blind_says_what_it_does_not_know(truth, start, limits, words):
    estimate = jd.learning.semi_blind(
        sheet_images(truth),
        SHEET,
        start={"sheet_fwhm": start},
        bounds={"sheet_fwhm": limits},
        points=9,
    )
    assert not estimate.reliable
    assert words in estimate.message
    with pytest.raises(ValueError, match=words):
        estimate.raise_if_unreliable()


def test_one_image_does_not_tell_a_sign():
    (image,) = photograph([PLANE(aberrations={6: 1.0})], (64, 64), 1000.0)
    start = {"aberrations": {6: 0.0}}
    either = jd.learning.semi_blind(
        image, PLANE, start=start, bounds={"aberrations": (-2.0, 2.0)}, points=9
    )
    assert not either.reliable
    assert "sign" in either.message


@pytest.mark.parametrize(
    ("start", "bounds", "words"),
    [
        ({"aberrations": {5: 0.0, 6: 0.0, 7: 0.0}}, {"aberrations": (0, 1)}, "one or"),
        ({"aberrations": {6: 0.0}}, {}, "none for"),
    ],
)
def test_semi_blind_refuses(plane, start, bounds, words):
    with pytest.raises(ValueError, match=words):
        jd.learning.semi_blind(plane[0][0], PLANE, start=start, bounds=bounds)


def test_semi_blind_needs_to_know_the_voxels(plane):
    with pytest.raises(ValueError, match="voxel_size"):
        jd.learning.semi_blind(
            plane[0][0],
            lambda aberrations: PLANE(aberrations=aberrations),
            start={"aberrations": {11: 0.0}},
            bounds={"aberrations": (0.0, 1.0)},
        )


BENT = {6: 1.0, 7: 0.8}


def blind(start, steps):
    (image,) = photograph([PLANE(aberrations=BENT)], (64, 64), 1000.0)
    with pytest.warns(jd.learning.ExperimentalWarning, match="no blur"):
        return jd.learning.experimental_blind(
            image,
            PLANE,
            start={"aberrations": start},
            background=BACKGROUND,
            steps=steps,
        )


def test_collapse_to_no_blur_is_caught():
    """From half of the truth it moves away from it, towards nothing."""
    half = {key: value / 2 for key, value in BENT.items()}
    estimate = blind(half, 150)
    found = [float(value) for value in estimate.parameters["aberrations"].values()]
    assert np.linalg.norm(found) < 0.5 * np.linalg.norm(list(half.values()))
    assert not estimate.reliable
    assert not estimate.null_test.passed
    assert any("sign" in said for said in estimate.unidentified)


def test_the_null_test_prefers_the_truth():
    """What begins at the truth, and has no time to leave it, is not refused for it."""
    test = blind(BENT, 1).null_test
    assert test is not None
    assert test.twin is not None
    assert test.null - test.score > test.threshold
    assert test.twin > test.score


def test_an_effective_psf_is_no_estimate():
    truth = np.zeros((40, 40), np.float32)
    rng = np.random.default_rng(3)
    truth[tuple(rng.integers(4, 36, (2, 30)))] = 1000.0
    soft = jd.operators.Convolution.from_psf(
        jd.psf.gaussian((5, 5), 2.0), truth.shape, boundary="reflect"
    )
    truth = np.maximum(np.asarray(soft(truth)), 0)
    blur = jd.operators.Convolution.from_psf(
        PLANE(aberrations={6: 1.0}), truth.shape, boundary="reflect"
    )
    image = np.maximum(np.asarray(blur(truth)), 0)
    found = jd.learning.effective_psf(
        [image], [truth], PLANE, start={"aberrations": {6: 1.0}}, iterations=3, steps=15
    )
    assert not isinstance(found, jd.learning.PSFEstimate)
    assert found.loss < found.start_loss
    assert found.history.shape == (16,)
    assert np.isclose(found.psf.sum(), 1, rtol=1e-4)
    left = jd.richardson_lucy(image, found.psf, iterations=3)
    before = jd.richardson_lucy(image, PLANE(aberrations={6: 1.0}), iterations=3)
    errors = [np.linalg.norm(np.asarray(x) - truth) for x in (left, before)]
    assert errors[0] < errors[1]


def test_effective_psf_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one truth"):
        jd.learning.effective_psf(
            [np.ones((8, 8))], [], PLANE, start={"aberrations": {6: 0.0}}, iterations=1
        )


def test_results_are_finite(plane):
    _, estimate = plane
    leaves = jax.tree.leaves(estimate.parameters)
    assert all(np.isfinite(leaf) for leaf in leaves)
    assert np.isfinite(estimate.psf).all()
    assert estimate.covariance.shape == (len(leaves), len(leaves))
