"""`jaxdecon deconvolve` without a PSF: it is looked for."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main

from ._beads import gaussian_beads, places_in_plane

pytestmark = pytest.mark.usefixtures("wide_terminal")

SHAPE, WIDTHS, SIZE = (24, 64, 64), (5.0, 3.0, 3.0), (0.3, 0.1, 0.1)


@pytest.fixture(scope="module")
def spots():
    """Beads of one width, and spots of many."""
    across = places_in_plane(SHAPE, 15)
    positions = np.column_stack([np.full(len(across), 12.0), across])
    widths = np.random.default_rng(1).uniform(0.7, 1.6, (len(across), 1)) * WIDTHS
    heights = np.full(len(across), 600.0)
    return {
        "beads": gaussian_beads(SHAPE, positions, WIDTHS, heights, background=10.0),
        "spots": gaussian_beads(SHAPE, positions, widths, heights, background=10.0),
    }


def write(folder, data, optics):
    image = jd.io.Image(
        data=data.astype(np.uint16), axes="zyx", voxel_size=SIZE, metadata=optics
    )
    jd.io.write(folder / "image.ome.zarr", image)


def run(folder, *options):
    names = [folder / "image.ome.zarr", "-o", folder / "out.npy"]
    return main([str(p) for p in ("deconvolve", *names, *options)])


def test_beads_are_taken(spots, tmp_path, capsys):
    write(tmp_path, spots["beads"], {})
    assert run(tmp_path, "--estimate-psf") == 0
    assert "psf: psf        distilled from 16 beads" in capsys.readouterr().out
    assert np.load(tmp_path / "out.npy").max() > spots["beads"].max()


def test_else_the_optics_in_the_file(spots, tmp_path, capsys):
    optics = {"na": 0.9, "index": 1.333, "channels": [{"wavelength": 0.52}]}
    write(tmp_path, spots["spots"], {"optics": optics})
    assert run(tmp_path, "--estimate-psf", "-n", 1) == 0
    text = capsys.readouterr().out
    assert "optics are widefield (na 0.9, wavelength 0.52, index 1.333)" in text
    assert "beads      " in text
    assert "the model's, with its parameters as they are" in text


def test_else_it_says_what_is_missing(spots, tmp_path, capsys):
    write(tmp_path, spots["spots"], {"optics": {"na": 0.9}})
    assert run(tmp_path, "--auto") == 2
    said = capsys.readouterr().err
    assert "no PSF was found" in said
    assert "--psf FILE, or the optics" in said
    assert not (tmp_path / "out.npy").exists()


def test_a_psf_that_is_given_is_not_looked_for(spots, tmp_path, capsys):
    write(tmp_path, spots["beads"], {})
    np.save(tmp_path / "psf.npy", np.asarray(jd.psf.gaussian((9, 9, 9), WIDTHS)))
    options = ("--psf", tmp_path / "psf.npy", "--estimate-psf")
    assert run(tmp_path, *options) == 2
    assert "--estimate-psf is for images without --psf" in capsys.readouterr().err


def test_depths_have_psfs_of_their_own(tmp_path, capsys):
    rng = np.random.default_rng(0)
    data = rng.poisson(5, (9, 20, 20)) + 500 * (rng.random((9, 20, 20)) > 0.99)
    write(tmp_path, data, {})
    lens = ("--na", 1.3, "--wavelength", 0.52, "--index", 1.515)
    model = (*lens, "--model", "gibson-lanni", "--depth", 1)
    how = ("--back-projector", "matched", "-n", 2, "--background", 0)
    assert run(tmp_path, *model, *how) == 0
    assert "--through-depth gives every depth its own" in capsys.readouterr().out
    one = np.load(tmp_path / "out.npy")
    assert run(tmp_path, *model, *how, "--through-depth", "--overwrite") == 0
    text = capsys.readouterr().out
    assert "9 PSFs of" in text
    assert "from 1 to 3.4 µm" in text
    varying = np.load(tmp_path / "out.npy")
    assert varying.sum() == pytest.approx(one.sum(), rel=0.05)
    assert abs(varying - one)[-2:].max() > 0.02 * one.max()
