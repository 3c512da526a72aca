import numpy as np
import pytest

import jaxdecon as jd

pytest.importorskip("matplotlib")


def test_deconvolution_figure_shows_what_it_says(tmp_path):
    rng = np.random.default_rng(0)
    raw, sharp = rng.random((2, 8, 20, 24)).astype(np.float32)
    psf = np.asarray(jd.psf.gaussian((7, 7, 7), 2.0))
    figure = jd.report.deconvolution_figure(
        {"raw": raw, "deconvolved": sharp},
        psf,
        voxel_size=(0.4, 0.2, 0.2),
        histories={"run": [3.0, 2.0, 1.5]},
    )
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    images = [image for axes in figure.axes for image in axes.get_images()]
    projections = [np.asarray(image.get_array()) for image in images[:6]]
    for stack, first in ((raw, 0), (sharp, 3)):
        for axis in range(3):
            np.testing.assert_allclose(projections[first + axis], stack.max(axis))
    curves = [line.get_ydata() for axes in figure.axes for line in axes.get_lines()]
    assert any(np.array_equal(curve, [3.0, 2.0, 1.5]) for curve in curves)


def test_two_dimensional_figures(tmp_path):
    psf = np.asarray(jd.psf.gaussian((9, 9), 3.0))
    figure = jd.report.deconvolution_figure({"raw": np.eye(12)}, psf)
    figure.savefig(tmp_path / "a.png")
    jd.report.psf_figure(psf).savefig(tmp_path / "b.png")
    assert "voxels" in figure.axes[0].get_xlabel()
