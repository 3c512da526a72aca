"""Projections and the movie of a turn: what is seen where, and what is in the files."""

import math
import sys

import numpy as np
import pytest

import jaxdecon as jd

Image = pytest.importorskip("PIL.Image")

SIZE = (0.3, 0.1, 0.1)


@pytest.fixture
def volume():
    return np.random.default_rng(0).random((6, 15, 18)).astype(np.float32)


def point(shape, *place):
    volume = np.zeros(shape, np.float32)
    volume[place] = 1
    return volume


def middle_of(frames, shape):
    """The part of frames about their centre."""
    margins = [(n - m) // 2 for n, m in zip(frames.shape[1:], shape, strict=True)]
    (top, left), (height, width) = margins, shape
    return frames[:, top : top + height, left : left + width]


def centroids(frames):
    """(row, column) of each frame's light, from the centre."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in frames.shape[1:])
    light = frames.sum((1, 2))
    down, across = frames.sum(2) @ rows, frames.sum(1) @ columns
    return np.stack([down / light, across / light], 1)


def test_projections_are_the_maxima_along_each_axis(volume):
    planes = jd.report.projections(volume)
    assert list(planes) == ["xy", "xz", "yz"]
    for axis, plane in enumerate(planes.values()):
        np.testing.assert_array_equal(plane, volume.max(axis))


def test_projections_of_integers_are_floats():
    for dtype, expected in ((np.uint16, np.float32), (np.float64, np.float64)):
        planes = jd.report.projections(np.full((2, 3, 4), 7, dtype))
        assert all(plane.dtype == expected for plane in planes.values())


def test_projections_pass_over_nan(volume):
    volume[2] = np.nan
    volume[:, 3, 4] = np.nan
    xy = jd.report.projections(volume)["xy"]
    expected = np.delete(volume, 2, 0).max(0)
    np.testing.assert_array_equal(xy, expected)
    assert np.isnan(xy).sum() == 1


def test_anisotropic_voxels_become_square_pixels(volume):
    planes = jd.report.projections(volume, voxel_size=SIZE)
    np.testing.assert_array_equal(planes["xy"], volume.max(0))
    np.testing.assert_array_equal(planes["xz"], volume.max(1).repeat(3, 0))
    np.testing.assert_array_equal(planes["yz"], volume.max(2).repeat(3, 0))


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_the_first_frame_is_the_xy_projection(volume, axis):
    frames = jd.report.rotating_projection(volume, frames=3, axis=axis)
    assert frames.dtype == np.float32
    xy = middle_of(frames, volume.shape[1:])[0]
    np.testing.assert_allclose(xy, volume.max(0), rtol=1e-6)
    margin = frames[0].sum(dtype=float) - xy.sum(dtype=float)
    count = frames[0].size - xy.size
    np.testing.assert_allclose(margin, count * volume.min(), rtol=1e-4, atol=1e-6)


def test_a_point_off_the_axis_goes_round():
    """(z, y, x) = (3, -4, 5) from the centre of an odd volume."""
    frames = jd.report.rotating_projection(point((17,) * 3, 11, 4, 13), frames=24)
    angle = np.arange(24) * (2 * math.pi / 24)
    rows, columns = centroids(frames).T
    np.testing.assert_allclose(rows, -4, atol=1e-4)
    expected = 5 * np.cos(angle) + 3 * np.sin(angle)
    np.testing.assert_allclose(columns, expected, atol=0.3)
    np.testing.assert_allclose(columns[::6], expected[::6], atol=1e-4)


@pytest.mark.parametrize(
    ("axis", "quarter"), [("y", (-4, 3)), ("x", (-3, 5)), ("z", (5, 4))]
)
def test_a_quarter_turn_about_each_axis(axis, quarter):
    """z goes to x about y, y to z about x, and x to y about z."""
    volume = point((17,) * 3, 11, 4, 13)
    frames = jd.report.rotating_projection(volume, frames=4, axis=axis)
    found = centroids(frames)[1]
    np.testing.assert_allclose(found, quarter, atol=1e-4)


def test_a_turn_in_micrometres():
    """A point 3 voxels of 0.3 µm along z: 9 pixels of 0.1 µm after a quarter turn."""
    frames = jd.report.rotating_projection(
        point((9, 5, 5), 7, 2, 2), voxel_size=SIZE, frames=4
    )
    np.testing.assert_allclose(centroids(frames)[1], (0, 9), atol=1e-3)


@pytest.mark.parametrize(
    ("axis", "fixed", "turning"),
    [("z", (), (0, 1)), ("y", (0,), (1,)), ("x", (1,), (0,))],
)
def test_the_frame_holds_the_corners_at_every_angle(axis, fixed, turning):
    shape = (8, 13, 22)
    frames = jd.report.rotating_projection(np.ones(shape), frames=1, axis=axis)
    n, m = (n for name, n in zip("zyx", shape, strict=True) if name != axis)
    for a in turning:  # from the outermost centre to that on the other side
        across = math.hypot(n - 1, m - 1)
        assert across <= frames.shape[1 + a] - 1 < across + 4
        assert (frames.shape[1 + a] - shape[1 + a]) % 2 == 0
    for a in fixed:
        assert frames.shape[1 + a] == shape[1 + a]


def test_a_large_volume_is_reduced():
    volume = np.ones((10, 32, 16), np.float32)
    frames = jd.report.rotating_projection(
        volume, voxel_size=SIZE, frames=2, largest=16
    )
    np.testing.assert_allclose(middle_of(frames, (16, 8))[0], 1, rtol=1e-5)
    side = math.hypot(15, 8)
    assert frames.shape[:2] == (2, 16)
    assert side <= frames.shape[2] < side + 2


def test_outside_and_nan_are_as_dark_as_the_darkest(volume):
    volume[:, :4] = np.nan
    frames = jd.report.rotating_projection(volume - 5, frames=5)
    assert frames.min() == np.nanmin(volume - 5)
    assert np.isfinite(frames).all()


def read_back(path):
    with Image.open(path) as movie:
        shown = []
        for k in range(movie.n_frames):
            movie.seek(k)
            shown.append(np.asarray(movie.convert("L")))
        return np.stack(shown), dict(movie.info)


def test_a_movie_has_its_frames_in_one_contrast(tmp_path):
    frames = np.random.default_rng(0).normal(100, 20, (7, 12, 17))
    jd.report.write_movie(tmp_path / "a.gif", frames, seconds_per_frame=0.124)
    shown, info = read_back(tmp_path / "a.gif")
    low, high = np.percentile(frames, (1, 99.8))
    expected = 255 * np.clip((frames - low) / (high - low), 0, 1)
    np.testing.assert_allclose(shown, expected, atol=0.51)
    assert info["duration"] == 120
    assert info["loop"] == 0


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("a.mp4", (2, 3, 4), {}, "ends in .gif"),
        ("a.gif", (3, 4), {}, r"\(frames, height, width\) is needed"),
        ("a.gif", (0, 3, 4), {}, "is needed"),
        ("a.gif", (2, 3, 4), {"seconds_per_frame": 0}, "positive"),
    ],
)
def test_what_is_no_movie(name, shape, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        jd.report.write_movie(tmp_path / name, np.ones(shape), **options)
    assert not list(tmp_path.iterdir())


def test_pictures_are_named_scaled_and_square(volume, tmp_path):
    prefix = tmp_path / "run.5"
    paths = jd.report.write_projections(prefix, volume, voxel_size=SIZE)
    names = ["run.5_xy.png", "run.5_xz.png", "run.5_yz.png", "run.5_rotating.gif"]
    assert [path.name for path in paths] == names
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    planes = jd.report.projections(volume, voxel_size=SIZE).values()
    low, high = np.percentile(
        np.concatenate([plane.ravel() for plane in planes]), (1, 99.8)
    )
    for path, plane in zip(paths, planes, strict=False):
        with Image.open(path) as picture:
            assert picture.mode == "L"
            shown = np.asarray(picture)
        expected = 255 * np.clip((plane - low) / (high - low), 0, 1)
        np.testing.assert_allclose(shown, expected, atol=0.51)
    frames = jd.report.rotating_projection(volume, voxel_size=SIZE)
    shown, _ = read_back(paths[-1])
    assert shown.shape == frames.shape == (36, 15, 26)


def test_files_that_are_there_are_kept(volume, tmp_path):
    kept = tmp_path / "run_yz.png"
    kept.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite"):
        jd.report.write_projections(tmp_path / "run", volume)
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_bytes() == b"mine"
    jd.report.write_projections(str(tmp_path / "run"), volume, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 4
    assert kept.read_bytes() != b"mine"
    with pytest.raises(FileExistsError):
        jd.report.write_movie(tmp_path / "run_rotating.gif", volume)


def test_a_file_is_there_whole_or_not_at_all(volume, tmp_path, monkeypatch):
    def fail(_, file, **__):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space"):
        jd.report.write_movie(tmp_path / "a.gif", volume)
    assert not list(tmp_path.iterdir())


def test_without_pillow_the_extra_is_named(volume, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"jaxdecon\[plots\]"):
        jd.report.write_projections(tmp_path / "run", volume)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("volume", "options", "message"),
    [
        (np.ones((4, 5)), {}, r"\(z, y, x\) is needed"),
        (np.ones((0, 4, 5)), {}, r"\(z, y, x\) is needed"),
        (np.full((2, 3, 4), np.nan), {}, "NaN everywhere"),
        (np.ones((2, 3, 4)), {"voxel_size": (1.0, 1.0)}, "one per axis, 3"),
        (np.ones((2, 3, 4)), {"voxel_size": (1.0, -1.0, 1.0)}, "positive"),
    ],
)
def test_what_cannot_be_projected(volume, options, message):
    for function in (jd.report.projections, jd.report.rotating_projection):
        with pytest.raises(ValueError, match=message):
            function(volume, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"axis": "w"}, "known are"), ({"frames": 0}, "1 or more"), ({"largest": 0}, "1")],
)
def test_what_is_no_turn(volume, options, message):
    with pytest.raises(ValueError, match=message):
        jd.report.rotating_projection(volume, **options)
