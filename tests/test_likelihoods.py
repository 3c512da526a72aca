"""Noise models: their deviance, variance and update against float64 NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import Gaussian, MixedPoisson, Poisson, RichardsonLucy
from jaxdecon.deconvolution._likelihood import chi_square

RNG = np.random.default_rng(0)
MEAN = RNG.uniform(2, 40, (12, 14)).astype(np.float32)
DATA = RNG.poisson(MEAN).astype(np.float32)


def deviance(y, m):
    y, m = y.astype(float), m.astype(float)
    return 2 * np.mean(
        np.where(y > 0, y * np.log(np.maximum(y, 1e-30) / m), 0) - (y - m)
    )


def test_deviances():
    np.testing.assert_allclose(
        Poisson().deviance(DATA, MEAN), deviance(DATA, MEAN), rtol=1e-5
    )
    np.testing.assert_allclose(
        Gaussian(sigma=2.0).deviance(DATA, MEAN),
        np.mean((DATA.astype(float) - MEAN) ** 2) / 4,
        rtol=1e-5,
    )
    mixed = MixedPoisson(read_noise=3.0, gain=2.0)
    shifted = np.maximum(DATA - 10 + 4.5, 0), MEAN + 4.5
    np.testing.assert_allclose(
        mixed.deviance(DATA - 10, MEAN), deviance(*shifted), rtol=1e-5
    )


def test_variances():
    np.testing.assert_allclose(Poisson(gain=2.0).variance(MEAN), 2 * MEAN)
    np.testing.assert_allclose(Gaussian(sigma=3.0).variance(MEAN), 9 + 0 * MEAN)
    mixed = MixedPoisson(read_noise=3.0, gain=2.0)
    np.testing.assert_allclose(mixed.variance(MEAN), 2 * MEAN + 9, rtol=1e-6)


def test_without_read_noise_both_are_poisson(scene):
    _, psf, image = scene
    blur = jd.operators.Convolution.from_psf(psf, image.shape)
    plain, mixed = (
        jd.deconvolve(image, blur, RichardsonLucy(), iterations=3, likelihood=noise)
        for noise in (Poisson(), MixedPoisson(read_noise=0.0))
    )
    np.testing.assert_allclose(plain.value, mixed.value, rtol=1e-5, atol=1e-4)


def test_gaussian_noise_gives_the_image_space_algorithm(scene):
    _, psf, image = scene
    blur = jd.operators.Convolution.from_psf(psf, image.shape, boundary="periodic")
    result = jd.deconvolve(
        image, blur, RichardsonLucy(), iterations=1, likelihood=Gaussian(), background=2
    )
    start = np.maximum(image - 2, 0)
    start = np.maximum(start, 1e-5 * start.mean())
    ratio = blur.adjoint(image) / blur.adjoint(blur(start) + 2)
    np.testing.assert_allclose(result.value, start * ratio, rtol=1e-3, atol=1e-3)


def test_gaussian_deviance_falls(scene):
    _, psf, image = scene
    blur = jd.operators.Convolution.from_psf(psf, image.shape)
    result = jd.deconvolve(
        image, blur, RichardsonLucy(), iterations=10, likelihood=Gaussian(sigma=2.0)
    )
    assert np.all(np.diff(result.history) < 0)


def test_only_models_with_read_noise_take_negative_data(scene):
    _, psf, image = scene
    options = {"psf": psf, "iterations": 2}
    below = image - 4
    with pytest.raises(ValueError, match=r"image.*negative"):
        jd.richardson_lucy(below, **options)
    for noise in (MixedPoisson(read_noise=2.0), Gaussian()):
        result = np.asarray(jd.richardson_lucy(below, likelihood=noise, **options))
        assert np.isfinite(result).all()
        assert result.min() >= 0


@pytest.mark.parametrize(
    ("noise", "data"),
    [
        (Poisson(gain=2.5), lambda rng, m: 2.5 * rng.poisson(m / 2.5)),
        (Gaussian(sigma=3.0), lambda rng, m: rng.normal(m, 3.0)),
        (
            MixedPoisson(read_noise=4.0, gain=1.5),
            lambda rng, m: 1.5 * rng.poisson(m / 1.5) + rng.normal(0, 4.0, m.shape),
        ),
    ],
    ids=["poisson", "gaussian", "mixed"],
)
def test_chi_square_of_a_right_model_is_one(noise, data):
    mean = np.full((200, 200), 60.0)
    image = jnp.asarray(data(np.random.default_rng(3), mean), jnp.float32)
    found = chi_square(noise, image, jnp.asarray(mean, jnp.float32))
    assert abs(found - 1) < 5 * np.sqrt(2 / mean.size)
