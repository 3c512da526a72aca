"""The figure of a registration shows what it says."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import jaxdecon as jd

matplotlib = pytest.importorskip("matplotlib")

SHAPE = (30, 44, 40)
BEFORE, AFTER, BOARD = "before", "after\nfixed", "after\nsquares"


def scene(shape, seed=0):
    """Blobs, 3 voxels wide, as many as fill the shape."""
    rng = np.random.default_rng(seed)
    volume = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 2.5)
    return np.maximum(volume / volume.std(), 0).astype(np.float32)


def shift(*by):
    matrix = np.eye(len(by) + 1)
    matrix[:-1, -1] = by
    return matrix


def stand_in(matrix, **changes):
    """A registration that was found, with two levels of three and one passes."""
    scores = [[0.2, 0.5, 0.9], [0.95, np.nan, np.nan]]
    return types.SimpleNamespace(
        **{
            "matrix": jnp.asarray(matrix),
            "history": jnp.asarray(scores),
            "metric": "ncc",
            "converged": True,
            "message": "converged (correlation 0.950)",
            **changes,
        }
    )


def view(figure, name):
    """The axes xy, xz and zy of the view whose heading begins so."""
    for part in figure.subfigs:
        if part.get_suptitle().startswith(name):
            return sorted(part.axes, key=lambda axes: axes.get_title("right") != "")
    raise LookupError(name)


def images(figure, name):
    return [np.asarray(a.get_images()[0].get_array()) for a in view(figure, name)]


def score_axes(figure):
    return figure.subfigs[-1].axes[0]


def scaled(volume):
    low, high = np.percentile(volume, (1, 99.8))
    return np.clip((volume - low) / (high - low), 0, 1)


@pytest.fixture(scope="module")
def pair():
    """Fixed, moving with ten times the contrast, and the registration of the two."""
    whole = scene((40, 60, 56))
    fixed, moving = whole[5:35, 8:52, 8:48], whole[3:33, 11:55, 7:47]
    moving = 7 + 10 * moving
    return fixed, moving, jd.register(fixed, moving, model="rigid")


def test_a_registered_pair_is_grey_and_an_unregistered_one_is_not(pair, tmp_path):
    fixed, moving, found = pair
    figure = jd.report.registration_figure(fixed, moving, found, title="mine")
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert len(figure.axes) == 10
    inside = np.isfinite(np.asarray(found.warp(moving, fixed.shape, outside=np.nan)))
    for before, after, plane in zip(
        images(figure, BEFORE), images(figure, AFTER), planes(figure), strict=True
    ):
        seen = cut(inside, plane)
        for image in (before, after):  # the same planes of the fixed volume
            np.testing.assert_allclose(image[..., 0], cut(scaled(fixed), plane), 1e-4)
            np.testing.assert_array_equal(image[..., 0], image[..., 2])
        worse, misfit = (
            abs(i[..., 0] - i[..., 1])[seen].mean() for i in (before, after)
        )
        assert misfit < 0.01 < worse / 5
        assert not after[~seen][:, 1].any()


def planes(figure):
    """(axis, index) of the planes drawn, read from the titles in voxels."""
    for axes in view(figure, AFTER):
        titles = (axes.get_title("left"), axes.get_title("right"))
        name, index, _ = "".join(titles).replace("= ", "").split()
        yield "zyx".index(name), int(index)


def cut(volume, plane):
    axis, index = plane
    section = np.take(volume, index, axis)
    return section.T if axis == 2 else section


def test_both_views_show_the_moving_volume_resampled_at_one_contrast(pair):
    fixed, moving, found = pair
    figure = jd.report.registration_figure(fixed, moving, found)
    shown = scaled(moving)
    for name, matrix in ((BEFORE, np.eye(4)), (AFTER, found.matrix)):
        warped = np.asarray(jd.warp(shown, matrix, fixed.shape))
        for image, plane in zip(images(figure, name), planes(figure), strict=True):
            np.testing.assert_allclose(image[..., 1], cut(warped, plane), atol=1e-5)


def test_planes_are_the_brightest_in_the_middle_of_the_overlap():
    fixed = np.zeros((40, 42, 44), np.float32)
    fixed[28, 20, 24] = 5.0
    fixed[[2, 12]] = 100.0  # brighter, but outside, and not in the middle
    found = stand_in(shift(-10, 0, 0))  # z from 10 to 39 overlaps, 20 to 29 is middle
    figure = jd.report.registration_figure(fixed, fixed, found)
    assert list(planes(figure)) == [(0, 28), (1, 20), (2, 24)]


def test_squares_of_the_checkerboard_alternate():
    fixed, moving = np.zeros((2, 16, 32, 32), np.float32)
    fixed[..., ::2], moving[..., 1::2] = 1.0, 1.0
    figure = jd.report.registration_figure(fixed, moving, stand_in(np.eye(4)))
    xy, xz, _ = images(figure, BOARD)
    stripes = np.arange(32) % 2 == 0
    for board in (xy, xz):  # where even columns are bright it is the fixed volume
        is_fixed = (board == stripes).reshape(-1, 4, 8, 4).all((1, 3))
        is_moving = (board == ~stripes).reshape(-1, 4, 8, 4).all((1, 3))
        expected = np.indices(is_fixed.shape).sum(0) % 2 == 0
        np.testing.assert_array_equal(is_fixed, expected)
        np.testing.assert_array_equal(is_moving, ~expected)


def test_squares_are_square_in_micrometres():
    fixed, moving = np.ones((8, 32, 32), np.float32), np.zeros((8, 32, 32), np.float32)
    fixed[:, :4] = 0.0
    figure = jd.report.registration_figure(
        fixed, moving, stand_in(np.eye(4)), voxel_size=(0.4, 0.1, 0.1)
    )
    xz = images(figure, BOARD)[1]  # 3.2 µm by 3.2 µm: a row of squares per plane
    np.testing.assert_array_equal(xz[:, 2::4], np.indices((8, 8)).sum(0) % 2 == 0)


def test_voxels_have_their_true_proportions(pair):
    fixed, moving, found = pair
    size = (0.5, 0.2, 0.1)
    figure = jd.report.registration_figure(fixed, moving, found, voxel_size=size)
    for name in (BEFORE, AFTER, BOARD):
        for axes, (down, across) in zip(
            view(figure, name), ((1, 2), (0, 2), (1, 0)), strict=True
        ):
            left, right, bottom, top = axes.get_images()[0].get_extent()
            np.testing.assert_allclose(right - left, SHAPE[across] * size[across])
            np.testing.assert_allclose(bottom - top, SHAPE[down] * size[down])
            np.testing.assert_allclose(
                [left, top], [-size[across] / 2, -size[down] / 2]
            )
            assert axes.get_aspect() == 1.0
    xy, xz, zy = view(figure, AFTER)
    labels = xy.get_ylabel(), xz.get_xlabel(), xz.get_ylabel(), zy.get_xlabel()
    assert labels == ("y (µm)", "x (µm)", "z (µm)", "z (µm)")


def test_before_the_centres_are_on_each_other_in_micrometres():
    """A point in both centres, seen with two kinds of voxels."""
    fixed, moving = np.zeros((9, 21, 21)), np.zeros((17, 11, 13))
    fixed[4, 10, 10] = moving[8, 5, 6] = 1.0
    figure = jd.report.registration_figure(
        fixed,
        moving,
        stand_in(shift(50, 0, 0)),
        voxel_size=(0.4, 0.1, 0.1),
        moving_voxel_size=(0.2, 0.2, 0.2),
    )
    for image in images(figure, BEFORE):
        green, magenta = image[..., 1], image[..., 0]
        assert green.argmax() == magenta.argmax()
    xy = images(figure, BEFORE)[0][..., 1]  # a voxel of moving is two of fixed
    np.testing.assert_allclose(xy[10, 8:13], [0, 0.5, 1, 0.5, 0], atol=1e-5)
    assert not any(image[..., 1].any() for image in images(figure, AFTER))


def test_the_scores_are_those_of_the_registration(pair):
    fixed, moving, found = pair
    axes = score_axes(jd.report.registration_figure(fixed, moving, found))
    history = np.asarray(found.history)
    curves = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert len(curves) == len(history) > 1
    for line, row in zip(curves, history, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), row[np.isfinite(row)])
    passes = np.concatenate([line.get_xdata() for line in curves])
    np.testing.assert_array_equal(passes, 1 + np.arange(np.isfinite(history).sum()))
    assert axes.get_ylabel() == found.metric


def test_levels_are_told_apart():
    volume = scene((12, 12, 12))
    figure = jd.report.registration_figure(volume, volume, stand_in(np.eye(4)))
    first, border, second = score_axes(figure).get_lines()
    assert list(first.get_xdata()) == [1, 2, 3]
    assert list(second.get_xdata()) == [4]
    assert border.get_xdata()[0] == 3.5
    assert first.get_color() != second.get_color()


def test_a_plane_has_one_row():
    whole = scene((60, 64))
    fixed, moving = whole[6:54, 5:57], whole[3:51, 9:61]
    found = jd.register(fixed, moving, model="translation")
    figure = jd.report.registration_figure(fixed, moving, found, voxel_size=(0.2, 0.1))
    assert len(figure.axes) == 4
    (axes,), (before,), (after,) = (
        view(figure, AFTER),
        *map(images, (figure, figure), (BEFORE, AFTER)),
    )
    assert axes.get_images()[0].get_extent() == pytest.approx((-0.05, 5.15, 9.5, -0.1))
    assert axes.get_xlabel() == "x (µm)"
    inner = np.s_[8:-8, 8:-8]
    worse, misfit = (abs(i[..., 0] - i[..., 1])[inner].mean() for i in (before, after))
    assert misfit < 0.01 < worse / 5
    figure.draw_without_rendering()
    rows = {round(part.get_window_extent().y0) for part in figure.subfigs}
    assert len(rows) == 1


def test_the_title_says_whether_to_believe_it(pair):
    fixed, moving, found = pair
    figure = jd.report.registration_figure(fixed, moving, found, title="a.tif, b.tif")
    first, second = figure.get_suptitle().splitlines()
    assert first == "a.tif, b.tif"
    assert second == f"registration {found.message}"
    noise = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    found = jd.register(*noise, model="rigid")
    assert not found.converged
    figure = jd.report.registration_figure(*noise, found)
    title = figure.get_suptitle().replace("\n", " ")
    assert title == f"registration failed: {found.message}"


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_pose_without_an_image_leaves_the_after_views_black(value):
    volume = scene((12, 14, 16))
    found = stand_in(np.full((4, 4), value), converged=False)
    figure = jd.report.registration_figure(volume, volume, found)
    for image in images(figure, AFTER):
        assert image[..., 0].any()
        assert not image[..., 1].any()


def test_nan_is_black():
    volume = scene((12, 14, 16))
    gaps = volume.copy()
    gaps[:, :5] = np.nan
    figure = jd.report.registration_figure(gaps, gaps, stand_in(np.eye(4)))
    xy = images(figure, AFTER)[0]
    assert not xy[:5].any()
    assert xy[5:].any()


def test_few_bright_voxels_are_seen_and_an_empty_volume_is_black():
    points, empty = np.zeros((2, 20, 20, 20))
    points[10, 10, 10] = 0.3
    figure = jd.report.registration_figure(points, empty, stand_in(np.eye(4)))
    for image in images(figure, AFTER):
        assert image[..., 0].max() == 1
        assert not image[..., 1].any()


def test_the_global_state_of_matplotlib_stays(pair):
    before = dict(matplotlib.rcParams)
    jd.report.registration_figure(*pair)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("shapes", "matrix", "options", "message"),
    [
        (((8, 9), (8, 9, 9)), np.eye(3), {}, "two volumes"),
        (((8, 9), (8, 9)), np.eye(4), {}, r"\(3, 3\) is needed"),
        (((8, 8, 8),) * 2, np.ones((5, 4, 4)), {}, "of one pair"),
        (((8, 9), (8, 9)), np.eye(3), {"voxel_size": (1.0,) * 3}, "one per axis, 2"),
    ],
)
def test_what_cannot_be_drawn(shapes, matrix, options, message):
    fixed, moving = map(np.ones, shapes)
    with pytest.raises(ValueError, match=message):
        jd.report.registration_figure(fixed, moving, stand_in(matrix), **options)
