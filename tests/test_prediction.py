"""Prediction: units, tiles, checks, repair, ensembles, misuse, export."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.learning import (
    RLN,
    CameraNoise,
    DenseDeconNet,
    Model,
    Normaliser,
    Percentiles,
    ResidualChannelAttention,
    TrainingRecord,
    UnrolledRichardsonLucy,
    predict,
)
from jaxdecon.learning.prediction._run import run
from jaxdecon.learning.prediction._tiles import halo_of, reach_of, tiles_of

from ._random_networks import randomised

PSF = np.asarray(jd.psf.gaussian((9, 9), 3.0))


def scene(shape=(64, 64), background=100.0, seed=0):
    """(object, image in camera units): spots and a slab, photon noise."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.float32)
    truth[tuple(rng.integers(4, n - 4, 30) for n in shape)] = rng.uniform(2e3, 6e3, 30)
    truth[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] += 150
    blur = jd.operators.Convolution.from_psf(PSF / PSF.sum(), shape)
    margins = [(a, b) for a, b in blur._margins]
    clean = np.maximum(blur(np.pad(truth, margins)), 0)
    return truth, rng.poisson(clean + background).astype(np.float32)


# ------------------------------------------------------------------ units, shapes


def test_counts_in_counts_out():
    """As normalising by hand does, in float64."""
    _, image = scene((41, 38))
    network = randomised(DenseDeconNet(ndim=2))
    low, high = np.percentile(image.astype(float), [2, 99.9])
    normalised = ((image - low) / (high - low)).astype(np.float32)
    expected = (high - low) * np.asarray(network(normalised[None, None])[0], float)
    found = predict(network, image, check=False)
    assert found.image.shape == image.shape
    np.testing.assert_allclose(found.image, expected, atol=1e-5 * abs(expected).max())
    fixed = Model(network, Normaliser.affine(offset=low, scale=high - low))
    same = predict(fixed, image.astype(np.uint16), check=False).image
    np.testing.assert_allclose(same, expected, atol=1e-5 * abs(expected).max())


def test_gain_and_offset_of_the_camera_do_not_matter():
    _, image = scene((40, 40))
    network = randomised(RLN(ndim=2))
    first = np.asarray(predict(network, image, check=False).image)
    second = np.asarray(predict(network, 3 * image + 50, check=False).image)
    np.testing.assert_allclose(second, 3 * first, atol=1e-4 * abs(second).max())


def test_what_becomes_zero():
    """The background, for networks that know the operator, or were trained so."""
    _, image = scene()
    physics, plain = UnrolledRichardsonLucy(ndim=2, depth=1), DenseDeconNet(ndim=2)

    def offset(model, background):
        model = model if isinstance(model, Model) else Model(model)
        return float(model.normaliser(image, background).offset)

    low = np.percentile(image, 2)
    assert offset(physics, 100.0) == 100.0
    assert offset(plain, 100.0) == pytest.approx(low)
    assert offset(Model(plain, Percentiles(background=90.0)), None) == 90.0
    assert offset(Model(plain, Percentiles(background=90.0)), 100.0) == 100.0
    measured = jd.deconvolution.estimate_background(image)
    found = offset(Model(plain, Percentiles(background="measured")), None)
    assert found == np.float32(measured)
    given = predict(physics, image, psf=PSF, background=measured, check=False)
    found = predict(physics, image, psf=PSF, check=False)
    np.testing.assert_array_equal(found.image, given.image)


def test_views_have_backgrounds_of_their_own():
    images = np.stack([scene((40, 36), 20.0)[1], scene((40, 36), 80.0)[1]])
    psfs = [PSF, np.asarray(jd.psf.gaussian((11, 7), 3.0))]
    network = UnrolledRichardsonLucy(ndim=2, depth=2, views=2)
    found = predict(network, images, psf=psfs, background=(20.0, 80.0), check=False)
    scale = np.percentile(images, 99.9) - 50.0
    normalised = (images - np.array([20, 80]).reshape(2, 1, 1)) / scale
    padded = [np.pad(psfs[0], ((1, 1), (0, 0))), np.pad(psfs[1], ((0, 0), (1, 1)))]
    blurs = [jd.operators.Convolution.from_psf(p / p.sum(), (40, 36)) for p in padded]
    operator = jd.operators.Views(blurs)
    expected = scale * network(normalised.astype(np.float32)[None], operator)[0]
    np.testing.assert_allclose(found.image, expected, atol=1e-4 * expected.max())


def test_programs_are_kept(monkeypatch):
    """A second image of the same shape, or another network of the kind, traces none."""
    traced = []
    estimate = UnrolledRichardsonLucy._estimate

    def counted(self, images, operator):
        traced.append(images.shape)
        return estimate(self, images, operator)

    monkeypatch.setattr(UnrolledRichardsonLucy, "_estimate", counted)
    for seed in range(3):
        network = UnrolledRichardsonLucy(ndim=2, depth=1, width=3)
        network = randomised(network, 0.1 * seed)
        image = scene((33, 35), seed=seed)[1]
        predict(network, image, psf=jd.psf.gaussian((9, 9), 2.5 + seed), check=False)
    assert len(traced) == 1
    before = run._cache_size()
    predict(network, image, psf=PSF, check=False, tile=16, batch=2)
    predict(network, image + 1, psf=PSF, check=False, tile=16, batch=2)
    assert run._cache_size() == before + 1


# -------------------------------------------------------------------------- tiles


@pytest.mark.parametrize(
    ("shape", "core", "halo", "multiple"),
    [((101,), (20,), (6,), 2), ((100,), (17,), (5,), 2), ((23,), (5,), (3,), 4)],
)
def test_tiles_cover_and_see_enough(shape, core, halo, multiple):
    tiles = tiles_of(shape, core, halo, multiple)
    covered = np.zeros(shape, int)
    for tile in tiles:
        (core_,), (read,), (inner,) = tile.core, tile.read, tile.inner
        covered[tile.core] += 1
        assert read.start % multiple == 0
        assert 0 <= read.start <= read.stop <= shape[0]
        assert read.start == 0 or core_.start - read.start >= halo[0]
        assert read.stop == shape[0] or read.stop - core_.stop >= halo[0]
        assert (read.start + inner.start, read.start + inner.stop) == (
            core_.start,
            core_.stop,
        )
    assert (covered == 1).all()
    assert len({tile.read[0].stop - tile.read[0].start for tile in tiles}) == 1


@pytest.mark.parametrize(
    ("network", "shape", "tile", "batch"),
    [
        (DenseDeconNet(ndim=2), (75, 82), (17, 16), 3),
        (DenseDeconNet(ndim=3, width=2), (51, 12, 49), (8, 12, 9), 1),
        (RLN(ndim=2, views=2), (70, 64), 16, 4),
        (
            ResidualChannelAttention(ndim=2, width=8, depth=1, blocks=1, window=2),
            (41, 37),
            (15, 12),
            2,
        ),
        (
            ResidualChannelAttention(ndim=3, width=8, depth=1, blocks=1, window=1),
            (21, 18, 24),
            (4, 18, 5),
            1,
        ),
    ],
)
def test_tiles_are_the_whole(network, shape, tile, batch):
    views = network.config.views
    image = np.random.default_rng(1).poisson(30.0, (views, *shape)[-len(shape) :])
    if views > 1:
        image = np.random.default_rng(1).poisson(30.0, (views, *shape))
    network = randomised(network)
    whole = np.asarray(predict(network, image, check=False).image)
    tiled = predict(network, image, tile=tile, batch=batch, check=False).image
    assert abs(tiled - whole).max() < 1e-4 * abs(whole).max()


def test_the_device_holds_a_tile(monkeypatch):
    """Neither image nor result is there as a whole."""
    image = np.random.default_rng(1).poisson(30.0, (301, 150)).astype(np.uint16)
    network = randomised(DenseDeconNet(ndim=2, width=2))
    largest = []
    put = jnp.asarray

    def watched(value, *more, **options):
        largest.append(np.size(value))
        return put(value, *more, **options)

    monkeypatch.setattr(jnp, "asarray", watched)
    monkeypatch.setattr("jaxdecon.learning.pairs._normalise.MOST_VOXELS", 1000)
    predict(network, image, psf=PSF, tile=(24, 24), check=False)
    tiles = tiles_of(image.shape, (24, 24), (20, 20), 2)
    assert max(largest) <= np.prod([s.stop - s.start for s in tiles[0].read])
    assert max(largest) < image.size / 8


@pytest.mark.parametrize(
    ("network", "limit"),
    [(RLN(ndim=2, physics=True), 1e-5), (UnrolledRichardsonLucy(ndim=2), 1e-4)],
)
def test_tiles_with_the_operator_in_the_wiring(network, limit):
    _, image = scene((160, 90))
    network = randomised(network, 0.1)
    whole = np.asarray(predict(network, image, psf=PSF, check=False).image)
    found = predict(network, image, psf=PSF, tile=(40, 90), check=False)
    tiled = found.image
    assert ("in tiles" in found.reasons[-1]) == (network.config.kind == "unrolled")
    (halo, _), _ = halo_of(network, [PSF])
    assert 40 + 2 * halo < 160
    assert abs(tiled - whole).max() < limit * abs(whole).max()


def test_reach_of_a_psf():
    psf = np.asarray(jd.psf.gaussian((31, 15), (6.0, 2.0)))
    assert reach_of(psf) == (8, 3)  # 3.29 standard deviations, to whole voxels


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (ResidualChannelAttention(ndim=2, width=8, depth=1), {}, "train one with"),
        (DenseDeconNet(ndim=2, norm="group"), {}, "norm='none'"),
        (RLN(ndim=2, physics=True), {}, "give a `psf` in place of"),
        (DenseDeconNet(ndim=2), {"tile": (8, 8, 8)}, "one per axis"),
        (DenseDeconNet(ndim=2), {"tile": 0}, "`tile` is 0"),
        (DenseDeconNet(ndim=2), {"batch": 0}, "`batch` is 0"),
    ],
)
def test_tiles_that_cannot_be(network, options, message):
    blur = jd.operators.Convolution.from_psf(PSF, (24, 24))
    physics = {"operator": blur} if network.needs_operator else {}
    image = np.random.default_rng(1).poisson(30.0, (24, 24))
    with pytest.raises(ValueError, match=message):
        predict(network, image, check=False, **{"tile": 8, **physics, **options})


# ---------------------------------------------------------------- checks, repair


def test_the_checks_of_a_plain_network_are_physical():
    truth, image = scene()
    network = UnrolledRichardsonLucy(ndim=2, depth=5)
    found = predict(network, image, psf=PSF, noise=CameraNoise.of(), repair=3)
    blur = jd.operators.Convolution.from_psf(PSF / PSF.sum(), image.shape)
    background = jd.deconvolution.estimate_background(image)
    judged = jd.learning.assess(
        found.image, image, operator=blur, background=None, noise=CameraNoise.of()
    )
    np.testing.assert_allclose(found.residual, judged.residual.z, atol=1e-3)
    assert found.outside == pytest.approx(float(judged.outside.share), rel=1e-4)
    assert found.outside_map.shape == found.trust.shape == truth.shape
    assert (found.verdict, found.reasons) == (judged.verdict, judged.reasons)
    assert found.familiarity is None
    assert found.verdict == "doubtful"
    pulled = jd.learning.repair(
        found.image, image, operator=blur, iterations=3, doubt=0.5
    )
    np.testing.assert_allclose(found.repaired, pulled.image, rtol=1e-4, atol=0.1)
    assert found.best is found.repaired
    assert background > 0


def test_nothing_to_check_with():
    image = scene()[1]
    found = predict(DenseDeconNet(ndim=2), image)
    assert found.verdict == "unchecked"
    assert found.score is None
    assert found.residual is None
    assert found.outside is None
    assert found.best is found.image
    unasked = predict(DenseDeconNet(ndim=2), image, psf=PSF, check=False)
    assert unasked.verdict == "unchecked"
    assert unasked.reasons == ("no check was asked for",)
    with pytest.raises(ValueError, match="`repair` needs"):
        predict(DenseDeconNet(ndim=2), image, repair=3)


def test_the_psf_of_the_training_is_taken_and_said():
    image = scene()[1]
    record = TrainingRecord(psf=PSF)
    model = Model(UnrolledRichardsonLucy(ndim=2, depth=2), record=record)
    found = predict(model, image)
    given = predict(model, image, psf=PSF)
    np.testing.assert_array_equal(found.image, given.image)
    assert "that of the training was used" in found.reasons[-1]
    assert not any("training was used" in reason for reason in given.reasons)


def test_an_operator_of_another_psf_than_the_trainings_is_doubted():
    """As that PSF would be; an operator that has no PSF is not compared."""
    _, image = scene()
    model = Model(DenseDeconNet(ndim=2), record=TrainingRecord(psf=PSF))

    def reasons(operator):
        how = {"background": 100.0, "noise": CameraNoise.of()}
        return predict(model, image, operator=operator, **how).reasons

    same, wide = (
        jd.operators.Convolution.from_psf(jd.psf.gaussian(shape, width), image.shape)
        for shape, width in (((11, 8), 3.0), ((15, 15), 4.5))
    )
    weight = jd.operators.Weight.from_values(np.ones(64), image.shape)
    assert not any("times as wide" in reason for reason in reasons(same))
    assert any("1.49, 1.49 times as wide" in reason for reason in reasons(wide))
    assert not any("times as wide" in reason for reason in reasons(weight @ wide))


def test_what_could_not_be_compared_is_said():
    image = scene()[1]
    record = TrainingRecord(voxel_size=(0.1, 0.1))
    model = Model(DenseDeconNet(ndim=2), Percentiles(background=5.0), record)

    def said(**how):
        return " ".join(predict(model, image, psf=PSF, **how).reasons)

    assert "voxels of the training, 0.1 x 0.1 µm" in said()
    assert "voxels of the training" not in said(voxel_size=0.1)
    assert "that of the training, 5, was taken off" in said()
    assert "was taken off" not in said(background=100.0)
    with pytest.raises(ValueError, match=r"trained on 0\.1 x 0\.1 µm"):
        predict(model, image, voxel_size=0.2)


def test_camera_units_keep_the_light_and_the_verdict():
    """Gain 2, offset 100: twice the counts, and the same to say of them."""
    _, image = scene()
    model = Model(DenseDeconNet(ndim=2), Percentiles(background=100.0))
    noise = CameraNoise.of(), CameraNoise.of(gain=2.0, offset=100.0)
    one, other = (
        predict(model, i, psf=PSF, background=b, noise=n)
        for i, b, n in ((image, 100.0, noise[0]), (2 * image + 100, 300.0, noise[1]))
    )
    limit = 1e-4 * float(abs(one.image).max())
    np.testing.assert_allclose(other.image, 2 * one.image, atol=2 * limit)
    assert other.verdict == one.verdict
    assert other.score == pytest.approx(one.score, abs=0.02)


def test_an_ensemble_counts_where_the_model_knows_its_spread():
    blur = jd.operators.Convolution.from_psf(PSF, (32, 32))
    pairs = jd.learning.SimulatedPairs("spheres", blur, length=8, key=jax.random.key(2))
    network = UnrolledRichardsonLucy(ndim=2, depth=1)
    near, far = (randomised(network, scale) for scale in (0.05, 3.0))
    image = np.asarray(pairs[0].images[0])
    model = Model.of(network, pairs, psf=PSF, background=5.0, others=[near])
    how = {"psf": PSF, "background": 5.0}
    alike = predict(model, image, others=[near], **how)
    apart = predict(model, image, others=[far], **how)
    assert apart.assessment.scores["spread"] > alike.assessment.scores["spread"] + 3
    assert any("networks differ from one another" in r for r in apart.reasons)
    assert apart.assessment.score > alike.assessment.score
    alone = Model.of(network, pairs, psf=PSF, background=5.0)
    assert "does not count" in predict(alone, image, others=[far], **how).reasons[-1]


def test_an_ensemble_has_a_spread():
    image = scene()[1]
    networks = [randomised(DenseDeconNet(ndim=2), s) for s in (0.1, 0.2, 0.3)]
    alone = [np.asarray(predict(n, image, check=False).image, float) for n in networks]
    found = predict(networks[0], image, others=networks[1:], check=False)
    np.testing.assert_array_equal(found.image, np.asarray(alone[0], np.float32))
    expected = np.std(alone, 0)
    np.testing.assert_allclose(found.spread, expected, atol=1e-4 * expected.max())
    with pytest.raises(ValueError, match="networks for the same images"):
        predict(networks[0], image, others=[DenseDeconNet(ndim=2, views=2)])


@pytest.mark.parametrize(
    ("network", "image", "options", "message"),
    [
        (DenseDeconNet(ndim=2), np.ones((8, 8, 8)), {}, r"\(y, x\) is needed by this"),
        (DenseDeconNet(ndim=2, views=2), np.ones((8, 8)), {}, r"\(2, y, x\) is needed"),
        (DenseDeconNet(ndim=2, views=2), np.ones((3, 8, 8)), {}, "of 2 view"),
        (DenseDeconNet(ndim=2), np.ones((8, 8)), {}, "constant"),
        (DenseDeconNet(ndim=2), np.full((8, 8), np.nan), {}, "64 NaN"),
        (DenseDeconNet(ndim=2), None, {"psf": np.ones((3, 3, 3, 3))}, "4D"),
        (DenseDeconNet(ndim=2), None, {"psf": [PSF, PSF]}, "2 PSFs, and the network 1"),
        (DenseDeconNet(ndim=2), None, {"background": (1.0, 2.0)}, "one number, or one"),
        (UnrolledRichardsonLucy(ndim=2), None, {}, "`operator` is missing"),
        (
            DenseDeconNet(ndim=2),
            None,
            {"operator": jd.operators.Convolution.from_psf(PSF, (9, 9))},
            "`operator` gives",
        ),
    ],
)
def test_misuse(network, image, options, message):
    image = np.random.default_rng(0).poisson(9.0, (8, 8)) if image is None else image
    with pytest.raises(ValueError, match=message):
        predict(network, image, **options)


def test_other_voxels_are_refused_before_anything_is_computed():
    model = Model(DenseDeconNet(ndim=2), record=TrainingRecord(voxel_size=(0.1, 0.1)))
    image = scene()[1]
    with pytest.raises(ValueError, match=r"trained on 0\.1 x 0\.1 µm"):
        predict(model, image, voxel_size=(0.1, 0.13), check=False)


# ------------------------------------------------------------------------- export

PROGRAM = """
import pathlib, sys
import jax.export, numpy as np
image = np.load(sys.argv[1])
program = jax.export.deserialize(bytearray(pathlib.Path(sys.argv[2]).read_bytes()))
np.save(sys.argv[3], program.call(image))
assert not {"flax", "jaxdecon"} & set(sys.modules)
print(program.platforms)
"""


def test_a_program_needs_jax_alone(tmp_path):
    pytest.importorskip("flatbuffers")
    image = scene((38, 41))[1]
    model = Model(randomised(DenseDeconNet(ndim=2)), (1.0, 99.0))
    path = tmp_path / "model.jaxexport"
    jd.learning.export_model(model, image.shape, path)
    np.save(tmp_path / "image.npy", image)
    files = [tmp_path / "image.npy", path, tmp_path / "out.npy"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cpu" in done.stdout
    assert "cuda" in done.stdout
    expected = np.asarray(predict(model, image, check=False).image)
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())
    again = jd.learning.load_exported(path)(image.astype(np.uint16))
    np.testing.assert_allclose(again, expected, atol=1e-4 * abs(expected).max())
    with pytest.raises(FileExistsError):
        jd.learning.export_model(model, image.shape, path)
    with pytest.raises(ValueError, match=r"has shape \(3, 3\); this program is for"):
        jd.learning.load_exported(path)(np.ones((3, 3)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="no exported model, or is broken"):
        jd.learning.load_exported(path)


def test_a_program_with_the_operator_inside_for_any_batch():
    pytest.importorskip("flatbuffers")
    images = np.stack([scene((24, 26), seed=s)[1] for s in range(3)])
    network = randomised(UnrolledRichardsonLucy(ndim=2, depth=2), 0.1)
    data = jd.learning.export_model(
        network, (24, 26), psf=PSF, background=100.0, batch=True, platforms=("cpu",)
    )
    program = jd.learning.load_exported(data)
    for count in (1, 3):
        for image, found in zip(images, program(images[:count]), strict=False):
            one = predict(network, image, psf=PSF, background=100.0, check=False).image
            assert abs(found - np.asarray(one)).max() < 1e-4 * abs(one).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8, 8)}, "2D images"),
        ({"platforms": ("gpu",)}, "are needed"),
        ({"platforms": ()}, "are needed"),
        ({"psf": None}, "`psf` is needed"),
        ({"background": None}, "`background` is needed"),
        ({"background": np.nan}, "`background` is nan"),
    ],
)
def test_programs_that_cannot_be(options, message):
    pytest.importorskip("flatbuffers")
    known = {"shape": (8, 8), "psf": PSF, "background": 1.0, **options}
    with pytest.raises(ValueError, match=message):
        jd.learning.export_model(UnrolledRichardsonLucy(ndim=2), **known)
