"""`jaxdecon deconvolve` on volumes larger than memory, and on what else it can read."""

import json
import shutil

import numpy as np
import pytest
import tifffile

import jaxdecon as jd
from jaxdecon.__main__ import main
from jaxdecon._core import _memory
from jaxdecon.cli import _blocks_shown, _job_blocks
from jaxdecon.cli._fuse_frames import read_frames
from jaxdecon.cli._job_blocks import AboveOffset
from jaxdecon.cli._solve import Settings
from jaxdecon.deconvolution import memory_needed

from ._volumes import PSF, SHAPE, texture

pytestmark = pytest.mark.usefixtures("wide_terminal")

h5py = pytest.importorskip("h5py")
BACKGROUND, ITERATIONS, BLOCK = 10, 3, "24,32,32"
PLAN_ROWS = ("operation", "blocks", "core", "halo", "device", "host", "to read", "time")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A volume as OME-Zarr, HDF5 and planes, and its PSF."""
    folder = tmp_path_factory.mktemp("volumes")
    image = texture()
    jd.io.write(
        folder / "source.ome.zarr",
        jd.io.Image(data=image, axes="zyx", voxel_size=(0.3, 0.1, 0.1)),
    )
    np.save(folder / "psf.npy", PSF)
    with h5py.File(folder / "source.h5", "w") as file:
        file["t0/raw"] = image
        file["t0/other"] = image
    (folder / "planes").mkdir()
    for z, plane in enumerate(image):
        tifffile.imwrite(folder / "planes" / f"z{z}.tif", plane)
    return folder


@pytest.fixture(scope="module")
def prepared():
    """The PSF as commands make it of a measured one."""
    return np.asarray(jd.psf.from_measured(PSF, energy=1.0).psf)


@pytest.fixture(scope="module")
def whole(prepared):
    """The same, deconvolved in one piece."""
    options = {"iterations": ITERATIONS, "background": BACKGROUND}
    return np.asarray(jd.richardson_lucy(texture(), prepared, **options))


def run(folder, out, *options, source="source.ome.zarr"):
    command = ["deconvolve", folder / source, "--psf", folder / "psf.npy", "-o", out]
    method = ["--psf-energy", 1, "--back-projector", "matched", "-n", ITERATIONS]
    level = [] if "--auto" in options else [*method[2:], "--background", BACKGROUND]
    return main([str(part) for part in [*command, *method[:2], *level, *options]])


def assert_as_whole(out, whole):
    assert abs(np.asarray(jd.io.read(out)) - whole).max() < 1e-3 * whole.max()


def assert_same(first, second):
    np.testing.assert_array_equal(*(np.asarray(jd.io.read(p)) for p in (first, second)))


def interrupted_after(monkeypatch, count):
    """A run that the user stops after some blocks."""
    count_blocks = _blocks_shown.Shown.progress

    def progress(self, now):
        count_blocks(self, now)
        if now.blocks == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(_blocks_shown.Shown, "progress", progress)


def short_of_memory(monkeypatch, free):
    monkeypatch.setattr(_memory, "available_memory", lambda: free)


def test_blocks_give_the_whole(folder, whole, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    assert run(folder, out, "--block", BLOCK) == 0
    assert_as_whole(out, whole)
    assert jd.io.read(out).voxel_size == (0.3, 0.1, 0.1)
    text = capsys.readouterr().out
    rows = [line[:10].strip() for line in text.splitlines()]
    assert set(PLAN_ROWS) <= set(rows)
    last = text.splitlines()[-1]
    for word in ("Mvoxel/s", "% of the time waiting", "projected", "0 blocks empty"):
        assert word in last
    assert last.endswith(f"journal {out}.journal")
    assert run(folder, out, "--block", BLOCK) == 0
    assert f"{out}: all 9 blocks were done before" in capsys.readouterr().out
    assert run(folder, out, "--block", BLOCK, "--restart") == 2
    assert "exists" in capsys.readouterr().err
    assert run(folder, out, "--block", BLOCK, "--restart", "--overwrite") == 0
    assert "9 (1 x 3 x 3 per volume)" in capsys.readouterr().out


def test_what_does_not_fit_is_done_in_blocks(
    folder, whole, tmp_path, capsys, monkeypatch
):
    needed = memory_needed(SHAPE, PSF.shape)
    short_of_memory(monkeypatch, needed)
    assert run(folder, tmp_path / "fits.ome.zarr") == 0
    assert "operation" not in capsys.readouterr().out
    short_of_memory(monkeypatch, needed - 1)
    out = tmp_path / "out.ome.zarr"
    assert run(folder, out) == 0
    assert "are free: in blocks" in capsys.readouterr().out
    assert_as_whole(out, whole)


def test_memory_may_be_given(folder, tmp_path, capsys):
    needed = memory_needed(SHAPE, PSF.shape)
    out = tmp_path / "out.ome.zarr"
    assert run(folder, out, "--memory", needed / 1e9, "--dry-run") == 0
    text = capsys.readouterr().out
    assert f"{needed / 2**20:.3g} MiB that may be used" in text
    blocks = next(line for line in text.splitlines() if line.startswith("blocks"))
    assert int(blocks.split()[1]) > 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("out.ome.tif", (), "end --output in .ome.zarr"),
        ("out.ome.zarr", ("--stop", "change"), "leave out --stop"),
        ("out.ome.zarr", ("--boundary", "periodic"), "another --boundary"),
        ("out.ome.zarr", ("--keep-best",), "leave out --keep-best"),
        ("out.ome.zarr", ("--figure", "OUT/figure.png"), "leave out --figure"),
        ("out.ome.zarr", ("--series",), "run_t{t}.tif"),
    ],
)
def test_where_blocks_cannot_serve(
    folder, tmp_path, capsys, monkeypatch, name, options, message
):
    out = tmp_path / name
    options = [o.replace("OUT", str(tmp_path)) for o in options]
    assert run(folder, out, "--blocks", *options) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0
    short_of_memory(monkeypatch, 1000)
    assert run(folder, out, *options) == 1
    error = capsys.readouterr().err
    assert "GiB" in error
    assert message in error
    assert not list(tmp_path.iterdir())


def test_a_stopped_run_goes_on(folder, whole, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.ome.zarr"
    with monkeypatch.context() as patch:
        interrupted_after(patch, 4)
        assert run(folder, out, "--block", BLOCK) == 130
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("interrupted: at least 4 of 9 blocks are done")
    assert f"journal {out}.journal" in error
    assert not out.exists()
    assert run(folder, out, "--block", BLOCK, "-n", 4) == 2
    error = capsys.readouterr().err.strip()
    assert "options.iterations (3 before, 4 now)" in error
    assert "--restart" in error
    assert error.count("\n") == 0
    assert run(folder, out, "--block", BLOCK) == 0
    before = len(list((tmp_path / "out.ome.zarr.journal").glob("*/blocks/*")))
    assert before == 9
    assert "done before" in capsys.readouterr().out
    assert_as_whole(out, whole)


def test_failed_blocks_are_one_line(folder, tmp_path, capsys):
    image = texture().astype(np.float32)
    image[:, 70, 75] = np.nan
    source = tmp_path / "source.ome.zarr"
    jd.io.write(source, jd.io.Image(data=image, axes="zyx"))
    out = tmp_path / "out.ome.zarr"
    assert run(folder, out, "--block", BLOCK, "--halo", "4", source=source) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: 1 of 9 blocks failed")
    assert "NaN" in error
    assert "Run again" in error
    assert "BlocksFailed" not in error
    assert not out.exists()


def test_dark_blocks_are_skipped(folder, tmp_path, capsys):
    image = texture()
    image[:, :, 32:] = 5
    source = tmp_path / "source.ome.zarr"
    jd.io.write(source, jd.io.Image(data=image, axes="zyx"))
    out = tmp_path / "out.ome.zarr"
    options = ("--block", BLOCK, "--halo", "4,0,0", "--skip-below", 6, "--checksums")
    assert run(folder, out, *options, source=source) == 0
    assert "6 blocks empty" in capsys.readouterr().out
    result = np.asarray(jd.io.read(out))
    assert (result[..., 32:] == 0).all()
    assert result[..., :32].max() > image.max()
    assert (tmp_path / "out.ome.zarr.journal" / "SHA256SUMS").exists()


@pytest.mark.parametrize("source", ["source.h5:/t0/raw", "planes/z{z}.tif", "planes"])
def test_other_sources(folder, whole, tmp_path, source):
    out = tmp_path / "out.ome.zarr"
    assert run(folder, out, "--block", BLOCK, source=source) == 0
    assert_as_whole(out, whole)


def test_other_sources_in_one_piece_have_names_of_their_own(folder, tmp_path, capsys):
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(folder / "source.h5", here)
    shutil.copytree(folder / "planes", here / "planes")
    inputs = [here / "source.h5:/t0/raw", here / "source.h5:/t0/other"]
    psf = ["--psf", folder / "psf.npy", "--psf-energy", 1, "-n", 1]
    more = [here / "planes" / "z{z}.tif"]
    command = ["deconvolve", *inputs, *more, *psf, "--suffix", ".npy"]
    assert main([str(part) for part in command]) == 0
    assert {path.name for path in here.iterdir()} == {
        "source.h5",
        "planes",
        "source_t0_raw_deconvolved.npy",
        "source_t0_other_deconvolved.npy",
        "planes_deconvolved.npy",
    }
    assert run(folder, here / "out.h5") == 2
    assert "can be read but not written" in capsys.readouterr().err


def test_other_commands_read_them_too(folder, tmp_path, capsys):
    views = [str(folder / name) for name in ("source.h5:/t0/raw", "planes/z{z}.tif")]
    frames = read_frames(views, [None, None])
    assert [image.shape for image in frames.sample] == [SHAPE, SHAPE]
    with h5py.File(tmp_path / "bead.h5", "w") as file:
        file["psf"] = PSF
    bead = f"{tmp_path / 'bead.h5'}:/psf"
    assert main(["info", *views, bead]) == 0
    assert "z=24 y=72 x=80" in capsys.readouterr().out
    assert main(["psf", bead, "-o", str(tmp_path / "psf.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "psf.npy").sum(), 1, rtol=1e-5)


def test_the_background_is_found_and_said(folder, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    assert run(folder, out, "--block", BLOCK, "--background", "auto") == 0
    line = capsys.readouterr().out.splitlines()[-1]
    expected = jd.deconvolution.estimate_background(texture())
    assert line.startswith("background ")
    assert abs(float(line.split()[1]) - expected) < 0.5


def test_the_folder_that_is_read_is_not_written_to(folder, capsys):
    out = folder / "planes" / "out.ome.zarr"
    assert run(folder, out, "--blocks", source="planes/z{z}.tif") == 2
    assert "other than" in capsys.readouterr().err
    assert not out.exists()


def test_a_camera_offset_counts(folder, whole, tmp_path):
    """Counts in a camera's units, offset and all, become the same object in units."""
    gain, offset = 2.0, 50.0
    camera = jd.io.Image(data=gain * texture() + np.float32(offset), axes="zyx")
    source, out = tmp_path / "camera.ome.zarr", tmp_path / "out.ome.zarr"
    jd.io.write(source, camera)
    units = ("--gain", gain, "--offset", offset)
    level = ("--background", gain * BACKGROUND + offset)
    assert run(folder, out, "--block", BLOCK, *units, *level, source=source) == 0
    assert_as_whole(out, gain * whole)


def planned(monkeypatch, **choice):
    """A plan that was made, and what it was made of."""
    trial = jd.deconvolution.Trial(**choice)
    plan = jd.deconvolution.Plan(
        gain=2.0,
        offset=1.0,
        background=BACKGROUND,
        boundary="extend",
        choice=trial,
        trials=(trial,),
        reason="for this test",
        snr=10.0,
        evidence=(),
        warnings=(),
    )
    seen = []
    monkeypatch.setattr(
        jd.deconvolution,
        "plan",
        lambda image, psf, **given: seen.append((image, given)) or plan,
    )
    return plan, seen


def test_a_plan_is_made_once_and_holds_for_all_blocks(
    folder, prepared, tmp_path, capsys, monkeypatch
):
    choice = {"back_projector": "matched", "start": "image", "iterations": 3}
    plan, seen = planned(monkeypatch, **choice)
    out, image = tmp_path / "out.ome.zarr", texture()
    assert run(folder, out, "--auto", "--gain", 2, "--block", BLOCK) == 0
    text = capsys.readouterr().out
    assert "a bright part of 24 x 72 x 80 voxels" in text
    assert f"auto: {plan.summary}" in text
    ((part, given),) = seen
    np.testing.assert_array_equal(part, image)
    assert given["gain"] == 2
    assert_as_whole(out, np.asarray(plan.run(image, prepared).value))


def test_all_of_a_choice_is_done(folder, prepared, tmp_path, monkeypatch):
    choice = {
        "back_projector": "wiener-butterworth",
        "resolution": (3.0, 2.0, 2.0),
        "alpha": 0.02,
        "iterations": 2,
    }
    planned(monkeypatch, start="constant", **choice)
    out, expected = tmp_path / "out.ome.zarr", tmp_path / "expected.ome.zarr"
    assert run(folder, out, "--auto", "--block", BLOCK) == 0
    jd.volumes.deconvolve(
        folder / "source.ome.zarr",
        expected,
        prepared,
        block=tuple(map(int, BLOCK.split(","))),
        background=BACKGROUND,
        init="constant",
        restore_flux=True,
        likelihood=AboveOffset(offset=1.0),
        **choice,
    )
    assert_same(out, expected)


def test_auto_in_blocks_takes_one_channel(folder, tmp_path, capsys):
    source = tmp_path / "pair.ome.zarr"
    pair = jd.io.Image(data=np.stack([texture()] * 2), axes="czyx")
    jd.io.write(source, pair)
    assert (
        run(folder, tmp_path / "o.ome.zarr", "--auto", "--blocks", source=source) == 2
    )
    assert "one channel" in capsys.readouterr().err


def test_a_bright_part_is_found():
    data = np.zeros((2, 70, 200, 200), np.uint16)
    data[0, 30:40, 150:160, 20:30] = 9
    image = jd.io.Image(data=data, axes="czyx")
    settings = Settings(
        **dict.fromkeys(("resolution", "background")),
        **{"back_projector": "matched", "iterations": 1, "accelerated": False},
        **{"alpha": 0.05, "boundary": "extend", "keep": "last", "start": "image"},
        restore_flux=False,
    )
    memory = memory_needed((70, 100, 100), PSF.shape)
    part = _job_blocks.bright_part(image, PSF.shape, settings, memory)
    assert part.shape == (70, 100, 100)
    assert part.sum() == data.sum()


def test_workers_and_cluster_exclude_each_other(folder, tmp_path, capsys):
    options = ("--workers", 2, "--scheduler", "tcp://127.0.0.1:1")
    assert run(folder, tmp_path / "out.ome.zarr", *options) == 2
    assert "not both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--block", "big"), "--block"),
        (("--block", "8,8"), "block"),
        (("--halo", "far"), "--halo"),
        (("--memory", 0), "--memory"),
        (("--workers", 0), "--workers"),
    ],
)
def test_bad_options_are_refused(folder, tmp_path, capsys, options, message):
    assert run(folder, tmp_path / "out.ome.zarr", "--blocks", *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["workers", "scheduler"])
def test_others_do_the_blocks(folder, whole, tmp_path, engine):
    out = tmp_path / "out.ome.zarr"
    if engine == "workers":
        assert run(folder, out, "--block", BLOCK, "--workers", 2) == 0
    else:
        distributed = pytest.importorskip("distributed")
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        with distributed.LocalCluster(**options) as cluster:
            address = cluster.scheduler_address
            assert run(folder, out, "--block", BLOCK, "--scheduler", address) == 0
    assert_as_whole(out, whole)
    records = (out.parent / f"{out.name}.journal").glob("*/blocks/*")
    assert len({json.loads(r.read_text())["worker"] for r in records}) == 2
