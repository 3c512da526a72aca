"""The command line, as a user types it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

import jaxdecon as jd
from jaxdecon.__main__ import main
from jaxdecon.io import Image

pytestmark = pytest.mark.usefixtures("wide_terminal")

OPTICS = ["--na", "0.9", "--wavelength", "0.52", "--index", "1.33"]


@pytest.fixture
def stack(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.poisson(30, (2, 2, 8, 24, 26)).astype(np.uint16)
    data[..., 4, 12, 13] += 500
    image = Image(
        data=data, axes="tczyx", voxel_size=(0.4, 0.2, 0.2), channels=("a", "b")
    )
    path = tmp_path / "cell.tif"
    jd.io.write(path, image)
    return path


@pytest.fixture
def bead(tmp_path):
    psf = np.asarray(jd.psf.gaussian((9, 11, 11), (3.0, 2.0, 2.0)))
    image = Image(
        data=(1e5 * psf).astype(np.float32) + 10,
        axes="zyx",
        voxel_size=(0.4, 0.2, 0.2),
    )
    path = tmp_path / "bead.tif"
    jd.io.write(path, image)
    return path


def run(*arguments):
    return main([str(a) for a in arguments])


def test_all_channels_and_time_points(stack, bead, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    common = ("--back-projector", "matched", "-n", 5, "--background", 12)
    assert run("deconvolve", stack, "--psf", bead, "-o", out, *common) == 0
    result = jd.io.read(out)
    source = jd.io.read(stack)
    assert result.axes == "tczyx"
    assert result.channels == ("a", "b")
    np.testing.assert_allclose(result.voxel_size, source.voxel_size, rtol=1e-6)
    psf = jd.psf.from_measured(
        jd.io.read(bead).volume(), energy=0.995, background="auto"
    ).psf
    for index, volume in source.volumes():
        expected = jd.richardson_lucy(volume, psf, iterations=5, background=12)
        np.testing.assert_allclose(
            result.volume(index), expected, rtol=2e-3, atol=1e-2 * expected.max()
        )
    text = capsys.readouterr().out
    assert "background of" in text
    assert "Mvoxel" in text


def test_optics_figure_and_unmatched_default(stack, tmp_path, capsys):
    figure = tmp_path / "figure.png"
    assert run("deconvolve", stack, *OPTICS, "--figure", figure) == 0
    assert (tmp_path / "cell_deconvolved.ome.tif").exists()
    assert figure.read_bytes()[:4] == b"\x89PNG"
    text = capsys.readouterr().out
    assert "widefield" in text
    assert "t 1 c 0: background" in text
    assert "t 1 c 1: did 2 iterations" in text


def test_a_wavelength_per_channel(stack, tmp_path, capsys):
    more = ["--wavelength", "0.6", "-n", "1", "-o", tmp_path / "o.tif"]
    assert run("deconvolve", stack, *OPTICS, *more) == 0
    assert capsys.readouterr().out.count("psf: widefield") == 2


def test_patterns_folders_and_series(bead, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    for t in (1, 2, 10):
        data = np.full((6, 20, 20), t, np.uint16)
        jd.io.write(source / f"t{t}.tif", Image(data=data, axes="zyx"))
    pattern = source / "*.tif"
    options = ("--psf", bead, "-n", 1, "--background", 0, "--suffix", ".npy")
    assert run("deconvolve", pattern, *options, "-o", target) == 0
    written = {f"t{t}_deconvolved.npy" for t in (1, 2, 10)}
    assert set(os.listdir(target)) == written
    series = tmp_path / "series.ome.zarr"
    assert run("deconvolve", pattern, *options[:-2], "--series", "-o", series) == 0
    image = jd.io.read(series)
    assert image.axes == "tzyx"
    np.testing.assert_allclose(np.asarray(image).mean((1, 2, 3)), [1, 2, 10], rtol=0.01)


def test_psf_is_made_and_measured(bead, tmp_path, capsys):
    out, figure = tmp_path / "psf.ome.tif", tmp_path / "psf.png"
    voxel = ["--voxel-size", "0.2,0.1,0.1", "--shape", "33,33,33"]
    assert run("psf", *OPTICS, *voxel, "-o", out, "--figure", figure) == 0
    made = jd.io.read(out)
    assert made.voxel_size == (0.2, 0.1, 0.1)
    np.testing.assert_allclose(np.asarray(made).sum(), 1, rtol=1e-4)
    assert figure.exists()
    assert run("psf", bead) == 0
    text = capsys.readouterr().out
    assert "subtracted a background of 10" in text
    assert "FWHM" in text.splitlines()[-1]
    assert "µm" in text.splitlines()[-1]


def test_info(stack, capsys):
    assert run("info") == 0
    assert "device 0" in capsys.readouterr().out
    assert run("info", stack) == 0
    text = capsys.readouterr().out
    assert "t=2 c=2 z=8 y=24 x=26" in text
    assert "channels: a, b" in text


@pytest.mark.slow
def test_demo_compares_with_the_confocal(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert run("demo", "-o", folder) == 0
    lines = capsys.readouterr().out.splitlines()
    raw, unmatched, accelerated = (
        float(line.split()[1]) for line in lines if line.startswith("  0.")
    )
    assert raw < 0.6 < unmatched
    assert accelerated > 0.85
    assert sorted(os.listdir(folder)) == ["nucleus.ome.tif", "nucleus.png"]
    assert run("demo", "-o", folder) == 2
    (folder / "notes.txt").write_text("mine")
    assert run("demo", "-o", folder, "--overwrite") == 0
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_selftest(capsys):
    assert run("selftest") == 0
    assert "all checks passed" in capsys.readouterr().out


def test_selftest_can_fail(monkeypatch, capsys):
    from jaxdecon.cli import _selftest

    monkeypatch.setattr(_selftest, "checks", lambda: iter([("a", 2.0, 1.0)]))
    assert run("selftest") == 1
    assert "FAIL a" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deconvolve", "STACK"], "a PSF is needed"),
        (["deconvolve", "STACK", "--na", "1.0"], "--wavelength"),
        (["deconvolve", "STACK", "--psf", "BEAD", "--na", "1"], "not both"),
        (["deconvolve", "missing.tif", *OPTICS], "no file missing.tif"),
        (["deconvolve", "STACK", *OPTICS, "-o", "out.jpeg"], "unknown suffix"),
        (["deconvolve", "STACK", *OPTICS, "-o", "BEAD"], "exists"),
        (["deconvolve", "STACK", *OPTICS, "--background", "low"], "--background"),
        (["deconvolve", "STACK", *OPTICS, "--voxel-size", "1"], "--voxel-size"),
        (["deconvolve", "STACK", *OPTICS, "--voxel-size", "1,1"], "2 numbers"),
        (["deconvolve", "STACK", *OPTICS, "--resolution", "a,b"], "--resolution"),
        (["deconvolve", "STACK", *OPTICS, "--boundary", "no"], "--boundary"),
        (
            ["deconvolve", "STACK", *OPTICS, "--back-projector", "no"],
            "--back-projector",
        ),
        (["deconvolve", "STACK", *OPTICS, "--model", "magic"], "--model"),
        (["deconvolve", "STACK", *OPTICS, "--na", "1.4"], "cannot reach"),
        (["deconvolve", "STACK", *OPTICS, "--wavelength", "520"], "wavelength"),
        (["deconvolve", "STACK", "--psf", "STACK"], "4 volumes"),
        (["deconvolve", "STACK", *OPTICS, "--dtype", "uint8", "--scale", "9"], "fit"),
        (["deconvolve", "STACK", *OPTICS, "-n", "-3"], "--iterations"),
        (["deconvolve", "STACK", *OPTICS, "--psf-energy", "5"], "--psf-energy"),
        (["deconvolve", "STACK", *OPTICS, "--suffix", "ome.tif"], "--suffix"),
        (["deconvolve", "STACK", *OPTICS, "-o", "STACK", "--overwrite"], "is an input"),
        (["deconvolve", "STACK", "--psf", "no.tif"], "no file no.tif"),
        (["psf"], "give a FILE"),
        (["info", "missing.tif"], "not there"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    arguments, message, stack, bead, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    names = {"STACK": str(stack), "BEAD": str(bead)}
    assert main([names.get(a, a) for a in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ")
    assert message in error[-1]
    assert sorted(os.listdir(tmp_path)) == before


def test_missing_voxel_size_is_asked_for_and_taken(tmp_path, capsys):
    path = tmp_path / "plain.npy"
    jd.io.write(path, np.random.default_rng(0).poisson(20, (6, 16, 16)))
    assert run("deconvolve", path, *OPTICS) == 2
    assert "--voxel-size" in capsys.readouterr().err
    more = ["--voxel-size", "0.4,0.2,0.2", "--suffix", ".tif"]
    assert run("deconvolve", path, *OPTICS, *more) == 0
    out = jd.io.read(tmp_path / "plain_deconvolved.tif")
    np.testing.assert_allclose(out.voxel_size, (0.4, 0.2, 0.2), rtol=1e-6)


def test_too_little_memory_is_said_before_the_work(stack, monkeypatch, capsys):
    from jaxdecon._core import _memory

    monkeypatch.setattr(_memory, "available_memory", lambda: 1000)
    assert run("deconvolve", stack, *OPTICS) == 1
    error = capsys.readouterr().err
    assert "GiB" in error
    assert "--boundary periodic" in error


def test_sixteen_bit_output(stack, tmp_path):
    out = tmp_path / "out.tif"
    assert run("deconvolve", stack, *OPTICS, "--dtype", "uint16", "-o", out) == 0
    assert jd.io.read(out).dtype == np.uint16


def test_help_teaches():
    done = subprocess.run(
        [sys.executable, "-m", "jaxdecon", "deconvolve", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
    )
    assert done.returncode == 0
    for word in ("--psf", "--na", "jaxdecon deconvolve cell.tif", "back-projector"):
        assert word in done.stdout


def test_usage_errors_exit_with_two():
    done = subprocess.run(
        [sys.executable, "-m", "jaxdecon", "deconvolve", "--no-such-option"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2


def test_the_readme_recommendation_for_maximum_likelihood(stack, tmp_path, capsys):
    options = ("--back-projector", "matched", "--accelerated", "-n", 20)
    assert run("deconvolve", stack, *OPTICS, *options, "-o", tmp_path / "o.tif") == 0
    assert "did 20 iterations" in capsys.readouterr().out


def test_two_inputs_never_share_an_output(stack, bead, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    jd.io.write(other / "cell.ome.tif", jd.io.read(stack))
    out = tmp_path / "out"
    out.mkdir()
    arguments = ("deconvolve", stack, other / "cell.ome.tif", "--psf", bead, "-o", out)
    assert run(*arguments) == 2
    assert "both be written" in capsys.readouterr().err
    assert not os.listdir(out)


def test_a_single_plane_with_a_z_axis(tmp_path):
    data = np.random.default_rng(0).poisson(30, (2, 1, 24, 25)).astype(np.float32)
    path = tmp_path / "plane.ome.zarr"
    jd.io.write(path, Image(data=data, axes="czyx", voxel_size=(1.0, 0.2, 0.2)))
    out = tmp_path / "out.ome.zarr"
    assert run("deconvolve", path, *OPTICS, "-o", out) == 0
    assert jd.io.read(out).shape == data.shape


def test_an_empty_image_is_said(tmp_path, capsys):
    path = tmp_path / "flat.tif"
    data = np.full((6, 16, 16), 100, np.uint16)
    jd.io.write(path, Image(data=data, axes="zyx", voxel_size=(0.4, 0.2, 0.2)))
    figure = tmp_path / "flat.png"
    assert run("deconvolve", path, *OPTICS, "--figure", figure) == 0
    assert "nothing in the image is above" in capsys.readouterr().err


def test_a_refused_output_leaves_no_figure(stack, tmp_path):
    figure = tmp_path / "figure.png"
    options = ("--dtype", "uint8", "--scale", "9", "--figure", figure)
    assert run("deconvolve", stack, *OPTICS, *options) == 2
    assert not figure.exists()


def test_the_voxel_size_of_a_measured_psf_is_corrected_not_resampled(bead, capsys):
    assert run("psf", bead, "--voxel-size", "0.8,0.2,0.2") == 0
    text = capsys.readouterr().out
    assert "resampled" not in text
    assert "FWHM 2.4" in text.splitlines()[-1]
    assert run("psf", bead, "--target-voxel-size", "0.2,0.2,0.2") == 0
    assert "resampled" in capsys.readouterr().out


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"jaxdecon {jd.__version__}"


def test_giving_a_voxel_size_hides_no_other_note(tmp_path, capsys):
    path = tmp_path / "plain.tif"
    data = np.random.default_rng(0).poisson(20, (6, 16, 16)).astype(np.uint16)
    tifffile.imwrite(path, data)
    out = tmp_path / "out.tif"
    options = (*OPTICS, "--voxel-size", "0.4,0.2,0.2", "-o", out)
    assert run("deconvolve", path, *options) == 0
    text = capsys.readouterr().out
    assert "has no name; taken as z" in text
    assert "no voxel size" not in text


def test_an_input_is_never_overwritten_by_another_name(stack, tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    same = tmp_path / "sub" / ".." / stack.name
    assert run("deconvolve", stack, *OPTICS, "-o", same, "--overwrite") == 2
    assert "is an input" in capsys.readouterr().err
