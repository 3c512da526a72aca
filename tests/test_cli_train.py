"""`jaxdecon train`: what it writes, what it refuses, how it goes on."""

import json
import shutil
import tomllib

import jax
import numpy as np
import pytest
from flax import nnx

import jaxdecon as jd
from jaxdecon.cli._train_checkpoints import remove
from jaxdecon.cli._train_config import read_config
from jaxdecon.cli._train_data import material
from jaxdecon.cli._train_files import looked_at
from jaxdecon.io import Image
from jaxdecon.learning import ArrayPairs
from tests._training_runs import (
    FILES,
    SIMULATED,
    files_of,
    refused,
    run,
    write_pairs,
    written,
)

pytestmark = pytest.mark.usefixtures("wide_terminal")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a configuration, and all that came of it."""
    folder = tmp_path_factory.mktemp("train")
    assert run("train", written(folder, SIMULATED)) == 0
    return folder


def test_a_model_and_its_figure_are_written(trained):
    model = jd.learning.load_model(trained / "model.npz")
    assert model.config.kind == "rcan"
    assert (model.config.views, model.config.ndim) == (1, 2)
    assert model.about["steps"] == 9
    assert model.about["config"] == tomllib.loads(SIMULATED)
    assert model.record.voxel_size == (0.1, 0.1)
    assert (trained / "model.png").stat().st_size > 10_000
    folder = trained / "model.checkpoints"
    assert {p.name for p in folder.iterdir()} == {"6", "9", "training.json"}


def test_the_network_is_that_of_a_fit_on_these_pairs(trained):
    seed = jax.random.key(3)
    blur = jd.operators.Convolution.from_psf(jd.psf.gaussian((7, 7), 2.5), (16, 16))
    key = jax.random.fold_in(seed, 2)

    def pairs(length, number):
        return jd.learning.NormalisedPairs(
            jd.learning.SimulatedPairs(
                ["beads", "filaments"],
                blur,
                photons=(200, 500),
                length=length,
                key=jax.random.fold_in(key, number),
            )
        )

    network = jd.learning.ResidualChannelAttention(
        ndim=2, width=2, depth=1, blocks=1, reduction=1, key=jax.random.fold_in(seed, 0)
    )
    found = jd.learning.fit(
        network,
        pairs(40, 1),
        steps=9,
        loss="mse",
        optimizer=jd.learning.make_optimizer(steps=9, rate=0.01),
        validation=pairs(6, 2),
        validate_every=3,
        key=jax.random.fold_in(seed, 1),
    )
    model = jd.learning.load_model(trained / "model.npz")
    assert model.about["best_step"] == found.best_step
    np.testing.assert_allclose(model.about["loss"], found.best, rtol=1e-4)
    leaves = [jax.tree.leaves(nnx.state(n)) for n in (model.network, found.network)]
    for one, two in zip(*leaves, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_an_interrupted_training_says_how_to_go_on(
    trained, tmp_path, monkeypatch, capsys
):
    path = written(tmp_path, SIMULATED)
    real = jd.learning.fit

    def interrupted(*arguments, progress, **options):
        def stop(step, values):
            progress(step, values)
            if step == 7:
                raise KeyboardInterrupt

        return real(*arguments, progress=stop, **options)

    monkeypatch.setattr(jd.learning, "fit", interrupted)
    assert run("train", path) == 130
    out = " ".join(capsys.readouterr().out.split())
    assert "interrupted at step 7" in out
    assert f'keeps step 6: "jaxdecon train {path}" goes on from there' in out
    assert not (tmp_path / "model.npz").exists()
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", "200")
    assert run("train", path) == 0
    models = [jd.learning.load_model(f / "model.npz") for f in (trained, tmp_path)]
    leaves = [jax.tree.leaves(nnx.state(model.network)) for model in models]
    for one, two in zip(*leaves, strict=True):
        np.testing.assert_array_equal(one, two)


def test_checkpoints_of_another_configuration_are_refused(trained, capsys):
    path = written(trained, SIMULATED, rate=0.02)
    words = refused(capsys, path, "--overwrite")
    assert "[training] rate was 0.01 and is 0.02" in words
    assert "--anew" in words
    assert run("train", path, "--overwrite", "--anew", "--dry-run") == 0
    assert (trained / "model.checkpoints" / "9").is_dir()  # nothing was done
    kept = json.loads((trained / "model.checkpoints" / "training.json").read_text())
    assert kept["training"]["rate"] == 0.01


def test_a_folder_without_checkpoints_belongs_to_nobody(tmp_path, capsys):
    text = SIMULATED.replace("held_out = 6", "held_out = 0") + "patience = 2\n"
    assert "`patience` needs `validation`" in refused(capsys, written(tmp_path, text))
    text = SIMULATED + 'clip = 0\noptimizer = "sgd"\n'
    path = written(tmp_path, text, rate="1e30", validate_every=1)
    again = refused(capsys, path, code=1)  # and not because the first had another rate
    assert "not finite" in again


def test_a_model_that_exists_is_not_replaced(trained, capsys):
    assert "model.npz exists" in refused(capsys, written(trained, SIMULATED))


def test_a_dry_run_says_what_would_be_done(tmp_path, capsys):
    write_pairs(tmp_path)
    assert run("train", written(tmp_path, FILES), "--dry-run") == 0
    out = capsys.readouterr().out
    network = jd.learning.ResidualChannelAttention(
        ndim=2, width=2, depth=1, blocks=1, reduction=1
    )
    assert "3 volumes in files, and 1 to judge by" in out
    # As many as would tile all volumes 16 times: 16 * 3 * 24 * 20 / 16**2
    assert "90 patches of 16x16, neither flipped nor turned" in out
    assert f"{network.parameter_count:,} parameters" in out
    assert "MiB for a step" in out
    assert {p.suffix for p in tmp_path.iterdir()} == {".tif", ".toml"}


def test_a_field_of_psfs_is_seen_from_several_places(tmp_path, capsys):
    psfs = np.stack([jd.psf.gaussian((7, 7), w) for w in (2.0, 4.0)])[None]
    jd.io.write_psf_field(
        tmp_path / "field.npz", psfs, ([50.0], [0.0, 100.0]), voxel_size=(0.1, 0.1)
    )
    text = SIMULATED.replace(
        'psf = { kind = "gaussian", shape = [7, 7], fwhm = 2.5 }',
        'psf = "field.npz"\nplaces = 3',
    )
    path = written(tmp_path, text)
    assert run("train", path, "--dry-run") == 0
    assert "3 operator(s)" in capsys.readouterr().out
    found = material(read_config(str(path)), physics=False)
    widths = []
    for number in range(40):
        blur = found.operator(number)
        point = np.zeros(blur.domain, np.float32)
        point[tuple(n // 2 for n in blur.domain)] = 1
        widths.append(float(jd.psf.fwhm(np.maximum(blur(point), 0))[1]))
    # Between the nodes' 2 and 4 voxels, and another one at every place.
    assert 2.0 < min(widths) < max(widths) < 4.0
    assert len({round(width, 3) for width in widths}) == 3


def test_several_views_come_from_several_psfs(tmp_path, capsys):
    for name, widths in (("a", (2.0, 4.0)), ("b", (4.0, 2.0))):
        psf = np.asarray(jd.psf.gaussian((9, 9), widths))
        jd.io.write(tmp_path / f"{name}.npy", psf)
    text = SIMULATED.replace(
        'psf = { kind = "gaussian", shape = [7, 7], fwhm = 2.5 }',
        'psf = ["a.npy", "b.npy"]',
    )
    assert run("train", written(tmp_path, text), "--dry-run") == 0
    assert "2D, 2 view(s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "psf", "words"),
    [
        ("true", None, "flipped along y and flipped along x and turned"),
        ('["y"]', None, "flipped along y"),
        ("false", (2.0, 2.0), "neither flipped nor turned"),
        (None, (2.0, 2.0), "flipped along y and flipped along x and turned"),
        ("true", (2.0, 4.0), "flipped along y and flipped along x"),
        ("true", "skew", "neither flipped nor turned"),
    ],
)
def test_patches_are_flipped_where_the_blur_allows_it(tmp_path, asked, psf, words):
    write_pairs(tmp_path)
    text = FILES
    if asked is not None:
        text = text.replace("patch =", f"augment = {asked}\npatch =")
    if psf is not None:
        if psf == "skew":
            kernel = np.diag([0, 0, 1, 2, 5, 2, 1, 0, 0.0]).astype(np.float32)
            kernel[3, 3:6] += 2
        else:
            kernel = np.asarray(jd.psf.gaussian((9, 9), psf))
        jd.io.write(tmp_path / "psf.npy", kernel)
        text = text.replace("patch =", 'psf = "psf.npy"\npatch =')
    found = material(read_config(str(written(tmp_path, text))), physics=False)
    assert found.summary.endswith(f", {words}")


def test_training_on_files_with_the_operator_in_the_wiring(tmp_path):
    write_pairs(tmp_path)
    jd.io.write(
        tmp_path / "psf.tif",
        Image(
            data=np.asarray(jd.psf.gaussian((7, 7), 2.5)),
            axes="yx",
            voxel_size=(0.2, 0.2),
        ),
    )
    text = FILES.replace(
        'kind = "rcan"\nwidth = 2\ndepth = 1\nblocks = 1\nreduction = 1',
        'kind = "unrolled"\nwidth = 1\ndepth = 1',
    ).replace("patch =", 'psf = "psf.tif"\npatch =')
    assert run("train", written(tmp_path, text)) == 0
    model = jd.learning.load_model(tmp_path / "model.npz")
    assert model.network.needs_operator
    assert model.measures_background
    assert model.record.voxel_size == pytest.approx((0.2, 0.2))
    assert model.record.psf.shape == (7, 7)


@pytest.mark.parametrize(("rate", "kept"), [("1e4", True), ("1e30", False)])
def test_a_loss_that_is_not_finite_ends_with_an_error(tmp_path, capsys, rate, kept):
    """The best network is written, if a held-out loss was finite before."""
    text = SIMULATED + 'clip = 0\noptimizer = "sgd"\nschedule = "constant"\n'
    text = text.replace("validate_every = 3", "validate_every = 1")
    words = refused(capsys, written(tmp_path, text, rate=rate), code=1)
    assert "not finite is the loss o" in words
    assert "simulated pair" in words
    assert (tmp_path / "model.npz").exists() == kept


def test_patches_without_light_end_no_training(tmp_path):
    """Of images of which most is exactly zero; a volume as a whole can be scaled."""
    rng = np.random.default_rng(0)
    for number in range(4):
        sharp = np.zeros((64, 64), np.uint16)
        sharp[tuple(rng.integers(4, 60, (2, 6)))] = 900
        seen = sum(np.roll(sharp, (y, x), (0, 1)) // 9 for y in OFF for x in OFF)
        jd.io.write(tmp_path / f"raw_{number}.tif", Image(data=seen, axes="yx"))
        jd.io.write(tmp_path / f"sharp_{number}.tif", Image(data=sharp, axes="yx"))
    path = written(tmp_path, FILES, patch="[16, 16]\nbest_of = 3")
    assert run("train", path) == 0
    record = jd.learning.load_model(tmp_path / "model.npz").record
    assert 4 <= record.about["pairs"] < 64


OFF = (-1, 0, 1)


def test_one_psf_serves_several_views(tmp_path):
    write_pairs(tmp_path, 6)
    jd.io.write(tmp_path / "psf.npy", np.asarray(jd.psf.gaussian((7, 7), 2.0)))
    views = [[f"raw_{n}.tif", f"raw_{n}.tif"] for n in range(6)]
    path = written(tmp_path, FILES, patch='[16, 16]\npsf = "psf.npy"', inputs=views)
    assert run("train", path) == 0
    model = jd.learning.load_model(tmp_path / "model.npz")
    assert model.config.views == 2
    assert model.record.psf.shape[0] == 2


def test_files_are_paired_as_people_count(tmp_path, capsys):
    folder = tmp_path / "day [1]"  # and a folder's name is no pattern
    folder.mkdir()
    write_pairs(folder)
    for old, new in ((3, 10), (2, 9)):
        (folder / f"raw_{old}.tif").rename(folder / f"raw_{new}.tif")
        (folder / f"sharp_{old}.tif").rename(folder / f"sharp_{new:03}.tif")
    assert run("train", written(folder, FILES), "--dry-run") == 0
    out = capsys.readouterr().out
    assert "raw_1.tif -> sharp_1.tif, ..., raw_10.tif -> sharp_010.tif" in out


@pytest.mark.parametrize("files", [1, 3])
def test_time_points_of_a_file_are_not_split(tmp_path, files):
    rng = np.random.default_rng(0)
    for number in range(files):
        for name in ("raw", "sharp"):
            data = rng.random((4, 24, 20), np.float32)
            image = Image(data=data, axes="tyx", voxel_size=(0.2, 0.2))
            jd.io.write(tmp_path / f"{name}_{number}.tif", image)
    config = read_config(str(written(tmp_path, FILES)))
    found = material(config, physics=False)

    trained, judged = files_of(found.raw), files_of(found.raw_held_out)
    assert (len(trained), len(judged)) == ((3, 1) if files == 1 else (8, 4))
    if files == 1:
        assert judged == {f"{tmp_path}/raw_0.tif, time point 3"}
    else:
        owners = [{word.split(",")[0] for word in part} for part in (trained, judged)]
        assert not owners[0] & owners[1]


def test_a_record_looks_at_more_than_a_patch_where_there_is_enough():
    def box(patch, *shapes):
        return looked_at(patch, ArrayPairs(*[[np.zeros(s) for s in shapes]] * 2))

    assert box((8, 8), (128, 140)) == (32, 32)
    assert box((8, 8), (128, 30)) == (8, 8)  # three places alone
    assert box((8, 8), (40, 40), (20, 20)) == (8, 8)
    assert box((8, 8), *[(40, 20)] * 8) == (16, 16)


def test_only_checkpoints_are_removed(trained, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "copy") / "model.checkpoints"
    (folder / "mine.txt").write_text("")
    (folder / "2020").mkdir()
    (folder / "13.orbax-checkpoint-tmp").mkdir()
    remove(folder)
    assert {p.name for p in folder.iterdir()} == {"mine.txt", "2020"}
    # Nor does a folder with other things become one of this command.
    text = SIMULATED + 'checkpoint = "."\n'
    words = refused(capsys, written(tmp_path, text))
    assert "copy, network.toml, and no checkpoints of this command" in words
    assert not (tmp_path / "training.json").exists()


def test_settings_that_cannot_be_read_are_named(trained, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "copy")
    (folder / "model.checkpoints" / "training.json").write_text("")
    words = refused(capsys, folder / "network.toml", "--overwrite")
    assert "training.json" in words
    assert "--anew" in words


def test_checkpoints_that_are_not_of_this_command_are_kept(tmp_path, capsys):
    (tmp_path / "model.checkpoints").mkdir()
    (tmp_path / "model.checkpoints" / "mine").write_text("")
    words = refused(capsys, written(tmp_path, SIMULATED), "--anew")
    assert "is no folder of this command" in words
    assert (tmp_path / "model.checkpoints" / "mine").exists()
