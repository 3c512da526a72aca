"""The figure of a fusion shows what it says."""

import numpy as np
import pytest

import jaxdecon as jd

matplotlib = pytest.importorskip("matplotlib")

SHAPE = (32, 30, 28)
SIZE = (0.2, 0.1, 0.1)
SHARP_IN_X, SHARP_IN_Z = (7.0, 4.0, 4.0), (4.0, 4.0, 7.0)


def bead(width):
    """On a background, with a little noise."""
    noise = np.random.default_rng(0).normal(0, 1, SHAPE)
    kernel = np.asarray(jd.psf.gaussian(SHAPE, width))
    return (100 + 1000 * kernel / kernel.max() + noise).astype(np.float32)


@pytest.fixture(scope="module")
def volumes():
    return {
        "view 0": bead(SHARP_IN_X),
        "view 1": 3 * bead(SHARP_IN_Z),
        "fused": bead((4.0, 4.0, 4.0)),
    }


@pytest.fixture(scope="module")
def figure(volumes):
    return jd.report.fusion_figure(volumes, voxel_size=SIZE, title="mine")


def parts(figure):
    """The column of every volume, and the two panels below."""
    above, below = figure.subfigs
    return above.subfigs, *below.axes


def images(column):
    return [np.asarray(axes.get_images()[0].get_array()) for axes in column.axes]


def numbers(axes):
    """What stands on the bars: volumes x axes."""
    texts = [text.get_text() for text in axes.texts]
    return np.reshape(texts, (-1, 3))


def lines(axes):
    return [line for line in axes.get_lines() if len(line.get_xdata())]


def test_every_volume_has_its_projections_in_its_own_contrast(
    figure, volumes, tmp_path
):
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert figure.get_suptitle() == "mine"
    columns, _, _ = parts(figure)
    assert [column.get_suptitle() for column in columns] == list(volumes)
    for column, volume in zip(columns, volumes.values(), strict=True):
        planes = [volume.max(0), volume.max(1), volume.max(2)]
        low, high = np.percentile(
            np.concatenate([p.ravel() for p in planes]), (1, 99.8)
        )
        xy, zy, xz = images(column)
        for shown, plane in zip((xy, xz, zy.T), planes, strict=True):
            expected = np.clip((plane - low) / (high - low), 0, 1)
            np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_views_have_their_true_proportions(figure):
    extents = [n * s for n, s in zip(SHAPE, SIZE, strict=True)]
    for column in parts(figure)[0]:
        xy, zy, xz = column.axes
        for axes, (down, across) in ((xy, (1, 2)), (zy, (1, 0)), (xz, (0, 2))):
            left, right, bottom, top = axes.get_images()[0].get_extent()
            np.testing.assert_allclose(right - left, extents[across])
            np.testing.assert_allclose(bottom - top, extents[down])
            assert axes.get_aspect() == 1.0
        assert (xy.get_ylabel(), xz.get_xlabel()) == ("y", "x")
        assert (xz.get_ylabel(), zy.get_xlabel()) == ("z", "z")


@pytest.mark.parametrize(
    ("size", "text"), [(SIZE, "0.5 µm"), (None, "5 voxels"), ((0.2, None, 0.1), "5 ")]
)
def test_the_scale_bar_is_as_long_as_it_says(size, text):
    figure = jd.report.fusion_figure({"a": bead(SHARP_IN_X)}, voxel_size=size)
    xy = parts(figure)[0][0].axes[0]
    assert xy.texts[0].get_text().startswith(text)
    start, end = xy.get_lines()[0].get_xdata()
    np.testing.assert_allclose(end - start, float(text.split()[0]))


@pytest.mark.parametrize("extent", [0.3, 1e-3, 2.0, 3.0, 30.0, 299.9])
def test_the_scale_bar_fits(extent):
    volume = np.zeros((1, 4, 16))
    volume[0, 2, 2] = 1.0
    figure = jd.report.fusion_figure({"a": volume}, voxel_size=(extent / 16,) * 3)
    start, end = parts(figure)[0][0].axes[0].get_lines()[0].get_xdata()
    assert extent / 8 < end - start <= extent / 3


def test_widths_are_those_of_the_beads(figure, volumes):
    _, axes, _ = parts(figure)
    known = np.array([SHARP_IN_X, SHARP_IN_Z, (4.0, 4.0, 4.0)]) * SIZE
    np.testing.assert_allclose(numbers(axes).astype(float), known, rtol=0.05)
    for bars, row in zip(axes.containers, known, strict=True):
        heights = [bar.get_height() for bar in bars]
        np.testing.assert_allclose(heights, row, rtol=0.05)
    assert axes.get_ylabel() == "FWHM (µm)"
    labels = axes.get_legend_handles_labels()[1]
    assert labels == [f"{name} (n = 1)" for name in volumes]


def test_median_widths():
    found = jd.report.median_widths(bead(SHARP_IN_X))
    np.testing.assert_allclose(found, SHARP_IN_X, rtol=0.05)
    found = jd.report.median_widths(bead(SHARP_IN_X), SIZE)
    np.testing.assert_allclose(found, np.multiply(SHARP_IN_X, SIZE), rtol=0.05)
    gaps = bead(SHARP_IN_X)
    gaps[:, :6] = np.nan
    found = jd.report.median_widths(gaps)
    np.testing.assert_allclose(found, SHARP_IN_X, rtol=0.05)


def test_spectra_show_the_direction_that_a_view_resolves(figure, volumes):
    _, _, axes = parts(figure)
    assert axes.get_yscale() == "log"
    assert axes.get_legend_handles_labels()[1] == list(volumes)
    curves = lines(axes)
    assert len(curves) == 2 * len(volumes)
    kinds = [(32, 0.2, "-"), (28, 0.1, "--")] * len(volumes)
    powers = []
    for (n, size, style), curve in zip(kinds, curves, strict=True):
        frequency, power = curve.get_data()
        np.testing.assert_allclose(frequency, np.fft.rfftfreq(n, size)[1:])
        np.testing.assert_allclose(power[:3].mean(), 1, rtol=1e-5)
        assert curve.get_linestyle() == style
        powers.append(np.interp(0.15, frequency * size, power))
    z_0, x_0, z_1, x_1, z, x = powers
    assert min(z_1, z, x_0, x) > 10 * max(z_0, x_1)


def test_a_spectrum_is_the_mean_over_the_other_frequencies():
    volume = np.random.default_rng(0).random((9, 8, 7))
    figure = jd.report.fusion_figure({"a": volume})
    z, x = lines(parts(figure)[2])
    for curve, axis in ((z, 0), (x, 2)):
        n = volume.shape[axis]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, n + 1) / (n + 1))
        weighted = np.moveaxis(volume - volume.mean(), axis, 0) * window[:, None, None]
        power = (abs(np.fft.fftn(weighted)) ** 2).mean((1, 2))[1 : n // 2 + 1]
        np.testing.assert_allclose(curve.get_ydata(), power / power[:3].mean())


def test_where_there_are_no_points_a_dash_stands():
    rng = np.random.default_rng(0)
    constant, noise = np.ones((48, 48, 48)), rng.random((48, 48, 48))
    hole, slope = constant.copy(), constant * np.arange(48.0)
    hole[20, 20, 20] = 0.0
    volumes = {"constant": constant, "hole": hole, "slope": slope, "noise": noise}
    figure = jd.report.fusion_figure(volumes)
    figure.draw_without_rendering()
    shown = numbers(parts(figure)[1])
    assert (shown[:3] == "–").all()
    labels = parts(figure)[1].get_legend_handles_labels()[1]
    assert labels[:3] == [f"{name} (n = 0)" for name in list(volumes)[:3]]
    assert np.isnan(jd.report.median_widths(slope)).all()


def test_noise_takes_no_time(monkeypatch):
    monkeypatch.setattr(jd.report._fusion_figure, "MAXIMA", 100)
    noise = np.random.default_rng(0).random((24, 24, 24))
    assert np.isnan(jd.report.median_widths(noise)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 12, 12), (2, 3, 2), (12, 12, 1)])
def test_flat_and_tiny_volumes_are_drawn(shape):
    volume = np.random.default_rng(0).random(shape)
    figure = jd.report.fusion_figure({"a": volume, "b": np.zeros(shape)})
    figure.draw_without_rendering()
    assert len(parts(figure)[0]) == 2


def test_only_the_middle_of_large_volumes_is_measured(monkeypatch):
    monkeypatch.setattr(jd.report._fusion_figure, "MIDDLE", 20)
    volume = bead((4.0, 4.0, 4.0))
    volume[1, 1, 1] = 1e6
    figure = jd.report.fusion_figure({"a": volume})
    _, widths, spectra = parts(figure)
    np.testing.assert_allclose(numbers(widths).astype(float), 4, rtol=0.05)
    assert [len(line.get_xdata()) for line in lines(spectra)] == [10, 10]


def test_nan_is_black_and_not_measured():
    volume = bead((4.0, 4.0, 4.0))
    volume[:, :5] = np.nan
    volume[0, 0, 0] = np.inf
    figure = jd.report.fusion_figure({"a": volume})
    (column,), widths, spectra = parts(figure)
    xy, zy, _ = images(column)
    assert not xy[:5].any()
    assert not zy[:5].any()
    np.testing.assert_allclose(numbers(widths).astype(float), 4, rtol=0.05)
    assert all(np.isfinite(line.get_ydata()).all() for line in lines(spectra))


def test_the_global_state_of_matplotlib_stays(volumes):
    before = dict(matplotlib.rcParams)
    jd.report.fusion_figure(volumes)
    assert dict(matplotlib.rcParams) == before


CUBE = np.ones((4, 4, 4))


@pytest.mark.parametrize(
    ("volumes", "options", "message"),
    [
        ({}, {}, "one volume or more"),
        ({"a": CUBE, "b": CUBE[1:]}, {}, r"'b': \(3, 4, 4\).*on one grid"),
        ({"a": CUBE, "b": CUBE[0]}, {}, r"volumes\['b'\].*\(z, y, x\) is needed"),
        ({"a": CUBE * np.nan}, {}, r"volumes\['a'\].*NaN everywhere"),
        ({"a": CUBE}, {"voxel_size": (1.0, 1.0)}, "one per axis, 3"),
        ({"a": CUBE}, {"voxel_size": (1.0, 0.0, 1.0)}, "positive"),
    ],
)
def test_what_cannot_be_drawn(volumes, options, message):
    with pytest.raises(ValueError, match=message):
        jd.report.fusion_figure(volumes, **options)
