"""Registration: known poses come back, and wrong ones are not believed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import jaxdecon as jd
from jaxdecon.geometry import MODELS, Transform, in_voxels
from jaxdecon.geometry._rotation import rotation
from jaxdecon.registration import Status
from jaxdecon.registration._guesses import by_moments
from jaxdecon.registration._moments import Pair

from ._blobs import SHAPE, Blobs, corner_error, pose


@pytest.fixture(scope="module")
def blobs():
    return Blobs()


@pytest.fixture(scope="module")
def fixed(blobs):
    return blobs.image(SHAPE, np.eye(4))


@pytest.mark.parametrize("model", MODELS)
def test_poses_of_every_model_come_back(blobs, fixed, model):
    truth = pose(model, seed=3)
    moving = blobs.image(SHAPE, truth, seed=1)
    found = jd.register(fixed, moving, model=model)
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.05
    Transform.from_matrix(found.matrix, model, (0, 0, 0))  # it is of the model


@pytest.mark.parametrize("seed", range(4))
def test_far_poses_are_found(blobs, fixed, seed):
    truth = pose("rigid", seed=seed, angle=0.5, shift=8.0)
    moving = blobs.image(SHAPE, truth, seed=1)
    found = jd.register(fixed, moving, model="rigid")
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.05


def test_the_uncertainty_is_of_the_error_s_size(blobs, fixed):
    ratios = []
    for seed in range(6):
        truth = pose("affine", seed=seed)
        moving = blobs.image(SHAPE, truth, noise=0.1, seed=seed)
        found = jd.register(fixed, moving)
        ratios.append(corner_error(found.matrix, truth) / float(found.uncertainty))
    assert 0.4 < np.median(ratios) < 2.5


@pytest.mark.slow
def test_volumes_of_other_sizes_and_voxels(blobs, fixed):
    """A rigid motion in µm, seen with two kinds of voxels."""
    sizes = (0.2, 0.2, 0.2), (0.4, 0.25, 0.25)
    centre = (np.array(SHAPE) - 1) / 2 * 0.2
    motion = Transform(
        parameters=jnp.asarray([0.1, -0.05, 0.08, 0.5, -0.4, 0.3]),
        centre=jnp.asarray(centre),
        model="rigid",
    )
    truth = in_voxels(motion.matrix, *sizes)
    moving = blobs.image((24, 42, 46), truth, seed=1)
    found = jd.register(
        fixed,
        moving,
        model="rigid",
        fixed_voxel_size=sizes[0],
        moving_voxel_size=sizes[1],
    )
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.05


def test_units_and_offsets_do_not_matter(blobs, fixed):
    truth = pose("rigid", seed=2)
    moving = blobs.image(SHAPE, truth, seed=1)
    found = jd.register(fixed, moving, model="rigid")
    other = jd.register(1e4 * fixed + 500, -3 + 1e-3 * moving, model="rigid")
    np.testing.assert_allclose(other.matrix, found.matrix, atol=2e-3)


def test_moments_know_voxel_sizes():
    """Their starts alone, of a body seen with voxels that are no cubes."""
    grid = np.stack(np.meshgrid(*map(np.arange, (40, 60, 50)), indexing="ij"), -1)
    sizes = (2.0, 0.5, 1.0)
    turn = np.asarray(rotation(jnp.array([0.4, -0.3, 0.5])), float)
    middle = (np.array(grid.shape[:3]) - 1) / 2 * sizes

    def body(turn, shift):
        there = (grid * sizes - middle - shift) @ turn
        there = there - (0, 0.5, 0)
        return np.exp(-0.5 * (there**2 / (25.0, 4.0, 9.0)).sum(-1)).astype(np.float32)

    shift = np.array([1.0, -0.5, 2.0])
    fixed, moving = body(np.eye(3), 0 * shift), body(turn, shift)
    pair = Pair(fixed=jnp.asarray(fixed), moving=jnp.asarray(moving))
    starts = np.asarray(by_moments(pair, (sizes, sizes)))
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, middle + shift - turn @ middle
    truth = in_voxels(motion, sizes, sizes)
    errors = [corner_error(start, truth, fixed.shape) for start in starts]
    assert min(errors) < 1.0
    assert starts.shape == (5, 4, 4)


def test_planes_are_registered():
    flat = Blobs(seed=1, count=80, ndim=2)
    truth = pose("similarity", seed=1, ndim=2)
    fixed, moving = (
        flat.image(SHAPE[:2], m, seed=s) for s, m in enumerate((np.eye(3), truth))
    )
    found = jd.register(fixed, moving, model="similarity")
    assert found.converged, found.message
    assert corner_error(found.matrix, truth, SHAPE[:2]) < 0.05


@pytest.mark.slow
def test_right_angles_are_tried(blobs, fixed):
    turned = np.ascontiguousarray(np.rot90(fixed, axes=(1, 2)))
    found = jd.register(fixed, turned, model="rigid", start="turns")
    assert found.converged, found.message
    back = found.warp(turned, SHAPE)
    np.testing.assert_allclose(back, fixed, atol=1e-2)


@pytest.mark.slow
def test_moments_find_a_specimen_turned_far():
    """A lone body with three axes, turned by two radians: beyond other starts."""
    rng = np.random.default_rng(5)
    blobs = Blobs(count=120)
    middle = (np.array(SHAPE) - 1) / 2
    blobs.places = middle + rng.normal(size=(120, 3)) * (9.0, 5.0, 2.5)
    truth = pose("rigid", seed=2, angle=2.0, shift=2.0)
    fixed, moving = (
        blobs.image(SHAPE, m, seed=s) for s, m in ((0, np.eye(4)), (1, truth))
    )
    found = jd.register(fixed, moving, model="rigid", start="moments")
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.1
    unturned = jd.register(fixed, moving, model="rigid", start="centre")
    assert corner_error(unturned.matrix, truth) > 10


@pytest.mark.parametrize("metric", ["ncc", "mi"])
def test_projections_find_a_far_shift(blobs, fixed, metric):
    truth = pose("rigid", seed=1, angle=0.1, shift=12.0)
    moving = blobs.image(SHAPE, truth, seed=1)
    found = jd.register(
        fixed, moving, model="rigid", start="projections", metric=metric
    )
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.15


def test_a_start_can_be_given(blobs, fixed):
    truth = pose("rigid", seed=1, angle=1.0)
    moving = blobs.image(SHAPE, truth, seed=1)
    near = truth.copy()
    near[:3, 3] += (1.0, -1.0, 0.5)
    found = jd.register(fixed, moving, model="rigid", initial=near)
    assert found.converged
    assert corner_error(found.matrix, truth) < 0.05


def test_masks_leave_out_what_moves_otherwise(blobs, fixed):
    truth = pose("rigid", seed=4)
    moving = blobs.image(SHAPE, truth, seed=1)
    intruder = fixed.copy()
    intruder[:, :14] = Blobs(seed=9).image(SHAPE, np.eye(4))[:, :14] * 3
    mask = np.ones(SHAPE, bool)
    mask[:, :14] = False
    found = jd.register(intruder, moving, model="rigid", mask=mask)
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.1


def test_warp_brings_the_moving_volume_to_the_fixed_one(blobs, fixed):
    truth = pose("affine", seed=6)
    moving = blobs.image(SHAPE, truth, noise=0.0)
    warped = jd.register(fixed, moving).warp(moving, SHAPE, order="cubic")
    inner = (slice(8, -8),) * 3
    assert np.corrcoef(warped[inner].ravel(), fixed[inner].ravel())[0, 1] > 0.99


WRONG = {
    "noise": lambda fixed: np.random.default_rng(0).normal(size=SHAPE),
    "other content": lambda fixed: Blobs(seed=5).image(SHAPE, np.eye(4)),
    "mirrored": lambda fixed: np.ascontiguousarray(fixed[::-1]),
    "inverted": lambda fixed: -fixed,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("model", ["rigid", "affine"])
def test_what_does_not_fit_is_not_believed(fixed, wrong, model):
    found = jd.register(fixed, WRONG[wrong](fixed), model=model)
    assert not found.converged, found.message
    with pytest.raises(RuntimeError, match="registration failed"):
        found.raise_for_status()


@pytest.mark.parametrize("seed", range(6))
def test_a_few_bright_blobs_that_happen_to_fit(seed):
    """Of two sparse scenes one or two blobs can always be brought to each other."""
    fixed, moving = (
        Blobs(seed=s, count=30).image(SHAPE, np.eye(4), seed=s)
        for s in (seed, 50 + seed)
    )
    found = jd.register(fixed, moving, model="rigid")
    assert not found.converged, found.message


def test_too_few_iterations_are_told(blobs, fixed):
    moving = blobs.image(SHAPE, pose("affine", seed=1), seed=1)
    found = jd.register(fixed, moving, iterations=1)
    assert found.status == Status.NOT_CONVERGED
    assert "iterations" in found.message


@pytest.mark.slow
def test_batches_by_vmap(blobs, fixed):
    truths = [pose("rigid", seed=s) for s in range(3)]
    moving = np.stack([blobs.image(SHAPE, t, seed=1) for t in truths])

    def one(moving):
        return jd.register(fixed, moving, model="rigid", start="identity")

    found = jax.vmap(one)(jnp.asarray(moving))
    for matrix, truth in zip(found.matrix, truths, strict=True):
        assert corner_error(matrix, truth) < 0.05
    assert "batch element" in found.message


BAD = {
    "constant": ({"fixed": np.ones(SHAPE)}, "constant"),
    "NaN": ({"fixed": np.full(SHAPE, np.nan)}, "NaN"),
    "axes": ({"moving": np.eye(8)}, "axes"),
    "model": ({"model": "elastic"}, "model"),
    "metric": ({"metric": "mse"}, "metric"),
    "start": ({"start": "luck"}, "start"),
    "initial": ({"initial": np.diag([1.0, 1.0, 0.0, 1.0])}, "singular"),
    "small initial": ({"initial": np.eye(3)}, "initial"),
    "mask": ({"mask": np.ones((2, 2, 2))}, "mask"),
    "empty mask": ({"mask": np.zeros(SHAPE)}, "nothing"),
    "size": ({"fixed_voxel_size": (1.0, 2.0)}, "fixed_voxel_size"),
    "one size": ({"moving_voxel_size": 1.0}, "both are needed"),
    "zero size": ({"fixed_voxel_size": 0.0}, "positive"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(fixed, case):
    options, message = BAD[case]
    arguments = {"fixed": fixed, "moving": fixed, **options}
    with pytest.raises((ValueError, TypeError), match=message):
        jd.register(**arguments)


@pytest.mark.parametrize("shift", [(5, -3, 10), (-9, 14, 0), (0, 0, 0)])
def test_whole_shifts_by_phase(shift):
    rng = np.random.default_rng(0)
    large = scipy.ndimage.gaussian_filter(rng.normal(size=(60, 70, 64)), 1.5)
    start = np.array((16, 16, 12))
    size = np.array((28, 36, 40))

    def cut(at):
        return large[tuple(slice(a, a + n) for a, n in zip(at, size, strict=True))]

    found = jd.phase_correlation(cut(start + shift), cut(start))
    np.testing.assert_allclose(found, shift, atol=0.05)


def test_parts_of_a_voxel_by_phase():
    blobs = Blobs(seed=3, count=80, ndim=2)
    shift = (2.35, -4.6)
    moved = np.eye(3)
    moved[:2, 2] = shift
    fixed, moving = (blobs.image((64, 72), m, seed=0) for m in (np.eye(3), moved))
    found = jd.phase_correlation(fixed, moving)
    np.testing.assert_allclose(found, shift, atol=0.15)


def test_phase_correlation_needs_one_shape(fixed):
    with pytest.raises(ValueError, match="equal ones"):
        jd.phase_correlation(fixed, fixed[1:])
    with pytest.raises(ValueError, match="constant"):
        jd.phase_correlation(fixed, np.ones(SHAPE))


@pytest.mark.parametrize("planes", [1, 2, 5, 7])
def test_few_planes(blobs, planes):
    """Thin stacks; of one plane only what is in the plane can be known."""
    shape = (planes, *SHAPE[1:])
    truth = np.eye(4)
    truth[1:3, 1:3] = [[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]]
    truth[1:3, 3] = (2.0, -3.0)
    fixed, moving = (
        blobs.image(shape, m, seed=s) for s, m in enumerate((np.eye(4), truth))
    )
    found = jd.register(fixed, moving, model="rigid")
    assert found.converged, found.message
    assert corner_error(found.matrix, truth, shape) < 0.2


def test_a_mirror_image_is_not_believed_but_can_be_told(blobs, fixed):
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    mirror[2, 3] = SHAPE[2] - 1
    moving = blobs.image(SHAPE, pose("rigid", seed=4) @ mirror, seed=1)
    found = jd.register(fixed, moving)
    assert not found.converged
    told = jd.register(fixed, moving, model="rigid", initial=mirror)
    assert told.converged, told.message
    assert corner_error(told.matrix, pose("rigid", seed=4) @ mirror) < 0.05


def test_volumes_that_share_nothing(blobs):
    """Two parts of one scene, side by side."""
    beyond = np.eye(4)
    beyond[2, 3] = -SHAPE[2] * 1.2
    wide = Blobs(seed=0, count=500)
    wide.places[:, 2] *= 2
    fixed, moving = (wide.image(SHAPE, m, seed=1) for m in (np.eye(4), beyond))
    assert not jd.register(fixed, moving, model="rigid").converged


def test_saturated_volumes(blobs, fixed):
    """A camera at its limit in both, at the brightest twentieth of the voxels."""
    truth = pose("rigid", seed=4)
    moving = blobs.image(SHAPE, truth, seed=1)
    limits = [np.quantile(v, 0.95) for v in (fixed, moving)]
    clipped = [np.minimum(v, t) for v, t in zip((fixed, moving), limits, strict=True)]
    found = jd.register(*clipped, model="rigid")
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("count", "believed"), [(800, False), (6000, True)])
def test_a_large_overview_and_a_small_detail(count, believed):
    """Voxels of 1.6 and 0.8 µm; the detail is a hundredth of the overview.

    Either may be the fixed one. Of 800 blobs some five are in the detail, which could
    fit somewhere by chance: their pose is right, and not believed.
    """
    big, small = (80, 96, 88), (36, 40, 38)
    scene = Blobs(seed=2, count=count)
    scene.places = np.random.default_rng(2).uniform(-5, 100, (count, 3))
    inner = np.diag([2.0, 2.0, 2.0, 1.0])
    inner[:3, 3] = (-60.0, -50.0, -70.0)  # from voxels of the overview
    overview, detail = scene.image(big, np.eye(4)), scene.image(small, inner, seed=3)
    found = jd.register(
        detail, overview, model="rigid", fixed_voxel_size=0.8, moving_voxel_size=1.6
    )
    back = jd.register(
        overview, detail, model="rigid", fixed_voxel_size=1.6, moving_voxel_size=0.8
    )
    for result, matrix in ((found, found.matrix), (back, np.linalg.inv(back.matrix))):
        assert corner_error(matrix, np.linalg.inv(inner), small) < 0.25
        assert bool(result.converged) == believed, result.message
