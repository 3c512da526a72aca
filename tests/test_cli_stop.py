"""`jaxdecon deconvolve --stop`: rules, camera units, and what is asked for."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main

pytestmark = pytest.mark.usefixtures("wide_terminal")

GAIN, OFFSET, DARK = 2.0, 100.0, 4.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same photons as counts and in the units of a camera, and the PSF."""
    folder = tmp_path_factory.mktemp("stop")
    rng = np.random.default_rng(2)
    psf = np.asarray(jd.psf.gaussian((13, 11, 11), (4.0, 3.0, 3.0)))
    sharp = np.zeros((16, 32, 32), np.float32)
    sharp[tuple(rng.integers(3, n - 3, 20) for n in sharp.shape)] = 800
    blur = jd.operators.Convolution.from_psf(psf, sharp.shape, boundary="periodic")
    counts = rng.poisson(np.maximum(blur(sharp), 0) + DARK).astype(np.float32)
    np.save(folder / "counts.npy", counts)
    np.save(folder / "camera.npy", GAIN * counts + OFFSET)
    np.save(folder / "psf.npy", psf)
    return folder


def run(files, name, out, *options):
    command = ["deconvolve", files / f"{name}.npy", "--psf", files / "psf.npy"]
    common = ["--psf-energy", 1, "--back-projector", "matched", "-n", 150, "-o", out]
    return main([str(part) for part in [*command, *common, *options]])


def test_camera_units_and_counts_give_the_same_object(files, tmp_path, capsys):
    counts, camera = tmp_path / "counts.npy", tmp_path / "camera.npy"
    rule = ("--stop", "discrepancy")
    assert run(files, "counts", counts, *rule, "--background", DARK) == 0
    assert "stopped by its rule" in capsys.readouterr().out
    units = ("--gain", GAIN, "--offset", OFFSET, "--background", GAIN * DARK + OFFSET)
    assert run(files, "camera", camera, *rule, *units) == 0
    np.testing.assert_allclose(
        np.load(camera), GAIN * np.load(counts), rtol=1e-3, atol=1e-2
    )


def test_rules_that_need_counts_ask_for_the_camera(files, tmp_path, capsys):
    out = tmp_path / "out.npy"
    assert run(files, "camera", out, "--stop", "rehearsal") == 2
    error = capsys.readouterr().err
    assert "photon counts" in error
    assert "--gain and --offset" in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stop", "soon"), "--stop"),
        (("--gain", 0), "--gain"),
    ],
)
def test_bad_options_are_refused(files, tmp_path, capsys, options, message):
    out = tmp_path / "out.npy"
    assert run(files, "counts", out, *options) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
