"""Local shifts become one smooth field, or one pose, whatever some of them say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate

import jaxdecon as jd
from jaxdecon.fusion._sampling import SplineSample
from jaxdecon.geometry._displacement import Displacement
from jaxdecon.registration._field import fit_field, fit_pose
from jaxdecon.volumes._blocks import BlockGrid
from jaxdecon.volumes._fuse_blocks import displacement as displacement_of

from . import _dual_view

SHAPE = (160, 320, 320)


def displacement(points):
    z, y, x = points.T
    return np.stack(
        [1.5 * np.sin(y / 90), 2 * np.cos(x / 120) * np.sin(z / 90), np.sin(x / 100)], 1
    )


@pytest.fixture(scope="module")
def shifts():
    """(points, shifts, covariances, usable, wrong): a fifth unusable, a tenth wrong."""
    rng = np.random.default_rng(0)
    axes = [np.arange(24, n, 40.0) for n in SHAPE]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    found = displacement(points) + rng.normal(0, 0.05, points.shape)
    covariances = np.tile(np.eye(3) * 0.05**2, (len(points), 1, 1))
    usable, wrong = rng.random(len(points)) > 0.2, rng.random(len(points)) < 0.1
    found[wrong] += rng.choice([-1, 1], (wrong.sum(), 3)) * rng.uniform(
        3, 8, (wrong.sum(), 3)
    )
    found[~usable] = rng.normal(0, 5, ((~usable).sum(), 3))
    return points, found, covariances, usable, wrong


def test_a_field_is_found_among_wrong_shifts(shifts):
    *given, wrong = shifts
    field = fit_field(*given, shape=SHAPE, spacing=40)
    rng = np.random.default_rng(1)
    places = rng.uniform(0.1, 0.9, (500, 3)) * np.array(SHAPE)
    error = field(places) - displacement(places)
    assert np.sqrt((error**2).sum(1).mean()) < 0.15
    assert np.sqrt((displacement(places) ** 2).sum(1).mean()) > 1
    usable = given[-1]
    assert (field.weights[wrong & usable] == 0).all()
    assert (field.weights[~wrong & usable] > 0.1).mean() > 0.95
    assert (field.weights[~usable] == 0).all()


def test_a_field_is_continuous_and_the_same_on_any_lattice(shifts):
    *given, _ = shifts
    field = fit_field(*given, shape=SHAPE, spacing=40)
    lattice = field.on_lattice((10, 20, 30), 16, (3, 4, 5))
    axes = [a + 16 * np.arange(n) for a, n in zip((10, 20, 30), (3, 4, 5), strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    np.testing.assert_allclose(lattice.reshape(3, -1).T, field(places), atol=1e-12)
    line = np.stack(
        [np.full(2000, 80.0), np.full(2000, 150.0), np.linspace(0, 319, 2000)], 1
    )
    bends = np.diff(field(line), 2, axis=0)
    assert abs(bends).max() < 1e-4  # of steps of 0.16 voxels, nodes included


def test_a_constant_shift_is_kept_everywhere_and_none_is_zero():
    points = np.random.default_rng(0).uniform(0, 99, (40, 3))
    covariances = np.tile(np.eye(3) * 0.01, (40, 1, 1))
    shift = np.tile([0.5, -1.0, 2.0], (40, 1))
    field = fit_field(
        points, shift, covariances, np.ones(40, bool), shape=(100,) * 3, spacing=30
    )
    np.testing.assert_allclose(field([[0, 0, 0], [99, 50, 3]]), shift[:2], atol=0.05)
    field = fit_field(
        points, shift, covariances, np.zeros(40, bool), shape=(100,) * 3, spacing=30
    )
    np.testing.assert_allclose(field(points), 0, atol=1e-9)


@pytest.mark.parametrize("model", ["translation", "rigid", "affine"])
def test_a_pose_is_found_among_wrong_shifts(model):
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 300, (80, 3))
    true = np.eye(4)
    if model != "translation":
        true = np.asarray(
            jd.geometry.Transform(
                parameters=np.array([0.004, -0.003, 0.002, 0.4, -0.7, 1.1], np.float32),
                centre=np.array([150.0, 150.0, 150.0]),
                model="rigid",
            ).matrix,
            float,
        )
    if model == "affine":
        true[0, 1] += 0.004
    true[:3, 3] += (0.3, 0.2, -0.5)
    moved = points @ true[:3, :3].T + true[:3, 3] - points
    given = moved + rng.normal(0, 0.03, moved.shape)
    given[:12] += 6
    covariances = np.tile(np.eye(3) * 0.03**2, (80, 1, 1))
    found = fit_pose(points, given, covariances, np.ones(80, bool), model=model)
    error = points @ found[:3, :3].T + found[:3, 3] - points - moved
    assert abs(error).max() < 0.06
    np.testing.assert_array_equal(
        fit_pose(points, given, covariances, np.zeros(80, bool), model=model), np.eye(4)
    )


def test_a_displacement_is_interpolated_and_inverted():
    rng = np.random.default_rng(3)
    values = rng.uniform(-1.5, 1.5, (3, 4, 5, 6)).astype(np.float32)
    move = Displacement(
        values=jnp.asarray(values), spacing=jnp.full(3, 16.0), before=jnp.full(3, 2.0)
    )
    places = rng.uniform(0, 46, (200, 3))
    oracle = np.stack(
        [
            scipy.interpolate.interpn(
                [16 * np.arange(n) - 2 for n in values.shape[1:]], component, places
            )
            for component in values
        ],
        1,
    )
    at = [jnp.asarray(c, jnp.float32) for c in places.T]
    np.testing.assert_allclose(np.stack(move.at(at), 1), oracle, atol=1e-5)
    there = move(at)
    np.testing.assert_allclose(np.stack(move.inverse(there), 1), places, atol=0.02)


def test_sampling_through_a_displacement_has_its_exact_adjoint():
    rng = np.random.default_rng(4)
    move = Displacement(
        values=jnp.asarray(rng.uniform(-1, 1, (3, 2, 2, 2)), jnp.float32),
        spacing=jnp.full(3, 16.0),
        before=jnp.zeros(3),
    )
    matrix = jnp.eye(4).at[:3, 3].set(jnp.array([0.3, -0.6, 0.2]))
    sampled = SplineSample(
        matrix=matrix, domain=(9, 12, 11), range=(8, 10, 12), displacement=move
    )
    assert jd.operators.check_adjoint(sampled, key=jax.random.key(0)) < 1e-5


def test_neighbours_of_a_face_displace_it_alike(shifts):
    *given, _ = shifts
    field = fit_field(*given, shape=SHAPE, spacing=40)
    grid = BlockGrid((), SHAPE, (80, 100, 320), (7, 9, 0))
    places = np.stack(
        [np.linspace(0, 159, 50), np.full(50, 100.0), np.linspace(0, 319, 50)], 1
    )
    found = []
    for number in (0, 1):
        block = grid[number]
        move = jax.tree.map(jnp.asarray, displacement_of(field, block))
        local = places - [a for a, _ in block.read]
        at = [jnp.asarray(c, jnp.float32) for c in local.T]
        found.append(np.stack(move.at(at), 1))
    here = places[:, 0] < 80
    np.testing.assert_allclose(found[0][here], found[1][here], atol=1e-5)
    np.testing.assert_allclose(found[0][here], field(places)[here], atol=0.1)


@pytest.mark.slow
def test_views_of_a_deformed_specimen_are_fused_through_a_field(tmp_path):
    """The second view is drawn where a smooth deformation took every point."""
    shape = (32, 128, 128)
    rng = np.random.default_rng(5)
    places = np.stack([rng.uniform(4, n - 5, 600) for n in shape], 1)
    heights = rng.uniform(0.3, 1, len(places))

    def bent(p):
        _, y, x = p.T
        return np.stack(
            [np.sin(y / 40), 1.8 * np.sin(x / 40), -1.5 * np.cos(y / 45)], 1
        )

    truth = _dual_view.points(places, heights, shape)
    moved = _dual_view.points(places + bent(places), heights, shape)
    psfs = [
        np.asarray(jd.psf.gaussian((15, 9, 9), (5.0, 2.0, 2.0))),
        np.asarray(jd.psf.gaussian((9, 9, 15), (2.0, 2.0, 5.0))),
    ]
    views = []
    for scene, psf in zip((truth, moved), psfs, strict=True):
        blur = jd.operators.Convolution.from_psf(psf, shape, boundary="periodic")
        blurred = np.maximum(np.asarray(blur(scene)), 0)
        views.append(rng.poisson(300 * blurred / blurred.max() + 10).astype(np.uint16))
    scores, options = {}, {"iterations": 2, "background": 10.0, "block": (32, 64, 128)}
    for fine in (None, "field"):
        target = tmp_path / f"{fine}.ome.zarr"
        jd.volumes.fuse(
            views, target, psfs, matrices=[np.eye(4)] * 2, fine=fine, **options
        )
        scores[fine] = _dual_view.ncc(np.asarray(jd.io.read(target)), truth)
    assert scores["field"] > scores[None] + 0.1
    assert scores["field"] > 0.9
