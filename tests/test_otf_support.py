"""Which frequencies a PSF lets through."""

import numpy as np
import pytest

import jaxdecon as jd

OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}


LENS = {"na": 0.8, "wavelength": 0.52, "index": 1.33, "sheet_fwhm": 0.8}


def sheet_gauge(angle):
    """Support and gauge of a light sheet at an angle to the focal plane."""
    psf = jd.psf.light_sheet((33, 31, 32), 0.1625, angle=angle, **LENS)
    support = jd.psf.otf_support(psf)
    return np.asarray(support.mask), np.asarray(jd.psf.hull_gauge(support))


def test_support_of_a_gaussian_is_its_ellipsoid():
    widths = np.array((6.0, 4.0, 3.0))
    support = jd.psf.otf_support(jd.psf.gaussian((35, 33, 34), widths), share=0.8)
    grids = np.meshgrid(
        *[(np.arange(n) - n // 2) / n for n in (35, 33, 34)], indexing="ij"
    )
    sigma = widths / jd.psf.FWHM_PER_SIGMA
    exponent = sum(
        (2 * np.pi * s * k) ** 2 / 2 for s, k in zip(sigma, grids, strict=True)
    )
    expected = np.exp(-exponent) >= float(support.threshold)
    assert (np.asarray(support.mask) != expected).mean() < 2e-3
    # Along each axis it reaches as far as the threshold says.
    reach = np.sqrt(-2 * np.log(float(support.threshold))) / (2 * np.pi * sigma)
    np.testing.assert_allclose(support.cutoffs, reach, atol=1 / 33)


def test_support_stays_inside_the_optical_limit():
    size = np.array((0.2, 0.1, 0.1))
    psf = jd.psf.widefield((33, 33, 33), size, **OPTICS)
    limit = np.asarray(jd.psf.cutoffs(**OPTICS)) * size
    cutoffs = np.asarray(jd.psf.otf_support(psf).cutoffs)
    assert (cutoffs <= limit + 1 / 33).all()
    assert (cutoffs >= 0.6 * limit).all()


def test_noise_is_no_support():
    psf = np.asarray(jd.psf.gaussian((32, 32, 32), 4.0))
    counts = np.random.default_rng(0).poisson(2e4 * psf + 1.0)
    clean = jd.psf.otf_support(psf)
    noisy = jd.psf.otf_support(np.maximum(counts - 1.0, 0))
    np.testing.assert_allclose(noisy.cutoffs, clean.cutoffs, atol=3 / 32)
    # What noise adds to the mask is the rim, not islands all over.
    assert float(noisy.mask.mean()) < 2 * float(clean.mask.mean())
    assert float(clean.mask.mean()) < 0.1


def test_hull_gauge_is_one_at_the_rim_of_any_shape():
    mask, gauge = sheet_gauge(angle=0.6)
    centre = tuple(n // 2 for n in mask.shape)
    assert gauge[centre] == 0
    assert gauge[mask].max() == pytest.approx(1, abs=1e-5)
    # Proportional along rays, and symmetric.
    z, y, x = centre
    assert gauge[z, y, x + 6] == pytest.approx(2 * gauge[z, y, x + 3], rel=1e-5)
    assert gauge[z + 3, y - 2, x + 1] == pytest.approx(
        gauge[z - 3, y + 2, x - 1], rel=0.03
    )
    # The support is skewed, and so is the gauge; that of a level sheet is not.
    _, level = sheet_gauge(angle=0.0)
    assert abs(gauge[z + 3, y, x + 5] / gauge[z + 3, y, x - 5] - 1) > 0.1
    assert abs(level[z + 3, y, x + 5] / level[z + 3, y, x - 5] - 1) < 0.02


def test_two_dimensions_and_bad_input():
    support = jd.psf.otf_support(jd.psf.gaussian((21, 22), 3.0))
    assert support.mask.shape == (21, 22)
    assert np.asarray(jd.psf.hull_gauge(support)).shape == (21, 22)
    with pytest.raises(ValueError, match="share"):
        jd.psf.otf_support(jd.psf.gaussian((9, 9), 3.0), share=0.0)
