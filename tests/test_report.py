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
    assert "voxels" in figure.axes[0].get_xlabel()
    figure = jd.report.psf_figure(psf)
    figure.savefig(tmp_path / "b.png")
    assert figure.axes[0].get_xlabel() == "x (voxels)"
    assert panel(figure, "|OTF|").get_xlabel() == "k_x (cycles per voxel)"
    labels = panel(figure, "profiles").get_legend_handles_labels()[1]
    assert labels == [f"x, y: {jd.psf.fwhm(psf)[0]:.3g} voxels"]


def panel(figure, title):
    """The axes whose title begins so."""
    return next(a for a in figure.axes if a.get_title().startswith(title))


def image_of(figure, title):
    return np.asarray(panel(figure, title).get_images()[0].get_array())


OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
SIZE = (0.2, 0.1, 0.1)


@pytest.mark.parametrize("shape", [(21, 24, 25), (16, 17, 18)])
def test_a_psf_figure_shows_planes_and_the_transform(shape, tmp_path):
    psf = np.asarray(jd.psf.widefield(shape, SIZE, **OPTICS))
    cutoffs = jd.psf.cutoffs(**OPTICS)
    figure = jd.report.psf_figure(psf, voxel_size=SIZE, cutoffs=cutoffs, title="mine")
    figure.savefig(tmp_path / "psf.png")
    assert (tmp_path / "psf.png").stat().st_size > 10_000
    for axis, name in enumerate("zyx"):
        plane = np.take(psf, shape[axis] // 2, axis)
        shown = image_of(figure, f"{name} = 0")
        np.testing.assert_allclose(shown, plane / psf.max(), rtol=1e-5)
        image = panel(figure, f"{name} = 0").get_images()[0]
        np.testing.assert_allclose(image.norm(0.25), 0.5)
    gain = abs(np.fft.fftshift(np.fft.fftn(psf))) / psf.sum()
    for axis, name in ((0, "z"), (1, "y")):
        plane = np.take(gain, shape[axis] // 2, axis)
        shown = image_of(figure, f"|OTF|, k_{name} = 0")
        np.testing.assert_allclose(shown, np.maximum(plane, 1e-4), rtol=1e-2)


def test_a_psf_figure_puts_frequencies_and_limits_where_they_are():
    shape = (21, 24, 25)
    psf = np.asarray(jd.psf.widefield(shape, SIZE, **OPTICS))
    cutoffs = np.asarray(jd.psf.cutoffs(**OPTICS))
    figure = jd.report.psf_figure(psf, voxel_size=SIZE, cutoffs=cutoffs)
    axes = panel(figure, "|OTF|, k_y = 0")
    left, right, bottom, top = axes.get_images()[0].get_extent()
    for low, high, n, size in ((left, right, 25, 0.1), (bottom, top, 21, 0.2)):
        step = 1 / (n * size)
        np.testing.assert_allclose(low, -(n // 2 + 0.5) * step)  # 0 is a centre
        np.testing.assert_allclose(high - low, n * step)
    drawn = {abs(float(v)) for line in axes.get_lines() for v in line.get_ydata()}
    assert np.isclose(cutoffs[0], [*drawn]).any()
    support = np.asarray(jd.psf.otf_support(psf).cutoffs) / SIZE
    contour = axes.collections[0].get_paths()[0].vertices
    reach = abs(contour).max(0)  # half a frequency beyond the last one inside
    np.testing.assert_allclose(reach[0], support[2] + 0.5 / (25 * 0.1), rtol=1e-3)
    np.testing.assert_allclose(reach[1], support[0] + 0.5 / (21 * 0.2), rtol=1e-3)


def test_a_psf_figure_draws_y_where_it_differs():
    labels = [
        panel(jd.report.psf_figure(psf), "profiles").get_legend_handles_labels()[1]
        for psf in (
            np.asarray(jd.psf.gaussian((9, 11, 12), (4.0, 3.0, 3.0))),
            np.asarray(jd.psf.gaussian((9, 12, 12), (4.0, 2.0, 3.0))),
            np.asarray(jd.psf.gaussian((3, 12, 12), (9.0, 3.0, 3.0))),
        )
    ]
    assert [label[0] for label in labels[0]] == ["z", "x"]
    assert labels[0][1].startswith("x, y: 3")
    assert [label[0] for label in labels[1]] == ["z", "y", "x"]
    assert labels[2][0] == "z: no FWHM: cut"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutoffs": (1.0, 2.0, 2.0)}, "voxel_size"),
        ({"cutoffs": (1.0, 2.0), "voxel_size": SIZE}, "one per axis"),
    ],
)
def test_cut_offs_that_cannot_be_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        jd.report.psf_figure(np.ones((3, 3, 3)), **options)
