"""Quality measures: fidelity, resolution, beads, residuals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage as ndi

import jaxdecon as jd
from jaxdecon import metrics

from ._x64 import x64


def pair(shape, seed=0):
    """A smooth reference and a noisy copy."""
    rng = np.random.default_rng(seed)
    truth = 100 * ndi.gaussian_filter(rng.random(shape), 1.0)
    return (truth + rng.normal(0, 3, shape)).astype("f"), truth.astype("f")


# PSNR


def test_psnr_is_the_formula():
    image, truth = pair((30, 31))
    mse = np.mean((image - truth) ** 2, dtype=float)
    expected = 10 * np.log10(np.ptp(truth) ** 2 / mse)
    np.testing.assert_allclose(metrics.psnr(image, truth), expected, rtol=1e-5)
    expected = 10 * np.log10(255**2 / mse)
    found = jax.jit(metrics.psnr)(image, truth, peak=255)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_psnr_keeps_no_scale_and_knows_perfection():
    image, truth = pair((30, 31))
    assert metrics.psnr(truth, truth) == np.inf
    assert metrics.psnr(2 * image, truth) < metrics.psnr(image, truth)
    slope = jax.jit(jax.grad(metrics.psnr))(image, truth)
    assert np.isfinite(slope).all()
    with pytest.raises(ValueError, match="must agree"):
        metrics.psnr(image, truth[1:])
    with pytest.raises(ValueError, match="peak"):
        metrics.psnr(image, truth, peak=0)


# SSIM


def ssim_by_scipy(a, b, sigma, span, k1=0.01, k2=0.03):
    def smooth(x):
        return ndi.gaussian_filter(x, sigma, truncate=3.5)

    a, b = np.asarray(a, float), np.asarray(b, float)
    m_a, m_b = smooth(a), smooth(b)
    v_a, v_b = smooth(a * a) - m_a**2, smooth(b * b) - m_b**2
    c, c1, c2 = smooth(a * b) - m_a * m_b, (k1 * span) ** 2, (k2 * span) ** 2
    values = (2 * m_a * m_b + c1) * (2 * c + c2)
    values /= (m_a**2 + m_b**2 + c1) * (v_a + v_b + c2)
    edge = int(3.5 * sigma + 0.5)
    return values[(slice(edge, -edge),) * a.ndim].mean()


@pytest.mark.parametrize(("shape", "sigma"), [((33, 40), 1.5), ((17, 20, 23), 1.0)])
def test_ssim_agrees_with_scipy(shape, sigma):
    a, b = pair(shape)
    expected = ssim_by_scipy(a, b, sigma, np.ptp(b))
    np.testing.assert_allclose(metrics.ssim(a, b, sigma=sigma), expected, rtol=1e-4)
    jitted = jax.jit(functools.partial(metrics.ssim, sigma=sigma, data_range=70))
    expected = ssim_by_scipy(a, b, sigma, 70)
    np.testing.assert_allclose(jitted(a, b), expected, rtol=1e-4)


def test_ssim_survives_an_offset_in_float32():
    a, b = (x + 1e4 for x in pair((40, 40)))
    expected = ssim_by_scipy(a, b, 1.5, 5.0)
    found = metrics.ssim(a, b, data_range=5.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_ssim_invariances():
    a, b = pair((40, 41))
    found = metrics.ssim(a, b)
    np.testing.assert_allclose(metrics.ssim(b, b), 1, rtol=1e-6)
    np.testing.assert_allclose(metrics.ssim(7 * a, 7 * b), found, rtol=1e-4)
    swapped = metrics.ssim(a.T, b.T)
    np.testing.assert_allclose(swapped, found, rtol=1e-4)
    ab, ba = (metrics.ssim(*p, data_range=50.0) for p in ((a, b), (b, a)))
    np.testing.assert_allclose(ab, ba, rtol=1e-4)
    assert metrics.ssim((a + b) / 2, b) > found


def test_ssim_gradient():
    with x64():
        a, b = (jnp.asarray(x, jnp.float64) for x in pair((24, 22)))
        direction = jnp.asarray(np.random.default_rng(1).normal(size=a.shape))
        slope = jnp.vdot(jax.grad(metrics.ssim)(a, b), direction)
        h = 1e-4
        ends = (metrics.ssim(a + s * h * direction, b) for s in (1, -1))
        np.testing.assert_allclose(slope, np.subtract(*ends) / (2 * h), rtol=1e-5)


def test_ssim_refuses_what_it_cannot_do():
    a, b = pair((40, 40))
    for arguments, word in (
        ((a[:5], b[:5]), "window"),
        ((a, b[1:]), "agree"),
        ((a[0], b[0]), "shape"),
    ):
        with pytest.raises(ValueError, match=word):
            metrics.ssim(*arguments)
    with pytest.raises(ValueError, match="sigma"):
        metrics.ssim(a, b, sigma=0)


# Fourier shell correlation


def correlation_by_loop(a, b, voxel_size, step, count, window=True, axis=None):
    """Voxel by voxel over the full spectrum; the cone about `axis` is of 45 degrees."""
    spectra = []
    for image in (a, b):
        image = np.asarray(image, float)
        image = image - image.mean()
        for ax, n in enumerate(image.shape if window else ()):
            line = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
            shape = [-1 if i == ax else 1 for i in range(image.ndim)]
            image = image * line.reshape(shape)
        spectra.append(np.fft.fftn(image))
    frequencies = [
        np.fft.fftfreq(n, d) for n, d in zip(a.shape, voxel_size, strict=True)
    ]
    sums = np.zeros((4, count + 1))
    for index in np.ndindex(a.shape):
        k = np.array([f[i] for f, i in zip(frequencies, index, strict=True)])
        shell = int(np.rint(np.sqrt((k**2).sum()) / step))
        if axis is not None:
            across = np.sqrt((k**2).sum() - k[axis] ** 2)
            if across > abs(k[axis]) * (1 + 1e-6):
                continue
        if 1 <= shell <= count:
            p, q = (s[index] for s in spectra)
            terms = ((p * q.conj()).real, abs(p) ** 2, abs(q) ** 2, 1)
            sums[:, shell] += terms
    cross, power_a, power_b, voxels = sums[:, 1:]
    return cross / np.sqrt(power_a * power_b), voxels


@pytest.mark.parametrize(
    ("shape", "voxel_size", "axis"),
    [
        ((24, 21), (1.0, 1.0), None),
        ((24, 21), (0.3, 0.11), 1),
        ((10, 12, 13), (0.31, 0.1, 0.11), None),
        ((11, 12, 12), (0.31, 0.1, 0.1), 0),
    ],
)
def test_shells_agree_with_a_loop(shape, voxel_size, axis):
    a, b = pair(shape)
    window = "hann" if axis is None else None
    curve = metrics.fourier_shell_correlation(
        a, b, voxel_size=voxel_size, window=window, axis=axis
    )
    axes = range(len(shape)) if axis is None else [axis]
    step = max(1 / (shape[i] * voxel_size[i]) for i in axes)
    highest = max(1 / (2 * voxel_size[i]) for i in axes)
    count = len(curve.frequency)
    np.testing.assert_allclose(curve.frequency, step * np.arange(1, count + 1), 1e-5)
    assert highest - step < curve.frequency[-1] <= highest * 1.00001
    expected, voxels = correlation_by_loop(
        a, b, voxel_size, step, count, window is not None, axis
    )
    np.testing.assert_array_equal(curve.voxels, voxels)
    np.testing.assert_allclose(curve.correlation, expected, atol=1e-4)


def test_equal_images_correlate_and_noise_does_not():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 40, 40)).astype("f")
    same = metrics.fourier_shell_correlation(a, 3 * a + 5)
    np.testing.assert_allclose(same.correlation, 1, atol=1e-5)
    assert np.isnan(same.resolution())
    noise = metrics.fourier_shell_correlation(a, b, window=None)
    spread = noise.correlation * np.sqrt(noise.voxels)
    assert abs(spread).max() < 4
    assert 0.5 < spread.std() < 1.6
    opposite = metrics.fourier_shell_correlation(a, -a)
    assert opposite.resolution() == np.inf


def band_limited(shape, voxel_size, cut, rng):
    """Noise without frequencies whose length, scaled by 1 / cut, is over 1."""
    grids = np.meshgrid(
        *(np.fft.fftfreq(n, d) for n, d in zip(shape, voxel_size, strict=True)),
        indexing="ij",
    )
    inside = sum((k / c) ** 2 for k, c in zip(grids, cut, strict=True)) < 1
    signal = np.fft.ifftn(np.fft.fftn(rng.normal(size=shape)) * inside).real
    return signal / signal.std()


def test_the_cut_off_is_found_in_physical_units():
    rng = np.random.default_rng(0)
    shape, size = (32, 64, 60), (0.3, 0.1, 0.12)
    signal = band_limited(shape, size, (2.0,) * 3, rng)
    a, b = signal + rng.normal(0, 2, (2, *shape))
    measure = functools.partial(metrics.fourier_shell_correlation, a, b, window=None)
    found = measure(voxel_size=size).resolution()
    np.testing.assert_allclose(found, 1 / 2.0, rtol=0.08)  # one shell
    nanometres = measure(voxel_size=tuple(1000 * s for s in size))
    np.testing.assert_allclose(nanometres.resolution(), 1000 * found, rtol=1e-3)


def test_cones_tell_axial_from_lateral_resolution():
    rng = np.random.default_rng(0)
    shape, size = (40, 64, 64), (0.2, 0.1, 0.1)
    signal = band_limited(shape, size, (1.0, 3.0, 3.0), rng)
    a, b = signal + rng.normal(0, 0.2, (2, *shape))
    measure = functools.partial(
        metrics.fourier_shell_correlation, a, b, voxel_size=size, axis=0
    )
    axial = measure(angles=(0, math.radians(20))).resolution()
    lateral = measure(angles=(math.radians(70), math.pi / 2)).resolution()
    np.testing.assert_allclose([axial, lateral], [1.0, 1 / 3], rtol=0.15)
    assert measure().resolution() > 1.3 * lateral


def curve_of(correlation, voxels=None):
    correlation = jnp.asarray(correlation)
    frequency = jnp.arange(1.0, 1 + correlation.size)
    voxels = jnp.full(correlation.size, 1e8) if voxels is None else jnp.asarray(voxels)
    return metrics.ShellCorrelation(
        frequency=frequency, correlation=correlation, voxels=voxels
    )


def test_the_first_crossing_is_interpolated():
    curve = curve_of([0.9, 0.5, 0.1, 0.8, 0.0])
    np.testing.assert_allclose(curve.resolution(0.3), 1 / 2.5, rtol=1e-5)
    gap = curve_of([0.9, 0.5, jnp.nan, 0.1])
    np.testing.assert_allclose(gap.resolution(0.3), 1 / 3, rtol=1e-5)
    assert np.isnan(curve_of([0.9, 0.8]).resolution())
    assert curve_of([0.1, 0.8]).resolution() == np.inf
    jitted = jax.jit(lambda c: c.resolution(0.3))(curve)
    np.testing.assert_allclose(jitted, 1 / 2.5, rtol=1e-5)


def test_half_bit_asks_more_of_few_voxels():
    correlation = [0.9, 0.6, 0.4, 0.2, 0.1]
    many, few = curve_of(correlation), curve_of(correlation, [20.0] * 5)
    # 0.2071 / 1.2071 for endless voxels, between the last two shells
    expected = 1 / (4 + (0.2 - 0.2071 / 1.2071) / 0.1)
    np.testing.assert_allclose(many.resolution("half-bit"), expected, rtol=1e-3)
    assert few.resolution("half-bit") > 1.5 * expected
    with pytest.raises(ValueError, match="half-bit"):
        many.resolution("one-bit")


def test_shells_are_differentiable_even_without_light():
    a, b = pair((16, 16))

    def first(a):
        return metrics.fourier_shell_correlation(a, b).correlation.sum()

    assert np.isfinite(jax.jit(jax.grad(first))(a)).all()
    dark = metrics.fourier_shell_correlation(np.zeros_like(b), b)
    np.testing.assert_array_equal(dark.correlation, 0)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_shells_do_not_depend_on_the_scale(scale):
    a, b = pair((32, 32))
    one = metrics.fourier_shell_correlation(a, b).correlation
    other = metrics.fourier_shell_correlation(scale * a, scale * b).correlation
    np.testing.assert_allclose(other, one, atol=1e-4)


def test_shells_refuse_what_makes_no_sense():
    a, b = pair((16, 16))
    for options, word in (
        ({"axis": 2}, "axis"),
        ({"axis": 0, "angles": (1.0, 0.5)}, "angles"),
        ({"axis": 0, "angles": (0, 45)}, "radians"),
        ({"window": "round"}, "hann"),
        ({"voxel_size": (1, 1, 1)}, "voxel_size"),
        ({"voxel_size": 0}, "voxel_size"),
    ):
        with pytest.raises(ValueError, match=word):
            metrics.fourier_shell_correlation(a, b, **options)
    with pytest.raises(ValueError, match="too small"):
        metrics.fourier_shell_correlation(a[:1, :1], b[:1, :1])


# One image


@functools.cache
def blurred(width, size=192):
    """Fine texture seen through a Gaussian PSF, of mean 1."""
    rng = np.random.default_rng(5)
    texture = rng.random((size, size)) ** 8
    image = ndi.gaussian_filter(texture, width / 2.3548, mode="wrap")
    return image / image.mean()


def resolve(image, **options):
    options = {"key": jax.random.key(0), **options}
    return float(metrics.image_resolution(image, **options).resolution())


@pytest.mark.parametrize("split", ["photons", "checkerboard"])
def test_resolution_follows_blur_and_light(split):
    rng = np.random.default_rng(0)
    found = {
        (width, light): resolve(rng.poisson(light * blurred(width)), split=split)
        for width, light in [(5, 300), (8, 300), (8, 10), (8, 3000)]
    }
    assert found[5, 300] < 0.85 * found[8, 300]
    assert found[8, 3000] < 0.95 * found[8, 300] < 0.9 * found[8, 10]


def test_split_photons_agree_with_two_images_of_half_the_light():
    rng = np.random.default_rng(0)
    truth = 100 * blurred(6)
    one = [resolve(rng.poisson(truth), voxel_size=0.1) for _ in range(3)]
    two = [
        float(
            metrics.fourier_shell_correlation(
                *rng.poisson(truth / 2, (2, *truth.shape)), voxel_size=0.1
            ).resolution()
        )
        for _ in range(3)
    ]
    np.testing.assert_allclose(np.mean(one), np.mean(two), rtol=0.05)


def test_the_shift_between_fields_of_a_checkerboard_is_undone():
    """Where nothing folds back, a noise-free image correlates with itself."""
    rng = np.random.default_rng(0)
    image = band_limited((64, 66), (1, 1), (0.15, 0.15), rng)
    curve = metrics.image_resolution(image, split="checkerboard", window=None)
    inside = curve.frequency < 0.14
    np.testing.assert_allclose(curve.correlation[inside], 1, atol=1e-3)
    assert curve.frequency[-1] <= 0.25


def test_a_checkerboard_of_a_stack_splits_its_planes():
    rng = np.random.default_rng(0)
    shape, size = (20, 64, 65), (0.3, 0.1, 0.1)
    signal = band_limited(shape, size, (1.5,) * 3, rng)
    noisy = signal + rng.normal(0, 0.5, shape)
    found = resolve(noisy, split="checkerboard", voxel_size=size, window=None)
    np.testing.assert_allclose(found, 1 / 1.5, rtol=0.12)


def test_one_image_is_checked():
    counts = np.random.default_rng(0).poisson(5, (16, 16))
    with pytest.raises(ValueError, match=r"jax\.random\.key"):
        metrics.image_resolution(counts)
    with pytest.raises(ValueError, match="whole"):
        metrics.image_resolution(counts + 0.5, key=jax.random.key(0))
    with pytest.raises(ValueError, match="split"):
        metrics.image_resolution(counts, split="halves")


# Beads


def beads(shape, fwhm, places, heights, background=20.0):
    grids = np.indices(shape, float)
    image = np.full(shape, background)
    for place, height in zip(places, heights, strict=True):
        terms = zip(grids, place, fwhm, strict=True)
        exponent = sum(((g - p) / w) ** 2 for g, p, w in terms)
        image += height * np.exp(-4 * np.log(2) * exponent)
    return image


FWHM = (5.0, 8.0, 6.5)
PLACES = [(20.0, 20.3, 22.0), (18.4, 60.0, 30.5), (21.0, 40.6, 70.2)]


def test_widths_of_gaussian_beads():
    image = beads((40, 84, 90), FWHM, PLACES, (900, 800, 600))
    found = metrics.bead_widths(image)
    np.testing.assert_allclose(found.positions, PLACES, atol=0.05)
    np.testing.assert_allclose(found.widths, [FWHM] * 3, rtol=0.02)
    scaled = metrics.bead_widths(image, voxel_size=(0.2, 0.1, 0.1), count=2)
    expected = found.widths[:2] * (0.2, 0.1, 0.1)
    np.testing.assert_allclose(scaled.widths, expected, rtol=1e-6)


def test_widths_under_noise():
    widths = []
    for seed in range(5):
        image = beads((40, 84, 90), FWHM, PLACES, (900, 800, 600))
        noisy = np.random.default_rng(seed).poisson(image).astype("uint16")
        found = metrics.bead_widths(noisy, size=(21, 33, 27))
        assert found.positions.shape == (3, 3)
        np.testing.assert_allclose(found.widths, [FWHM] * 3, rtol=0.25)
        widths.append(found.widths)
    mean = np.concatenate(widths).mean(axis=0)
    np.testing.assert_allclose(mean, FWHM, rtol=0.03)


def test_beads_in_a_plane_and_of_even_tops():
    image = beads((60, 70), (4, 5), [(20, 20.5), (40.5, 50.5)], (100, 50))
    found = metrics.bead_widths(image)
    np.testing.assert_allclose(found.widths, [(4, 5)] * 2, rtol=0.05)
    assert len(metrics.bead_widths(image, threshold=0.6).widths) == 1


def test_cut_and_crowded_beads_are_not_measured():
    places = [(30, 30), (30, 41), (60, 60), (0, 60), (60, 2)]
    image = beads((80, 90), (6, 6), places, (100, 90, 80, 70, 60), 5.0)
    found = metrics.bead_widths(image, size=25)
    np.testing.assert_allclose(found.positions[:3], places[:3], atol=0.6)
    assert np.isnan(found.widths[[0, 1, 3]]).all()
    np.testing.assert_allclose(found.widths[2], (6, 6), rtol=0.03)
    np.testing.assert_allclose(found.widths[4], (6, np.nan), rtol=0.1)


def test_beads_agree_with_the_width_of_a_psf():
    psf = beads((31, 33, 35), (7, 5, 6), [(15, 16, 17)], [1.0], 0.0)
    found = metrics.bead_widths(psf).widths[0]
    np.testing.assert_allclose(found, jd.psf.fwhm(psf), rtol=0.01)


def test_beads_are_checked():
    image = beads((30, 30), (4, 4), [(15, 15)], [100])
    for options, word in (
        ({"size": 2}, "size"),
        ({"size": (9, 9, 9)}, "size"),
        ({"threshold": 0}, "threshold"),
        ({"count": 0}, "count"),
    ):
        with pytest.raises(ValueError, match=word):
            metrics.bead_widths(image, **options)
    with pytest.raises(ValueError, match="everywhere"):
        metrics.bead_widths(np.ones((9, 9)))


# Residuals


@pytest.mark.parametrize("shape", [(48, 50), (12, 16, 17)])
def test_the_score_of_noise_is_standard_normal(shape):
    rng = np.random.default_rng(0)
    truth = 3 + 60 * ndi.gaussian_filter(rng.random(shape), 2)
    test = jax.jit(functools.partial(metrics.residual_whiteness, gain=2.0))
    scores, squares = [], []
    for _ in range(150):
        data = 2.0 * rng.poisson(truth / 2.0)
        found = test(data, truth)
        scores.append(float(found.score))
        squares.append(float(found.chi_square))
    assert abs(np.mean(scores)) < 0.3
    assert 0.8 < np.std(scores) < 1.2
    np.testing.assert_allclose(np.mean(squares), 1, atol=0.02)


def test_structure_that_was_left_is_seen():
    rng = np.random.default_rng(0)
    truth = ndi.gaussian_filter(200 * rng.random((64, 64)) ** 4, 1.2)
    data = rng.poisson(truth)
    right = metrics.residual_whiteness(data, truth)
    blurred = metrics.residual_whiteness(data, ndi.gaussian_filter(truth, 1.5))
    assert abs(right.score) < 3
    assert blurred.score > 10
    assert blurred.chi_square > right.chi_square
    assert (blurred.correlation > 0.05).all()
    assert (abs(right.correlation) < 0.05).all()


def test_fitted_noise_is_seen():
    rng = np.random.default_rng(0)
    truth = np.full((64, 64), 50.0)
    data = rng.poisson(truth)
    fitted = metrics.residual_whiteness(data, ndi.gaussian_filter(data * 1.0, 0.8))
    assert fitted.score < -5
    assert fitted.chi_square < 0.9


def test_read_noise_counts():
    rng = np.random.default_rng(0)
    truth = np.full((100, 100), 4.0)
    data = rng.poisson(truth) + rng.normal(0, 3, truth.shape)
    found = metrics.residual_whiteness(data, truth, read_noise=3.0)
    np.testing.assert_allclose(found.chi_square, 1, atol=0.05)
    assert metrics.residual_whiteness(data, truth).chi_square > 2


def test_correlation_is_that_of_neighbours():
    z = np.random.default_rng(0).normal(size=(9, 11)).astype("f")
    found = metrics.residual_whiteness(z + 5, np.full(z.shape, 5.0), gain=0.2)
    expected = [(z[1:] * z[:-1]).mean(), (z[:, 1:] * z[:, :-1]).mean()]
    expected /= (z**2).mean()
    np.testing.assert_allclose(found.correlation, expected, rtol=1e-3)


def test_residuals_are_checked():
    data = np.ones((8, 8))
    for arguments, options, word in (
        ((data, data[1:]), {}, "agree"),
        ((data, -data), {}, "negative"),
        ((data, data), {"gain": 0}, "gain"),
        ((data, data), {"read_noise": -1}, "read_noise"),
        ((data[:1, :1], data[:1, :1]), {}, "two voxels"),
    ):
        with pytest.raises(ValueError, match=word):
            metrics.residual_whiteness(*arguments, **options)
