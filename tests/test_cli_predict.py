"""`jaxdecon predict`, and the figure of a prediction."""

import jax
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.__main__ import main
from jaxdecon._core import _memory
from jaxdecon.cli._predict_job import camera_noise
from jaxdecon.learning import (
    CameraNoise,
    DenseDeconNet,
    Model,
    Percentiles,
    TrainingRecord,
    UnrolledRichardsonLucy,
    predict,
)

from ._volumes import texture

pytestmark = pytest.mark.usefixtures("wide_terminal")

PSF = np.asarray(jd.psf.gaussian((9, 9), 3.0))
FIELD = (40, 36)


@pytest.fixture(scope="module")
def model():
    record = TrainingRecord(voxel_size=(0.1, 0.1), psf=PSF)
    network = UnrolledRichardsonLucy(ndim=2, depth=2, key=jax.random.key(1))
    return Model(network, Percentiles(background=10.0), record)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """Two channels of one plane, a plane of another voxel size, models, a PSF."""
    folder = tmp_path_factory.mktemp("predict")
    light = np.stack([texture(FIELD), texture(FIELD, seed=3)])
    image = jd.io.Image(
        data=light[:, None],
        axes="czyx",
        voxel_size=(0.3, 0.1, 0.1),
        channels=("A", "B"),
    )
    jd.io.write(folder / "cell.ome.zarr", image)
    small = jd.io.Image(data=light[0], axes="yx", voxel_size=(0.05, 0.05))
    jd.io.write(folder / "small.ome.tif", small)
    model.save(folder / "model.npz")
    Model(DenseDeconNet(ndim=2, width=2)).save(folder / "plain.npz")
    Model(DenseDeconNet(ndim=2, views=2)).save(folder / "views.npz")
    np.save(folder / "psf.npy", PSF)
    return folder


def run(folder, *arguments, image="cell.ome.zarr", model="model.npz"):
    given = [folder / image, "--model", folder / model, *arguments]
    return main(["predict", *map(str, given)])


def expected(model, channel, **options):
    light = texture(FIELD, seed=3 * channel)
    return predict(model, light, voxel_size=(0.1, 0.1), **options)


def test_all_channels_with_maps_and_verdicts(folder, model, tmp_path, capsys):
    out, trust, residual, figure = (
        tmp_path / name for name in ("o.ome.zarr", "t.ome.tif", "r.ome.zarr", "f.png")
    )
    camera = ["--gain", "1", "--background", "10"]
    maps = ["--trust", trust, "--residual", residual, "--figure", figure]
    assert run(folder, "-o", out, *maps, *camera) == 0
    printed = capsys.readouterr().out
    assert jd.io.read(out).axes == "czyx"
    assert jd.io.read(out).voxel_size == (0.3, 0.1, 0.1)
    known = {"background": 10.0, "noise": CameraNoise.of()}
    found = {
        name: jd.io.read(path)
        for name, path in (("best", out), ("trust", trust), ("residual", residual))
    }
    for name, image in found.items():
        assert image.channels == ("A", "B")
        assert image.voxel_size[-2:] == (0.1, 0.1)
        for channel in range(2):
            wanted = np.asarray(getattr(expected(model, channel, **known), name))
            given = np.asarray(image).reshape(2, *FIELD)[channel]
            limit = 1e-3 * abs(wanted).max()
            np.testing.assert_allclose(given, wanted, atol=limit, err_msg=name)
    for channel in range(2):
        judged = expected(model, channel, **known)
        assert f"c {channel}: {judged.verdict}" in printed
        assert all(f"  {reason}" in printed for reason in judged.reasons)
    assert "that of the training was used" in printed
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_repaired_result_with_a_psf_of_this_image(folder, model, tmp_path, capsys):
    out = tmp_path / "out.npy"
    psf = ["--psf", folder / "psf.npy", "--psf-energy", 1]
    assert run(folder, "-o", out, "--repair", 3, *psf, "--scale", 2) == 0
    printed = capsys.readouterr().out
    assert "training was used" not in printed
    assert "written: the result after 3 iterations back to the data" in printed
    prepared = jd.psf.from_measured(PSF, energy=1.0).psf
    wanted = 2 * np.asarray(expected(model, 0, psf=prepared, repair=3).repaired)
    found = np.load(out).reshape(2, *FIELD)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.max())


def test_without_checks_in_tiles_and_in_blocks(folder, tmp_path, capsys):
    network = jd.learning.load_model(folder / "plain.npz")
    wanted = np.stack(
        [predict(network, texture(FIELD, seed=s), check=False).image for s in (0, 3)]
    )
    tiles, whole = tmp_path / "tiles.npy", tmp_path / "blocks.ome.zarr"
    plain = {"model": "plain.npz"}
    assert run(folder, "-o", tiles, "--no-check", "--tile", 24, **plain) == 0
    assert "unchecked" in capsys.readouterr().out
    limit = 1e-4 * abs(wanted).max()
    np.testing.assert_allclose(np.load(tiles)[:, 0], wanted, atol=limit)
    assert run(folder, "-o", whole, "--block", "1,32,32", **plain) == 0
    printed = capsys.readouterr().out
    assert "nothing is judged in blocks" in printed
    assert "blocks" in printed
    np.testing.assert_allclose(np.asarray(jd.io.read(whole))[:, 0], wanted, atol=limit)


def test_named_after_the_input(folder, tmp_path):
    image = tmp_path / "cell.npy"
    np.save(image, texture(FIELD))
    options = ["--model", str(folder / "plain.npz"), "--no-check"]
    assert main(["predict", str(image), *options, "--suffix", ".npy"]) == 0
    assert (tmp_path / "cell_predicted.npy").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "small.ome.tif"}, "trained on 0.1 x 0.1 µm"),
        ({"model": "views.npz"}, "the model is for 2 views"),
        ({"model": "none.npz"}, "no file"),
        ({"model": "psf.npy"}, "is no model"),
        ({"model": "plain.npz", "more": ["--repair", 3]}, "`repair` needs"),
        ({"model": "plain.npz", "more": ["--trust", "t.npy"]}, "no trust map without"),
        ({"more": ["--trust", "t.npy", "--no-check"]}, "needs the checks"),
        ({"more": ["--offset", 100]}, "need --gain"),
        ({"more": ["--tile", "a"]}, "--tile is 'a'"),
        ({"more": ["--repair", -1]}, "`--repair` is -1"),
        ({"more": ["--psf-model", "wide"]}, "--psf-model is 'wide'"),
        ({"more": ["--psf-model", "gaussian"]}, "--psf-model gaussian needs --fwhm"),
        ({"more": ["--blocks"]}, "end --output in .ome.zarr"),
    ],
)
def test_what_cannot_be(folder, tmp_path, capsys, options, message):
    more = options.pop("more", []) if "more" in options else []
    more = [tmp_path / part if part == "t.npy" else part for part in more]
    assert run(folder, "-o", tmp_path / "out.npy", *more, **options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_outputs_are_kept_apart(folder, tmp_path, capsys):
    out = tmp_path / "out.npy"
    assert run(folder, "-o", out, "--trust", out) == 2
    assert "two outputs have one name" in capsys.readouterr().err
    out.write_bytes(b"mine")
    assert run(folder, "-o", out) == 2
    assert "exists" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"


def test_the_figure_overwrites_no_other_file(folder, tmp_path, capsys):
    image, out = folder / "cell.ome.zarr", tmp_path / "out.npy"
    assert run(folder, "-o", out, "--figure", image, "--overwrite") == 2
    assert "is an input" in capsys.readouterr().err
    assert run(folder, "-o", out, "--figure", out) == 2
    assert "two outputs have one name" in capsys.readouterr().err
    assert jd.io.read(image).axes == "czyx"
    assert not out.exists()


def test_short_memory_asks_for_tiles_or_blocks(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: 10_000)
    plain = {"model": "plain.npz"}
    assert run(folder, "-o", tmp_path / "a.npy", **plain) == 1
    assert "give --tile; or to do it in blocks, end --output" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_noise_of_a_camera():
    assert camera_noise(None, None, None) is None
    noise = camera_noise(2.0, 100.0, 3.0)
    assert float(noise.variance(150.0)) == 2 * 50 + 9


def test_the_figure_has_a_row_for_everything():
    volume = np.random.default_rng(0).poisson(30.0, (6, 20, 24)).astype(np.float32)
    found = jd.learning.Prediction(
        image=volume,
        residual=volume - 30,
        trust=np.full(volume.shape, 0.2),
        repaired=volume,
        verdict="doubtful",
        reasons=("first " * 40, "second"),
    )
    figure = jd.report.prediction_figure(volume, found, voxel_size=(0.3, 0.1, 0.1))
    names = [part.get_suptitle() for part in figure.subfigs[:-1]]
    assert names[:3] == ["image", "prediction", "repaired"]
    assert names[3].startswith("least trust")
    assert len(names) == 5
    (text,) = figure.subfigs[-1].texts
    assert text.get_text().startswith("verdict: doubtful\n- first")
    residual = figure.subfigs[4].axes[0].images[0].get_array()
    largest = np.where(
        -(volume - 30).min(0) > (volume - 30).max(0),
        (volume - 30).min(0),
        (volume - 30).max(0),
    )
    np.testing.assert_array_equal(np.abs(residual), np.abs(largest))
    plane = jd.report.prediction_figure(
        volume[0], jd.learning.Prediction(image=volume[0])
    )
    row, _ = plane.subfigs
    assert [p.get_suptitle() for p in row.subfigs] == ["image", "prediction"]
