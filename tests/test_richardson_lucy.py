"""Richardson-Lucy against the published program, NumPy, physics and itself."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import jaxdecon as jd
from jaxdecon.deconvolution import OverIterationWarning


@pytest.mark.parametrize(
    ("name", "iterations", "back_projector"),
    [
        ("decon_traditional_10", 10, "matched"),
        ("decon_wiener_butterworth_1", 1, "wiener-butterworth"),
        ("decon_wiener_butterworth_5", 5, "wiener-butterworth"),
    ],
)
@pytest.mark.filterwarnings("ignore::jaxdecon.deconvolution.OverIterationWarning")
def test_agrees_with_the_published_program(published, name, iterations, back_projector):
    result = jd.richardson_lucy(
        published["image"],
        published["psf_light_sheet"],
        iterations=iterations,
        back_projector=back_projector,
        boundary="periodic",
    )
    difference = abs(np.asarray(result)[::3, ::4, ::4] - published[name]).max()
    assert difference <= 1e-5 * published[f"{name}_max"]


def reference(image, psf, iterations, background=0.0):
    """Periodic Richardson-Lucy in float64 NumPy, from the textbook."""
    kernel = np.zeros(image.shape)
    kernel[tuple(slice(n) for n in psf.shape)] = psf / psf.sum(dtype=float)
    kernel = np.roll(kernel, [-(n // 2) for n in psf.shape], range(psf.ndim))
    otf = np.fft.fftn(kernel)
    data = image.astype(float)
    estimate = np.maximum(data - background, 0)
    estimate = np.maximum(estimate, 1e-5 * estimate.mean())
    for _ in range(iterations):
        predicted = np.fft.ifftn(np.fft.fftn(estimate) * otf).real + background
        ratio = data / predicted
        estimate *= np.fft.ifftn(np.fft.fftn(ratio) * otf.conj()).real
    return estimate


@pytest.mark.parametrize("background", [0.0, 2.0])
def test_agrees_with_float64_numpy(scene, background):
    _, psf, image = scene
    expected = reference(image + 1, psf, 10, background)
    ours = jd.richardson_lucy(
        image + 1, psf, iterations=10, background=background, boundary="periodic"
    )
    np.testing.assert_allclose(ours, expected, atol=2e-4 * expected.max())


def test_extended_boundary_explains_light_from_outside(scene):
    """A field cut out of a larger object: the border is as good as the middle."""
    truth, psf, _ = scene
    blur = jd.operators.Convolution.from_psf(psf, truth.shape, boundary="periodic")
    image = np.maximum(np.asarray(blur(truth + 20)), 0)
    cut = (slice(None), slice(6, 26), slice(5, 25))

    def error(boundary):
        result = jd.richardson_lucy(
            image[cut], psf, iterations=60, boundary=boundary, accelerated=True
        )
        again = np.asarray(blur(truth + 20))[cut]
        frame = np.ones(again.shape, bool)
        frame[:, 4:-4, 4:-4] = False
        difference = np.asarray(result) - (truth + 20)[cut]
        return np.sqrt((difference[frame] ** 2).mean())

    extended = error("extend")
    assert extended < 0.9 * error("periodic")


def test_restore_flux(scene):
    _, psf, image = scene
    options = {"iterations": 2, "back_projector": "wiener-butterworth", "keep": "last"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverIterationWarning)
        drifted = jd.richardson_lucy(image, psf, boundary="periodic", **options)
        kept = jd.richardson_lucy(
            image, psf, boundary="periodic", restore_flux=True, **options
        )
    assert abs(float(drifted.sum() / image.sum()) - 1) > 0.01
    np.testing.assert_allclose(float(kept.sum()), image.sum(), rtol=1e-3)


def test_acceleration_outruns_plain_updates(scene):
    _, psf, image = scene
    blur = jd.operators.Convolution.from_psf(psf, image.shape)
    plain = jd.deconvolution.RichardsonLucy()
    fast = jd.deconvolution.Accelerated(scheme=plain)
    slow = jd.deconvolve(image, blur, plain, iterations=60)
    quick = jd.deconvolve(image, blur, fast, iterations=20)
    assert float(quick.history[-1]) <= float(slow.history[-1])


def test_two_wiener_butterworth_updates_do_the_work_of_eight_matched_ones():
    rng = np.random.default_rng(2)
    truth = np.zeros((24, 40, 40), np.float32)
    for _ in range(60):
        truth[tuple(rng.integers(2, n - 2) for n in truth.shape)] = rng.uniform(1, 3)
    truth = scipy.ndimage.gaussian_filter(truth, 1)
    truth *= 400 / truth.max()
    psf = np.asarray(jd.psf.gaussian((21, 11, 11), (6.0, 3.0, 3.0)))
    blur = jd.operators.Convolution.from_psf(psf, truth.shape, boundary="periodic")
    image = rng.poisson(np.maximum(np.asarray(blur(truth)), 0) + 10)

    def quality(**options):
        result = jd.richardson_lucy(
            image, psf, background=10.0, boundary="periodic", **options
        )
        return float(jd.metrics.ncc(result, truth))

    two = quality(iterations=2, back_projector="wiener-butterworth", restore_flux=True)
    assert two > quality(iterations=8)


def test_starts(scene):
    _, psf, image = scene
    run = {"iterations": 10, "accelerated": True}
    a = jd.richardson_lucy(image, psf, **run)
    b = jd.richardson_lucy(image, psf, init="constant", **run)
    c = jd.richardson_lucy(image, psf, init=np.asarray(a), iterations=1)
    assert float(jd.metrics.ncc(a, b)) > 0.98
    assert float(jd.metrics.ncc(a, c)) > 0.999


def test_zero_iterations_give_the_start(scene):
    _, psf, image = scene
    for boundary in jd.operators.BOUNDARIES:
        start = jd.richardson_lucy(image, psf, iterations=0, boundary=boundary)
        np.testing.assert_allclose(start, image, atol=1e-4 * image.mean())


def test_a_kernel_is_the_same_as_its_name(scene):
    _, psf, image = scene
    kernel = jd.back_projector(psf, "butterworth")
    named = jd.richardson_lucy(image, psf, iterations=1, back_projector="butterworth")
    given = jd.richardson_lucy(image, psf, iterations=1, back_projector=3 * kernel)
    np.testing.assert_allclose(named, given, atol=1e-3)


def test_vmap_over_channels_equals_calls(scene):
    _, psf, image = scene
    channels = np.stack([image * (1 + c) + c for c in range(8)])

    def solve(channel):
        return jd.richardson_lucy(channel, psf, iterations=4, background=1.0)

    mapped = jax.vmap(solve)(channels)
    apart = np.stack([np.asarray(solve(channel)) for channel in channels])
    np.testing.assert_allclose(mapped, apart, rtol=2e-4, atol=1e-3)


def test_vmap_over_psfs_with_an_unmatched_back_projector(scene):
    _, _, image = scene
    widths = jnp.asarray([[4.0, 2.5, 2.5], [5.0, 3.0, 3.0]])

    def solve(width):
        psf = jd.psf.gaussian((13, 9, 9), width)
        return jd.richardson_lucy(
            image, psf, iterations=1, back_projector="butterworth", restore_flux=True
        )

    mapped = jax.vmap(solve)(widths)
    np.testing.assert_allclose(mapped[1], solve(widths[1]), rtol=1e-3, atol=1e-2)


def test_jit_gives_the_same(scene):
    _, psf, image = scene

    def solve(image, psf):
        return jd.richardson_lucy(image, psf, iterations=3)

    np.testing.assert_allclose(
        jax.jit(solve)(image, psf), solve(image, psf), rtol=1e-4, atol=1e-3
    )


def test_no_recompilation_for_new_numbers(scene):
    _, psf, image = scene
    from jaxdecon.deconvolution import _friendly

    jd.richardson_lucy(image, psf, iterations=2, background=1.0)
    compiled = _friendly._richardson_lucy._cache_size()
    other = psf**1.1 / (psf**1.1).sum()
    jd.richardson_lucy(image + 1, other, iterations=2, background=2.0)
    assert _friendly._richardson_lucy._cache_size() == compiled


def test_two_dimensions(scene):
    _, psf, image = scene
    flat, kernel = image.max(0), psf.sum(0)
    result = jd.richardson_lucy(flat, kernel, iterations=5)
    assert result.shape == flat.shape
    assert float(result.max()) > flat.max()


def test_wiener_recovers_a_noise_free_object():
    rng = np.random.default_rng(0)
    truth = rng.random((24, 25)).astype(np.float32)
    psf = np.asarray(jd.psf.gaussian((9, 8), 1.5))
    blur = jd.operators.Convolution.from_psf(psf, truth.shape, boundary="periodic")
    image = np.asarray(blur(truth))
    result = jd.wiener(image, psf, noise=1e-4, boundary="periodic")
    np.testing.assert_allclose(result, truth, atol=0.03)
    np.testing.assert_allclose(result.sum(), truth.sum(), rtol=1e-4)
    for boundary in ("reflect", "edge"):
        flat = jd.wiener(np.full((20, 21), 7), psf, noise=0.01, boundary=boundary)
        np.testing.assert_allclose(flat, 7, rtol=1e-4)


def test_jit_around_calls_with_arrays_from_outside(scene):
    """Arrays that a compiled function closes over are known, and still no obstacle."""
    _, psf, image = scene
    psf, image = jnp.asarray(psf), jnp.asarray(image)
    expected = jd.richardson_lucy(image, psf, iterations=2)

    @jax.jit
    def solve(volume):
        blur = jd.operators.Convolution.from_psf(psf, volume.shape)
        scheme = jd.deconvolution.RichardsonLucy()
        return (
            jd.richardson_lucy(volume, psf, iterations=2),
            jd.richardson_lucy(image, psf, iterations=2),
            jd.deconvolve(image, blur, scheme, iterations=2).value,
            jd.richardson_lucy(image, psf, iterations=1, back_projector="wiener"),
            jd.psf.fwhm(psf),
            jd.wiener(image, psf, noise=0.1),
        )

    for result in solve(image)[:3]:
        np.testing.assert_allclose(result, expected, rtol=2e-3, atol=1e-2)


def test_half_precision_becomes_single(scene):
    _, psf, image = scene
    result = jd.richardson_lucy(image.astype(np.float16), psf, iterations=2)
    assert result.dtype == np.float32
    np.testing.assert_allclose(
        result, jd.richardson_lucy(image, psf, iterations=2), rtol=1e-4, atol=1e-2
    )
