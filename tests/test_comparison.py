"""The comparison of back projectors: recommended limits, transmission, the figure."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import KINDS, compare_back_projectors

OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
SIZE = (0.2, 0.08, 0.08)


@pytest.fixture(scope="module")
def widefield():
    psf = jd.psf.widefield((33, 49, 49), SIZE, **OPTICS)
    return psf, compare_back_projectors(psf)


def test_the_limit_is_between_the_optical_one_and_the_width(widefield):
    _, found = widefield
    optical = 1 / (np.asarray(jd.psf.cutoffs(**OPTICS)) * SIZE)
    # The weakest frequencies are below the threshold of the support.
    assert (np.array(found.resolution[1:]) > optical[1:]).all()
    assert (np.array(found.resolution[1:]) < 2 * optical[1:]).all()
    assert "voxels limit" not in found.advice
    assert f"{found.resolution[2]:.3g}" in found.advice


def test_no_limit_is_finer_than_two_voxels():
    found = compare_back_projectors(jd.psf.gaussian((16, 16), 0.8))
    assert found.resolution == (2.0, 2.0)
    assert "along y, x the voxels limit it" in found.advice


def test_kernels_are_those_of_the_recommended_limit(widefield):
    psf, found = widefield
    assert tuple(found.kernels) == KINDS
    expected = jd.back_projector(
        psf, "wiener-butterworth", resolution=found.resolution, alpha=0.05
    )
    np.testing.assert_array_equal(found.kernels["wiener-butterworth"], expected)


def test_transmission_of_the_matched_one_is_the_squared_gain(widefield):
    psf, found = widefield
    otf = abs(np.fft.fftshift(np.fft.fftn(np.asarray(psf, float))))
    np.testing.assert_allclose(
        found.transmission["matched"], otf**2 / otf.max() ** 2, atol=1e-5
    )
    light = {kind: gain.sum() for kind, gain in found.transmission.items()}
    assert min(light["wiener-butterworth"], light["omw"]) > 1.5 * light["matched"]


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"kinds.*inverse"):
        compare_back_projectors(jd.psf.gaussian((15, 15), 3.0), kinds=["inverse"])


@pytest.mark.parametrize("shape", [(15, 17, 17), (21, 20)])
def test_the_figure_draws_every_kind(tmp_path, shape):
    psf = jd.psf.gaussian(shape, (4.0, 3.0, 3.0)[-len(shape) :])
    found = compare_back_projectors(psf)
    figure = jd.report.back_projector_figure(found, title="a Gaussian")
    figure.savefig(tmp_path / "figure.png")
    panels = figure.axes
    assert len(panels) == 4 if len(shape) == 3 else 2
    assert len(panels[0].lines) == len(KINDS)
    assert len(panels[1].lines) == len(KINDS) + 2
