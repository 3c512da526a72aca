"""Losses: against closed forms, float64 NumPy and the metrics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon import learning

SHAPE = (3, 16, 18)


@pytest.fixture(scope="module")
def batch():
    """Predictions and truths of a batch of planes, on a scale of 0 to 1."""
    rng = np.random.default_rng(5)
    truth = rng.uniform(size=SHAPE) ** 3
    prediction = 0.8 * truth + 0.15 * rng.normal(size=SHAPE)
    return prediction.astype(np.float32), truth.astype(np.float32)


def published(p, t, data_range=1.0):
    """MSE - ln((1 + SSIM) / 2), sample by sample, in float64."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for a, b in zip(np.float64(p), np.float64(t), strict=True):
        both = ((a - a.mean()) * (b - b.mean())).mean()
        means = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
        similarity = means * (2 * both + c2) / (a.var() + b.var() + c2)
        values.append(((a - b) ** 2).mean() - np.log((1 + similarity) / 2))
    return np.mean(values)


def test_plain_errors(batch):
    p, t = map(np.float64, batch)
    assert learning.mse(*batch) == pytest.approx(((p - t) ** 2).mean(), rel=1e-5)
    assert learning.l1(*batch) == pytest.approx(abs(p - t).mean(), rel=1e-5)


@pytest.mark.parametrize("data_range", [1.0, 2.5])
def test_published_loss_with_one_window(batch, data_range):
    found = learning.ssim_mse(*batch, data_range=data_range)
    assert found == pytest.approx(published(*batch, data_range), rel=1e-5)


def test_published_loss_is_not_spoilt_by_an_offset(batch):
    p, t = batch
    found = learning.ssim_mse(p + 100, t + 100)
    assert found == pytest.approx(published(p + 100.0, t + 100.0), abs=1e-4)


def test_local_windows_are_those_of_the_metric(batch):
    p, t = batch
    wanted = np.mean(
        [
            ((a - b) ** 2).mean()
            - np.log((1 + jd.metrics.ssim(a, b, data_range=1.0)) / 2)
            for a, b in zip(p, t, strict=True)
        ]
    )
    assert learning.ssim_mse(p, t, local=True) == pytest.approx(wanted, rel=1e-5)


def test_fourier_rings_are_those_of_the_metric(batch):
    p, t = batch
    curves = [
        np.asarray(jd.metrics.fourier_shell_correlation(a, b).correlation)
        for a, b in zip(p, t, strict=True)
    ]
    found = learning.fourier_ring(p, t)
    assert found == pytest.approx(1 - np.mean(curves), abs=1e-5)
    half = [curve[: curve.size // 2] for curve in curves]
    found = learning.fourier_ring(p, t, highest=0.25)
    assert found == pytest.approx(1 - np.mean(half), abs=1e-5)
    assert learning.fourier_ring(7 * t + 3, t) == pytest.approx(0, abs=1e-5)


def test_push_towards_non_negative_values(batch):
    p, t = batch
    least = p.min((1, 2))
    assert (least < 0).all()
    plain = float(learning.mse(p, t))
    pushed = learning.with_nonnegativity(learning.mse)
    assert pushed(p, t) == pytest.approx(plain - 1.3 * least.mean(), rel=1e-5)
    lifted = p - p.min() + 0.5
    below = learning.with_nonnegativity(learning.mse, below_zero=True)
    assert below(lifted, t) == pytest.approx(float(learning.mse(lifted, t)), rel=1e-6)
    assert pushed(lifted, t) < learning.mse(lifted, t)


def test_weighted_sum(batch):
    loss = learning.weighted((2.0, learning.mse), (0.5, learning.l1))
    wanted = 2 * learning.mse(*batch) + 0.5 * learning.l1(*batch)
    assert loss(*batch) == pytest.approx(float(wanted), rel=1e-6)


def test_gradient_of_the_published_loss(batch):
    """Against differences of the float64 formula."""
    p, t = batch
    found = jax.grad(learning.ssim_mse)(jnp.asarray(p), t)
    step = 1e-5
    for place in ((0, 3, 4), (2, 15, 0)):
        moved = np.zeros(SHAPE)
        moved[place] = step
        slope = (published(p + moved, t) - published(p - moved, t)) / (2 * step)
        assert found[place] == pytest.approx(slope, rel=2e-3)


@pytest.mark.parametrize("name", sorted(learning.LOSSES))
def test_every_loss_falls_along_its_gradient(batch, name):
    """And has one where an image is constant, and computes in float32 at least."""
    loss = jax.jit(jax.value_and_grad(learning.as_loss(name)))
    p, t = map(jnp.asarray, batch)
    value, slope = loss(p, t)
    step = 1e-4 / float(jnp.abs(slope).max())
    lower, _ = loss(p - step * slope, t)
    assert lower < value
    _, flat = loss(0 * p, t)
    assert jnp.isfinite(flat).all()
    assert learning.as_loss(name)(p.astype(jnp.bfloat16), t).dtype == jnp.float32


def test_losses_are_told_apart():
    with pytest.raises(ValueError, match="known are 'mse'"):
        learning.as_loss("msee")
    with pytest.raises(TypeError, match="a name or a function"):
        learning.as_loss(3)
    with pytest.raises(ValueError, match="one shape"):
        learning.mse(np.zeros((2, 8, 8)), np.zeros((2, 8, 9)))
    with pytest.raises(ValueError, match="no ring below"):
        learning.fourier_ring(np.zeros((1, 8, 8)), np.zeros((1, 8, 8)), highest=0.01)


@jax.jit
def value_of(loss, prediction, truth):
    """A loss that is a pytree: compiled once for all its numbers."""
    return jax.value_and_grad(loss)(prediction, truth)


def reblurred(loss, prediction, truth):
    return float(value_of(loss, prediction, jnp.asarray(truth, jnp.float32))[0])


@pytest.fixture(scope="module")
def blurred():
    """(operator, objects, expected images) of two samples and two views."""
    blurs = [
        jd.operators.Convolution.from_psf(
            jd.psf.gaussian((7, 7), width), (16, 16), boundary="periodic"
        )
        for width in ((2.0, 4.0), (4.0, 2.0))
    ]
    operator = jd.operators.Views(blurs)
    things = 40 * np.random.default_rng(2).uniform(size=(2, 16, 16)) ** 6
    things = jnp.asarray(things, jnp.float32)
    expected = jnp.stack([jnp.stack(operator(thing)) for thing in things]) + 3.0
    return operator, things, expected


def test_reblurred_predictions_are_judged_by_the_poisson_deviance(blurred):
    operator, things, expected = blurred
    images = np.random.default_rng(3).poisson(expected).astype(np.float32)
    loss = learning.ReblurLoss(operator=operator, background=3.0)
    wanted = jd.metrics.poisson_deviance(images, expected)
    value = reblurred(loss, things, images)
    assert value == pytest.approx(float(wanted), rel=1e-4)
    assert reblurred(loss, 0.8 * things, images) > value
    assert reblurred(loss, things[:, ::-1], images) > 1.5 * value
    inner = learning.ReblurLoss(operator=operator, background=3.0, margin=4)
    part = np.s_[..., 4:-4, 4:-4]
    wanted = jd.metrics.poisson_deviance(images[part], expected[part])
    assert reblurred(inner, things, images) == pytest.approx(float(wanted), rel=1e-4)


def test_reblurring_on_the_normalised_scale(blurred):
    """The deviance scales with the intensities, and knows the offset."""
    operator, things, expected = blurred
    rule = learning.Normaliser.affine(offset=2.0, scale=8.0)
    raw = learning.ReblurLoss(operator=operator, background=3.0)
    scaled = learning.ReblurLoss.normalised(operator, rule, background=3.0)
    guess = 0.5 * things + 1
    found = 8 * reblurred(scaled, rule.apply_object(guess), rule.apply(expected))
    assert found == pytest.approx(reblurred(raw, guess, expected), rel=1e-4)


def test_negative_predictions_are_pulled_back(blurred):
    operator, things, expected = blurred
    loss = learning.ReblurLoss(operator=operator, background=0.0)
    value, slope = value_of(loss, things - 30, expected)
    assert jnp.isfinite(value)
    assert (slope.mean((1, 2)) < 0).all()
    _, dark = value_of(loss, -jnp.ones_like(things), 0 * expected)
    assert (dark == 0).all()


def test_reblurring_from_a_field_of_view():
    """With an operator that sees a part of its domain, what is outside is dark."""
    blur = jd.operators.Convolution.from_psf(jd.psf.gaussian((5, 5), 2.0), (16, 16))
    thing = np.zeros((1, 16, 16), np.float32)
    thing[0, 8, 8] = 50.0
    numbers = np.arange(np.prod(blur.domain)).reshape(blur.domain)
    whole = np.where(numbers == blur.image_region(numbers)[8, 8], 50.0, 0.0)
    image = blur(whole)
    loss = learning.ReblurLoss(operator=blur, background=1.0)
    assert loss(thing, image[None] + 1.0) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="must agree"):
        loss(thing, np.ones((1, 2, 16, 16), np.float32))


def test_split_photons_are_independent_and_as_bright():
    rng = np.random.default_rng(4)
    photons = rng.poisson(12.0, (1, 200, 200))
    source = [100 + 2.0 * photons]
    split = functools.partial(learning.SplitPairs, source, gain=2.0, offset=100.0)
    pairs = split(share=0.25, key=jax.random.key(1))
    images, truth = map(np.asarray, pairs[0])
    whole = 0.25 * images + 0.75 * truth
    assert np.allclose(whole, source[0])
    assert images.mean() == pytest.approx(124, abs=0.3)
    assert truth.mean() == pytest.approx(124, abs=0.3)
    # Of the image's variance 4 * 12 each part has 1 / share.
    assert images.var() == pytest.approx(48 / 0.25, rel=0.05)
    assert abs(np.corrcoef(images.ravel(), truth.ravel())[0, 1]) < 0.02
    again = split(share=0.25, key=jax.random.key(1))
    assert np.array_equal(again[0].images, images)
    part = again.part(0, (0, 0), (200, 200))
    assert np.allclose(0.25 * part.images + 0.75 * part.truth, source[0])
    assert not np.array_equal(part.images, images)  # a part is split for itself
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(share=1.0, key=jax.random.key(1))
