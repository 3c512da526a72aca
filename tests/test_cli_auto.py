"""`jaxdecon deconvolve --auto`: plans, says why, and does what it planned."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main

pytestmark = pytest.mark.usefixtures("wide_terminal")

GAIN, OFFSET = 2.0, 100.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An image in photons, the same in two channels of a camera, and the PSF."""
    folder = tmp_path_factory.mktemp("auto")
    rng = np.random.default_rng(2)
    psf = np.asarray(jd.psf.gaussian((13, 11, 11), (4.0, 3.0, 3.0)))
    sharp = np.zeros((16, 48, 48), np.float32)
    sharp[tuple(rng.integers(3, n - 3, 40) for n in sharp.shape)] = 2000
    blur = jd.operators.Convolution.from_psf(psf, sharp.shape, boundary="periodic")
    counts = rng.poisson(np.maximum(blur(sharp), 0) + 4).astype(np.float32)
    np.save(folder / "counts.npy", counts)
    np.save(folder / "psf.npy", psf)
    pair = np.stack([counts, GAIN * counts + OFFSET])
    image = jd.io.Image(data=pair, axes="czyx", voxel_size=(0.3, 0.1, 0.1))
    jd.io.write(folder / "pair.ome.tif", image)
    return folder


def run(files, name, out, *options):
    command = ["deconvolve", files / name, "--psf", files / "psf.npy"]
    common = ["--psf-energy", 1, "--boundary", "periodic", "-o", out]
    return main([str(part) for part in [*command, *common, *options]])


def test_what_is_planned_is_done_and_explained(files, tmp_path, capsys):
    out = tmp_path / "out.npy"
    assert run(files, "counts.npy", out, "--explain") == 0
    text = capsys.readouterr().out
    image = np.load(files / "counts.npy")
    psf = jd.psf.from_measured(np.load(files / "psf.npy"), energy=1.0).psf
    plan = jd.deconvolution.plan(image, psf, boundary="periodic")
    assert plan.explain() in text
    expected = plan.run(image, psf).value
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-3, atol=1e-2)


def test_every_channel_has_its_plan(files, tmp_path, capsys):
    out = tmp_path / "out.ome.tif"
    assert run(files, "pair.ome.tif", out, "--auto") == 0
    text = capsys.readouterr().out
    for channel in (0, 1):
        assert f"c {channel}: auto: " in text
    first, second = np.asarray(jd.io.read(out))
    assert abs(second.sum() / first.sum() / GAIN - 1) < 0.1


def test_the_camera_may_be_given(files, tmp_path, capsys):
    out = tmp_path / "out.npy"
    given = ("--gain", 1, "--offset", 0, "--background", 4)
    assert run(files, "counts.npy", out, "--explain", *given) == 0
    text = capsys.readouterr().out
    assert "gain 1 units per photon, offset 0 (as given)" in text
    assert "background of 4 (4 units)" in text


@pytest.mark.parametrize(
    "option",
    [
        ("-n", 5),
        ("--back-projector", "matched"),
        ("--no-restore-flux",),
        ("--stop", "held-out"),
    ],
)
def test_what_is_chosen_cannot_be_given(files, tmp_path, capsys, option):
    out = tmp_path / "out.npy"
    assert run(files, "counts.npy", out, "--auto", *option) == 2
    assert "--auto chooses" in capsys.readouterr().err
    assert not out.exists()


def test_an_empty_image_is_refused(files, tmp_path, capsys):
    out = tmp_path / "out.npy"
    assert run(files, "counts.npy", out, "--auto", "--background", 1e6) == 2
    assert "nothing above its background" in capsys.readouterr().err
    assert not out.exists()


def test_an_empty_channel_is_told_and_left_empty(files, tmp_path, capsys):
    image = np.load(files / "counts.npy")
    pair = jd.io.Image(
        data=np.stack([np.full_like(image, 7), image]),
        axes="czyx",
        voxel_size=(0.3, 0.1, 0.1),
    )
    jd.io.write(tmp_path / "pair.ome.tif", pair)
    out = tmp_path / "out.ome.tif"
    assert run(files, tmp_path / "pair.ome.tif", out, "--auto") == 0
    said = capsys.readouterr()
    assert "c 0: nothing in the image is above the background" in said.err
    assert "c 1: auto: " in said.out
    first, second = np.asarray(jd.io.read(out))
    assert first.max() < 0.01
    assert second.max() > image.max()


def test_an_offset_needs_a_gain(files, tmp_path, capsys):
    out = tmp_path / "out.npy"
    assert run(files, "counts.npy", out, "--offset", 100) == 2
    assert "--offset needs --gain" in capsys.readouterr().err
