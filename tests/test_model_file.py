"""Models: what they know of their training, and their files."""

import json

import jax
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.learning import (
    RLN,
    DenseDeconNet,
    Model,
    NetworkConfig,
    NormalisedPairs,
    Normaliser,
    Percentiles,
    SimulatedPairs,
    TrainingRecord,
    UnrolledRichardsonLucy,
    build,
    load_model,
)
from jaxdecon.learning.prediction._weights import weights_of, with_weights

PSF = np.asarray(jd.psf.gaussian((9, 9), 3.0))
RECORD = TrainingRecord(voxel_size=(0.2, 0.1), psf=PSF, about={"pairs": 7})


@pytest.fixture(scope="module")
def model():
    network = DenseDeconNet(ndim=2, width=2, key=jax.random.key(5))
    return Model(network, (1.0, 99.5), RECORD, {"steps": 300, "loss": "mse"})


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


def image_of(shape=(24, 21)):
    return np.random.default_rng(0).poisson(20.0, shape).astype(np.float32)


def test_a_file_gives_back_the_model(model, path):
    found = load_model(path)
    assert found.config == model.config
    assert found.normalisation == Percentiles(1.0, 99.5)
    assert found.about == {"steps": 300, "loss": "mse"}
    assert found.record.voxel_size == (0.2, 0.1)
    assert found.record.about == {"pairs": 7}
    np.testing.assert_array_equal(found.record.psf, PSF)
    before, after = weights_of(model.network), weights_of(found.network)
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    image = image_of()
    predictions = [jd.learning.predict(m, image, check=False) for m in (model, found)]
    np.testing.assert_array_equal(*(p.image for p in predictions))


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(kind="rln", ndim=2, norm="batch", views=2),
        NetworkConfig(kind="rln", ndim=3, physics=True),
        NetworkConfig(kind="rcan", ndim=3, width=8, depth=1, window=2),
        NetworkConfig(kind="unrolled", ndim=2, depth=2, start="wiener"),
        NetworkConfig(kind="densedeconnet", ndim=3, norm="group", bias=False),
    ],
)
def test_every_kind_is_its_configuration_and_named_arrays(config):
    network = build(config, jax.random.key(1))
    weights = weights_of(network)
    assert sum(v.size for v in weights.values()) == network.parameter_count
    again = with_weights(network.config, weights)
    assert again.config == network.config
    for name, values in weights_of(again).items():
        np.testing.assert_array_equal(values, weights[name])


@pytest.mark.parametrize(
    "normalisation",
    [
        Normaliser.affine(offset=100.0, scale=7.5),
        Percentiles(background=100.0),
        Percentiles(background="measured"),
    ],
)
def test_normalisations_are_kept(tmp_path, normalisation):
    Model(RLN(ndim=2), normalisation).save(tmp_path / "model.npz")
    found = load_model(tmp_path / "model.npz")
    image = 100 + image_of()
    expected = Model(RLN(ndim=2), normalisation).normaliser(image)
    np.testing.assert_array_equal(
        jax.tree.leaves(found.normaliser(image)), jax.tree.leaves(expected)
    )
    assert found.record is None


def test_a_file_is_not_replaced_unasked(model, path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite"):
        model.save(path)
    assert path.read_bytes() == before
    Model(model.network).save(path, overwrite=True)
    assert load_model(path).record is None
    assert [p.name for p in path.parent.iterdir()] == ["model.npz"]


def test_nothing_half_written(model, tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        model.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def changed(path, **head):
    """The file with some of its head, or an array, changed."""
    with np.load(path) as values:
        arrays = dict(values)
    known = json.loads(str(arrays["head"]))
    for name in [n for n in head if n in arrays]:
        arrays[name] = head.pop(name)
        if arrays[name] is None:
            del arrays[name]
    if head or "head" not in arrays:
        arrays["head"] = np.array(json.dumps({**known, **head}))
    np.savez_compressed(path, **arrays)
    return path


KERNEL = "network.c1.kernel"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version 9, and this program knows 1: install a newer"),
        ({"format": "jaxdecon back projector"}, "is no model"),
        ({"network": {"kind": "transformer"}}, "kind 'transformer'; this version has"),
        ({"network": {"kind": "rln", "heads": 4}}, "another architecture.*heads"),
        ({"network": {"kind": "rln", "ndim": 2}}, "not those of a network of kind"),
        ({KERNEL: None}, f"1 parameters.*{KERNEL[8:]} has shape none"),
        ({KERNEL: np.ones((3, 3, 1, 5))}, r"has shape \(3, 3, 1, 5\), not"),
        ({KERNEL: np.full((3, 3, 1, 2), np.nan)}, "NaN"),
        ({"record": {"version": 9}}, "version 9"),
        ({"record": [1]}, "cannot be used"),
        ({"network": "rln"}, "kind None; this version has"),
        ({"normalisation": {}}, "cannot be used: 'low'"),
        ({"normalisation": {"offset": 1, "scale": 0}}, "`scale` is 0"),
        ({"head": np.array("{")}, "is no model, or is broken"),
    ],
)
def test_other_files_are_refused(path, change, message):
    with pytest.raises(ValueError, match=message):
        load_model(changed(path, **change))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_broken_files_are_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="is no model, or is broken"):
        load_model(path)


def test_a_flipped_bit_is_found(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"broken|cannot be used"):
        load_model(path)


def test_what_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        load_model(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"ends in .\.h5."):
        Model(RLN(ndim=2)).save(tmp_path / "model.h5")
    with pytest.raises(ValueError, match="what JSON cannot"):
        Model(RLN(ndim=2), about={"a": {1}}).save(tmp_path / "model.npz")
    with pytest.raises(TypeError, match="a network of"):
        Model("model.npz")
    with pytest.raises(ValueError, match="0 <= low < high"):
        Model(RLN(ndim=2), (99.0, 2.0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "size", [None, (0.2, 0.1), (0.2, None), (0.2015, 0.0992), (None, None)]
)
def test_the_same_voxels_but_for_rounding(model, size):
    model.check_voxel_size(size)


@pytest.mark.parametrize("size", [(0.2, 0.1025), (0.1, 0.1), (None, 0.2)])
def test_other_voxels_are_refused(model, size):
    with pytest.raises(ValueError, match=r"voxels of .* µm.*trained on 0.2 x 0.1 µm"):
        model.check_voxel_size(size)
    with pytest.raises(ValueError, match="2 numbers"):
        model.check_voxel_size((0.2, 0.1, 0.1))


def test_a_model_of_its_training_pairs(tmp_path):
    """Record and thresholds are of raw images, whichever way the pairs come."""
    blur = jd.operators.Convolution.from_psf(PSF / PSF.sum(), (32, 32))
    raw = SimulatedPairs("spheres", blur, length=8, key=jax.random.key(2))
    pairs = NormalisedPairs(raw, background=5.0)
    network = UnrolledRichardsonLucy(ndim=2, depth=2)
    model = Model.of(network, pairs, psf=PSF, voxel_size=(0.1, 0.1), about={"n": 1})
    assert model.normalisation == Percentiles(background=5.0)
    np.testing.assert_allclose(model.record.psf, PSF)
    assert model.record.voxel_size == (0.1, 0.1)
    error = model.record.facts["error"]
    images, truth = raw[1]
    found = jd.learning.predict(model, images[0], check=False).image
    expected = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    np.testing.assert_allclose(error[0], expected, rtol=1e-3)
    model.save(tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz").record
    np.testing.assert_array_equal(again.facts["error"], error)
    for m in (model, load_model(tmp_path / "model.npz")):
        judged = jd.learning.predict(m, images[0], psf=PSF)
        assert judged.familiarity.psf.same
        assert judged.trust.shape == (32, 32)
    wide = jd.learning.predict(model, images[0], psf=jd.psf.gaussian((9, 9), 4.5))
    assert wide.verdict == "doubtful"
    assert not wide.familiarity.psf.same
