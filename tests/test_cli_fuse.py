"""`jaxdecon fuse`: from files of views to one file, over time, and live."""

import json
import threading
import time

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main
from jaxdecon.geometry import turned
from tests._blobs import Blobs, corner_error
from tests._dual_view import SHAPE, make, ncc

pytestmark = pytest.mark.usefixtures("wide_terminal")

SIZE = (1.0, 1.0, 1.0)
SMALL = (20, 24, 22)


def run(*arguments):
    return main(["fuse", *(str(part) for part in arguments)])


def write(path, data, axes="zyx", size=SIZE, **more):
    image = jd.io.Image(data=np.asarray(data, np.float32), axes=axes,
                        voxel_size=size, **more)  # fmt: skip
    jd.io.write(path, image)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A dual view from the side, and its PSFs."""
    folder = tmp_path_factory.mktemp("fuse")
    truth, views, psfs, matrix = make()
    side = SHAPE[::-1]
    turn = turned(90, shape=SHAPE, to_shape=side)
    other = jd.warp(views[1], np.linalg.inv(turn), side)
    around = turned(90, shape=psfs[1].shape, to_shape=psfs[0].shape)
    psf = jd.warp(psfs[1], np.linalg.inv(around), psfs[0].shape)
    paths = [
        write(folder / f"{name}.ome.tif", data)
        for name, data in {
            "a": views[0], "b": other, "psf_a": psfs[0], "psf_b": psf
        }.items()
    ]  # fmt: skip
    return paths, truth, turn @ matrix


def test_raw_views_become_one_file(files, tmp_path, capsys):
    (a, b, psf_a, psf_b), truth, matrix = files
    out, figure = tmp_path / "fused.ome.zarr", tmp_path / "fused.png"
    options = ("--psf", psf_a, "--psf", psf_b, "--turn", 90, "--alpha", 0.02, "-n", 3)
    more = ("--figure", figure, "--projections", tmp_path / "p", "--poses-file",
            tmp_path / "poses.json")  # fmt: skip
    assert run(a, b, *options, "-o", out, *more) == 0
    told = capsys.readouterr().out
    assert "correlation with the first view" in told
    image = jd.io.read(out)
    assert image.voxel_size == SIZE
    assert ncc(image.volume(), truth) > 0.96
    record = image.metadata["fusion"]["time_points"][0]
    assert corner_error(np.array(record["matrices"][1]), matrix, SHAPE) < 0.1
    assert record["notes"] == []
    assert json.loads((tmp_path / "poses.json").read_text())["time_points"] == [record]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in tmp_path.glob("p_*")} == {
        "p_xy.png", "p_xz.png", "p_yz.png", "p_rotating.gif"
    }  # fmt: skip
    # Not overwritten, and found out before any work.
    assert run(a, b, *options, "-o", out) == 2


@pytest.fixture(scope="module")
def scene():
    """(views of a time point by its number, matrix of the second view)."""
    blobs = Blobs(count=1500, seed=4)
    matrix = np.eye(4)
    matrix[:3, 3] = (0.6, -1.3, 0.8)

    def views(t):
        return [
            100 + 300 * np.maximum(blobs.image(SMALL, m, seed=7 * t + i), 0)
            for i, m in enumerate((np.eye(4), matrix))
        ]

    return views, matrix


def test_time_points_and_channels_share_poses(scene, tmp_path):
    views, matrix = scene
    series = [views(t) for t in range(2)]
    paths = [
        write(
            tmp_path / f"{v}.ome.tif",
            np.stack([np.stack([p[v], 0.5 * p[v]]) for p in series]),
            "tczyx",
            channels=("green", "red"),
        )
        for v in range(2)
    ]
    out = tmp_path / "fused.ome.zarr"
    assert run(*paths, "--method", "average", "--background", 0, "-o", out) == 0
    image = jd.io.read(out)
    assert image.axes == "tczyx"
    assert image.channels == ("green", "red")
    data = np.asarray(image)
    np.testing.assert_allclose(data[:, 1], 0.5 * data[:, 0], rtol=1e-3)
    for record in image.metadata["fusion"]["time_points"]:
        assert corner_error(np.array(record["matrices"][1]), matrix, SMALL) < 0.15


def test_a_file_for_every_time_point_some_missing(scene, tmp_path, capsys):
    views, _ = scene
    for t in range(4):
        for name, data in zip("ab", views(t), strict=True):
            if (t, name) != (1, "b"):
                write(tmp_path / f"{name}_{t:03}.ome.tif", data)
    (tmp_path / "a_002.ome.tif").write_bytes(b"II*\0 half of a file")
    out = tmp_path / "fused.ome.zarr"
    patterns = (tmp_path / "a_*.ome.tif", tmp_path / "b_*.ome.tif")
    options = ("--method", "blending", "--poses", "once", "-o", out)
    assert run(*patterns, *options) == 0
    told = capsys.readouterr().out
    assert "t 1: skipped: no file of view 1" in told
    assert "t 2: skipped" in told
    image = jd.io.read(out)
    assert image.axes == "tzyx"
    light = np.asarray(image).sum((1, 2, 3))
    assert (light > 0).tolist() == [True, False, False, True]
    assert image.metadata["fusion"]["time_points"][1] is None
    assert set(image.metadata["fusion"]["notes"]) == {"1", "2"}


def test_poses_that_run_smoothly(scene, tmp_path):
    views, _ = scene
    paths = [
        write(
            tmp_path / f"{v}.ome.tif", np.stack([views(t)[v] for t in range(3)]), "tzyx"
        )
        for v in range(2)
    ]
    out = tmp_path / "fused.ome.zarr"
    options = ("--method", "average", "--smooth", 5, "-o", out)
    assert run(*paths, *options) == 0
    records = jd.io.read(out).metadata["fusion"]["time_points"]
    poses = np.array([record["matrices"][1] for record in records])
    assert np.ptp(poses[:, :3, 3], axis=0).max() < 0.02


def test_live(scene, tmp_path, capsys):
    """Files arrive while it runs, one in two parts; a second run goes on."""
    views, _ = scene
    run_folder, out = tmp_path / "run", tmp_path / "fused"
    run_folder.mkdir()
    for t in range(5):
        for name, data in zip("ab", views(t), strict=True):
            write(tmp_path / f"{name}_{t:03}.ome.tif", data)

    def arrive(*times):
        for t in times:
            for name in "ab":
                source = (tmp_path / f"{name}_{t:03}.ome.tif").read_bytes()
                target = run_folder / f"{name}_{t:03}.ome.tif"
                target.write_bytes(source[: len(source) // 3])
                time.sleep(0.7)
                target.write_bytes(source)

    arrive(0)
    microscope = threading.Thread(target=arrive, args=(1, 2))
    microscope.start()
    command = ("a_*.ome.tif", "b_*.ome.tif", "--watch", run_folder, "-o", out,
               "--method", "average", "--poses", "once", "--idle")  # fmt: skip
    assert run(*command, 8) == 0
    microscope.join()
    assert "3 time points fused, 0 skipped" in capsys.readouterr().out
    names = sorted(p.name for p in out.iterdir())
    assert names == [f"fused_00{t}.ome.zarr" for t in range(3)]
    before = {p.name: (p / "zarr.json").stat().st_mtime_ns for p in out.iterdir()}

    arrive(3)
    assert run(*command, 3) == 0
    assert "1 time points fused" in capsys.readouterr().out
    after = {p.name: (p / "zarr.json").stat().st_mtime_ns for p in out.iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 4
    poses = [
        jd.io.read(p).metadata["fusion"]["time_points"][0]["matrices"]
        for p in sorted(out.iterdir())
    ]
    np.testing.assert_array_equal(poses[0], poses[3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["a"], "two or more"),
        (["a", "b"], "a PSF is needed"),
        (["a", "b", "--psf", "psf_a", "--turn", "90", "--turn", "90"], "--turn"),
        (["a", "b", "--psf", "psf_a", "--psf", "psf_b", "--psf", "psf_a"], "--psf"),
        (["a", "b", "--method", "mean"], "method"),
        (["a", "b", "--method", "average", "--poses", "twice"], "--poses"),
        (["a", "b", "--method", "average", "--channel", "3"], "--channel"),
        (["a", "series", "--method", "average"], "time points"),
        (["a", "unknown", "--method", "average"], "voxel size"),
        (["a", "b", "--method", "average", "--watch", "nowhere"], "no folder"),
        (["a", "b", "--method", "average", "--smooth", "-1"], "--smooth"),
    ],
)
def test_bad_input_is_told(files, tmp_path, change, message, capsys):
    (a, b, psf_a, psf_b), _, _ = files
    series = tmp_path / "series.ome.tif"
    unknown = tmp_path / "unknown.npy"
    jd.io.write(unknown, np.ones(SHAPE, np.float32))
    write(series, np.ones((3, *SMALL)), "tzyx")
    names = {"a": a, "b": b, "psf_a": psf_a, "psf_b": psf_b, "series": series,
             "unknown": unknown}  # fmt: skip
    out = tmp_path / "out.ome.zarr"
    assert run(*(names.get(part, part) for part in change), "-o", out) == 2
    assert message in capsys.readouterr().err
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.parametrize("angle", [45, -45])
def test_oblique_scans_are_straightened(tmp_path, angle):
    raw_shape, step = (12, 20, 18), 2**0.5
    grid = jd.geometry.deskewed_grid(
        raw_shape, angle=np.pi / 4, step=step, pixel_size=1.0, direction=np.sign(angle)
    )
    straight = 100 + 300 * Blobs(count=1500).image(grid.shape, np.eye(4), noise=0)
    raw = np.asarray(jd.warp(straight, np.linalg.inv(grid.matrix), raw_shape))
    paths = [write(tmp_path / f"{v}.ome.tif", raw, size=(step, 1, 1)) for v in "ab"]
    jd.io.write_matrix(tmp_path / "pose.txt", np.eye(4))
    out = tmp_path / "fused.npy"
    options = ("--method", "average", "--matrix", tmp_path / "pose.txt")
    assert run(*paths, "--deskew", angle, *options, "--background", 0, "-o", out) == 0
    found = np.load(out)
    assert found.shape == grid.shape
    inside = np.asarray(jd.warp(np.ones(raw_shape), grid.matrix, grid.shape)) > 0.99
    np.testing.assert_allclose(found[inside], straight[inside], atol=0.5)
