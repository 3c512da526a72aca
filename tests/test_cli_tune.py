"""`jaxdecon tune`, and `deconvolve` with what it wrote."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main

pytestmark = pytest.mark.usefixtures("wide_terminal")

FIELD = (40, 40)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A plane of specks in photons, its PSF, another PSF, and what is learned."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(3)
    psf = np.asarray(jd.psf.gaussian((15, 15), (4.0, 3.0)))
    sharp = np.zeros(FIELD, np.float32)
    sharp[tuple(rng.integers(3, 37, (2, 30)))] = 3000
    blur = jd.operators.Convolution.from_psf(psf, FIELD, boundary="periodic")
    counts = rng.poisson(np.maximum(blur(sharp), 0) + 4).astype(np.float32)
    np.save(folder / "image.npy", counts)
    np.save(folder / "psf.npy", psf)
    np.save(folder / "other.npy", np.asarray(jd.psf.gaussian((15, 15), 5.0)))
    return folder


def run(*arguments):
    return main([str(part) for part in arguments])


def with_psf(files, command, *more, psf="psf.npy"):
    common = ["--psf", files / psf, "--psf-energy", 1]
    return run(command, files / "image.npy", *common, *more)


@pytest.fixture(scope="module")
def learned(files):
    path = files / "learned.npz"
    light = ["--photons", 300, "--background-photons", 4, "--steps", 3]
    assert with_psf(files, "tune", "-o", path, "-n", 3, *light) == 0
    return path


def deconvolved(files, learned, out, *more, psf="psf.npy"):
    options = ["--background", 4, "--back-projector", learned, "-o", out]
    return with_psf(files, "deconvolve", *options, *more, psf=psf)


def prepared(files, name="psf.npy"):
    return jd.psf.from_measured(np.load(files / name), energy=1.0).psf


def test_what_was_learned_is_written_and_used(files, learned, tmp_path, capsys):
    stored = jd.io.read_back_projector(learned)
    assert stored.iterations == 3
    assert (stored.about["photons"], stored.about["background"]) == (300.0, 4.0)
    assert stored.about["restore_flux"]
    assert all(after <= before for before, after in stored.about["errors"].values())
    out = tmp_path / "out.npy"
    assert deconvolved(files, learned, out) == 0
    printed = capsys.readouterr()
    assert "did 3 iterations" in printed.out
    assert "warning" not in printed.err
    expected = jd.richardson_lucy(
        np.load(files / "image.npy"),
        prepared(files),
        iterations=3,
        back_projector=stored.kernel,
        background=4.0,
        restore_flux=True,
        keep="last",
    )
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-3, atol=1e-2)


def test_in_blocks(files, learned, tmp_path):
    whole, blocks = tmp_path / "whole.npy", tmp_path / "blocks.ome.zarr"
    assert deconvolved(files, learned, whole) == 0
    assert deconvolved(files, learned, blocks, "--block", 24) == 0
    expected, found = np.load(whole), np.asarray(jd.io.read(blocks))
    assert abs(found - expected).max() <= 1e-3 * expected.max()


def test_another_psf_or_more_iterations_are_warned_of(files, learned, tmp_path, capsys):
    out = tmp_path / "out.npy"
    assert deconvolved(files, learned, out, psf="other.npy") == 0
    printed = capsys.readouterr().err
    assert "was made for another PSF (FWHM 4.0 x 3.1 voxels, here 5.0 x 5.0" in printed
    assert deconvolved(files, learned, out, "-n", 4, "--overwrite") == 0
    assert "was made for 3 iterations" in capsys.readouterr().err


def test_noise_is_measured_in_the_image(capsys):
    from jaxdecon.cli._tune import light_of

    rng = np.random.default_rng(0)
    light = np.full((8, 128, 128), 10.0)
    light[:, :, 64:] += 190 * np.linspace(0, 1, 64)
    image = 100 + 2.5 * rng.poisson(light)
    none = dict.fromkeys(("photons", "background", "gain", "offset"))
    found = light_of(image.astype(np.float32), none)
    np.testing.assert_allclose(found.photons, 190, rtol=0.25)
    np.testing.assert_allclose(found.background, 10, atol=6)
    known = light_of(image.astype(np.float32), {**none, "gain": 2.5, "offset": 100.0})
    np.testing.assert_allclose(known.background, 10, atol=0.5)
    assert "units per photon" in capsys.readouterr().out
    flat = np.full((4, 16, 16), 100.0, np.float32)
    with pytest.raises(ValueError, match="does not tell"):
        light_of(flat, none)


def test_kernels_and_psfs_of_other_sizes_are_compared_about_their_centres():
    from jaxdecon.cli._learned import about_centre, correlation

    small, large = (
        np.asarray(jd.psf.gaussian((n, m), (3.0, 2.5))) for n, m in ((13, 14), (20, 21))
    )
    assert correlation(small, large) > 0.9999
    assert correlation(small, np.roll(large, 1, 0)) < 0.9
    back = about_centre(about_centre(small, (20, 21)), (13, 14))
    np.testing.assert_array_equal(back, small)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", 0.1], "cannot change the back projector"),
        (["--auto"], "--auto chooses"),
    ],
)
def test_options_without_effect_are_refused(
    files, learned, tmp_path, capsys, options, message
):
    assert deconvolved(files, learned, tmp_path / "out.npy", *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unusable_files_are_refused(files, learned, tmp_path, capsys):
    out = tmp_path / "out.npy"
    assert deconvolved(files, tmp_path / "none.npz", out) == 2
    assert "no file" in capsys.readouterr().err
    np.savez(tmp_path / "other.npz", a=1)
    assert deconvolved(files, tmp_path / "other.npz", out) == 2
    assert "no learned back projector" in capsys.readouterr().err
    volume = jd.io.StoredBackProjector(
        kernel=np.ones((3, 3, 3)) / 27,
        psf=np.ones((3, 3, 3)) / 27,
        iterations=2,
        about={},
    )
    jd.io.write_back_projector(tmp_path / "volume.npz", volume)
    assert deconvolved(files, tmp_path / "volume.npz", out) == 2
    assert "is for 3D images; the PSF is 2D" in capsys.readouterr().err
    assert with_psf(files, "tune", "-o", learned) == 2
    assert "exists" in capsys.readouterr().err
    assert with_psf(files, "tune", "-o", tmp_path / "out.tif") == 2
    assert "ends in .npz" in capsys.readouterr().err
    assert not out.exists()
