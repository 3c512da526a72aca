"""The OTF-masked Wiener back projector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd

PSFS = {
    "odd": lambda: jd.psf.gaussian((17, 15, 15), (5.0, 3.0, 3.0)),
    "even": lambda: jd.psf.gaussian((18, 16, 16), (5.0, 3.0, 3.0)),
    "plane": lambda: jd.psf.gaussian((21, 20), 3.5),
    "skewed sheet": lambda: jd.psf.light_sheet(
        *((25, 31, 31), (0.3, 0.1, 0.1)),
        **{"na": 0.8, "wavelength": 0.52, "index": 1.33},
        **{"sheet_fwhm": 1.5, "angle": 0.6},
    ),
}


def transfer(kernel):
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(np.asarray(kernel, float))))


@pytest.mark.parametrize("psf", [make() for make in PSFS.values()], ids=PSFS)
@pytest.mark.parametrize("alpha", [0.005, None])
def test_wiener_inside_the_hull_and_nothing_outside(psf, alpha):
    kernel = jd.back_projector(psf, "omw", alpha=alpha)
    np.testing.assert_allclose(kernel.sum(), 1, rtol=1e-5)
    support = jd.psf.otf_support(psf)
    gauge = np.asarray(jd.psf.hull_gauge(support))
    found, otf = transfer(kernel), transfer(psf / psf.sum())
    least = float(support.threshold) ** 2 if alpha is None else alpha
    wiener = otf.conj() / (abs(otf) ** 2 + least)
    wiener /= wiener[tuple(n // 2 for n in psf.shape)]
    # At a Nyquist frequency of an even axis a real kernel keeps the real part only.
    inside = (gauge < 0.79) & (abs(wiener.imag) < 10)
    np.testing.assert_allclose(found[inside], wiener[inside], atol=2e-4)
    assert abs(found[gauge > 1.001]).max() < 1e-5


def skew(angle):
    """Where the filter's strong frequencies lie in the plane k_y = 0: -1 to 1."""
    psf = jd.psf.light_sheet(
        *((25, 31, 31), (0.3, 0.1, 0.1)),
        **{"na": 0.8, "wavelength": 0.52, "index": 1.33},
        **{"sheet_fwhm": 1.5, "angle": angle},
    )
    power = abs(transfer(jd.back_projector(psf, "omw", alpha=0.005))) ** 2
    plane = power[:, psf.shape[1] // 2]
    rows, columns = np.indices(plane.shape) - np.array(plane.shape)[:, None, None] // 2
    return (rows * columns * plane).sum() / (abs(rows * columns) * plane).sum()


def test_a_skewed_sheet_has_a_skewed_filter():
    assert abs(skew(0.6)) > 0.05
    np.testing.assert_allclose(skew(0.6), -skew(-0.6), rtol=1e-2)
    np.testing.assert_allclose(skew(0.0), 0, atol=1e-3)


def test_gradient_is_finite():
    psf = PSFS["odd"]()
    slope = jax.grad(lambda p: (jd.back_projector(p, "omw") ** 2).sum())(psf)
    assert jnp.isfinite(slope).all()
    assert abs(slope).max() > 0
