"""What a network was trained on: kept, compared with, calibrated."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import mahalanobis

import jaxdecon as jd
from jaxdecon import learning
from jaxdecon.geometry._resample import smoothed
from jaxdecon.learning.trust._calibration import Calibration, calibrated
from jaxdecon.learning.trust._cloud import Cloud
from jaxdecon.learning.trust._features import features, spectrum
from jaxdecon.learning.trust._measure import good_ones
from jaxdecon.learning.trust._psf_likeness import compare_psfs
from jaxdecon.learning.trust._traits import light_traits, trait_names
from jaxdecon.operators import Convolution

FIELD = (64, 64)
PSF = jd.psf.gaussian((13, 13), 3.5)
BLUR = Convolution.from_psf(PSF, FIELD)
CAMERA = learning.CameraNoise.of()
HOW = {"operator": BLUR, "background": 5.0, "noise": CAMERA}


def pairs(structure, seed, length=24, photons=(100.0, 400.0)):
    return learning.SimulatedPairs(
        structure,
        BLUR,
        photons=photons,
        background=5,
        length=length,
        key=jax.random.key(seed),
    )


def predict(images, operator):
    """In place of a network: a few updates."""
    del operator
    return jd.richardson_lucy(images[0], PSF, iterations=12, background=5.0)


@pytest.fixture(scope="module")
def record():
    return learning.TrainingRecord.measure(
        pairs("filaments", 1),
        predict,
        held_out=pairs("filaments", 2),
        voxel_size=(0.1, 0.1),
        psf=PSF,
        about={"by": "test"},
        **HOW,
    )


def judged(record, structure, seed=3, index=0, change=None, **options):
    images, _ = pairs(structure, seed, **options)[index]
    estimate = predict(images, BLUR)
    estimate = estimate if change is None else change(estimate)
    return learning.assess(estimate, images, record=record, psf=PSF, **HOW)


def test_good_images_are_rarely_doubted(record):
    found = [judged(record, "filaments", index=i) for i in range(24)]
    doubtful = sum(one.verdict == "doubtful" for one in found)
    # Thresholds from 24 images: at most 1 in 20 on average, 5 of 24 once in 300 times.
    assert doubtful <= 4
    trust = np.stack([one.map for one in found])
    assert trust.mean() == pytest.approx(0.5, abs=0.08)
    assert (trust < 0.05).mean() == pytest.approx(0.05, abs=0.04)


def test_an_unseen_structure_is_doubted_with_its_reason(record):
    found = judged(record, "spheres")
    assert found.verdict == "doubtful"
    assert found.score > found.threshold
    assert found.familiarity.scores["input"] > 3
    assert any("structure in the image is not as in" in r for r in found.reasons)
    assert "not seen by the data" in found.reasons[-1]


def test_an_invention_is_doubted_and_found(record):
    spot = np.roll(np.asarray(jd.psf.gaussian(FIELD, 5.0)), (9, -12), (0, 1))
    found = judged(
        record, "filaments", change=lambda x: x + 2 * x.max() * spot / spot.max()
    )
    assert found.verdict == "doubtful"
    assert any("the data c" in reason for reason in found.reasons)
    trust = np.asarray(found.map)
    where = np.unravel_index(np.argmin(trust), FIELD)
    assert np.hypot(where[0] - 41, where[1] - 20) < 8
    assert trust[41, 20] < 0.01
    assert np.median(trust) > 0.1


def test_other_light_is_noticed(record):
    found = judged(record, "filaments", photons=(8.0, 10.0))
    assert found.familiarity.scores["light"] > 2
    assert any(
        "the light is not as" in reason and "photons" in reason
        for reason in found.reasons
    )


@pytest.mark.parametrize(
    ("change", "score", "words"),
    [
        ({"photons": 1e5}, "light", "light is not as in the training images: photon"),
        ({"background": 200}, "light", "light is not as in the training images: backg"),
        ({"blur": 7.0}, "spectrum", "power spectrum of the image is not as in"),
    ],
)
def test_what_is_off_is_named(record, change, score, words):
    """More photons; haze; a wider PSF: each without a doubt of the score's kind."""
    blur = Convolution.from_psf(
        jd.psf.gaussian((13, 13), change.pop("blur", 3.5)), FIELD
    )
    light = {"photons": (100.0, 400.0), "background": 5, **change}
    images, _ = learning.SimulatedPairs(
        "filaments", blur, length=4, key=jax.random.key(3), **light
    )[0]
    how = {**HOW, "background": float(light["background"])}
    found = learning.assess(predict(images, BLUR), images, record=record, **how)
    assert found.familiarity.scores[score] > 2.5
    assert any(words in reason for reason in found.reasons)
    assert not any("no sign" in reason for reason in found.reasons)


def test_a_score_that_is_no_number_is_no_good_one(record):
    """Squares of 1e22 are beyond float32."""
    images, _ = pairs("filaments", 3)[0]
    huge = np.full(FIELD, 1e22)
    for known in (record, None):
        found = learning.assess(huge, images, record=known, **HOW)
        assert found.verdict == "doubtful"
    calibration = record.calibration
    assert calibration.rarity("pull", np.array([np.nan, 0.0])).tolist()[0] < 1e-3


def test_the_operator_of_a_pair_is_its_own():
    """By its number among all pairs, also where every other one judges."""
    seen = []

    def operator(index):
        seen.append(index)
        return BLUR

    how = {**HOW, "operator": operator}
    source = pairs("filaments", 1, length=9)
    record = learning.TrainingRecord.measure(source, predict, **how)
    assert seen == [0, 2, 4, 6, 8, 1, 3, 5, 7]
    images, _ = source[1]
    found = learning.assess(predict(images, BLUR), images, record=record, **HOW)
    assert "4 images of the training (nothing was held out" in found.reasons[0]


def test_of_several_views_every_psf_is_compared():
    psfs = np.stack([jd.psf.gaussian((13, 13), w) for w in ((2.5, 5.0), (5.0, 2.5))])
    views = jd.operators.Views([Convolution.from_psf(p, FIELD) for p in psfs])
    pair = learning.SimulatedPairs("filaments", views, key=jax.random.key(3))[0]
    record = learning.TrainingRecord(psf=psfs)
    how = {**HOW, "operator": views, "background": (5.0, 5.0), "record": record}
    same, other = (
        learning.assess(pair.truth, pair.images, psf=psf, **how)
        for psf in (psfs, psfs[[0, 0]])
    )
    assert same.verdict == "no objection"
    assert other.verdict == "doubtful"
    assert any("not that of the training: 0.5" in reason for reason in other.reasons)


def test_other_blur_is_noticed(record):
    images, _ = pairs("filaments", 3)[0]
    wide = jd.psf.gaussian((13, 13), 5.0)
    found = learning.assess(
        predict(images, BLUR), images, record=record, psf=wide, **HOW
    )
    assert found.verdict == "doubtful"
    assert any("1.43, 1.43 times as wide" in reason for reason in found.reasons)


def test_other_voxel_sizes_are_refused(record):
    images, truth = pairs("filaments", 3)[0]
    how = {"record": record, **HOW}
    with pytest.raises(ValueError, match=r"0.12 x 0.12 µm.*trained on 0.1 x 0.1 µm"):
        learning.assess(truth, images, voxel_size=0.12, **how)
    learning.assess(truth, images, voxel_size=(0.1004, 0.1), **how)


def test_parts_survive_a_file(record, tmp_path):
    arrays, rest = record.to_parts()
    np.savez(tmp_path / "record.npz", **arrays)
    with np.load(tmp_path / "record.npz") as file:
        again = learning.TrainingRecord.from_parts(
            dict(file), json.loads(json.dumps(rest))
        )
    assert again.voxel_size == (0.1, 0.1)
    assert again.about == {"pairs": 24, "held out": True, "by": "test", "left out": 0}
    one, other = (judged(r, "spheres") for r in (record, again))
    assert one.scores == pytest.approx(other.scores)
    assert one.reasons == other.reasons
    assert np.array_equal(one.map, other.map)
    with pytest.raises(ValueError, match="version 99"):
        learning.TrainingRecord.from_parts(arrays, {**rest, "version": 99})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cloud/input/mean", np.full(14, np.nan)),
        ("cloud/input/mean", np.zeros(3)),
        ("cloud/local/spread", None),
        ("table/all", None),
        ("table/pull", np.zeros(3)),
        ("score/pull", np.zeros(0)),
        ("voxel_size", [0.1, -0.1]),
    ],
)
def test_broken_parts_are_refused(record, name, value):
    """And not used: with NaN, nothing would ever be unusual."""
    arrays, rest = record.to_parts()
    if name in rest:
        rest[name] = value
    elif value is None:
        del arrays[name]
    else:
        arrays[name] = value
    with pytest.raises(ValueError, match=r"broken|lacks|voxel_size"):
        learning.TrainingRecord.from_parts(arrays, rest)


def test_without_operator_only_familiarity_is_judged(record):
    images, truth = pairs("spheres", 3)[0]
    found = learning.assess(truth, images, record=record, background=5.0, noise=CAMERA)
    assert found.residual is None
    assert set(found.scores) == {"light", "spectrum", "input", "output"}
    assert found.verdict == "doubtful"
    assert "without an operator" in found.reasons[-1]


def test_normalised_pairs_are_measured_in_their_own_units():
    plain = pairs("filaments", 1, length=8)
    scaled = learning.NormalisedPairs(plain)
    one, other = (
        learning.TrainingRecord.measure(source, predict, **HOW)
        for source in (plain, scaled)
    )
    assert one.about == {"pairs": 8, "held out": False, "left out": 0}
    for name, values in one.calibration.scores.items():
        assert other.calibration.scores[name] == pytest.approx(values, rel=0.02)
    assert np.allclose(one.facts["error"], other.facts["error"], rtol=1e-3)


def test_too_few_pairs():
    with pytest.raises(ValueError, match="3 `held_out` to measure; 4"):
        learning.TrainingRecord.measure(pairs("filaments", 1, length=7), predict)


def test_spread_of_several_networks_counts():
    def several(images, operator):
        estimate = predict(images, operator)
        return estimate, 0.02 * estimate

    source = pairs("filaments", 1, length=8)
    record = learning.TrainingRecord.measure(source, several, **HOW)
    images, _ = source[0]
    estimate = predict(images, BLUR)
    agreed, apart = (
        learning.assess(estimate, images, record=record, spread=share * estimate, **HOW)
        for share in (0.02, 1.0)
    )
    assert abs(agreed.scores["spread"]) < 1
    assert apart.scores["spread"] > 10
    assert any("networks differ" in reason for reason in apart.reasons)


def test_distances_are_those_of_mahalanobis():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    vectors = rng.normal(size=(2000, 4)) @ mixing
    cloud = Cloud.of(vectors)
    spread = vectors.std(0) + 0.05
    correlations = (
        0.9
        * ((vectors - vectors.mean(0)) / spread).T
        @ ((vectors - vectors.mean(0)) / spread)
        / len(vectors)
    )
    np.fill_diagonal(correlations, 1)
    inverse = np.linalg.inv(correlations * np.outer(spread, spread))
    wanted = mahalanobis(vectors[7], np.median(vectors, 0), inverse) / 2
    assert cloud.distance(vectors[7]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("count", "rank"), [(10, 10), (19, 19), (99, 95), (199, 190)])
def test_thresholds_are_conformal(count, rank):
    values = np.exp(np.random.default_rng(0).permutation(count) / count)
    known = Calibration({"pull": values}, {})
    ordered = np.sort(known.combined({"pull": values}))
    assert known.threshold(["pull"]) == pytest.approx(ordered[rank - 1])


def test_trust_is_the_share_of_good_voxels_that_look_as_bad():
    rng = np.random.default_rng(0)
    good = {"a": rng.exponential(size=50_000), "b": rng.normal(size=50_000) ** 2}
    known = calibrated({}, {name: [values] for name, values in good.items()})
    fresh = {"a": rng.exponential(size=50_000), "b": rng.normal(size=50_000) ** 2}
    trust = np.asarray(known.trust(fresh))
    for share in (0.01, 0.1, 0.5, 0.9):
        assert (trust < share).mean() == pytest.approx(share, rel=0.2, abs=0.01)
    assert np.max(known.trust({"a": np.array([50.0]), "b": np.zeros(1)})) < 1e-3


def test_features_know_structures_and_not_brightness():
    operator = BLUR
    images = {}
    for name in ("spheres", "filaments"):
        images[name] = jnp.stack([p.images[0] - 5 for p in pairs(name, 5, length=8)])
    vectors = {k: np.stack([features(x) for x in v]) for k, v in images.items()}
    scaled = features(7.5 * images["spheres"][0])
    assert np.allclose(scaled, vectors["spheres"][0], atol=1e-3)
    cloud = Cloud.of(vectors["filaments"])
    near, far = (cloud.distance(vectors[k]) for k in ("filaments", "spheres"))
    assert far.min() > near.max()
    assert np.median(far) > 2.5 * np.median(near)
    assert operator.range == FIELD
    names = trait_names("input", 2, vectors["spheres"].shape[1])
    assert len(names) == vectors["spheres"].shape[1]
    solid = np.asarray(features(jnp.ones((8, 20, 20)).at[2:5].set(4.0)))
    assert len(trait_names("input", 3, solid.size)) == solid.size
    assert np.isfinite(solid).all()
    assert np.isfinite(features(jnp.zeros(FIELD), local=True)).all()


def test_the_dark_has_features_of_its_own():
    """A light elsewhere, by whose rounding all in the dark once was covered."""
    image = np.full((60, 50), 1e-4, np.float32)
    image[10:20, 10:20] = 1e3
    smooth = smoothed(jnp.asarray(image**4), 6.0)
    expected = ndimage.gaussian_filter(
        (image**4).astype(float), 6.0, mode="reflect", truncate=4.0
    )
    np.testing.assert_allclose(smooth, expected, rtol=1e-5)
    # Noise in the dark, a disc of 1,000 times as much light far away.
    field = np.random.default_rng(0).normal(size=(120, 120)).astype(np.float32)
    far = np.hypot(*(np.indices(field.shape) - 20)) < 15
    found = np.asarray(features(jnp.asarray(field + 1000 * far), local=True))
    dark = found[:, 75:-5, 75:-5]
    assert abs(dark - dark.mean((1, 2), keepdims=True)).max() < 4


def test_spectrum_is_that_of_the_wave():
    columns = np.indices(FIELD)[1]
    wave = np.cos(2 * np.pi * 0.28 * columns).astype(np.float32)
    shares = np.exp(spectrum(wave))
    assert shares[4] > 0.95  # 0.25 to 0.3125 cycles per voxel
    assert shares.sum() == pytest.approx(1, abs=1e-3)
    volume = np.broadcast_to(wave[:16, :16], (16, 16, 16))
    across = np.exp(spectrum(volume))
    assert across[3:6].sum() > 0.95
    assert np.allclose(np.exp(spectrum(volume.T))[8:], across[:8], atol=1e-4)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (3.0, 100.0)])
def test_light_is_counted_in_photons(gain, offset):
    photons = np.full((64, 64), 8.0)
    photons[:4] = 208.0
    noise = learning.CameraNoise.of(gain=gain, offset=offset)
    found = light_traits(gain * photons + offset, 8 * gain + offset, noise)
    median, high, brightest, background, ratio = np.exp(found)
    assert median == pytest.approx(0.3)  # none
    assert [high, brightest] == pytest.approx([200, 200], rel=1e-4)
    assert background == pytest.approx(8, rel=1e-4)
    assert ratio == pytest.approx(200 / np.sqrt(208), rel=1e-4)


def test_psfs_are_compared_by_width_and_shape():
    psf = np.asarray(jd.psf.gaussian((21, 21), 4.0))
    assert compare_psfs(psf, psf).agreement == 1
    moved = np.roll(np.pad(psf, 4), 2, 0)
    assert compare_psfs(moved, psf).same
    wide = compare_psfs(jd.psf.gaussian((21, 21), (4.0, 5.2)), psf)
    assert wide.widths == pytest.approx((1.0, 1.3), abs=0.02)
    assert not wide.same
    # Of Gaussians in one axis: sqrt(2 s t / (s^2 + t^2)).
    assert wide.agreement == pytest.approx(np.sqrt(2 * 1.3 / (1 + 1.69)), abs=0.01)
    with pytest.raises(ValueError, match="PSF of shape"):
        compare_psfs(psf, np.ones((3, 3, 3)))


def test_empty_fields_and_failures_are_not_what_is_usual():
    """One in eight of them once hid all other failures."""
    assert good_ones([0.1, 0.2, np.nan, 0.15, 0.9, np.inf, 0.3]) == [0, 1, 3, 6]
    assert good_ones([np.nan, np.nan]) == [0, 1]
    source = [pairs("filaments", 7)[i] for i in range(5)]
    images, truth = source[0]
    rng = np.random.default_rng(0)
    nothing = rng.poisson(5.0, images.shape).astype(np.float32), np.zeros_like(truth)
    measured = [
        learning.TrainingRecord.measure(source, predict, held_out=held_out, **HOW)
        for held_out in (source, [*source, nothing])
    ]
    plain, other = (record.calibration.scores["pull"] for record in measured)
    np.testing.assert_array_equal(plain, other)
    assert [record.about["left out"] for record in measured] == [0, 1]
