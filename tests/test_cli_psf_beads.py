"""`jaxdecon psf --from-beads`, and deconvolution with what it writes."""

import csv

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.cli import run as run_arguments
from jaxdecon.io import Image

from ._beads import curved_field

pytestmark = pytest.mark.usefixtures("wide_terminal")

VOXEL = (0.3, 0.1, 0.2)


@pytest.fixture(scope="module")
def stack():
    """An image of beads, ever wider towards the right."""
    return curved_field((24, 60, 84))[0].astype(np.uint16)


@pytest.fixture
def beads_file(tmp_path, stack):
    path = tmp_path / "beads.ome.tif"
    jd.io.write(path, Image(data=stack, axes="zyx", voxel_size=VOXEL))
    return path


def run(*arguments):
    return run_arguments([str(a) for a in arguments])


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_psf_from_all_beads(tmp_path, stack, beads_file, capsys):
    output, table = tmp_path / "psf.ome.tif", tmp_path / "beads.csv"
    figure = tmp_path / "psf.png"
    options = ["-o", output, "--table", table, "--figure", figure, "--psf-energy", 1]
    assert run("psf", beads_file, "--from-beads", *options) == 0
    expected = jd.psf.distil(stack, voxel_size=VOXEL)
    written = jd.io.read(output)
    np.testing.assert_allclose(written, expected.psf, rtol=1e-6)
    assert written.voxel_size == pytest.approx(VOXEL)
    told = " ".join(capsys.readouterr().out.split())
    assert f"of {len(expected.fits)} beads" in told
    assert f"ellipticity {expected.ellipticity:.3f}" in told
    assert f"{expected.fwhm[0] * 0.3:.3f} x" in told
    rows = rows_of(table)
    assert len(rows) == len(expected.beads[0])
    good = [row for row in rows if row["status"] == "good"]
    assert len(good) == len(expected.fits)
    assert float(good[0]["FWHM z (µm)"]) == pytest.approx(4.5 * 0.3, rel=0.05)
    assert float(good[0]["correlation"]) <= 1
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_field_with_tables_and_figure(tmp_path, stack, beads_file, capsys):
    output, table = tmp_path / "field.npz", tmp_path / "beads.csv"
    figure = tmp_path / "field.png"
    options = ["--grid", "1,1,2", "-o", output, "--table", table, "--figure", figure]
    assert run("psf", beads_file, "--from-beads", *options) == 0
    expected = jd.psf.distil_field(stack, grid=(1, 1, 2), voxel_size=VOXEL)
    stored = jd.io.read_psf_field(output)
    np.testing.assert_allclose(stored.psfs, expected.field.psfs, rtol=1e-6)
    for kept, positions in zip(stored.positions, expected.field.positions, strict=True):
        np.testing.assert_allclose(kept, positions, rtol=1e-6)
    assert stored.voxel_size == pytest.approx(VOXEL)
    assert stored.image_shape == stack.shape
    nodes = rows_of(tmp_path / "beads_nodes.csv")
    assert [float(row["FWHM x (µm)"]) for row in nodes] == pytest.approx(
        [0.2 * node.fwhm[2] for node in expected.table], rel=1e-3
    )
    assert "surface of best focus bends" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")


def write_field(path, stack, **options):
    psfs = np.stack([jd.psf.gaussian((7, 7, 7), w) for w in (2.0, 3.0)])[None, None]
    positions = ([11.5], [29.5], [20.5, 62.5])
    options = {"voxel_size": VOXEL, "image_shape": stack.shape} | options
    jd.io.write_psf_field(path, psfs, positions, **options)
    return jd.psf.PSFField.from_grid(psfs, positions)


def test_deconvolution_with_a_field(tmp_path, stack, beads_file, capsys):
    path, output = tmp_path / "field.npz", tmp_path / "sharp.npy"
    field = write_field(path, stack)
    how = ["--back-projector", "matched", "-n", 2, "--background", 100]
    how += ["--figure", tmp_path / "pair.png"]
    assert run("deconvolve", beads_file, "--psf", path, "-o", output, *how) == 0
    assert (tmp_path / "pair.png").exists()
    assert "1x1x2 PSFs of 7x7x7" in capsys.readouterr().out
    expected = jd.richardson_lucy(
        stack, field, iterations=2, background=100.0, restore_flux=True
    )
    np.testing.assert_allclose(np.load(output), expected, rtol=1e-3, atol=0.5)
    one = jd.richardson_lucy(
        stack, field.mean, iterations=2, background=100.0, restore_flux=True
    )
    assert abs(np.load(output) - one).max() > 20


def test_a_field_is_not_for_fusion(tmp_path, capsys):
    (tmp_path / "field.npz").touch()
    views = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for view in views:
        np.save(view, np.ones((8, 9, 9), np.float32))
    command = ["fuse", *views, "--psf", tmp_path / "field.npz"]
    options = ["--voxel-size", "1,1,1", "-o", tmp_path / "out.ome.zarr"]
    assert run(*command, *options) == 2
    assert "for `jaxdecon deconvolve` only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voxel_size": (0.3, 0.1, 0.1)}, "fields are not resampled"),
        ({}, None),
    ],
)
def test_field_for_other_voxels_is_refused(
    tmp_path, stack, beads_file, capsys, options, message
):
    path = tmp_path / "field.npz"
    write_field(path, stack, **options)
    if message is None:
        path.write_bytes(path.read_bytes()[:100])
        message = "is no PSF field"
    assert run("deconvolve", beads_file, "--psf", path, "-n", 1) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_stored_fields_are_checked(tmp_path, stack):
    path = tmp_path / "field.npz"
    write_field(path, stack, voxel_size=None, image_shape=None)
    stored = jd.io.read_psf_field(path)
    assert stored.voxel_size == (None, None, None)
    assert stored.image_shape is None
    with pytest.raises(FileExistsError, match="exists"):
        write_field(path, stack)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        jd.io.write_psf_field(tmp_path / "a.tif", np.ones((1, 1, 3, 3)), ([0], [0]))
    with pytest.raises(ValueError, match="are for"):
        jd.io.write_psf_field(tmp_path / "a.npz", np.ones((1, 3, 3)), ([0], [0]))
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="no mark"):
        jd.io.read_psf_field(tmp_path / "other.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match="is no PSF field"):
        jd.io.read_psf_field(tmp_path / "one.npy")
    with pytest.raises(FileNotFoundError):
        jd.io.read_psf_field(tmp_path / "none.npz")
    later = dict(np.load(path)) | {"version": np.array(99)}
    np.savez(tmp_path / "later.npz", **later)
    with pytest.raises(ValueError, match="version 99"):
        jd.io.read_psf_field(tmp_path / "later.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "1,1,2"], "--grid need --from-beads"),
        (["--from-beads", "--na", 1.2], "does not use --na"),
        (["--from-beads", "--target-voxel-size", "1,1,1"], "--target-voxel-size"),
        (["--from-beads", "--fill-holes"], "are for --grid"),
        (["--from-beads", "--grid", "1,x"], "--grid is '1,x'"),
        (["--from-beads", "--grid", "1,1,2", "-o", "psf.tif"], "ends in .npz"),
        (["--from-beads", "-o", "psf.npz"], "one of an image"),
        (["--from-beads", "--saturation", "much"], "--saturation is 'much'"),
        (["--from-beads", "--bead-diameter", 100], "µm"),
        (["--from-beads", "--min-beads", 500], "500 are needed"),
        (["--from-beads", "--grid", "1,9,9"], "holes in the grid"),
    ],
)
def test_what_cannot_be_is_refused(beads_file, capsys, arguments, message):
    assert run("psf", beads_file, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_time_points_are_pooled_and_channels_refused(tmp_path, stack, capsys):
    path = tmp_path / "series.npy.ome.tif"
    jd.io.write(path, Image(data=np.stack([stack, stack]), axes="tzyx"))
    assert run("psf", path, "--from-beads", "--bead-threshold", 0.5) == 0
    told = capsys.readouterr().out
    assert told.count("spots:") == 2
    assert "voxel size unknown" in told
    assert run("psf", path, "--from-beads", "--bead-diameter", 0.1) == 2
    assert "does not say its voxel size" in capsys.readouterr().err
    path = tmp_path / "channels.ome.tif"
    jd.io.write(path, Image(data=np.stack([stack, stack]), axes="czyx"))
    assert run("psf", path, "--from-beads") == 2
    assert "2 channels" in capsys.readouterr().err


def test_single_bead_diameter_and_shape(tmp_path, stack, beads_file, capsys):
    output = tmp_path / "psf.npy"
    options = ["--bead-diameter", 0.2, "--shape", "15,13,13", "-o", output]
    assert run("psf", beads_file, "--from-beads", *options) == 0
    assert np.load(output).shape == (15, 13, 13)
    assert "spheres of diameter 0.2 removed" in capsys.readouterr().out


def test_figure_of_a_plane_field_and_of_holes():
    image = curved_field((24, 60, 84))[0]
    image[:, :, 70:] = np.random.default_rng(0).poisson(100, image[:, :, 70:].shape)
    result = jd.psf.distil_field(image, grid=(2, 1, 4), fill="neighbours", min_beads=2)
    figure = jd.report.psf_field_figure(result)
    assert figure.get_suptitle() == "layer 2 of 2 along z"
    flat = jd.psf.distil_field(image.max(0), grid=(1, 2), fill="neighbours")
    figure = jd.report.psf_field_figure(flat, voxel_size=(0.1, 0.2), title="flat")
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert any("FWHM across" in title and "µm" in title for title in titles)
    assert not any("along z" in title for title in titles)
