"""Simulated structures, pairs from memory and files, patches, batches."""

import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

import jaxdecon as jd
from jaxdecon import learning
from jaxdecon.learning.pairs._patches import _moved
from jaxdecon.learning.pairs._structures_draw import (
    Field,
    in_box,
    in_ellipsoid,
    in_gaussian,
    stamp,
)
from jaxdecon.learning.pairs._structures_network import _bisector, _nearest

KEY = jax.random.key(0)
stamped = jax.jit(stamp, static_argnames=("field", "draw", "reach", "most"))


# Normalisation


def test_normaliser_keeps_photometry():
    """What becomes 0 and 1, and back; an object's image stays its image."""
    rng = np.random.default_rng(0)
    image = rng.uniform(100, 300, (40, 50)).astype(np.float32)
    rule = learning.Normaliser.fit(image, low=5, high=95)
    low, high = np.percentile(image, [5, 95])
    assert rule.offset == pytest.approx(low, rel=1e-6)
    assert rule.scale == pytest.approx(high - low, rel=1e-6)
    assert np.allclose(rule.invert(rule.apply(image)), image, rtol=1e-6)
    thing, background = image - 100, 100.0
    rule = learning.Normaliser.affine(offset=background, scale=37.0)
    assert np.allclose(rule.apply(thing + background), rule.apply_object(thing))
    assert np.allclose(rule.invert_object(rule.apply_object(thing)), thing, rtol=1e-6)


def test_normaliser_knows_the_background():
    """Haze stays in the image as light of the object."""
    image = np.random.default_rng(0).uniform(150, 300, (40, 50)).astype(np.float32)
    rule = learning.Normaliser.fit(image, background=100.0, high=95)
    assert float(rule.offset) == 100
    top = float(np.percentile(image, 95))
    assert float(rule.offset + rule.scale) == pytest.approx(top, rel=1e-6)
    with pytest.raises(ValueError, match="a background below the image"):
        learning.Normaliser.fit(image, background=400.0)
    pairs = learning.NormalisedPairs([(image[None], image)], background=100.0)
    least = float((image.min() - 100) / (np.percentile(image, 99.9) - 100))
    assert float(pairs[0].images.min()) == pytest.approx(least, rel=1e-5)


def test_normaliser_does_not_hang_on_one_hot_pixel():
    image = np.random.default_rng(0).uniform(0, 1, (64, 64))
    hot = image.copy()
    hot[3, 4] = 1e6
    fit = learning.Normaliser.fit
    assert fit(hot).scale == pytest.approx(float(fit(image).scale), rel=2e-3)
    traced = jax.jit(fit)(image.astype(np.float32))
    assert traced.scale == pytest.approx(float(fit(image).scale), rel=1e-5)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.full((8, 8), 7.0), {}, "constant: all of it is 7"),
        (np.eye(100), {"high": 98.0}, "a higher `high`"),
        (np.array([1.0, np.nan]), {}, "NaN"),
        (np.arange(9.0), {"low": 60, "high": 40}, "low < high"),
    ],
)
def test_images_without_a_range_are_refused(image, options, message):
    with pytest.raises(ValueError, match=message):
        learning.Normaliser.fit(image, **options)


# Structures


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 1.0, 1.0)])
def test_bodies_cover_their_volume_wherever_they_lie(spacing):
    """Light and centroid of a ball, a box and a bead between the voxels."""
    field = Field.of((30, 32, 34), spacing)
    centre = jnp.array([[13.3, 15.71, 17.45]])
    radius, sides, sigma = 5.0, np.array([5.2, 3.7, 7.1]), 0.9
    cases = [
        (in_ellipsoid, field.voxels(radius)[None], 4 / 3 * np.pi * radius**3, 2e-3),
        (in_box, field.voxels(sides)[None], sides.prod(), 1e-5),
        (in_gaussian, field.voxels(sigma)[None], np.prod(spacing), 1e-5),
    ]
    for draw, body, volume, tolerance in cases:
        light = np.asarray(stamped(field, centre, body, draw, reach=6.0), float)
        assert light.sum() * np.prod(spacing) == pytest.approx(volume, rel=tolerance)
        places = np.indices(light.shape).reshape(3, -1) @ light.ravel() / light.sum()
        # A voxel that is covered in part is bright at its centre: up to 1 / (8 side).
        assert places == pytest.approx(np.asarray(centre[0]), abs=1 / 8 / 3.7)
        assert light.max() <= 1 + 1e-6


def test_a_field_is_a_crop_of_a_larger_one():
    """Nothing comes back at the other side; what reaches in from outside is there."""
    centres = jax.random.uniform(KEY, (30, 2), minval=-6, maxval=46)
    radii = jnp.full((30, 2), 4.0)
    small = stamped(Field.of((40, 40), 1), centres, radii, in_ellipsoid, reach=4)
    wide = stamped(Field.of((60, 60), 1), centres + 10, radii, in_ellipsoid, reach=4)
    assert np.allclose(small, wide[10:50, 10:50], atol=1e-5)
    # And it is the same if not all are drawn at once, in groups of seven.
    few = stamped(
        Field.of((40, 40), 1), centres, radii, in_ellipsoid, reach=4, most=7 * 11**2
    )
    assert np.allclose(few, small, atol=1e-5)
    assert float(wide.sum() - small.sum()) > 10


def test_filaments_do_not_go_on_at_the_opposite_side():
    light = np.asarray(learning.filaments(jax.random.key(2), (8, 32, 32)))

    def alike(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    assert alike(light[:, 0], light[:, 1]) > 0.8
    assert abs(alike(light[:, 0], light[:, -1])) < 0.4


def test_cells_end_half_way_between_their_seeds():
    rng = np.random.default_rng(0)
    seeds = rng.uniform(0, 30, (20, 3)).astype(np.float32)
    place = rng.uniform(0, 30, (50, 3)).astype(np.float32)
    found = _nearest(jnp.asarray(place), jnp.asarray(seeds), 3)
    distances, numbers = cKDTree(seeds).query(place, 3)
    for rank, (squared, positions) in enumerate(found):
        assert np.allclose(squared, distances[:, rank] ** 2, rtol=1e-3, atol=1e-3)
        assert np.allclose(positions, seeds[numbers[:, rank]], atol=1e-4)
    gap, normal = _bisector(*found[0], *found[1])
    foot = place + np.asarray(gap)[:, None] * np.asarray(normal)
    first = np.linalg.norm(foot - found[0][1], axis=1)
    assert np.allclose(first, np.linalg.norm(foot - found[1][1], axis=1), atol=1e-3)


STRUCTURES_TRIED = [
    ("shells", (10, 20, 22)),
    ("beads", (32, 30)),
    ("nuclei", (10, 20, 22)),
    ("phantom", (10, 20, 22)),
    ("tubules", (10, 20, 22)),
    ("tubules", (32, 30)),
]


@pytest.mark.parametrize(("name", "shape"), STRUCTURES_TRIED)
def test_structures(name, shape):
    """Light that is always the same for a key, and another for another."""
    draw = jax.jit(lambda key: learning.STRUCTURES[name](key, shape))
    first, again, other = (np.asarray(draw(jax.random.key(n))) for n in (3, 3, 4))
    assert first.shape == shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.max() > 0
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_mixtures_add_their_parts():
    def flat(key, shape, spacing):
        return jnp.full(shape, 4.0)

    def corner(key, shape, spacing):
        return jnp.zeros(shape).at[0, 0].set(2.0)

    light = np.asarray(learning.Mixture((flat, corner))(KEY, (6, 5)))
    assert len(np.unique(light)) == 2
    assert 0.2 <= light[1, 1] <= 1
    assert 0.2 <= light[0, 0] - light[1, 1] <= 1


def test_structures_are_told_apart():
    with pytest.raises(ValueError, match="known are 'spheres'"):
        learning.as_structure("sphere")
    with pytest.raises(ValueError, match="one number or 2"):
        learning.spheres(KEY, (8, 8), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"\(z, y, x\) or \(y, x\)"):
        learning.beads(KEY, (8,))


# Simulated pairs


def stripes(key, shape, spacing):
    """A structure without cost: planes of random brightness."""
    return jnp.broadcast_to(jax.random.uniform(key, (shape[0], 1)), shape) ** 2


def blur(shape=(24, 20), width=3.0, boundary="extend"):
    line = np.exp(-4 * np.log(2) * (np.arange(-4, 5) / width) ** 2)
    psf = np.outer(line, line) / line.sum() ** 2
    return jd.operators.Convolution.from_psf(psf, shape, boundary=boundary)


@pytest.fixture(scope="module")
def camera_pairs():
    views = jd.operators.Views(
        [blur(width=2.0, boundary="reflect"), blur(width=4.0, boundary="reflect")]
    )
    return views, learning.SimulatedPairs(
        stripes,
        views,
        photons=(30, 300),
        background=(4, 9),
        read_noise=2.0,
        gain=1.7,
        offset=100.0,
        length=20,
        key=jax.random.key(7),
    )


def test_simulated_images_are_what_a_camera_would_record(camera_pairs):
    """Mean, variance and scale follow from the truth and the stated exposure."""
    views, pairs = camera_pairs
    peaks = []
    for number in range(6):
        images, truth = pairs[number]
        seen = pairs.exposure(number)
        light = np.stack(views(truth)) / 1.7
        peaks.append(float(seen.photons))
        assert light.max() == pytest.approx(peaks[-1], rel=1e-4)
        counts = light + float(seen.background)
        assert 4 <= seen.background <= 9
        z = (np.asarray(images) - 100 - 1.7 * counts) / (1.7 * np.sqrt(counts + 4))
        assert images.shape == (2, 24, 20)
        assert abs(z.mean()) < 0.13
        assert z.std() == pytest.approx(1, abs=0.09)
        assert abs(np.corrcoef(z[0].ravel(), z[1].ravel())[0, 1]) < 0.2
    assert 30 <= min(peaks) < max(peaks) <= 300


def test_simulated_pairs_are_always_the_same(camera_pairs):
    _, pairs = camera_pairs
    assert np.array_equal(pairs[4].images, pairs[4].images)
    assert np.array_equal(pairs[-1].truth, pairs[19].truth)
    assert not np.array_equal(pairs[4].truth, pairs[5].truth)
    assert pairs.spatial_shape(0) == pairs[0].truth.shape
    assert "photons" in pairs.describe(3)
    with pytest.raises(IndexError, match="there are 20"):
        pairs[20]


def test_light_comes_from_beyond_the_field():
    operator = blur()

    def far(key, shape, spacing):
        (seen,) = jax.linear_transpose(operator.image_region, jnp.ones(shape))(
            jnp.ones((24, 20))
        )
        return 1 - seen

    pairs = learning.SimulatedPairs(
        far, operator, photons=400.0, background=0.0, key=KEY
    )
    images, truth = pairs[0]
    assert truth.max() == 0
    assert images[0, :1].mean() > 50
    assert images[0, 10, 10] == 0


def test_every_pair_has_its_operator_and_structure():
    narrow, wide = (blur(width=w, boundary="periodic") for w in (1.0, 5.0))

    def point(key, shape, spacing):
        return jnp.zeros(shape).at[12, 10].set(1.0)

    def square(key, shape, spacing):
        return jnp.zeros(shape).at[8:16, 6:14].set(1.0)

    pairs = learning.SimulatedPairs(
        (point, square), (narrow, wide), photons=1e6, background=0, key=KEY
    )
    seen = set()
    for number in range(12):
        operator = pairs.operator_of(number)
        images, truth = pairs[number]
        assert np.allclose(images[0], operator(truth), rtol=0.02, atol=3000)
        seen.add((operator is wide, int((truth > 0).sum())))
    assert seen == {(False, 1), (False, 64), (True, 1), (True, 64)}


def test_dark_fields_stay_dark():
    pairs = learning.SimulatedPairs(
        lambda key, shape, spacing: jnp.zeros(shape), blur(), key=KEY
    )
    images, truth = pairs[0]
    assert truth.max() == 0
    assert images.mean() == pytest.approx(5, abs=0.5)


def test_simulations_that_cannot_be_are_refused():
    operator = blur()
    with pytest.raises(TypeError, match="a linear operator is needed"):
        learning.SimulatedPairs("beads", np.ones((3, 3)), key=KEY)
    with pytest.raises(ValueError, match="low <= high"):
        learning.SimulatedPairs("beads", operator, photons=(9, 3), key=KEY)
    with pytest.raises(ValueError, match="one of each is needed"):
        learning.SimulatedPairs("beads", [operator, blur((20, 20))], key=KEY)
    binned = jd.operators.Downsample.from_factor((1, 2), (24, 20))
    with pytest.raises(ValueError, match="one grid for all is needed"):
        learning.SimulatedPairs("beads", binned, key=KEY)


# Sources of pairs


def array_pairs(count=6, shape=(12, 14)):
    rng = np.random.default_rng(3)
    truths = [rng.uniform(size=shape).astype(np.float32) for _ in range(count)]
    return learning.ArrayPairs([10 * t + 3 for t in truths], truths)


def test_pairs_in_memory():
    pairs = array_pairs()
    assert pairs[1].images.shape == (1, 12, 14)
    part = pairs.part(2, (3, 4), (5, 6))
    assert np.array_equal(part.truth, pairs[2].truth[3:8, 4:10])
    assert np.array_equal(part.images[0], 10 * part.truth + 3)
    train, judged = learning.hold_out(pairs, 0.3, key=KEY)
    assert (len(train), len(judged)) == (4, 2)
    assert not set(train.indices) & set(judged.indices)
    assert np.array_equal(judged[1].truth, pairs[judged.indices[1]].truth)
    with pytest.raises(ValueError, match="there are 2 `images` and 1 `truths`"):
        learning.ArrayPairs([np.ones((4, 4))] * 2, [np.ones((4, 4))])
    with pytest.raises(ValueError, match="must be on one grid"):
        learning.ArrayPairs([np.ones((4, 4))], [np.ones((4, 5))])
    with pytest.raises(ValueError, match="two or more"):
        learning.hold_out(array_pairs(1), key=KEY)


def test_patches_are_normalised_like_their_volume():
    pairs = array_pairs()
    scaled = learning.NormalisedPairs(pairs, low=0, high=100)
    whole = scaled[3]
    part = scaled.part(3, (2, 5), (6, 7))
    assert np.allclose(part.images, whole.images[:, 2:8, 5:12], atol=1e-6)
    assert np.allclose(part.truth, whole.truth[2:8, 5:12], atol=1e-6)
    assert whole.images.min() == pytest.approx(0, abs=1e-6)
    assert whole.images.max() == pytest.approx(1, abs=1e-6)
    rule = scaled.normaliser(3)
    assert np.allclose(rule.invert_object(whole.truth), pairs[3].truth, rtol=1e-5)
    blank = learning.ArrayPairs([np.ones((8, 8))], [np.ones((8, 8))])
    with pytest.raises(ValueError, match=r"pair 0 cannot be normalised.*constant"):
        learning.NormalisedPairs(blank)[0]


def blank(value):
    return np.full((1, 8, 8), value), np.zeros((8, 8))


GOOD = (np.arange(64.0).reshape(1, 8, 8), np.eye(8))
BAD_PAIRS = [
    ([GOOD], {}, "there are 1 pairs, and 2 or more"),
    ([GOOD, (GOOD[0], np.eye(7))], {}, r"pair 1 .* must be on one grid"),
    (
        [GOOD, (np.full((1, 8, 8), np.nan), GOOD[1])],
        {},
        r"pair 1 \(images\) has 64 NaN",
    ),
    ([GOOD, (GOOD[0], np.full((8, 8), np.inf))], {}, r"pair 1 \(truth\) has 64 NaN"),
    ([GOOD, (np.concatenate([GOOD[0]] * 2), GOOD[1])], {}, "as many views"),
    ([blank(3.0)] * 3, {}, "3 of 3 pairs looked at have constant images"),
    ([(GOOD[0], np.zeros((8, 8)))] * 3, {}, "constant truth"),
    ([GOOD] * 2, {"patch": (4, 9)}, "a patch of as many axes, not larger"),
]


@pytest.mark.parametrize(("pairs", "options", "message"), BAD_PAIRS)
def test_pairs_that_teach_nothing_are_refused(pairs, options, message):
    with pytest.raises(ValueError, match=message):
        learning.check_pairs(pairs, **options)


def test_good_pairs_pass():
    learning.check_pairs([GOOD] * 3 + [(GOOD[0], np.zeros((8, 8)))], patch=(8, 4))
    with pytest.raises(TypeError, match="a source of pairs"):
        learning.check_pairs(7)


# Files


class Watched:
    """Data of a file that remember how much was read at once."""

    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.largest = 0

    def __getitem__(self, index):
        values = np.asarray(self.data[index])
        self.largest = max(self.largest, values.size)
        return values


@pytest.fixture
def volumes(tmp_path):
    """Two volumes with targets, as TIFF and OME-Zarr."""
    rng = np.random.default_rng(8)
    size = (0.3, 0.1, 0.1)
    arrays, paths = [], []
    for suffix in (".tif", ".ome.zarr"):
        image = rng.integers(90, 4000, (12, 40, 30)).astype(np.uint16)
        target = rng.uniform(0, 50, (12, 40, 30)).astype(np.float32)
        named = [tmp_path / f"{kind}{suffix}" for kind in ("image", "target")]
        for path, data in zip(named, (image, target), strict=True):
            jd.io.write(path, jd.io.Image(data=data, axes="zyx", voxel_size=size))
        arrays.append((image, target))
        paths.append(named)
    return arrays, paths


def test_patches_are_read_from_files_without_the_rest(volumes):
    arrays, paths = volumes
    pairs = learning.DiskPairs([p[0] for p in paths], [p[1] for p in paths])
    assert len(pairs) == 2
    assert pairs.voxel_size == pytest.approx((0.3, 0.1, 0.1))
    for entry in pairs._entries:
        ((data, lead),) = entry.views
        object.__setattr__(entry, "views", ((Watched(data), lead),))
    found = learning.patches(pairs, (4, 16, 10), key=KEY)
    assert len(found) == 2 * 16 * 12 * 40 * 30 // (4 * 16 * 10)
    for number in range(8):
        images, truth = found[number]
        image, target = arrays[number % 2]
        windows = np.lib.stride_tricks.sliding_window_view(target, truth.shape)
        (where,) = np.argwhere(windows[..., 0, 0, 0] == truth[0, 0, 0])
        box = tuple(slice(c, c + n) for c, n in zip(where, truth.shape, strict=True))
        assert np.array_equal(truth, target[box])
        assert np.array_equal(images[0], image[box])
        assert images.dtype == np.float32
        assert "corner at" in found.describe(number)
    assert all(entry.views[0][0].largest == 640 for entry in pairs._entries)
    scaled = learning.NormalisedPairs(pairs)
    assert np.allclose(
        scaled[1].images[:, :, 3:9],
        scaled.part(1, (0, 3, 0), (12, 6, 30)).images,
    )
    assert pairs._entries[1].views[0][0].largest == 12 * 40 * 30  # by scaled[1]


def test_files_with_channels_times_and_views(tmp_path):
    data = np.arange(2 * 3 * 8 * 9, dtype=np.float32).reshape(2, 3, 8, 9)
    image = jd.io.Image(data=data, axes="tcyx", voxel_size=(0.1, 0.1))
    jd.io.write(tmp_path / "both.ome.tif", image)
    jd.io.write(tmp_path / "view.ome.tif", image.replace(data=data[:, 0], axes="tyx"))
    both, view = tmp_path / "both.ome.tif", tmp_path / "view.ome.tif"
    pairs = learning.DiskPairs([both], [both], channels=[2, 0], target_channel=1)
    assert len(pairs) == 2
    assert np.array_equal(pairs[1].images, data[1, [2, 0]])
    assert np.array_equal(pairs[1].truth, data[1, 1])
    views = learning.DiskPairs([(view, view)], [view])
    assert np.array_equal(views[0].images, data[0, [0, 0]])
    assert "time point 1" in views.describe(1)
    with pytest.raises(ValueError, match="has 3 channels; say which"):
        learning.DiskPairs([both], [view])


def test_files_that_do_not_fit_are_refused(volumes, tmp_path):
    _, ((image, target), _) = volumes
    other = {
        "short.tif": (np.ones((12, 40, 29)), (0.3, 0.1, 0.1), "has shape"),
        "coarse.tif": (np.ones((12, 40, 30)), (0.3, 0.2, 0.2), "has voxel size"),
    }
    for name, (data, size, message) in other.items():
        made = jd.io.Image(data=data.astype(np.float32), axes="zyx", voxel_size=size)
        jd.io.write(tmp_path / name, made)
        with pytest.raises(ValueError, match=message):
            learning.DiskPairs([image], [tmp_path / name])
    given = learning.DiskPairs(
        [image], [tmp_path / "coarse.tif"], voxel_size=(0.3, 0.1, 0.1)
    )
    assert given.voxel_size == (0.3, 0.1, 0.1)
    with pytest.raises(ValueError, match="there are 2 `inputs` and 1 `targets`"):
        learning.DiskPairs([image, image], [target])
    with pytest.raises(TypeError, match="a list of paths"):
        learning.DiskPairs(str(image), [target])
    with pytest.raises(FileNotFoundError):
        learning.DiskPairs([tmp_path / "none.tif"], [target])
    holes = np.ones((4, 8, 8), np.float32)
    holes[2, 3, 4] = np.nan
    jd.io.write(tmp_path / "holes.npy", holes)
    pairs = learning.DiskPairs([tmp_path / "holes.npy"], [tmp_path / "holes.npy"])
    assert pairs.part(0, (0, 0, 0), (2, 8, 8)).truth.shape == (2, 8, 8)
    with pytest.raises(ValueError, match=r"holes.npy .* NaN .*\[0:4, 0:8, 0:8\]"):
        pairs[0]


def test_targets_by_deconvolution(tmp_path):
    psf = jd.psf.gaussian((5, 5), 2.0)
    images = np.random.default_rng(1).poisson(20, (2, 16, 16)).astype(np.float32)
    options = {"iterations": 3, "background": 2.0}
    wanted = [jd.richardson_lucy(image, psf, **options) for image in images]
    told = []
    made = learning.deconvolved_targets(
        list(images), psf, **options, progress=lambda *n: told.append(n)
    )
    assert np.allclose(made, wanted, rtol=1e-5)
    assert told == [(1, 2), (2, 2)]
    series = jd.io.Image(data=images, axes="tyx", voxel_size=(0.1, 0.1))
    jd.io.write(tmp_path / "series.ome.tif", series)
    paths = [tmp_path / "series.ome.tif"]
    folder = tmp_path / "targets"
    (target,) = learning.deconvolved_targets(paths, psf, folder=folder, **options)
    pairs = learning.DiskPairs(paths, [target])
    assert np.allclose(pairs[1].truth, wanted[1], rtol=1e-5)
    assert pairs.voxel_size == pytest.approx((0.1, 0.1))
    before = {f: f.stat().st_mtime_ns for f in Path(target).rglob("*")}
    learning.deconvolved_targets(paths, psf, folder=folder, **options)
    assert {f: f.stat().st_mtime_ns for f in Path(target).rglob("*")} == before
    with pytest.raises(ValueError, match="in another way"):
        learning.deconvolved_targets(paths, psf, folder=folder, iterations=4)
    with pytest.raises(TypeError, match="`iterations` and other options"):
        learning.deconvolved_targets(paths, psf, folder=folder)
    with pytest.raises(ValueError, match="`folder` is None"):
        learning.deconvolved_targets(paths, psf, iterations=4)


def test_targets_by_a_plan():
    psf = jd.psf.gaussian((5, 5), 2.0)
    image = np.random.default_rng(1).poisson(20, (16, 16)).astype(np.float32)
    trial = jd.deconvolution.plan.__globals__["Trial"](
        back_projector="matched", start="constant", iterations=3
    )
    plan = jd.deconvolution.Plan(
        gain=2.0,
        offset=1.0,
        background=3.0,
        boundary="extend",
        choice=trial,
        trials=(trial,),
        reason="",
        snr=4.0,
        evidence=(),
        warnings=(),
    )
    (target,) = learning.deconvolved_targets([image], psf, plan=plan)
    assert np.allclose(target, plan.run(image, psf).value, rtol=1e-6)
    with pytest.raises(TypeError, match="either `plan`"):
        learning.deconvolved_targets([image], psf, plan=plan, iterations=3)


# Patches


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("flips", [[], [-1], [-3, -2]])
def test_flips_and_turns(quarter, flips):
    array = np.random.default_rng(0).uniform(size=(2, 3, 4, 4))
    wanted = np.rot90(np.flip(array, flips), quarter, axes=(-2, -1))
    assert np.array_equal(_moved(array, flips, quarter), wanted)


def test_images_and_truth_are_flipped_alike():
    allowed = learning.Augmentation(flips=(0, 1), turns=True)
    pairs = array_pairs(shape=(14, 14))
    found = learning.patches(pairs, (8, 8), augment=allowed, key=KEY, count=64)
    plain = learning.patches(pairs, (8, 8), key=KEY, count=64)
    forms = set()
    for number in range(64):
        images, truth = found[number]
        assert np.allclose(images[0], 10 * truth + 3)
        was = np.asarray(plain[number].truth)
        turned = [np.rot90(was, k) for k in range(4)]
        all_of_them = turned + [t.T for t in turned]
        (form,) = [k for k, t in enumerate(all_of_them) if np.array_equal(t, truth)]
        forms.add(form)
    assert forms == set(range(8))
    assert np.array_equal(found[5].truth, found[5].truth)


def test_a_psf_says_what_may_be_flipped():
    allowed = learning.Augmentation.allowed_by
    assert allowed(jd.psf.gaussian((9, 9, 9), (4, 2, 2))).turns
    assert allowed(jd.psf.gaussian((8, 8), 2.0)).flips == (0, 1)
    assert not allowed(jd.psf.gaussian((9, 9), (2, 4))).turns
    sheared = np.zeros((9, 9, 9))
    for z in range(9):
        sheared[z, 4, z] = 1 / 9
    assert allowed(sheared).flips == (1,)
    turning = learning.Augmentation(turns=True)
    with pytest.raises(ValueError, match="square in yx"):
        learning.patches(array_pairs(), (6, 8), augment=turning, key=KEY)


def test_patches_of_sparse_samples():
    truth = np.zeros((40, 40), np.float32)
    truth[4:8, 4:8] = 1.0
    pairs = learning.ArrayPairs([truth + 1], [truth])
    options = {"count": 40, "key": KEY}
    found = learning.patches(pairs, (8, 8), best_of=12, **options)
    plain = learning.patches(pairs, (8, 8), **options)
    share, before = ([p.truth.max() > 0 for p in source] for source in (found, plain))
    assert np.mean(share) > 2 * np.mean(before)


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"larger than pair 0, of shape \(12, 14\)"):
        learning.patches(array_pairs(), (8, 16), key=KEY)
    with pytest.raises(ValueError, match="is 2D"):
        learning.patches(array_pairs(), (4, 4, 4), key=KEY)
    with pytest.raises(ValueError, match="no pairs"):
        learning.patches([], (4, 4), key=KEY)


# Batches


class Counted(learning.PairSource):
    """Pairs that are their numbers, and how many were asked for."""

    def __init__(self, length, broken=None):
        self.length, self.broken, self.asked = length, broken, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.asked.append(index)
        if index == self.broken:
            raise OSError("the disk is gone")
        wide = 9 if self.broken == -1 and index == 3 else 8
        return learning.Pair(np.full((1, 8, wide), index), np.full((8, wide), index))


def numbers_of(batch):
    assert batch.images.shape == (len(batch.truth), 1, 8, 8)
    return batch.truth[:, 0, 0].tolist()


def test_batches_see_every_pair_before_any_again():
    stream = learning.batches(Counted(10), 3, key=KEY)
    seen = [numbers_of(next(stream)) for _ in range(6)]
    stream.close()
    rounds = [[*a, *b, *c] for a, b, c in (seen[:3], seen[3:])]
    assert all(len(set(turn)) == 9 for turn in rounds)
    assert rounds[0] != rounds[1]
    for number, batch in enumerate(seen):
        assert learning.batch_indices(10, 3, number, key=KEY).tolist() == batch


def test_batches_go_on_where_a_run_stopped():
    def stream(**options):
        found = learning.batches(Counted(7), 2, key=KEY, **options)
        return [numbers_of(batch) for batch in found]

    whole = stream(count=9)
    assert stream(start=5, count=4) == whole[5:]
    assert stream(count=9, prefetch=0) == whole
    assert stream(count=9, workers=1, prefetch=5) == whole
    assert stream(count=0) == []


def test_batches_are_not_made_too_far_ahead():
    source = Counted(50)
    threads = threading.active_count()
    stream = learning.batches(source, 2, key=KEY, prefetch=3)
    for used in range(1, 4):
        next(stream)
        assert len(source.asked) <= 2 * (used + 3)
    stream.close()
    for thread in threading.enumerate():
        if thread.name.startswith(("pairs", "batches")):
            thread.join(5)
    assert threading.active_count() <= threads


def test_batches_tell_which_pair_failed():
    with pytest.raises(OSError, match="the disk is gone") as caught:
        list(learning.batches(Counted(6, broken=4), 2, key=KEY, count=3))
    assert "while reading pair 4" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="cut them with `patches`"):
        list(learning.batches(Counted(6, broken=-1), 6, key=KEY, count=1))
    with pytest.raises(ValueError, match="too few for batches of 7"):
        learning.batches(Counted(6), 7, key=KEY)
