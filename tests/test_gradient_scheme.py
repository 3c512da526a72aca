"""Optax optimisers as deconvolution schemes."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import (
    GradientScheme,
    RelativeChange,
    RichardsonLucy,
    TotalVariation,
)
from jaxdecon.deconvolution._gradient import POSITIVITY


@pytest.fixture(scope="module")
def blur(scene):
    _, psf, image = scene
    return jd.operators.Convolution.from_psf(psf, image.shape)


@pytest.mark.parametrize("positivity", POSITIVITY)
def test_the_loss_falls_and_the_object_is_positive(scene, blur, positivity):
    _, _, image = scene
    scheme = GradientScheme(optimiser=optax.adam(0.05), positivity=positivity)
    result = jd.deconvolve(image, blur, scheme, iterations=30, background=2)
    assert result.history[-1] < 0.95 * result.history[0]
    assert result.value.min() >= 0
    start = jd.deconvolve(image, blur, scheme, iterations=0, background=2).value
    expected = np.maximum(image - 2, 0)
    np.testing.assert_allclose(start, expected, atol=2e-3 * expected.mean())


def test_second_order_steps_beat_first_order_ones(scene, blur):
    _, _, image = scene
    last = {
        name: jd.deconvolve(image, blur, scheme, iterations=15, background=2).history[
            -1
        ]
        for name, scheme in {
            "lbfgs": GradientScheme(optimiser=optax.lbfgs(), positivity="square"),
            "sgd": GradientScheme(optimiser=optax.sgd(0.05)),
            "plain": RichardsonLucy(),
        }.items()
    }
    assert last["lbfgs"] < last["plain"]
    assert last["lbfgs"] < last["sgd"]


def test_rules_and_priors_apply(scene, blur):
    _, _, image = scene
    prior = TotalVariation(weight=0.05)
    scheme = GradientScheme(optimiser=optax.adam(0.05), prior=prior)
    rule = RelativeChange(tolerance=0.02)
    result = jd.deconvolve(image, blur, scheme, iterations=200, stop=rule)
    assert 0 < result.iterations < 200
    plain = GradientScheme(optimiser=optax.adam(0.05))
    count = int(result.iterations)
    free = jd.deconvolve(image, blur, plain, iterations=count).value
    assert prior.penalty(result.value) < prior.penalty(free)


def test_unknown_maps_are_refused(scene, blur):
    _, _, image = scene
    scheme = GradientScheme(optimiser=optax.adam(0.05), positivity="sigmoid")
    with pytest.raises(ValueError, match=r"positivity.*softplus"):
        jd.deconvolve(image, blur, scheme, iterations=1)


@pytest.mark.parametrize("positivity", ["softplus", "exp", "square", "projection"])
def test_a_dark_image_stays_dark(positivity):
    psf = jd.psf.gaussian((9, 9), 3.0)
    blur = jd.operators.Convolution.from_psf(psf, (16, 16))
    scheme = GradientScheme(optimiser=optax.adam(0.1), positivity=positivity)
    result = jd.deconvolve(jnp.zeros((16, 16)), blur, scheme, iterations=20)
    assert 0 <= result.value.min() <= result.value.max() < 0.05
