import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import KINDS


@pytest.mark.parametrize("psf", ["light_sheet", "tilted"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "omw"])
def test_back_projectors_agree_with_the_published_program(published, psf, kind):
    kernel = np.asarray(jd.back_projector(published[f"psf_{psf}"], kind))
    plane = kernel[:, kernel.shape[1] // 2]
    expected = published[f"{psf}_{kind}"]
    assert abs(plane - expected).max() <= 1e-5 * expected.max()
    np.testing.assert_allclose(kernel.sum(), 1, rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 12, 14), (15, 13, 11), (14, 16)])
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_of_symmetric_psfs_are_centred(kind, shape):
    psf = jd.psf.gaussian(shape, 3.0)
    kernel = np.asarray(jd.back_projector(psf, kind), float)
    assert kernel.shape == shape
    peak = np.unravel_index(np.argmax(kernel), shape)
    assert peak == tuple(n // 2 for n in shape)


def test_matched_kernel_is_the_flipped_psf():
    psf = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    kernel = jd.back_projector(psf, "matched")
    np.testing.assert_allclose(kernel, (psf / psf.sum())[::-1, ::-1], atol=1e-6)


def test_wiener_butterworth_has_gain_beta_at_the_cutoff():
    # The definition is for the k_x axis of a DC-symmetric grid.
    psf = jd.psf.gaussian((41, 41, 41), 5.125)  # cut-off exactly at index 8 of 41
    kernel = jd.back_projector(psf, beta=0.02, resolution=(41 / 8,) * 3)
    gain = abs(np.fft.fftn(np.asarray(kernel, float)))
    wiener_dc = 1 / 1.05
    np.testing.assert_allclose(gain[0, 0, 8] * wiener_dc, 0.02, rtol=0.02)


def test_resolution_options():
    psf = jd.psf.gaussian((21, 21, 21), (5.0, 3.0, 3.0))
    default = jd.back_projector(psf)
    same = jd.back_projector(psf, resolution=tuple(map(float, jd.psf.fwhm(psf))))
    np.testing.assert_allclose(default, same, atol=1e-6)
    finer = jd.back_projector(psf, resolution="fwhm/sqrt2", beta=0.01)
    coarse = jd.back_projector(psf, beta=0.01)
    assert float(finer.max()) > float(coarse.max())


def test_automatic_parameters_are_the_gain_of_the_otf():
    psf = jd.psf.gaussian((33, 33, 33), 4.125)  # cut-off at index 8 of 33
    otf = abs(np.fft.fftn(np.asarray(psf, float)))
    gain = (otf[8, 0, 0] + otf[0, 8, 0] + otf[0, 0, 8]) / 3
    automatic = jd.back_projector(psf, "wiener", alpha=None)
    stated = jd.back_projector(psf, "wiener", alpha=float(gain))
    np.testing.assert_allclose(automatic, stated, atol=1e-4 * float(stated.max()))


def test_differentiable_in_psf_and_parameters():
    psf = jd.psf.gaussian((9, 9, 9), 3.0)

    def value(scale, alpha, beta, order):
        kernel = jd.back_projector(psf * scale, alpha=alpha, beta=beta, order=order)
        return (kernel * jnp.arange(9.0)).sum() + kernel[4, 4, 4]

    arguments = (jnp.ones(psf.shape), 0.05, 0.1, 6.0)
    gradients = jax.grad(value, (0, 1, 2, 3))(*arguments)
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)
    for which in (1, 2, 3):
        step = 1e-2 * arguments[which]
        up, down = list(arguments), list(arguments)
        up[which], down[which] = up[which] + step, down[which] - step
        slope = (value(*up) - value(*down)) / (2 * step)
        np.testing.assert_allclose(gradients[which], slope, rtol=0.02, atol=1e-4)


def test_unusable_input_is_refused():
    psf = jd.psf.gaussian((9, 9), 3.0)
    with pytest.raises(ValueError, match="known are"):
        jd.back_projector(psf, "weiner")
    with pytest.raises(ValueError, match="alpha"):
        jd.back_projector(psf, alpha=-1.0)
    with pytest.raises(ValueError, match="below 1"):
        jd.back_projector(psf, "butterworth", beta=1.5)
    with pytest.raises(ValueError, match="resolution"):
        jd.back_projector(psf, resolution=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="cut before"):
        jd.back_projector(np.ones((5, 5), np.float32))
    with pytest.raises(ValueError, match="zero everywhere"):
        jd.back_projector(np.zeros((5, 5), np.float32))
