"""Training against NumPy, against itself interrupted, and when things go wrong."""

import json
import shutil
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxdecon as jd
from jaxdecon.learning import ArrayPairs, PairSource, batch_indices, fit

from ._toy_network import FIELD, Gain, arrays_of, pairs_of
from .test_sharded import finish, start

KEY = jax.random.key(3)
RATE = 0.2
PAIRS, MANY, HELD_OUT = pairs_of(10), pairs_of(60), pairs_of(5, seed=1)
SGD = optax.sgd(RATE)
ADAM = optax.adam(0.3)


def train(network=None, pairs=PAIRS, **options):
    options = {"steps": 12, "batch": 4, "loss": "mse", "optimizer": SGD, **options}
    return fit(Gain() if network is None else network, pairs, key=KEY, **options)


def numpy_training(steps, batch, validation, pairs=PAIRS):
    """Gains before every step and after the last, losses, validation losses."""
    images, truths = arrays_of(pairs)
    held_images, held_truths = arrays_of(validation)
    gain, gains, losses, judged = 0.0, [0.0], [], []
    for number in range(steps):
        chosen = batch_indices(len(images), batch, number, key=KEY)
        x, t = images[chosen], truths[chosen]
        losses.append(((gain * x - t) ** 2).mean())
        gain -= RATE * 2 * (x * (gain * x - t)).mean()
        gains.append(gain)
        judged.append(((gain * held_images - held_truths) ** 2).mean())
    return np.array(gains), np.array(losses), np.array(judged)


def test_training_is_gradient_descent_over_the_batches():
    start = Gain()
    found = train(start, validation=HELD_OUT, validate_every=5)
    gains, losses, judged = numpy_training(12, 4, HELD_OUT)
    np.testing.assert_array_equal(found.history["step"], np.arange(1, 13))
    np.testing.assert_allclose(found.history["loss"], losses, rtol=1e-5)
    np.testing.assert_array_equal(found.history["validation_step"], [5, 10, 12])
    np.testing.assert_allclose(
        found.history["validation"], judged[[4, 9, 11]], rtol=1e-5
    )
    best = [5, 10, 12][int(np.argmin(judged[[4, 9, 11]]))]
    assert found.best_step == best
    np.testing.assert_allclose(found.best, judged[best - 1], rtol=1e-5)
    np.testing.assert_allclose(found.network.gain[...], gains[best], rtol=1e-5)
    np.testing.assert_allclose(found.last.gain[...], gains[12], rtol=1e-5)
    assert (found.status, found.steps) == ("done", 12)
    assert np.all(np.diff(found.history["seconds"]) >= 0)
    assert float(start.gain[0]) == 0.0  # the network that was given is as it was


def test_stops_when_the_held_out_loss_rises_and_keeps_the_best():
    # Held-out truth is twice the image: the gain passes 2 on its way to 3.
    other = pairs_of(4, seed=2, factor=2.0)
    _, _, judged = numpy_training(40, 4, other)
    found = train(steps=40, validation=other, validate_every=1, patience=3)
    best = int(np.argmin(judged[: found.steps])) + 1
    rises = np.diff(judged[best - 1 : best + 3])
    assert (rises > 0).all()  # the case is what it is meant to be
    assert (found.status, found.best_step, found.steps) == (
        "stopped early",
        best,
        best + 3,
    )
    assert "3 validations without improvement" in found.message
    expected = numpy_training(best, 4, other)[0][-1]
    np.testing.assert_allclose(found.network.gain[...], expected, rtol=1e-5)


def test_steps_are_compiled_once():
    def traced(steps):
        jax.clear_caches()
        Gain.traces = 0
        train(steps=steps, validation=HELD_OUT, validate_every=2)
        return Gain.traces

    assert traced(3) == traced(12) > 0


def test_every_pair_goes_with_its_own_operator():
    psfs = [jd.psf.gaussian((3, 3), width) for width in (1.0, 1.5, 2.0)]
    blurs = [
        jd.operators.Convolution.from_psf(psf, FIELD, boundary="periodic")
        for psf in psfs
    ]

    def operator_of(number):
        return blurs[number % 3]

    found = train(
        Gain(physics=True),
        steps=1,
        operator=operator_of,
        validation=PAIRS,
        validation_operator=operator_of,
    )
    images, truths = arrays_of(PAIRS)
    back = np.stack([operator_of(i).adjoint(x) for i, x in enumerate(images)])
    chosen = batch_indices(10, 4, 0, key=KEY)
    gain = RATE * 2 * (back[chosen] * truths[chosen]).mean()
    np.testing.assert_allclose(found.network.gain[...], gain, rtol=1e-5)
    judged = ((gain * back - truths) ** 2).mean()
    np.testing.assert_allclose(found.best, judged, rtol=1e-5)


def test_one_operator_for_all_pairs():
    psf = jd.psf.gaussian((3, 3), 2.0)
    blur = jd.operators.Convolution.from_psf(psf, FIELD, boundary="periodic")
    found = train(Gain(physics=True), steps=1, operator=blur)
    images, truths = arrays_of(PAIRS)
    chosen = batch_indices(10, 4, 0, key=KEY)
    back = np.stack([blur.adjoint(x) for x in images[chosen]])
    gain = RATE * 2 * (back * truths[chosen]).mean()
    np.testing.assert_allclose(found.network.gain[...], gain, rtol=1e-5)


def test_a_loss_without_truth_brings_its_operator_along():
    """Of the gain, the least of the deviance of g x against x is where the sums are."""
    psf = jnp.zeros((3, 3)).at[1, 1].set(1.0)
    none = jd.operators.Convolution.from_psf(psf, FIELD, boundary="periodic")
    images = [np.asarray(pair.images[0]) + 0.5 for pair in PAIRS]
    pairs = ArrayPairs(images, [2 * image for image in images])
    loss = jd.learning.ReblurLoss(operator=none)
    network = Gain()
    network.gain[...] = jnp.full((1,), 1.5)
    found = train(network, pairs, steps=200, loss=loss)
    np.testing.assert_allclose(found.network.gain[...], 2.0, rtol=1e-4)


class Stopped(Exception):
    pass


def interrupted_at(number):
    def progress(step, values):
        if step == number and "validation" not in values:
            raise Stopped

    return progress


@pytest.mark.parametrize("number", [3, 8, 12])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path, number):
    other = pairs_of(4, seed=2, factor=2.0)
    options = {
        "steps": 30,
        "optimizer": ADAM,
        "validation": other,
        "validate_every": 2,
        "patience": 4,
    }
    whole = train(**options)
    assert whole.status == "stopped early"
    assert whole.best_step < 12 < whole.steps  # it was waiting when it was interrupted
    options |= {"checkpoint": tmp_path / "kept", "checkpoint_every": 3}
    with pytest.raises(Stopped):
        train(**options, progress=interrupted_at(number))
    seen = []
    again = train(**options, progress=lambda step, values: seen.append(step))
    assert (min(seen) > 1) == (number > 3)
    assert again.status == whole.status
    assert (again.best_step, again.best, again.steps) == (
        whole.best_step,
        whole.best,
        whole.steps,
    )
    for name in ("step", "loss", "validation_step", "validation"):
        np.testing.assert_array_equal(again.history[name], whole.history[name])
    for one, two in ((again.network, whole.network), (again.last, whole.last)):
        np.testing.assert_array_equal(one.gain[...], two.gain[...])
    # A third call has nothing left to do.
    before = len(seen)
    third = train(**options, progress=lambda step, values: seen.append(step))
    assert len(seen) == before
    assert third.message == whole.message


def test_random_keys_of_an_optimiser_are_kept(tmp_path):
    noisy = optax.chain(optax.add_noise(0.1, 0.5, key=jax.random.key(7)), SGD)
    options = {"optimizer": noisy, "validate_every": 1}
    whole = train(**options)
    options["checkpoint"] = tmp_path / "kept"
    with pytest.raises(Stopped):
        train(**options, progress=interrupted_at(5))
    again = train(**options)
    np.testing.assert_array_equal(again.history["loss"], whole.history["loss"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "kept"
    train(checkpoint=folder, optimizer=ADAM, validate_every=4)
    return folder


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (Gain(width=8), {}, "another architecture: width 4, and here 8"),
        (Gain(), {"optimizer": SGD}, "another optimizer: it keeps 5 arrays"),
        (Gain(), {"batch": 2}, "another training: batch 4, and here 2"),
        (Gain(), {"loss": "l1"}, "another training: loss mse, and here l1"),
        (Gain(), {"validation": HELD_OUT}, "validation pairs 0, and here 5"),
        (Gain(ballast=9), {}, "parameters of other shapes"),
        (Gain(), {"resume": False}, "`resume` is False"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(kept, network, options, words):
    options = {"optimizer": ADAM, "checkpoint": kept, **options}
    with pytest.raises((ValueError, FileExistsError), match=words):
        train(network, **options)


def test_a_checkpoint_of_another_version_is_refused(kept, tmp_path):
    folder = shutil.copytree(kept, tmp_path / "kept")
    for path in folder.glob("*/about/metadata"):
        about = json.loads(path.read_text())
        path.write_text(json.dumps({**about, "format": 99, "jaxdecon": "9.1"}))
    with pytest.raises(ValueError, match=r"format 99, written by jaxdecon 9\.1"):
        train(checkpoint=folder, optimizer=ADAM)


def test_a_broken_checkpoint_is_passed_over(kept, tmp_path):
    folder = shutil.copytree(kept, tmp_path / "kept")
    shutil.rmtree(folder / "12" / "arrays")
    with pytest.warns(UserWarning, match="going on from the one before, of step 8"):
        found = train(checkpoint=folder, optimizer=ADAM, validate_every=4)
    whole = train(optimizer=ADAM)
    np.testing.assert_array_equal(found.history["loss"], whole.history["loss"])
    # From then on all is kept again, also before the step that was broken.
    shutil.rmtree(folder / "12" / "arrays")
    options = {"validate_every": 1, "progress": interrupted_at(11)}
    with pytest.warns(UserWarning, match="cannot be read"):  # noqa: SIM117
        with pytest.raises(Stopped):
            train(checkpoint=folder, optimizer=ADAM, **options)
    assert {p.name for p in folder.iterdir()} == {"9", "10"}
    for step in folder.glob("[0-9]*"):
        shutil.rmtree(step / "about")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read"):
        train(checkpoint=folder, optimizer=ADAM)


def test_folders_that_are_no_checkpoints_are_left_alone(tmp_path):
    for year in ("2019", "2020", "2021"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "cells.tif").write_text("")
    with pytest.raises(ValueError, match="2019 is no checkpoint of a training"):
        train(checkpoint=tmp_path)
    assert len([*tmp_path.glob("*/cells.tif")]) == 3


def test_a_disk_that_is_full_is_named_and_costs_no_network(tmp_path, monkeypatch):
    from orbax.checkpoint import CheckpointManager

    def full(*_, **__):
        raise ValueError("OUT_OF_RANGE: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "save", full)
        with pytest.raises(OSError, match="is the disk full"):
            train(checkpoint=tmp_path)
    # The last one is written while the training ends.
    monkeypatch.setattr(CheckpointManager, "wait_until_finished", full)
    monkeypatch.setattr(CheckpointManager, "save", lambda *_, **__: True)
    monkeypatch.setattr(CheckpointManager, "close", lambda _: None)
    with pytest.warns(UserWarning, match="is the disk full"):
        found = train(checkpoint=tmp_path)
    assert found.status == "done"


def test_a_file_is_no_folder_for_checkpoints(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotADirectoryError, match="a folder is needed"):
        train(checkpoint=path)


@pytest.mark.slow
def test_a_training_that_is_killed_while_it_writes_goes_on(tmp_path):
    paths = {name: (tmp_path / name, tmp_path / f"{name}.npz") for name in "ab"}
    undisturbed = start("_toy_network.py", *paths["b"])
    for least in (0, 4):
        process = start("_toy_network.py", *paths["a"])
        kill_while_writing(process, paths["a"][0], least)
    for process in (undisturbed, start("_toy_network.py", *paths["a"])):
        assert finish(process) == ""
    again, whole = (dict(np.load(result)) for _, result in paths.values())
    assert len(whole["loss"]) == 12
    for name in ("gain", "loss", "validation"):
        np.testing.assert_array_equal(again[name], whole[name])


def kill_while_writing(process, folder, least):
    """SIGKILL when a checkpoint is there in part, and one of `least` steps in full."""
    until = time.monotonic() + 120
    with process:
        while time.monotonic() < until:
            steps = [int(p.name) for p in folder.glob("*") if p.name.isdigit()]
            if max(steps, default=0) >= least and any(folder.glob("*tmp*")):
                process.kill()
                assert process.wait() == -signal.SIGKILL
                assert any(folder.glob("*tmp*"))
                return
            assert process.poll() is None, process.stderr.read()
        process.kill()
    raise AssertionError("no checkpoint was written")


class OneBad(PairSource):
    """Pairs of which one has a value that is not finite, and a name."""

    def __init__(self, bad, value=np.nan):
        self.bad, self.value = bad, value

    def __len__(self):
        return len(MANY)

    def __getitem__(self, index):
        pair = MANY[index]
        if index != self.bad:
            return pair
        return jd.learning.Pair(pair.images.at[0, 0, 0].set(self.value), pair.truth)

    def describe(self, index):
        return f"patch {index} of mouse_3.tif"


BAD_STEP = 7
BAD = int(batch_indices(60, 4, BAD_STEP, key=KEY)[2])
"""The first round is of 15 batches: the pair is met in the eighth step at first."""


def test_training_stops_at_a_loss_that_is_not_finite():
    found = train(pairs=OneBad(BAD))
    gains, losses, _ = numpy_training(BAD_STEP, 4, HELD_OUT, MANY)
    assert found.status == "not finite"
    assert "stopped at step 8: not finite is (NaN or infinite" in found.message
    assert f"in its images) the loss of patch {BAD} of mouse_3.tif;" in found.message
    assert found.steps == found.best_step == BAD_STEP
    np.testing.assert_allclose(found.history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(found.network.gain[...], gains[-1], rtol=1e-5)
    with pytest.raises(FloatingPointError, match=r"mouse_3\.tif"):
        found.raise_for_status()


def test_after_a_bad_loss_the_best_network_is_left_and_a_checkpoint(tmp_path):
    kept = tmp_path / "kept"
    options = {"validate_every": 3, "validation": HELD_OUT, "checkpoint": kept}
    # The square of 1e30 is more than single precision holds.
    found = train(pairs=OneBad(BAD, 1e30), **options)
    gains, _, _ = numpy_training(6, 4, HELD_OUT, MANY)
    assert (found.status, found.steps, found.best_step) == ("not finite", BAD_STEP, 6)
    assert f"not finite is the loss of patch {BAD}" in found.message
    np.testing.assert_allclose(found.network.gain[...], gains[-1], rtol=1e-5)
    assert {p.name for p in kept.iterdir() if p.name.isdigit()} == {"3", "6"}


def test_a_rate_that_is_too_high_ends_in_a_message():
    found = train(steps=200, optimizer=optax.sgd(1e6))
    assert found.status == "not finite"
    assert np.isfinite(found.last.gain[...]).all()
    assert np.isfinite(found.history["loss"]).all()


def test_an_update_that_is_not_finite_is_not_made():
    """A schedule that ends in NaN, at the last step: no loss is taken after it."""
    rate = lambda count: jnp.where(count == 11, jnp.nan, RATE)  # noqa: E731
    found = train(optimizer=optax.sgd(rate))
    assert (found.status, found.steps) == ("not finite", 11)
    assert "stopped at step 12" in found.message
    assert "the optimiser's update" in found.message
    gains, _, _ = numpy_training(11, 4, HELD_OUT)
    np.testing.assert_allclose(found.network.gain[...], gains[-1], rtol=1e-5)


def test_optimisers_that_look_at_the_loss_get_it():
    # Every loss is above the first one's 1e-9 part: the rate is halved at every step.
    falls = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=1.0)
    found = train(optimizer=optax.chain(SGD, falls), steps=40)
    assert 0.1 < found.network.gain[0] < 1.0 < train(steps=40).network.gain[0]


def test_validation_pairs_that_are_not_finite_are_named():
    found = train(validation=OneBad(3), validate_every=2)
    assert found.status == "not finite"
    assert (
        "stopped after step 2: not finite is the loss on held-out patch 3 of mouse"
        in found.message
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 11}, "too few for batches of 11"),
        ({"patience": 2}, "`patience` needs `validation`"),
        ({"steps": 0}, "`steps` is 0"),
        ({"validate_every": 0}, "`validate_every` is 0"),
        ({"checkpoint_every": 0}, "`checkpoint_every` is 0"),
        ({"validation": []}, "`validation` has no pairs"),
        ({"loss": "mean"}, "`loss` is 'mean'"),
        ({"mesh": jax.devices()[:1] * 3}, "`mesh` has 3 devices and `batch` is 4"),
        ({"network": Gain(physics=True)}, "`operator` is missing"),
        (
            {
                "network": Gain(physics=True),
                "operator": lambda i: None,
                "validation": HELD_OUT,
            },
            "`validation_operator` is missing",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        train(**options)


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match="`network` is a int"):
        train(3)
    with pytest.raises(TypeError, match="`operator` is 3"):
        train(Gain(physics=True), operator=3)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedules_warm_up_and_fall(schedule):
    from jaxdecon.learning.training._optimizer import rate_of

    rate = rate_of(400, 0.1, schedule)
    values = np.array([rate(step) for step in range(400)])
    np.testing.assert_allclose(values[20], 0.1, rtol=1e-5)
    np.testing.assert_allclose(
        values[:20], np.linspace(0.005, 0.1, 20, endpoint=False), rtol=1e-4
    )
    assert np.all(np.diff(values[20:]) <= 0)
    if schedule != "constant":
        np.testing.assert_allclose(rate(400), 0.001, rtol=1e-4)


def test_optimisers_by_name():
    updates = jd.learning.make_optimizer("sgd", steps=10, rate=0.5, schedule="constant")
    state = updates.init(jnp.zeros(2))
    change, _ = updates.update(jnp.array([30.0, 40.0]), state)
    np.testing.assert_allclose(change, [-0.3, -0.4], rtol=1e-5)  # clipped to one
    for wrong in ("adamm", "global_norm", "chain", "apply_updates", 3):
        with pytest.raises(ValueError, match="`optimizer` is"):
            jd.learning.make_optimizer(wrong, steps=10)


def test_half_precision_learns_what_single_does():
    losses = {}
    for dtype in ("float32", "bfloat16"):
        network = jd.learning.ResidualChannelAttention(
            ndim=2, width=4, depth=1, blocks=1, reduction=2, dtype=dtype
        )
        rule = jd.learning.make_optimizer(steps=100, rate=1e-2)
        found = train(network, MANY, steps=100, optimizer=rule)
        leaves = jax.tree.leaves(nnx.state(found.network))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
        losses[dtype] = found.history["loss"].astype(float)
    assert losses["bfloat16"][-10:].mean() < 0.2 * losses["bfloat16"][:4].mean()
    ends = [losses[dtype][-10:].mean() for dtype in ("float32", "bfloat16")]
    np.testing.assert_allclose(*ends, rtol=0.1)


@pytest.fixture(scope="module")
def eight():
    flags = "--xla_force_host_platform_device_count=8"
    out = finish(start("_trains_on_eight.py", flags=flags))
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["plain", "pooled", "physics"])
def test_eight_devices_train_as_one_does(eight, case):
    assert max(eight[case]) < 1e-4


@pytest.mark.slow
def test_a_training_on_eight_devices_goes_on(eight):
    assert eight["resumed"]


def test_losses_are_logged_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    options = {
        "validation": HELD_OUT,
        "validate_every": 4,
        "checkpoint": tmp_path / "kept",
        "log": tmp_path / "log",
    }
    with pytest.raises(Stopped):
        train(**options, progress=interrupted_at(7))
    found = train(**options)
    events = accumulators.EventAccumulator(str(tmp_path / "log")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "validation"}
    for name, steps in (("loss", "step"), ("validation", "validation_step")):
        read = events.Scalars(name)
        assert [event.step for event in read] == found.history[steps].tolist()
        values = [event.value for event in read]
        np.testing.assert_array_equal(np.float32(values), found.history[name])


def test_without_tensorboardx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"jaxdecon\[tensorboard\]"):
        train(log=tmp_path)


def test_the_figure_shows_batches_their_mean_and_the_best(tmp_path):
    pytest.importorskip("matplotlib")
    found = train(steps=120, validation=HELD_OUT, validate_every=30)
    figure = jd.report.training_figure(found, title="a title")
    (panel,) = figure.axes
    batches, mean, held_out, best = panel.get_lines()
    np.testing.assert_array_equal(batches.get_xdata(), found.history["step"])
    np.testing.assert_array_equal(batches.get_ydata(), found.history["loss"])
    # 2 % of 120 steps: means of two.
    losses = found.history["loss"].astype(float)
    np.testing.assert_allclose(mean.get_ydata(), (losses[1:] + losses[:-1]) / 2)
    np.testing.assert_array_equal(mean.get_xdata(), np.arange(2, 121))
    np.testing.assert_array_equal(held_out.get_xdata(), [30, 60, 90, 120])
    assert best.get_xdata().item() == found.best_step
    assert best.get_ydata().item() == pytest.approx(found.best)
    assert panel.get_yscale() == "log"
    assert "a title" in figure.get_suptitle()
    assert found.message in figure.get_suptitle()
    figure.savefig(tmp_path / "curves.png")
    below = {"step": np.arange(3), "loss": np.array([1.0, -1.0, 0.5])}
    assert jd.report.training_figure(below).axes[0].get_yscale() == "linear"
    with pytest.raises(ValueError, match="no losses"):
        jd.report.training_figure({"step": [], "loss": []})
