"""Networks on volumes larger than memory."""

import pickle

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.learning import (
    RLN,
    DenseDeconNet,
    Model,
    Normaliser,
    ResidualChannelAttention,
    TrainingRecord,
    UnrolledRichardsonLucy,
    predict,
)
from jaxdecon.volumes import _predict_blocks as blocks
from jaxdecon.volumes._source import Source

from ._random_networks import randomised
from ._volumes import digest, texture

PSF = np.asarray(jd.psf.gaussian((9, 9), 3.0))


@pytest.fixture(scope="module")
def network():
    return randomised(DenseDeconNet(ndim=2, width=2))


def same(found, expected, limit=1e-4):
    expected = np.asarray(expected)
    return abs(np.asarray(found) - expected).max() <= limit * abs(expected).max()


@pytest.mark.parametrize(
    ("model", "shape", "block", "options"),
    [
        (DenseDeconNet(ndim=2, width=2), (101, 130), 32, {}),
        (DenseDeconNet(ndim=2, width=2), (97, 96), (32, 17), {}),
        (DenseDeconNet(ndim=3, width=2), (9, 61, 70), (9, 32, 70), {}),
        (RLN(ndim=2, physics=True), (101, 90), (32, 90), {"psf": PSF}),
        (
            UnrolledRichardsonLucy(ndim=2, depth=2),
            (101, 60),
            (32, 60),
            {"psf": PSF, "background": 0.0},
        ),
    ],
)
def test_blocks_are_the_whole(model, shape, block, options, tmp_path):
    """Odd sizes, blocks of odd sizes: networks that halve see what the whole does."""
    image = texture(shape)
    model = randomised(model, 0.02 if model.config.kind == "unrolled" else 0.1)
    target = tmp_path / "out.ome.zarr"
    run = jd.volumes.predict(image, target, model, block=block, **options)
    assert run.blocks > 1
    expected = predict(model, image, check=False, **options).image
    assert same(jd.io.read(target), expected)


def test_every_volume_has_its_own_range_and_metadata_stay(network, tmp_path):
    rng = np.random.default_rng(2)
    light = rng.poisson(30.0, (2, 2, 1, 48, 40)) * np.array([1, 5]).reshape(2, 1, 1, 1)
    image = jd.io.Image(
        data=light.astype(np.uint16),
        axes="tczyx",
        voxel_size=(0.3, 0.1, 0.1),
        channels=("A", "B"),
        time_step=2.0,
    )
    source, target = tmp_path / "in.ome.zarr", tmp_path / "out.ome.zarr"
    jd.io.write(source, image)
    model = Model(network, record=TrainingRecord(voxel_size=(0.1, 0.1)))
    model.save(tmp_path / "model.npz")
    jd.volumes.predict(source, target, tmp_path / "model.npz", block=(1, 32, 32))
    found = jd.io.read(target)
    assert (found.axes, found.channels, found.time_step) == ("tczyx", ("A", "B"), 2.0)
    assert found.voxel_size == (0.3, 0.1, 0.1)
    for index in np.ndindex(2, 2):
        expected = predict(network, light[index][0], check=False).image
        assert same(np.asarray(found)[index][0], expected)


def test_a_run_goes_on_where_it_was_stopped(network, tmp_path, monkeypatch):
    image = texture((90, 70))
    first, second = tmp_path / "a.ome.zarr", tmp_path / "b.ome.zarr"
    source = tmp_path / "in.ome.zarr"
    jd.io.write(source, jd.io.Image(data=image, axes="yx"))
    jd.volumes.predict(source, first, network, block=32)
    compute = blocks.Predict.compute

    def stops(self, block, inputs):
        if block.number == 3:
            raise KeyboardInterrupt
        return compute(self, block, inputs)

    monkeypatch.setattr(blocks.Predict, "compute", stops)
    engine = jd.volumes.Local(threads=1)
    with pytest.raises(KeyboardInterrupt):
        jd.volumes.predict(source, second, network, block=32, engine=engine)
    monkeypatch.undo()
    other = randomised(network, 0.01)
    with pytest.raises(jd.volumes.RunRefused, match="weights"):
        jd.volumes.predict(source, second, other, block=32)
    monkeypatch.setattr(blocks, "sampled", None)  # ranges are not measured again
    run = jd.volumes.predict(source, second, network, block=32)
    assert run.blocks == 6
    assert digest(first) == digest(second)


def test_the_range_is_that_of_the_whole(monkeypatch):
    """Read in slabs, the same voxels are looked at, and of huge ones some places."""
    image = np.random.default_rng(4).gamma(2.0, 50.0, (40, 50, 60)).astype(np.float32)
    model, source = Model(DenseDeconNet()), Source(image)
    monkeypatch.setattr("jaxdecon.learning.pairs._normalise.MOST_VOXELS", 5000)
    monkeypatch.setattr(blocks, "MOST_VOXELS", 5000)
    monkeypatch.setattr(blocks, "SLAB", 7 * 50 * 60)
    rule = Normaliser.fit(image)
    expected = (float(rule.offset), float(rule.scale))
    assert blocks.measured_rules(source, model, None) == (expected,)
    exact = np.percentile(image, [2, 99.9])
    assert expected[0] != np.float32(exact[0])  # a sample was looked at
    monkeypatch.setattr(blocks, "MOST_STREAMED", 1000)
    (found,) = blocks.measured_rules(source, model, None)
    np.testing.assert_allclose(found, [exact[0], exact[1] - exact[0]], rtol=0.2)


def test_another_process_gets_all_it_needs(network):
    operation = blocks.Predict(
        source=Source(np.zeros((64, 64), np.float32)),
        config=network.config,
        weights={"a": np.ones(3, np.float32)},
        psfs=(PSF,),
        halo=(20, 20),
        multiple=2,
        rules=((0.0, 1.0),),
    )
    again = pickle.loads(pickle.dumps(operation.with_shared(operation.shared())))
    assert again.config == network.config
    assert again.rules == ((0.0, 1.0),)
    np.testing.assert_array_equal(again.psfs[0], PSF)


def test_dark_blocks_are_zero(network, tmp_path):
    image = texture((64, 64))
    image[:36] = 0  # halos begin at multiples of two
    target = tmp_path / "out.ome.zarr"
    run = jd.volumes.predict(
        image, target, network, block=32, halo=0, skip_below=1.0, dtype="float32"
    )
    assert len(run.empty) == 2
    assert not np.asarray(jd.io.read(target))[:32].any()


@pytest.mark.parametrize(
    ("model", "source", "options", "message"),
    [
        (DenseDeconNet(ndim=2, views=2), (32, 32), {}, "is for 2 views"),
        (DenseDeconNet(ndim=3), (32, 32), {}, "is for 3D images"),
        (DenseDeconNet(ndim=2), (4, 32, 32), {}, "is for 2D images"),
        (
            ResidualChannelAttention(ndim=2, width=8, depth=1),
            (32, 32),
            {},
            "averages over all",
        ),
        (UnrolledRichardsonLucy(ndim=2), (32, 32), {}, "`psf` must be one PSF"),
        (UnrolledRichardsonLucy(ndim=2), (32, 32), {"psf": [PSF, PSF]}, "2 of `psf`"),
    ],
)
def test_what_cannot_be(model, source, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        jd.volumes.predict(
            np.ones(source, np.float32), tmp_path / "out.ome.zarr", model, **options
        )
    assert not list(tmp_path.iterdir())


def test_unusable_images(network, tmp_path):
    target = tmp_path / "out.ome.zarr"
    with pytest.raises(ValueError, match="constant"):
        jd.volumes.predict(np.ones((40, 40), np.float32), target, network, block=32)
    assert not target.exists()
    model = Model(network, record=TrainingRecord(voxel_size=(0.1, 0.1)))
    image = jd.io.Image(data=texture((40, 40)), axes="yx", voxel_size=(0.2, 0.2))
    with pytest.raises(ValueError, match=r"trained on 0\.1 x 0\.1 µm"):
        jd.volumes.predict(image, target, model)
