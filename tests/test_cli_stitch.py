"""`jaxdecon stitch`: from files of tiles to one mosaic, in blocks."""

import dataclasses
import json

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main
from jaxdecon.cli import _blocks_shown

from ._mosaics import BACKGROUND, position_error, simulate

pytestmark = pytest.mark.usefixtures("wide_terminal")

SIZE, BLOCK = (1.0, 0.5, 0.5), "32,128,128"
NAMES = [f"tile_{row}_{col}.ome.tif" for row in range(2) for col in range(2)]
OPTIONS = ("--block", BLOCK, "--background", BACKGROUND, "--search", "6,20,20")


@pytest.fixture(scope="module")
def mosaic():
    """Four tiles of a mosaic, neighbours of each other."""
    whole, some = simulate(seed=3), [0, 1, 3, 4]
    return dataclasses.replace(
        whole,
        stacks=[whole.stacks[n] for n in some],
        nominal=whole.nominal[some],
        truth=whole.truth[some],
    )


@pytest.fixture(scope="module")
def folder(mosaic, tmp_path_factory):
    """Tiles whose files say where they are."""
    folder = tmp_path_factory.mktemp("tiles")
    for name, stack, place in zip(NAMES, mosaic.stacks, mosaic.nominal, strict=True):
        origin = tuple(place * SIZE)
        image = jd.io.Image(data=stack, axes="zyx", voxel_size=SIZE, origin=origin)
        jd.io.write(folder / name, image)
    return folder


def run(*arguments):
    return main(["stitch", *(str(part) for part in arguments)])


@pytest.fixture(scope="module")
def stitched(folder, tmp_path_factory):
    """A mosaic of them, with a figure."""
    target = tmp_path_factory.mktemp("mosaic") / "mosaic.ome.zarr"
    figure = ("--figure", target.parent / "layout.png")
    assert run(folder / "*.ome.tif", "-o", target, *OPTIONS, *figure) == 0
    return target


def facts_of(target):
    return json.loads(target.with_name(f"{target.name}.tiles.json").read_text())


def assert_same(first, second):
    np.testing.assert_array_equal(*(np.asarray(jd.io.read(p)) for p in (first, second)))


def table(folder, path, fiji=False):
    """A table of the nominal places, voxels."""
    places = [jd.io.read(folder / name).origin for name in NAMES]
    rows = zip(NAMES, np.array(places) / SIZE, strict=True)
    if fiji:
        lines = [f"{name}; ; ({x}, {y}, {z})" for name, (z, y, x) in rows]
        lines = ["dim = 3", *lines]
    else:
        lines = [f"{folder / name},{z},{y},{x}" for name, (z, y, x) in rows]
        lines = ["file,z,y,x", *lines]
    path.write_text("\n".join(lines))
    return path


def test_tiles_that_say_where_they_are(stitched, mosaic):
    facts = facts_of(stitched)
    assert position_error(facts["positions"], mosaic) < 0.5
    assert facts["tiles"] == NAMES
    assert len(facts["links"]) == 6
    image = jd.io.read(stitched)
    assert image.voxel_size == SIZE
    assert image.dtype == np.float32
    low, high = (f(facts["positions"], 0) for f in (np.min, np.max))
    expected = np.ceil(high + mosaic.shape) - np.floor(low)
    assert image.shape == tuple(expected.astype(int))


def test_the_figure_shows_something(stitched):
    from matplotlib.image import imread

    pixels = imread(stitched.parent / "layout.png", format="png")
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 20


def test_what_is_told(folder, tmp_path, capsys):
    target = tmp_path / "mosaic.ome.zarr"
    some = [folder / name for name in NAMES[:2]]
    more = ("--no-equalise", "--checksums")
    assert run(*some, "-o", target, *OPTIONS, *more) == 0
    text = capsys.readouterr().out
    rows = [line[:10].strip() for line in text.splitlines()]
    assert {"operation", "blocks", "core", "device", "host", "time"} <= set(rows)
    assert f"journal {target}.journal" in text
    (placed,) = [line for line in text.splitlines() if "tiles placed" in line]
    assert placed.startswith("2 tiles placed, rms residual of links")
    assert placed.endswith(f"positions in {target}.tiles.json")
    assert (tmp_path / "mosaic.ome.zarr.journal" / "SHA256SUMS").exists()
    assert jd.io.read(target).dtype == np.uint16


@pytest.mark.parametrize("positions", ["table", "Fiji", "grid"])
def test_other_ways_to_say_where_tiles_are(folder, stitched, tmp_path, positions):
    target = tmp_path / "mosaic.ome.zarr"
    if positions == "grid":
        pattern = folder / "tile_{row}_{col}.ome.tif"
        given = (pattern, "--overlap", f"0,{36 / 80},{36 / 88}")
    elif positions == "table":
        given = ("--positions", table(folder, tmp_path / "places.csv"))
    else:
        path = table(folder, tmp_path / "TileConfiguration.txt", fiji=True)
        given = (folder / "*.ome.tif", "--positions", path)
    assert run(*given, "-o", target, *OPTIONS) == 0
    found, expected = (facts_of(path) for path in (target, stitched))
    for key in ("nominal", "positions"):
        np.testing.assert_allclose(found[key], expected[key], atol=1e-3)


def test_a_plan_is_shown_and_nothing_written(folder, tmp_path, capsys):
    target = tmp_path / "mosaic.ome.zarr"
    some = [folder / name for name in NAMES[:2]]
    assert run(*some, "-o", target, *OPTIONS, "--no-equalise", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "operation  stitch" in text
    assert "2 tiles placed" in text
    assert not list(tmp_path.iterdir())


def test_a_stopped_run_goes_on(folder, stitched, tmp_path, capsys, monkeypatch):
    target, figure = tmp_path / "mosaic.ome.zarr", tmp_path / "layout.png"
    command = (folder / "*.ome.tif", "-o", target, *OPTIONS, "--figure", figure)
    count_blocks = _blocks_shown.Shown.progress

    def progress(self, now):
        count_blocks(self, now)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_blocks_shown.Shown, "progress", progress)
        assert run(*command) == 130
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("interrupted: at least 1 of ")
    assert not target.exists()
    assert run(*command, "--weights", "cosine") == 2
    error = capsys.readouterr().err.strip()
    assert "options.weights (linear before, cosine now)" in error
    assert "--restart" in error
    assert error.count("\n") == 0
    assert run(*command) == 0
    told = capsys.readouterr().out
    assert "4 tiles, where an earlier run has placed them" in told
    assert "is not drawn" not in told
    assert figure.read_bytes().startswith(b"\x89PNG")  # of the first attempt
    figure.unlink()
    assert run(*command) == 0
    told = capsys.readouterr().out
    assert "layout.png is not drawn" in told
    assert "--restart makes them again" in told
    assert_same(target, stitched)
    assert run(*command, "--restart") == 2
    assert "exists" in capsys.readouterr().err
    assert run(*command, "--restart", "--overwrite") == 0
    assert f"wrote {figure}" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert_same(target, stitched)


def test_tiles_that_nothing_joins_are_warned_of_in_a_line(folder, tmp_path, capsys):
    target, places = tmp_path / "mosaic.ome.zarr", tmp_path / "places.csv"
    lines = [f"{folder / NAMES[0]},0,0,0", f"{folder / NAMES[3]},0,0,100"]
    places.write_text("\n".join(["file,z,y,x", *lines]))
    options = ("--no-equalise", "--background", BACKGROUND, "--block", BLOCK)
    assert run("--positions", places, "-o", target, *options) == 0
    out, error = capsys.readouterr()
    notes = [line for line in error.splitlines() if line.startswith("warning: ")]
    assert any("2 groups" in note for note in notes)
    assert error.count("\n") == len(notes)
    assert sum("2 groups" in line for line in out.splitlines()) == 1
    low = np.asarray(jd.io.read(target))[:, :, :88]
    np.testing.assert_array_equal(low, jd.io.read(folder / NAMES[0]).volume())


def test_all_options_arrive(folder, tmp_path, monkeypatch, capsys):
    given = {}

    def stitch(tiles, target, **arguments):
        given.update(arguments, tiles=tiles, target=target)
        return "the plan"

    monkeypatch.setattr(jd.volumes, "stitch", stitch)
    target = tmp_path / "mosaic.ome.zarr"
    options = {
        "--voxel-size": "2,0.5,0.4", "--time": 1, "--channel": 2, "--search": 12,
        "--model": "affine", "--stage-sigma": 2.5, "--weights": "content",
        "--order": "cubic", "--background": "auto", "--dtype": "uint16",
        "--memory": 2, "--block": 64,
    }  # fmt: skip
    parts = [part for pair in options.items() for part in pair]
    flags = ("--no-equalise", "--no-flat-field", "--dry-run", "--restart")
    assert run(folder / "*.tif", "-o", target, *parts, *flags, "--overwrite") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the plan"
    assert given.pop("tiles") == [folder / name for name in NAMES]
    assert given.pop("target") == target
    for name in ("show_plan", "progress", "show_stitching"):
        assert callable(given.pop(name))
    assert given == {
        "positions": None, "overlap": None, "voxel_size": (2, 0.5, 0.4), "time": 1,
        "channel": 2, "search": 12, "model": "affine", "stage_sigma": 2.5,
        "weights": "content", "order": "cubic", "equalise": False, "flat_field": False,
        "background": "auto", "dtype": "uint16", "memory": 2e9, "block": 64,
        "resume": False, "dry_run": True, "checksums": False, "engine": None,
        "overwrite": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "no tiles"),
        (["nothing_*.tif"], "no file"),
        (["GRID"], "give --overlap"),
        (["GRID", "--overlap", "0.1", "--positions", "x.csv"], "no --positions"),
        (["GRID", "--overlap", "1.5"], "shares from 0"),
        (["GRID", "--overlap", "0.1,0.2"], "--overlap"),
        (["TILES", "--overlap", "0.1"], "--overlap is for a grid"),
        (["TILES", "--positions", "gone.csv"], "gone.csv is not there"),
        (["TILES", "-o", "OUT.ome.tif"], "end it in .ome.zarr"),
        (["TILES", "--search", "2.5"], "--search"),
        (["TILES", "--model", "rigid"], "--model"),
        (["TILES", "--weights", "mean"], "--weights"),
        (["TILES", "--order", "spline"], "--order"),
        (["TILES", "--stage-sigma", "0"], "--stage-sigma"),
        (["TILES", "--background", "dark"], "--background"),
        (["TILES", "--voxel-size", "1,1"], "--voxel-size"),
        (["TILES", "--halo", "4"], "--halo"),
        (["TILES", "--skip-below", "4"], "--skip-below"),
        (["TILES", "--channel", "1"], "`channel` is 1"),
    ],
)
def test_bad_input_is_told(folder, tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    names = {
        "GRID": [folder / "tile_{row}_{col}.ome.tif"],
        "TILES": [folder / name for name in NAMES[:2]],
    }
    parts = [p for part in change for p in names.get(part, [part])]
    assert run("-o", "out.ome.zarr", *parts) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0
    assert not list(tmp_path.iterdir())


def test_files_without_places_need_them(mosaic, tmp_path, capsys):
    for name, stack in zip("ab", mosaic.stacks, strict=False):
        np.save(tmp_path / f"{name}.npy", stack)
    assert run(tmp_path / "*.npy", "-o", tmp_path / "mosaic.ome.zarr") == 2
    assert "hold no positions" in capsys.readouterr().err
