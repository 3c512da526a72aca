"""What `jaxdecon train` refuses, each in one line, before it trains."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.cli._train_config import read_config
from jaxdecon.cli._train_data import material
from jaxdecon.io import Image
from tests._training_runs import (
    FILES,
    SIMULATED,
    files_of,
    refused,
    write_pairs,
    written,
)

pytestmark = pytest.mark.usefixtures("wide_terminal")

BAD = {
    "unknown section": (
        SIMULATED.replace("[training]", "[trainign]"),
        "a section [trainign]; known are [network], [data], [simulation]",
    ),
    "unknown key": (
        SIMULATED.replace("steps", "step"),
        "[training] has no step; it has steps, batch",
    ),
    "unknown choice of the network": (
        SIMULATED.replace("width = 2", "withd = 2"),
        "[network] has no withd; it has kind, ndim",
    ),
    "wrong kind of value": (
        SIMULATED.replace("steps = 9", 'steps = "many"'),
        "[training] steps is 'many'; a whole number above 0 is needed",
    ),
    "no network": (SIMULATED.replace('kind = "rcan"', ""), "[network] kind is missing"),
    "a network that does not exist": (
        SIMULATED.replace('"rcan"', '"unet"'),
        "`kind` is 'unet'",
    ),
    "no pairs": (SIMULATED.split("[simulation]")[0], "has no pairs"),
    "both": (SIMULATED + "[data]\n", "has [data] and [simulation]"),
    "no shape": (
        SIMULATED.replace("shape = [16, 16]", ""),
        "[simulation] needs shape",
    ),
    "no TOML": ("[network\n", "is no TOML"),
    "another dimensionality": (
        SIMULATED.replace("width = 2", "ndim = 3"),
        "[network] ndim is 3, and the pairs have 2",
    ),
    "unknown loss": (SIMULATED.replace('"mse"', '"rmse"'), "`loss` is 'rmse'"),
    "unknown optimiser": (
        SIMULATED + 'optimizer = "adamm"\n',
        "`optimizer` is 'adamm'",
    ),
    "too few pairs": (
        SIMULATED.replace("length = 40", "length = 3"),
        "there are 3 pairs, and 4 or more are needed",
    ),
    "unknown PSF": (
        SIMULATED.replace('"gaussian"', '"airy"'),
        "[simulation.psf] kind is 'airy'",
    ),
    "unknown optics": (
        SIMULATED.replace("fwhm = 2.5", "fwmh = 2.5"),
        "[simulation.psf] has no fwmh; gaussian has kind, shape, energy, fwhm",
    ),
    "optics without numbers": (
        SIMULATED.replace('"gaussian"', '"widefield"').replace(", fwhm = 2.5", ""),
        "[simulation.psf] needs na, wavelength, index",
    ),
    "too many devices": (SIMULATED + "devices = 99\n", "[training] devices is 99"),
    "no steps": (SIMULATED.replace("steps = 9", "steps = 0"), "above 0 is needed"),
    "a seed below zero": (
        SIMULATED.replace("seed = 3", "seed = -3"),
        "[training] seed",
    ),
    "a voxel of no size": (
        SIMULATED.replace("[0.1, 0.1]", "[0.0, 0.1]"),
        "voxel_size is [0.0, 0.1]; a list of numbers above 0 is needed",
    ),
    "voxels of one axis": (
        SIMULATED.replace("[0.1, 0.1]", "[0.1]"),
        "voxel_size is [0.1]; 2 numbers are needed",
    ),
    "a date for a shape": (
        SIMULATED.replace("[7, 7]", "2020-01-01"),
        "shape is 2020-01-01; 2 numbers are needed",
    ),
    "another suffix": (
        SIMULATED + '[output]\nmodel = "model.onnx"\n',
        "a name that ends in .npz",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_is_refused_in_one_line(case, tmp_path, capsys):
    text, words = BAD[case]
    assert words in refused(capsys, written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys):
    assert "no file" in refused(capsys, tmp_path / "none.toml")


def damaged(folder, case):
    """Files of which something is wrong, and the words that say it."""
    write_pairs(folder)
    raw = jd.io.read(folder / "raw_2.tif")
    size = (0.2, 0.2)
    if case == "unpaired shapes":
        data, words = raw.data[:20], "one grid is needed"
    elif case == "mismatched voxel sizes":
        data, words, size = raw.data[:], "has voxel size (0.3, 0.2)", (0.3, 0.2)
    elif case == "constant images":
        for number in range(4):
            flat = Image(data=np.full((24, 20), 7.0, np.float32), axes="yx")
            jd.io.write(folder / f"raw_{number}.tif", flat, overwrite=True)
        return "cannot be normalised: `image` is constant"
    elif case == "too few pairs":
        for number in (1, 2, 3):
            for name in ("raw", "sharp"):
                (folder / f"{name}_{number}.tif").unlink()
        return "`source` has 1 pairs; two or more are needed"
    else:
        (folder / "sharp_3.tif").unlink()
        return "there are 4 `inputs` and 3 `targets`"
    image = Image(data=np.asarray(data), axes="yx", voxel_size=size)
    jd.io.write(folder / "raw_2.tif", image, overwrite=True)
    return words


@pytest.mark.parametrize(
    "case",
    [
        "unpaired shapes",
        "mismatched voxel sizes",
        "constant images",
        "too few pairs",
        "a target is missing",
    ],
)
def test_pairs_that_do_not_fit_are_refused_in_one_line(case, tmp_path, capsys):
    words = damaged(tmp_path, case)
    assert words in refused(capsys, written(tmp_path, FILES))


def test_more_of_what_files_cannot_be(tmp_path, capsys):
    write_pairs(tmp_path)
    large = refused(capsys, written(tmp_path, FILES, patch="[16, 32]"))
    assert "larger than pair" in large
    none = refused(capsys, written(tmp_path, FILES, inputs='"none_*.tif"'))
    assert "[data] inputs: nothing is at" in none
    text = FILES.replace('"rcan"', '"unrolled"').replace("blocks = 1\n", "")
    text = text.replace("reduction = 1\n", "")
    assert "[data] psf is needed" in refused(capsys, written(tmp_path, text))
    views = FILES.replace('"raw_*.tif"', '[["raw_0.tif", "raw_1.tif"], ["raw_2.tif"]]')
    assert "2 `inputs` and 4 `targets`" in refused(capsys, written(tmp_path, views))


def test_what_no_model_can_hold_is_refused_before_the_training(tmp_path, capsys):
    write_pairs(tmp_path)
    for name in "ab":
        jd.io.write(tmp_path / f"{name}.npy", np.asarray(jd.psf.gaussian((7, 7), 2.0)))
    path = written(tmp_path, FILES, patch='[16, 16]\npsf = ["a.npy", "b.npy"]')
    assert "2 PSFs, and the pairs have 1 view(s)" in refused(capsys, path)
    psfs = np.stack([jd.psf.gaussian((7, 7), w) for w in (2.0, 4.0)])[None]
    jd.io.write_psf_field(
        tmp_path / "field.npz", psfs, ([12.0], [0.0, 20.0]), voxel_size=(0.2, 0.2)
    )
    path = written(tmp_path, FILES, patch='[16, 16]\npsf = "field.npz"')
    assert "patches lie anywhere in it" in refused(capsys, path)
    assert not (tmp_path / "model.checkpoints").exists()


def test_held_out_pairs_are_looked_at_before_the_training(tmp_path, capsys):
    write_pairs(tmp_path)
    path = written(tmp_path, FILES)
    found = material(read_config(str(path)), physics=False)
    capsys.readouterr()
    (name,) = files_of(found.raw_held_out)
    bad = np.full((24, 20), 3.0, np.float32)
    bad[12, 10] = np.nan
    jd.io.write(name, Image(data=bad, axes="yx"), overwrite=True)
    assert f"{name} (or its target) has NaN" in refused(capsys, path)
    assert not (tmp_path / "model.checkpoints").exists()
