"""Gradients through five updates, against finite differences in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd

from ._x64 import x64

SHAPE, PSF_SHAPE = (7, 8, 9), (5, 4, 5)


def inputs():
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.uniform(5, 30, SHAPE)),
        "psf": jnp.asarray(jd.psf.gaussian(PSF_SHAPE, (2.5, 1.8, 2.0))),
        "background": jnp.asarray(2.0),
        "kernel": jnp.asarray(jd.back_projector(jd.psf.gaussian(PSF_SHAPE, 1.7))),
        "target": jnp.asarray(rng.uniform(5, 30, SHAPE)),
    }


def loss(values, boundary, matched):
    result = jd.richardson_lucy(
        values["image"],
        values["psf"],
        iterations=5,
        background=values["background"],
        back_projector="matched" if matched else values["kernel"],
        boundary=boundary,
    )
    return ((result - values["target"]) ** 2).mean()


@pytest.mark.parametrize("boundary", jd.operators.BOUNDARIES)
@pytest.mark.parametrize("matched", [True, False], ids=["matched", "unmatched"])
def test_gradients_agree_with_finite_differences(boundary, matched):
    with x64():
        values = inputs()
        derivative = jax.jit(jax.grad(lambda v: loss(v, boundary, matched)))(values)
        value = jax.jit(lambda v: loss(v, boundary, matched))
        rng = np.random.default_rng(1)
        names = ("image", "psf", "background") + (() if matched else ("kernel",))
        for name in names:
            scale = float(abs(values[name]).max())
            direction = scale * jnp.asarray(rng.standard_normal(values[name].shape))
            up = {**values, name: values[name] + 1e-6 * direction}
            down = {**values, name: values[name] - 1e-6 * direction}
            slope = (value(up) - value(down)) / 2e-6
            ours = (derivative[name] * direction).sum()
            np.testing.assert_allclose(ours, slope, rtol=1e-5)


def test_gradient_reaches_the_optics():
    """From a pixel of the result back to NA and wavelength."""

    def brightness(optics):
        psf = jd.psf.widefield((5, 7, 7), (0.2, 0.1, 0.1), index=1.33, **optics)
        image = jnp.ones((8, 9, 9)).at[4, 4, 4].set(100.0)
        return jd.richardson_lucy(image, psf, iterations=3)[4, 4, 4]

    optics = {"na": 1.0, "wavelength": 0.5}
    gradient = jax.grad(brightness)(optics)
    step = 2e-3
    up = brightness({**optics, "na": 1.0 + step})
    down = brightness({**optics, "na": 1.0 - step})
    np.testing.assert_allclose(gradient["na"], (up - down) / (2 * step), rtol=0.05)
    assert np.isfinite(gradient["wavelength"])
