"""Noise of an image, its conversion to photon counts, and the splitting of photons."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

import jaxdecon as jd
from jaxdecon.deconvolution import estimate_noise, to_counts
from jaxdecon.metrics import split_photons


def light(shape, brightest=200.0):
    """Blurred structure on a dim ground, in photons."""
    rng = np.random.default_rng(0)
    rough = scipy.ndimage.gaussian_filter(rng.random(shape), 6)
    return 10 + brightest * (rough - rough.min()) / np.ptp(rough)


VOLUME, PLANE = light((8, 200, 192)), light((520, 500))


def camera(photons, gain, offset, read_noise=0.0, seed=1):
    rng = np.random.default_rng(seed)
    return (
        offset + gain * rng.poisson(photons) + rng.normal(0, read_noise, VOLUME.shape)
    )


@pytest.mark.parametrize(
    ("gain", "offset"), [(0.3, 0), (1, 0), (1, 20), (2.2, 100), (15, 100), (15, 1000)]
)
def test_gain_and_offset_are_found(gain, offset):
    for seed in range(3):
        noise = estimate_noise(camera(VOLUME, gain, offset, seed=seed))
        np.testing.assert_allclose(noise.gain, gain, rtol=0.1)
        # In photons; over many seeds its standard error is 2.4 of them.
        assert abs(noise.offset - offset) / gain < 10


@pytest.mark.parametrize("offset", [50.0, 400.0, 1000.0])
def test_an_offset_moves_the_offset_alone(offset):
    image = camera(VOLUME, 1.0, 0.0)
    before, after = estimate_noise(image), estimate_noise(image + offset)
    np.testing.assert_allclose(after.gain, before.gain, rtol=1e-3)
    np.testing.assert_allclose(after.offset, before.offset + offset, atol=0.1)
    np.testing.assert_allclose(after.level, before.level, rtol=1e-4)


def test_a_plane_will_do():
    image = 100 + 2.2 * np.random.default_rng(0).poisson(PLANE)
    np.testing.assert_allclose(estimate_noise(image).gain, 2.2, rtol=0.1)


def test_integers_are_read_as_floats_are():
    image = np.round(camera(VOLUME, 2.0, 100.0))
    whole, real = (estimate_noise(image.astype(t)) for t in ("uint16", "float32"))
    assert (whole.gain, whole.offset) == (real.gain, real.offset)


def test_read_noise_lowers_the_offset():
    """The variance g (I - offset) + r^2 vanishes r^2 / g below the offset."""
    noise = estimate_noise(camera(VOLUME, 2.0, 100.0, read_noise=10.0))
    np.testing.assert_allclose(noise.gain, 2.0, rtol=0.1)
    assert abs(noise.offset - (100 - 50)) < 30  # its standard error is 10


def test_noise_is_told_from_structure():
    """Without noise hardly any is found; with it, its standard deviation is."""
    assert estimate_noise(VOLUME).level < 0.01 * VOLUME.std()
    noise = estimate_noise(camera(VOLUME, 2.0, 100.0))
    expected = 2.0 * np.sqrt(np.median(VOLUME))
    np.testing.assert_allclose(noise.level, expected, rtol=0.06)


def test_patches_run_from_dim_to_bright():
    image = camera(VOLUME, 2.0, 100.0)
    noise = estimate_noise(image)
    assert noise.means.shape == noise.variances.shape
    assert np.all(np.diff(noise.means) > 0)
    assert image.min() < noise.means[0] < noise.means[-1] < image.max()
    np.testing.assert_allclose(noise.variances, 2 * (noise.means - 100), rtol=0.2)


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 64, 64), 7.0),
        np.random.default_rng(0).poisson(50.0, (4, 64, 64)),
        100 + 2.0 * np.random.default_rng(0).poisson(light((9, 9))),
        100 + 2.0 * np.random.default_rng(0).poisson(light((40, 40))),
    ],
    ids=["constant", "even", "no patch", "few patches"],
)
def test_what_cannot_be_known_is_nan(image):
    noise = estimate_noise(image)
    assert np.isnan(noise.gain)
    assert np.isnan(noise.offset)


def test_the_level_needs_no_structure():
    even = np.random.default_rng(0).normal(100, 3, (4, 64, 64))
    np.testing.assert_allclose(estimate_noise(even).level, 3, rtol=0.06)
    assert np.isnan(estimate_noise(even[0, :9, :9]).level)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(value):
    image = VOLUME.copy()
    image[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"image.*index \(1, 2, 3\)"):
        estimate_noise(image)


@pytest.mark.parametrize("gain", [0.3, 1.0, 2.2, 15.0])
def test_counts_come_back(gain):
    photons = np.random.default_rng(0).poisson(VOLUME).astype(np.float32)
    counts = to_counts(100 + gain * photons, gain=gain, offset=100.0)
    assert counts.dtype == jnp.float32
    np.testing.assert_array_equal(counts, photons)


def test_counts_of_integers():
    photons = np.arange(300)
    counts = to_counts((100 + 3 * photons).astype(np.uint16), gain=3, offset=100)
    np.testing.assert_array_equal(counts, photons)


def test_counts_are_whole_and_not_negative():
    image = np.random.default_rng(0).normal(100, 10, (20, 30)).astype(np.float32)
    counts = np.asarray(to_counts(image, gain=2.0, offset=100.0))
    expected = np.maximum(np.rint((image.astype(float) - 100) / 2), 0)
    np.testing.assert_array_equal(counts, expected)
    assert (counts == 0).mean() > 0.4


def test_without_an_offset_there_is_none():
    np.testing.assert_array_equal(to_counts([[0.0, 4.0]], gain=2.0), [[0, 2]])


@pytest.mark.parametrize("gain", [0.0, -2.0, np.nan, np.inf])
def test_bad_gains_are_refused(gain):
    with pytest.raises(ValueError, match=r"`gain`.*positive"):
        to_counts(VOLUME, gain=gain)


PSF = np.asarray(jd.psf.gaussian((5, 9, 9), (2.0, 3.0, 3.0)))


def test_estimated_numbers_make_counts_that_rules_accept():
    image = np.round(camera(VOLUME, 2.2, 100.0))[:2]
    noise = estimate_noise(image)
    counts = to_counts(image, gain=noise.gain, offset=noise.offset)
    result = jd.richardson_lucy(counts, PSF, iterations=2, stop="held-out")
    assert np.isfinite(result).all()


@pytest.mark.parametrize("floor", [0, 5, 10, 20])
@pytest.mark.parametrize("brightest", [20, 200])
def test_a_camera_s_units_are_not_taken_for_counts(floor, brightest):
    photons = floor + brightest * (VOLUME - 10) / 200
    image = np.round(camera(photons, 2.2, 100.0))
    with pytest.raises(ValueError, match=r"to_counts.*gain.*offset"):
        jd.richardson_lucy(image, PSF, iterations=0, stop="held-out")


@pytest.mark.parametrize("floor", [0, 3, 20])
@pytest.mark.parametrize("brightest", [3, 20, 200, 2000])
def test_counts_are_taken_for_counts(floor, brightest):
    photons = floor + brightest * (VOLUME - 10) / 200
    for seed in range(3):
        counts = camera(photons, 1.0, 0.0, seed=seed)
        jd.richardson_lucy(counts, PSF, iterations=0, stop="held-out")


SHARES = [0.1, 0.5, 0.9]
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def poisson():
    return np.random.default_rng(0).poisson(30.0, (300, 300)).astype(np.float32)


@pytest.mark.parametrize("share", SHARES)
def test_parts_sum_to_the_image(poisson, share):
    first, second = split_photons(poisson, key=KEY, share=share)
    np.testing.assert_array_equal(first + second, poisson)
    for part in (first, second):
        assert part.dtype == jnp.float32
        assert part.min() >= 0
        np.testing.assert_array_equal(part, np.rint(part))


def within(found, expected, error):
    """Not further off than a right result is once in a million runs."""
    assert abs(found - expected) < 5 * error


@pytest.mark.parametrize("share", SHARES)
def test_parts_are_poisson_and_independent(poisson, share):
    parts = split_photons(poisson, key=KEY, share=share)
    n = poisson.size
    for part, its in zip(parts, (share, 1 - share), strict=True):
        values, mean = np.asarray(part, float), 30.0 * its
        within(values.mean(), mean, np.sqrt(mean / n))
        # The fourth moment of a Poisson variable is 3 m^2 + m.
        within(values.var(), mean, np.sqrt((2 * mean**2 + mean) / n))
    first, second = (np.asarray(p, float).ravel() for p in parts)
    within(np.corrcoef(first, second)[0, 1], 0, 1 / np.sqrt(n))


@pytest.mark.parametrize("share", SHARES)
def test_parts_of_a_known_count_are_binomial(share):
    image = np.full(50_000, 12.0)
    first = np.asarray(split_photons(image, key=KEY, share=share)[0], int)
    seen = np.bincount(first, minlength=13)
    expected = image.size * scipy.stats.binom.pmf(np.arange(13), 12, share)
    usual = expected > 5
    assert (
        scipy.stats.chisquare(
            [*seen[usual], seen[~usual].sum() + 1e-9],
            [*expected[usual], expected[~usual].sum() + 1e-9],
        ).pvalue
        > 1e-6
    )


def test_a_key_decides(poisson):
    again = [split_photons(poisson, key=KEY)[0] for _ in range(2)]
    np.testing.assert_array_equal(*again)
    other = split_photons(poisson, key=jax.random.key(4))[0]
    assert (other != again[0]).mean() > 0.5


def test_splitting_under_jit_and_vmap(poisson):
    pair = jnp.stack([poisson[:50], poisson[50:100]])
    keys = jax.random.split(KEY, 2)
    mapped = jax.jit(jax.vmap(lambda y, k: split_photons(y, key=k)[0]))(pair, keys)
    for index in range(2):
        one = split_photons(pair[index], key=keys[index])[0]
        np.testing.assert_array_equal(mapped[index], one)


def test_what_are_no_photons_is_refused(poisson):
    with pytest.raises(ValueError, match=r"not whole numbers.*offset"):
        split_photons(poisson + 0.5, key=KEY)
    with pytest.raises(ValueError, match=r"image.*negative"):
        split_photons(poisson - 100, key=KEY)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, np.nan])
def test_shares_outside_zero_and_one_are_refused(poisson, share):
    with pytest.raises(ValueError, match="share"):
        split_photons(poisson, key=KEY, share=share)
