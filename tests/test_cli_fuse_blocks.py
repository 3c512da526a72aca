"""`jaxdecon fuse` on views larger than memory."""

import json

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main
from jaxdecon._core import _memory
from jaxdecon.cli import _blocks_shown

from . import _dual_view

pytestmark = pytest.mark.usefixtures("wide_terminal")

SIZE, BLOCK = (0.2,) * 3, "40,24,44"
BLEND = ("--method", "blending", "--background", _dual_view.BACKGROUND)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A folder with views a and b, their PSFs, and the pose of b; and that pose."""
    folder = tmp_path_factory.mktemp("views")
    _, views, psfs, matrix = _dual_view.make()
    for name, view, psf in zip("ab", views, psfs, strict=True):
        data = np.maximum(np.rint(view), 0).astype(np.uint16)
        image = jd.io.Image(data=data, axes="zyx", voxel_size=SIZE)
        jd.io.write(folder / f"{name}.ome.zarr", image)
        np.save(folder / f"psf_{name}.npy", psf)
    jd.io.write_matrix(folder / "pose.txt", matrix)
    return folder, matrix


def run(folder, out, *options, views=("a.ome.zarr", "b.ome.zarr"), pose=True):
    known = ("--matrix", folder / "pose.txt") if pose else ()
    paths = [folder / view for view in views]
    return main(["fuse", *map(str, (*paths, *known, "-o", out, *options))])


def short_of_memory(monkeypatch, free):
    monkeypatch.setattr(_memory, "available_memory", lambda: free)


@pytest.fixture(scope="module")
def blended(pair, tmp_path_factory):
    """The views, averaged in three blocks."""
    target = tmp_path_factory.mktemp("blended") / "fused.ome.zarr"
    assert run(pair[0], target, *BLEND, "--block", "16,48,44") == 0
    return target


def test_blocks_give_the_whole(pair, blended, tmp_path, capsys):
    assert run(pair[0], tmp_path / "whole.ome.zarr", *BLEND) == 0
    assert "operation" not in capsys.readouterr().out
    expected = jd.io.read(tmp_path / "whole.ome.zarr")
    found = jd.io.read(blended)
    assert found.voxel_size == expected.voxel_size == SIZE
    scale = float(abs(np.asarray(expected)).max())
    np.testing.assert_allclose(
        np.asarray(found), np.asarray(expected), atol=2e-3 * scale
    )
    poses = json.loads((blended.parent / "fused.ome.zarr.poses.json").read_text())
    np.testing.assert_allclose(poses["matrices"], [np.eye(4), pair[1]], atol=1e-6)


def test_deconvolution_is_that_of_the_library(pair, tmp_path, capsys):
    folder, matrix = pair
    out, expected = tmp_path / "out.ome.zarr", tmp_path / "expected.ome.zarr"
    psfs = [part for v in "ab" for part in ("--psf", folder / f"psf_{v}.npy")]
    level = ("--background", _dual_view.BACKGROUND)
    options = ("-n", 2, *level, "--psf-energy", 1, "--block", BLOCK)
    assert run(folder, out, *psfs, *options) == 0
    text = capsys.readouterr().out
    assert "operation  fuse" in text
    assert f"poses in {out}.poses.json" in text
    prepared = [
        np.asarray(
            jd.psf.from_measured(np.load(folder / f"psf_{v}.npy"), energy=1.0).psf
        )
        for v in "ab"
    ]
    jd.volumes.fuse(
        [folder / "a.ome.zarr", folder / "b.ome.zarr"],
        expected,
        prepared,
        matrices=[np.eye(4), matrix],
        psf_voxel_sizes=[0.2, 0.2],
        iterations=2,
        background=_dual_view.BACKGROUND,
        block=tuple(map(int, BLOCK.split(","))),
    )
    found, known = (np.asarray(jd.io.read(path)) for path in (out, expected))
    np.testing.assert_allclose(found, known, atol=1e-4 * known.max())


def test_what_does_not_fit_is_fused_in_blocks(
    pair, blended, tmp_path, monkeypatch, capsys
):
    short_of_memory(monkeypatch, 1000)
    out = tmp_path / "out.ome.zarr"
    assert run(pair[0], out, *BLEND) == 0
    told = capsys.readouterr().out
    assert "fusing 2 views to 40x48x44 needs about" in told
    assert "are free: in blocks" in told
    found, expected = (np.asarray(jd.io.read(path)) for path in (out, blended))
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())
    assert run(pair[0], tmp_path / "more.ome.zarr", *BLEND, "--memory", 4) == 0
    assert "operation" not in capsys.readouterr().out


def test_larger_results_need_more(pair, monkeypatch, tmp_path, capsys):
    """The estimate knows of the method, the region and the voxel size."""
    short_of_memory(monkeypatch, 1000)
    needed = []
    apart = np.eye(4)
    apart[1, 3] = -30.0
    jd.io.write_matrix(tmp_path / "apart.txt", apart)
    for options in (
        BLEND,
        (*BLEND, "--matrix", tmp_path / "apart.txt", "--region", "union"),
        (*BLEND, "--voxel-size", "20,0.2,0.2"),
    ):
        out = tmp_path / "out.ome.tif"
        assert run(pair[0], out, *options, pose="--matrix" not in options) == 1
        error = capsys.readouterr().err
        assert "end --output in .ome.zarr" in error
        needed.append(error.split(" needs about ")[0].split()[-1])
    assert needed == ["40x48x44", "40x78x44", "3901x48x44"]


def test_a_plan_is_shown_and_nothing_written(pair, tmp_path, capsys):
    assert run(pair[0], tmp_path / "out.ome.zarr", *BLEND, "--dry-run") == 0
    assert "operation  fuse" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_stopped_run_goes_on(pair, blended, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.ome.zarr"
    command = (*BLEND, "--block", "16,48,44")
    count_blocks = _blocks_shown.Shown.progress

    def progress(self, now):
        count_blocks(self, now)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_blocks_shown.Shown, "progress", progress)
        assert run(pair[0], out, *command) == 130
    assert "interrupted: at least 1 of 3" in capsys.readouterr().err
    assert run(pair[0], out, *command, "--region", "union") == 2
    assert "options.region (first before, union now)" in capsys.readouterr().err
    assert run(pair[0], out, *command) == 0
    assert "done before" in capsys.readouterr().out
    found, expected = (np.asarray(jd.io.read(path)) for path in (out, blended))
    np.testing.assert_array_equal(found, expected)
    assert run(pair[0], out, *BLEND) == 2  # in one piece
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("out.ome.tif", (), "end --output in .ome.zarr"),
        ("out.ome.zarr", ("--figure", "OUT/f.png"), "leave out --figure"),
        ("out.ome.zarr", ("--projections", "OUT/p"), "leave out --projections"),
        ("out.ome.zarr", ("--poses-file", "OUT/p.json"), "leave out --poses-file"),
        ("out.ome.zarr", ("--refine",), "leave out --refine"),
        ("out.ome.zarr", ("--smooth", "2"), "leave out --smooth"),
        ("out.ome.zarr", ("--deskew", "45"), "leave out --deskew"),
        ("out.ome.zarr", ("--boundary", "periodic"), "another --boundary"),
    ],
)
def test_where_blocks_cannot_serve(
    pair, tmp_path, monkeypatch, capsys, name, options, message
):
    out = tmp_path / name
    options = [o.replace("OUT", str(tmp_path)) for o in options]
    assert run(pair[0], out, *BLEND, "--blocks", *options) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0
    short_of_memory(monkeypatch, 1000)
    assert run(pair[0], out, *BLEND, *options) == 1
    error = capsys.readouterr().err
    assert "GiB" in error
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fine", "coarse"), "--fine"),
        (("--skip-below", 3), "leave out --skip-below"),
        (("--watch", ".", "--blocks"), "--watch fuses whole volumes"),
        (("--block", "8,8"), "block"),
        (("--workers", 2, "--scheduler", "tcp://127.0.0.1:1"), "not both"),
    ],
)
def test_bad_options_are_told(pair, tmp_path, capsys, options, message):
    assert run(pair[0], tmp_path / "out.ome.zarr", *BLEND, *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def stacks(folder, axes, shape):
    """Two views that show the same, with leading axes."""
    data = np.random.default_rng(0).uniform(100, 200, shape).astype(np.float32)
    image = jd.io.Image(data=data, axes=axes, voxel_size=SIZE)
    for name in ("a.ome.tif", "b.ome.tif"):
        jd.io.write(folder / name, image, overwrite=True)
    jd.io.write_matrix(folder / "pose.txt", np.eye(4), overwrite=True)
    return data


def test_over_time_poses_are_found_once(tmp_path, capsys):
    data = stacks(tmp_path, "tzyx", (2, 12, 16, 14))
    out, views = tmp_path / "out.ome.zarr", ("a.ome.tif", "b.ome.tif")
    assert run(tmp_path, out, *BLEND, "--blocks", views=views) == 2
    assert "give --poses once" in capsys.readouterr().err
    assert run(tmp_path, out, *BLEND, "--blocks", "--poses", "once", views=views) == 0
    light = data - _dual_view.BACKGROUND
    np.testing.assert_allclose(np.asarray(jd.io.read(out)), light, atol=1e-3)
    for t in range(2):
        stacks(tmp_path, "zyx", (12, 16, 14))
        for v in "ab":
            (tmp_path / f"{v}.ome.tif").rename(tmp_path / f"{v}_{t}.ome.tif")
    views, more = ("a_*.ome.tif", "b_*.ome.tif"), tmp_path / "more.ome.zarr"
    assert run(tmp_path, more, *BLEND, "--blocks", views=views) == 2
    assert "one file per view" in capsys.readouterr().err


def test_psfs_are_the_same_for_all_channels(pair, tmp_path, capsys):
    stacks(tmp_path, "czyx", (2, 12, 16, 14))
    folder, views = pair[0], ("a.ome.tif", "b.ome.tif")
    psfs = [p for v in "abba" for p in ("--psf", folder / f"psf_{v}.npy")]
    options = (*psfs, "--psf-energy", 0.5, "--blocks")
    assert run(tmp_path, tmp_path / "out.ome.zarr", *options, views=views) == 2
    assert "one PSF per view" in capsys.readouterr().err


def test_all_options_arrive(pair, tmp_path, monkeypatch):
    given = {}

    def fuse(sources, target, psfs, **arguments):
        given.update(arguments, sources=sources, target=target, psfs=psfs)
        return "the plan"

    monkeypatch.setattr(jd.volumes, "fuse", fuse)
    folder, out = pair[0], tmp_path / "out.ome.zarr"
    options = {
        "--turn": 5, "--pose-model": "affine", "--method": "content", "--update":
        "additive", "--alpha": 0.1, "--resolution": "3,2,2", "--background": "auto",
        "--boundary": "edge", "--region": "union", "--dtype": "uint16", "--scale": 2,
        "--back-projector": "wiener", "--iterations": 4, "--halo": "2,3,4",
        "--fine": "field",
    }  # fmt: skip
    parts = [part for pair in options.items() for part in pair]
    assert run(folder, out, *parts, "--dry-run", pose=False) == 0
    assert given.pop("sources") == [folder / "a.ome.zarr", folder / "b.ome.zarr"]
    first, second = given.pop("initial")
    assert first is None
    assert np.linalg.det(second) == pytest.approx(1)
    for name in ("show_plan", "progress"):
        assert callable(given.pop(name))
    assert given == {
        "target": out, "psfs": None, "model": "affine", "method": "content",
        "update": "additive", "alpha": 0.1, "resolution": (3, 2, 2),
        "background": "auto", "boundary": "edge", "region": "union", "dtype": "uint16",
        "scale": 2, "back_projector": "wiener", "iterations": 4, "halo": (2, 3, 4),
        "fine": "field", "channel": 0, "psf_voxel_sizes": [0.2, 0.2], "block": "auto",
        "memory": None, "resume": True, "dry_run": True, "checksums": False,
        "engine": None, "overwrite": False,
    }  # fmt: skip
    sized = ("--voxel-size", "0.4,0.2,0.2", "--fine", "none", "--dry-run")
    assert run(folder, out, *BLEND, *sized) == 0
    assert given["fine"] is None
    assert [i.voxel_size for i in given["sources"]] == [(0.4, 0.2, 0.2)] * 2
