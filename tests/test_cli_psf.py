"""`jaxdecon psf`, and the optics that `jaxdecon deconvolve` takes, as a user types."""

import math
import os

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.cli import run as run_arguments
from jaxdecon.cli._psf import about_centre
from jaxdecon.io import Image

pytestmark = pytest.mark.usefixtures("wide_terminal")

VOXEL = (0.2, 0.1, 0.1)
STACK = (17, 11, 11)
SHAPE = (17, 21, 21)
"""Of a PSF for that stack: as deep, and wide enough to reach every voxel from any."""
LENS = {"na": 1.2, "wavelength": 0.52, "index": 1.33}
OPTICS = ["--na", 1.2, "--wavelength", 0.52, "--index", 1.33]
GRID = ["--voxel-size", "0.2,0.1,0.1", "--shape", "17,11,11"]
LAYERS = ["--depth", 5, "--sample-index", 1.3, "--coverslip", 180]
LAYERS += ["--working-distance", 140, "--design-index", 1.34]
WHOLE = ["--psf-energy", 1]


@pytest.fixture
def psf_file(tmp_path):
    """A PSF as it should be, with an odd and an even axis."""
    path = tmp_path / "psf.ome.tif"
    psf = np.asarray(jd.psf.gaussian((9, 12, 11), (3.0, 2.5, 2.0)))
    jd.io.write(path, Image(data=psf, axes="zyx", voxel_size=VOXEL))
    return path


def run(*arguments):
    return run_arguments([str(a) for a in arguments])


def widefield(**changes):
    return jd.psf.widefield(SHAPE, VOXEL, **LENS, **changes)


MODELS = [
    ([], lambda: widefield()),
    (["--model", "widefield", "--vectorial"], lambda: widefield(model="vectorial")),
    (
        ["--aberration", "spherical=0.1", "--aberration", "vertical-coma=0.3rad"],
        lambda: widefield(
            aberrations={"spherical": 0.2 * math.pi, "vertical coma": 0.3}
        ),
    ),
    (
        ["--aberration", "3,-1=0.05", "--aberration", "11=-0.1"],
        lambda: widefield(aberrations={(3, -1): 0.1 * math.pi, (4, 0): -0.2 * math.pi}),
    ),
    (
        ["--model", "confocal", "--excitation", 0.488, "--pinhole", 0],
        lambda: jd.psf.confocal(SHAPE, VOXEL, **LENS, excitation=0.488, pinhole=0),
    ),
    (
        ["--model", "light-sheet", "--sheet-fwhm", 1.2, "--sheet-angle", 30],
        lambda: jd.psf.light_sheet(
            SHAPE, VOXEL, **LENS, sheet_fwhm=1.2, angle=math.pi / 6
        ),
    ),
    (
        ["--model", "gibson-lanni", *LAYERS],
        lambda: jd.psf.gibson_lanni(
            SHAPE,
            VOXEL,
            na=1.2,
            wavelength=0.52,
            depth=5,
            ns=1.3,
            ni=1.33,
            ni0=1.34,
            tg=180,
            tg0=170,
            ti0=140,
        ),
    ),
]


@pytest.mark.parametrize(("options", "expected"), MODELS)
def test_a_model_is_that_of_the_library(options, expected, tmp_path):
    out = tmp_path / "psf.npy"
    assert run("psf", *OPTICS, *GRID, *WHOLE, *options, "-o", out) == 0
    psf = expected()
    np.testing.assert_allclose(np.load(out), psf, rtol=1e-4, atol=1e-4 * psf.max())


def test_a_gaussian_has_the_widths_that_are_asked_for(tmp_path, capsys):
    out = tmp_path / "psf.ome.zarr"
    options = ["--model", "gaussian", "--fwhm", "0.6,0.3,0.2"]
    assert run("psf", *GRID, *options, "-o", out) == 0
    psf = jd.io.read(out)
    np.testing.assert_allclose(psf.voxel_size, VOXEL)
    widths = jd.psf.fwhm(psf) * np.asarray(VOXEL)
    np.testing.assert_allclose(widths, (0.6, 0.3, 0.2), rtol=0.03)
    assert "FWHM 0.6" in capsys.readouterr().out.splitlines()[-1]


def test_an_image_has_a_psf_of_two_axes(tmp_path, capsys):
    out, figure = tmp_path / "psf.tif", tmp_path / "psf.png"
    grid = ["--voxel-size", "0.1,0.1", "--shape", "20,20"]
    assert run("psf", *OPTICS, *grid, *WHOLE, "-o", out, "--figure", figure) == 0
    assert jd.io.read(out).axes == "yx"
    text = capsys.readouterr().out
    assert "Nyquist: voxels of at most 0.108 x 0.108 µm" in text
    assert figure.read_bytes()[:4] == b"\x89PNG"


def test_the_summary_says_what_the_library_measures(capsys):
    assert run("psf", *OPTICS, *GRID, "--psf-energy", 0.9) == 0
    text = capsys.readouterr().out
    whole = widefield()
    psf = np.asarray(jd.psf.crop_to_energy(whole, 0.9))
    periods = 1 / np.asarray(jd.psf.otf_support(psf / psf.sum()).cutoffs)
    nyquist = jd.psf.nyquist(**LENS)
    for words in (
        f"shape {join(psf.shape, 'd')}, voxel 0.2 x 0.1 x 0.1 µm",
        f"{100 * psf.sum():.2f} % of its energy",
        f"theoretical: periods of {join(2 * nyquist)} µm",
        f"at most {join(nyquist)} µm",
        f"measured: periods down to {join(periods)} voxels, {join(periods * VOXEL)} µm",
        f"FWHM {join(jd.psf.fwhm(psf))} voxels",
        f"FWHM {join(jd.psf.fwhm(psf) * np.asarray(VOXEL))} µm",
    ):
        assert words in text


def join(numbers, form=".3f"):
    return " x ".join(format(n if form == "d" else float(n), form) for n in numbers)


def test_a_stack_of_few_planes_has_no_axial_width(tmp_path, capsys):
    grid = ["--voxel-size", "0.1,0.1,0.1", "--shape", "3,9,9"]
    assert run("psf", *OPTICS, *grid, "--figure", tmp_path / "psf.png") == 0
    text = capsys.readouterr().out
    assert "cut before it falls to half" in text
    assert "FWHM nan x" in text


def test_undersampling_is_said_in_one_line(tmp_path, capsys):
    grid = ["--voxel-size", "0.6,0.2,0.2", "--shape", "9,9,9"]
    options = ["--model", "confocal", "--excitation", 0.488]
    assert run("psf", *OPTICS, *grid, *options) == 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: the voxel size 0.6 x 0.2 x 0.2 µm undersample")
    assert "0.323 x 0.102 x 0.102 µm" in lines[0]  # that of the excitation
    bead = tmp_path / "bead.npy"
    np.save(bead, np.asarray(jd.psf.gaussian((9, 9, 9), (4.0, 3.0, 1.2))))
    assert run("psf", bead) == 0
    assert "warning: the FWHM along x is below two" in capsys.readouterr().err


def test_cut_offs_of_a_confocal_are_those_of_its_excitation(capsys):
    options = ["--model", "confocal", "--excitation", 0.4, "--pinhole", 2]
    assert run("psf", *OPTICS, *GRID, *options) == 0
    text = capsys.readouterr().out
    expected = jd.psf.nyquist(na=1.2, wavelength=0.4, index=1.33)
    assert f"at most {join(expected)} µm" in text
    assert "of the excitation" in text
    assert "confocal, excitation 0.4, pinhole 2" in text


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".ome.tif", ".ome.zarr"])
def test_conversion_there_and_back(suffix, psf_file, tmp_path):
    there, back = tmp_path / f"there{suffix}", tmp_path / "back.ome.tif"
    as_it_is = ["--background", 0, *WHOLE]
    assert run("psf", psf_file, *as_it_is, "-o", there) == 0
    size = ["--voxel-size", "0.2,0.1,0.1"] if suffix == ".npy" else []
    assert run("psf", there, *as_it_is, *size, "-o", back) == 0
    first, last = jd.io.read(psf_file), jd.io.read(back)
    np.testing.assert_allclose(last.voxel_size, first.voxel_size, rtol=1e-5)
    assert last.axes == first.axes
    np.testing.assert_allclose(np.asarray(last), np.asarray(first), rtol=1e-6)


def test_a_file_is_resampled_and_keeps_its_width(psf_file, tmp_path):
    out = tmp_path / "fine.ome.tif"
    options = ["--target-voxel-size", "0.1,0.1,0.05", *WHOLE]
    assert run("psf", psf_file, *options, "-o", out) == 0
    fine = jd.io.read(out)
    np.testing.assert_allclose(fine.voxel_size, (0.1, 0.1, 0.05), rtol=1e-6)
    widths = jd.psf.fwhm(fine) * np.asarray(fine.voxel_size)
    np.testing.assert_allclose(widths, (0.6, 0.25, 0.2), rtol=0.08)


def test_a_file_is_brought_to_a_shape(psf_file, tmp_path, capsys):
    out = tmp_path / "out.npy"
    options = ["--background", 0, *WHOLE, "--shape", "12,5,16"]
    assert run("psf", psf_file, *options, "-o", out) == 0
    result, source = np.load(out), np.asarray(jd.io.read(psf_file))
    assert result.shape == (12, 5, 16)
    np.testing.assert_allclose(result.sum(), 1, rtol=1e-6)
    cut = source[:, 4:9]  # y is centred on 6
    np.testing.assert_allclose(result[2:11, :, 3:14], cut / cut.sum(), rtol=1e-5)
    share = f"keeps {100 * cut.sum() / source.sum():.2f} % of its energy"
    assert share in capsys.readouterr().out


@pytest.mark.parametrize("old", [1, 4, 5])
@pytest.mark.parametrize("new", [1, 2, 3, 6, 7])
def test_cropping_and_padding_keep_the_centre(old, new):
    line = np.arange(1.0, old + 1)
    result = about_centre(line, (new,))
    assert result[new // 2] == line[old // 2]
    inside = result[result > 0]
    assert inside.size == np.count_nonzero(np.isin(line, inside)) >= min(old, new) - 1
    assert (np.diff(inside) == 1).all()


def test_a_channel_has_its_own_excitation(tmp_path, capsys):
    path, out = tmp_path / "cell.ome.tif", tmp_path / "out.npy"
    data = np.random.default_rng(0).poisson(30, (2, *STACK)).astype(np.float32)
    jd.io.write(path, Image(data=data, axes="czyx", voxel_size=VOXEL))
    options = ["--wavelength", 0.6, "--model", "confocal", "--pinhole", 0.5]
    options += ["--excitation", 0.488, "--excitation", 0.55, *WHOLE]
    options += ["--back-projector", "matched", "-n", 2, "--background", 0, "-o", out]
    assert run("deconvolve", path, *OPTICS, *options) == 0
    assert capsys.readouterr().out.count("psf: confocal") == 2
    for channel, light in enumerate([(0.52, 0.488), (0.6, 0.55)]):
        psf = jd.psf.confocal(
            SHAPE,
            VOXEL,
            na=1.2,
            index=1.33,
            wavelength=light[0],
            excitation=light[1],
            pinhole=0.5,
        )
        expected = jd.richardson_lucy(data[channel], psf, iterations=2)
        np.testing.assert_allclose(
            np.load(out)[channel], expected, rtol=2e-3, atol=1e-3 * expected.max()
        )


def test_a_figure_is_only_begun_where_it_can_be_written(psf_file, tmp_path, capsys):
    figure = tmp_path / "psf.png"
    figure.write_text("mine")
    assert run("psf", psf_file, "--figure", figure) == 2
    assert "exists" in capsys.readouterr().err
    assert figure.read_text() == "mine"
    assert run("psf", psf_file, "--figure", figure, "--overwrite") == 0
    assert figure.read_bytes()[:4] == b"\x89PNG"


BAD = [
    (["--na", 1.4], "cannot reach"),
    (["--wavelength", 520], "--wavelength is 520.0; µm are needed. Is this nm?"),
    (["--wavelength", 0.6], "--wavelength is given 2 times for 1 channel;"),
    (["--wavelength", 0.05], "--wavelength"),
    (["--voxel-size", "200,100,100"], "--voxel-size is (200.0, 100.0, 100.0); µm"),
    (["--shape", "5,5"], "--shape"),
    (["--model", "magic"], "--model is 'magic'; known: widefield, confocal"),
    (["--pinhole", 0], "--model widefield does not use --pinhole, which is for conf"),
    (["--fwhm", "1,1,1"], "--model widefield does not use --fwhm"),
    (["--model", "gaussian", "--fwhm", "1,1,1"], "gaussian does not use --na"),
    (["--model", "light-sheet"], "light-sheet needs --na, --wavelength, --index, --sh"),
    (["--model", "light-sheet"], "(missing: --sheet-fwhm)"),
    (["--model", "light-sheet", "--sheet-fwhm", -1], "--sheet-fwhm"),
    (["--model", "light-sheet", "--sheet-fwhm", 900], "--sheet-fwhm is 900.0; µm"),
    (["--model", "light-sheet", "--sheet-fwhm", 1, "--sheet-angle", 99], "degrees"),
    (["--model", "confocal", "--pinhole", -1], "--pinhole is -1.0"),
    (["--model", "confocal", "--excitation", 488], "--excitation is 488.0; µm"),
    (["--model", "gibson-lanni"], "(missing: --depth)"),
    (["--model", "gibson-lanni", "--depth", -1], "--depth is -1.0"),
    (["--model", "gibson-lanni", "--depth", "nan"], "--depth is nan"),
    (["--model", "gibson-lanni", "--depth", 900], "--depth is 900.0 µm; the lens"),
    (["--model", "gibson-lanni", "--depth", 1, "--coverslip", 0], "--coverslip"),
    (
        ["--model", "gibson-lanni", "--depth", 1, "--coverslip-index", 1.1],
        "--coverslip-index 1.1; the NA cannot reach",
    ),
    (["--aberration", "wobble=0.1"], "--aberration wobble=0.1: 'wobble' is no Zernike"),
    (["--aberration", "coma"], "NAME=WAVES"),
    (["--aberration", "coma=much"], "NAME=WAVES"),
    (["--aberration", "coma=50"], "waves (rms) are needed"),
    (["--aberration", "coma=1", "--aberration", "3,1=1"], "twice"),
    (["--target-voxel-size", "0.1,0.1,0.1"], "--target-voxel-size is for a FILE"),
    (["--background", 3], "--background is for a FILE"),
    (["-o", "psf.jpeg"], "unknown suffix"),
    (["FILE"], "or the optics, not both (given: --na, --wavelength, --index)"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_optics_are_one_line_and_leave_nothing(
    options, message, psf_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    options = [psf_file if o == "FILE" else o for o in options]
    assert run("psf", *OPTICS, *GRID, "-o", "out.tif", *options) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert os.listdir(tmp_path) == [psf_file.name]


BAD_FILES = [
    (["--model", "widefield"], "not both (given: --model)"),
    (["--vectorial"], "not both (given: --vectorial)"),
    (["--shape", "3,3"], "--shape"),
    (["--voxel-size", "0.1,0.1"], "--voxel-size has 2 numbers"),
    (["--target-voxel-size", "0.1,0.1"], "--target-voxel-size has 2 numbers"),
    (["--target-voxel-size", "200,100,100"], "--target-voxel-size is (200.0, 100.0"),
    (["--background", "low"], "--background"),
    (["--background", -3], "background"),
    (["-o", "FILE", "--overwrite"], "is the input"),
]


@pytest.mark.parametrize(("options", "message"), BAD_FILES)
def test_bad_requests_for_a_file(options, message, psf_file, capsys):
    before = psf_file.read_bytes()
    assert run("psf", psf_file, *[psf_file if o == "FILE" else o for o in options]) == 2
    assert message in capsys.readouterr().err
    assert psf_file.read_bytes() == before


def test_resampling_needs_a_voxel_size(tmp_path, capsys):
    path = tmp_path / "bead.npy"
    np.save(path, np.asarray(jd.psf.gaussian((9, 9, 9), 3.0)))
    target = ["--target-voxel-size", "0.1,0.1,0.1"]
    assert run("psf", path, *target) == 2
    assert "give --voxel-size" in capsys.readouterr().err
    assert run("psf", path, *target, "--voxel-size", "0.2,0.1,0.1") == 0
    assert "resampled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--psf", "FILE", "--model", "confocal"], "not both (given: --model)"),
        (["--model", "confocal", *OPTICS, "--depth", 0], "does not use --depth"),
        (["--model", "light-sheet", *OPTICS, "--sheet-fwhm", 1], "needs a volume"),
        (["--model", "gaussian", "--fwhm", "1,1,1"], "--fwhm is '1,1,1'; the image"),
        (["--model", "gaussian", "--fwhm", "1,0"], "--fwhm is '1,0'"),
        (["--excitation", 0.4, "--excitation", 0.5, *OPTICS], "does not use"),
    ],
)
def test_deconvolve_checks_the_optics_as_well(
    options, message, psf_file, tmp_path, capsys
):
    path = tmp_path / "image.tif"
    jd.io.write(
        path, Image(data=np.ones((9, 9), np.uint8), axes="yx", voxel_size=(0.1, 0.1))
    )
    options = [psf_file if o == "FILE" else o for o in options]
    assert run("deconvolve", path, *options) == 2
    assert message in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["image.tif", psf_file.name]


def test_a_sample_below_the_aperture_is_warned_of_not_refused(capsys):
    options = ["--na", 1.4, "--index", 1.515, "--model", "gibson-lanni", "--depth", 2]
    assert run("psf", *OPTICS, *options, *GRID) == 0
    output = capsys.readouterr()
    assert "exceeds the sample's index" in output.err
    expected = jd.psf.nyquist(na=1.33, wavelength=0.52, index=1.515)
    assert f"at most {join(expected)} µm" in output.out
