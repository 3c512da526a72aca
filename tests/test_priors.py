"""Penalties: their gradients, what they do to noise, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import Tikhonov, TotalVariation

PRIORS = {
    "total variation": TotalVariation(weight=0.01),
    "stretched": TotalVariation(weight=0.01, spacing=(3.0, 1.0, 1.0)),
    "roughness": Tikhonov(weight=0.01, spacing=(3.0, 1.0, 2.0)),
    "size": Tikhonov(weight=0.01, order=0),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_parts_are_positive_and_make_the_gradient(prior):
    x = np.random.default_rng(0).uniform(1, 9, (5, 6, 7)).astype(np.float32)
    up, down = prior.split(jnp.asarray(x))
    assert up.min() >= 0
    assert down.min() >= 0
    np.testing.assert_allclose(
        up - down, jax.grad(prior.penalty)(jnp.asarray(x)), rtol=1e-4, atol=1e-5
    )


def test_total_variation_of_a_step():
    x = jnp.zeros((1, 8, 10)).at[:, :, 5:].set(4.0)
    # Rounded off below one per cent of the mean.
    np.testing.assert_allclose(
        TotalVariation(weight=1.0).penalty(x), 8 * 4.0, rtol=0.06
    )


@pytest.fixture(scope="module")
def steps():
    """A noisy image of a bright square."""
    truth = np.full((40, 40), 5.0, np.float32)
    truth[12:28, 12:28] = 60
    psf = np.asarray(jd.psf.gaussian((13, 13), 3.0))
    blur = jd.operators.Convolution.from_psf(psf, truth.shape, boundary="periodic")
    image = np.random.default_rng(0).poisson(np.maximum(blur(truth), 0))
    return truth, psf, image.astype(np.float32)


def test_a_penalty_tames_the_noise(steps):
    truth, psf, image = steps

    def error(prior):
        result = jd.richardson_lucy(image, psf, iterations=200, prior=prior)
        return np.linalg.norm(result - truth) / np.linalg.norm(truth)

    plain = error(None)
    assert error(TotalVariation(weight=0.02)) < 0.6 * plain
    assert error(Tikhonov(weight=0.02)) < 0.9 * plain
    np.testing.assert_allclose(error(TotalVariation(weight=0.0)), plain, rtol=1e-3)


def test_the_largest_weight_stays_finite(steps):
    _, psf, image = steps
    for prior in (TotalVariation(weight=1.0), Tikhonov(weight=1.0)):
        result = jd.richardson_lucy(image, psf, iterations=60, prior=prior)
        assert np.isfinite(result).all()
        assert result.min() >= 0


@pytest.mark.parametrize("weight", [1.5, -0.1, np.nan])
def test_weights_that_outvote_the_data_are_refused(steps, weight):
    _, psf, image = steps
    with pytest.raises(ValueError, match=r"prior\.weight"):
        jd.richardson_lucy(image, psf, iterations=1, prior=Tikhonov(weight=weight))


def test_spacing_is_needed_for_every_axis(steps):
    _, psf, image = steps
    prior = TotalVariation(weight=0.01, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"prior\.spacing.*2 are needed"):
        jd.richardson_lucy(image, psf, iterations=1, prior=prior)


def test_weight_has_a_gradient(steps):
    truth, psf, image = steps

    def loss(weight):
        prior = TotalVariation(weight=weight)
        x = jd.richardson_lucy(image, psf, iterations=5, prior=prior)
        return ((x - truth) ** 2).mean()

    slope = (loss(0.011) - loss(0.009)) / 0.002
    np.testing.assert_allclose(jax.grad(loss)(0.01), slope, rtol=0.02)


def test_tikhonov_is_the_closed_form(steps):
    _, psf, image = steps
    full = np.zeros(image.shape)
    full[14:27, 14:27] = psf
    otf = np.fft.fft2(np.fft.ifftshift(full / full.sum()))
    k = np.fft.fftfreq(40)
    rough = 4 * np.sin(np.pi * k[:, None]) ** 2 / 4 + 4 * np.sin(np.pi * k) ** 2
    gain = otf.conj() / (abs(otf) ** 2 + 0.03 * rough)
    expected = np.fft.ifft2(gain * np.fft.fft2(image.astype(float) - 2)).real
    found = jd.deconvolution.tikhonov(
        image, psf, weight=0.03, background=2, boundary="periodic", spacing=(2.0, 1.0)
    )
    np.testing.assert_allclose(found, expected, atol=2e-3 * abs(expected).max())
    with pytest.raises(ValueError, match=r"spacing.*2 are needed"):
        jd.deconvolution.tikhonov(image, psf, weight=0.03, spacing=(1.0,))
