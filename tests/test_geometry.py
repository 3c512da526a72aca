"""Rotations, transforms, matrices and warps, against SciPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import jaxdecon as jd
from jaxdecon.geometry import MODELS, Transform, in_micrometres, in_voxels
from jaxdecon.geometry._rotation import rotation, rotation_vector

from ._x64 import x64

REVERSE = np.eye(3)[::-1]
RNG = np.random.default_rng(0)


def oracle(vector):
    """The rotation on (z, y, x) by way of SciPy's on (x, y, z)."""
    return REVERSE @ Rotation.from_rotvec(vector[::-1]).as_matrix() @ REVERSE


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-4, 0.011, 0.5, 2.0, 3.1, np.pi])
def test_rotations_agree_with_scipy(length):
    for direction in RNG.normal(size=(5, 3)):
        vector = length * direction / np.linalg.norm(direction)
        with x64():
            found = np.asarray(rotation(jnp.asarray(vector)))
        np.testing.assert_allclose(found, oracle(vector), atol=1e-13)
        back = rotation_vector(oracle(vector))
        np.testing.assert_allclose(oracle(back), oracle(vector), atol=1e-12)


def test_a_turn_about_z_takes_x_to_y():
    quarter = rotation(jnp.asarray([np.pi / 2, 0.0, 0.0]))
    np.testing.assert_allclose(quarter @ np.array([0, 0, 1.0]), [0, 1, 0], atol=1e-6)
    plane = rotation(jnp.asarray([np.pi / 2]))
    np.testing.assert_allclose(plane @ np.array([0, 1.0]), [1, 0], atol=1e-6)


def random_transform(model, ndim, seed=0, scale=0.2):
    rng = np.random.default_rng(seed)
    zero = Transform.identity(model, (10.0, 12.0, 7.0)[:ndim])
    values = scale * rng.normal(size=zero.parameters.size)
    return Transform(
        parameters=jnp.asarray(values, float), centre=zero.centre, model=model
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_transforms_come_back_from_their_matrices(model, ndim):
    for seed in range(3):
        given_one = random_transform(model, ndim, seed)
        found = Transform.from_matrix(given_one.matrix, model, given_one.centre)
        np.testing.assert_allclose(found.parameters, given_one.parameters, atol=2e-5)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_inverses_and_compositions(model, ndim):
    first, second = (random_transform(model, ndim, seed) for seed in (1, 2))
    both = second.compose(first)
    points = RNG.normal(size=(6, ndim)) * 10
    np.testing.assert_allclose(both(points), second(first(points)), atol=1e-3)
    np.testing.assert_allclose(first.inverse()(first(points)), points, atol=1e-3)
    assert both.model == (model if model != "9-parameter" else "affine")


@pytest.mark.parametrize("model", MODELS)
def test_zero_is_the_identity_and_has_a_derivative(model):
    zero = Transform.identity(model, (3.0, 4.0, 5.0))
    np.testing.assert_allclose(zero.matrix, np.eye(4), atol=1e-6)

    def matrix(parameters):
        return Transform(parameters=parameters, centre=zero.centre, model=model).matrix

    slope = jax.jacfwd(matrix)(zero.parameters)
    step = 1e-3 * np.eye(zero.parameters.size, dtype=np.float32)
    for k, move in enumerate(step):
        numeric = (matrix(move) - matrix(-move)) / 2e-3
        np.testing.assert_allclose(slope[..., k], numeric, atol=2e-2)


def test_the_centre_stays():
    for model in ("rigid", "similarity", "9-parameter"):
        turned = random_transform(model, 3)
        still = Transform(
            parameters=turned.parameters.at[-3:].set(0),
            centre=turned.centre,
            model=model,
        )
        np.testing.assert_allclose(still(turned.centre), turned.centre, atol=1e-5)


def test_matrices_of_another_model_are_refused():
    shear = np.eye(4)
    shear[0, 1] = 0.1
    with pytest.raises(ValueError, match=r"not of the model 'rigid'.*affine"):
        Transform.from_matrix(shear, "rigid", (0, 0, 0))
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    with pytest.raises(ValueError, match="not of the model"):
        Transform.from_matrix(mirror, "rigid", (0, 0, 0))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((4, 4)), "last row"),
        (np.diag([1.0, 1.0, 0.0, 1.0]), "singular"),
        (np.eye(5), "shape"),
        (np.full((4, 4), np.nan), "NaN"),
    ],
)
def test_bad_matrices_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Transform.from_matrix(matrix, "affine", (0, 0, 0))
    with pytest.raises(ValueError, match=message):
        jd.warp(np.ones((3, 3, 3)), matrix)


def test_rigid_in_micrometres_is_not_in_voxels():
    fixed, moving = (0.5, 0.1, 0.1), (0.2, 0.2, 0.2)
    turn = random_transform("rigid", 3)
    voxels = in_voxels(turn.matrix, fixed, moving)
    point = np.array([3.0, 5.0, 7.0])
    there = (voxels @ [*point, 1])[:3] * moving
    np.testing.assert_allclose(there, turn(point * np.array(fixed)), rtol=1e-5)
    back = in_micrometres(voxels, fixed, moving)
    np.testing.assert_allclose(back, turn.matrix, atol=1e-5)


SHAPES = [(7, 9, 11), (8, 10), (1, 9, 8), (6, 1, 7)]


def near_identity(ndim, seed=1):
    rng = np.random.default_rng(seed)
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] += 0.1 * rng.normal(size=(ndim, ndim))
    matrix[:-1, -1] = 0.5 * rng.normal(size=ndim)
    return matrix


@pytest.mark.parametrize("order", ["linear", "cubic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_warps_agree_with_scipy(shape, order):
    volume = RNG.normal(size=shape)
    matrix = near_identity(len(shape))
    for axis, n in enumerate(shape):
        if n == 1:  # a plane has nothing beside it
            matrix[axis] = np.eye(len(shape) + 1)[axis]
    found = np.asarray(jd.warp(volume, matrix, order=order, outside=np.nan))
    expected = scipy.ndimage.affine_transform(
        volume, matrix, order={"linear": 1, "cubic": 3}[order], mode="mirror"
    )
    inside = np.isfinite(found)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-5)


def test_outside_is_what_is_wanted():
    shifted = np.eye(3)
    shifted[1, 2] = 2.0
    found = jd.warp(np.ones((4, 5)), shifted, outside=-1.0)
    np.testing.assert_array_equal(found[:, :3], 1)
    np.testing.assert_array_equal(found[:, 3:], -1)


def test_any_shape_may_be_wanted():
    half = np.diag([0.5, 0.5, 0.5, 1.0])
    volume = RNG.random((5, 6, 7))
    found = np.asarray(jd.warp(volume, half, (9, 11, 13)))
    np.testing.assert_allclose(found[::2, ::2, ::2], volume, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 6, 7), (8, 9)])
def test_derivatives_agree_with_finite_differences(shape):
    with x64():
        volume = jnp.asarray(RNG.normal(size=shape))
        wanted = tuple(n - 1 for n in shape)
        target = jnp.asarray(RNG.normal(size=wanted))
        matrix = jnp.asarray(near_identity(len(shape), seed=3))

        def loss(volume, matrix):
            return (jd.warp(volume, matrix, wanted) * target).sum()

        by_volume, by_matrix = jax.grad(loss, (0, 1))(volume, matrix)
        change = jnp.asarray(RNG.normal(size=shape))
        linear = loss(volume + change, matrix) - loss(volume, matrix)
        np.testing.assert_allclose(linear, (by_volume * change).sum(), rtol=1e-9)
        for i in range(len(shape)):
            for j in range(len(shape) + 1):
                step = jnp.zeros_like(matrix).at[i, j].set(1e-7)
                numeric = (
                    loss(volume, matrix + step) - loss(volume, matrix - step)
                ) / (2e-7)
                np.testing.assert_allclose(by_matrix[i, j], numeric, rtol=1e-5)
        assert not by_matrix[-1].any()


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_warping_back_gives_the_volume(seed):
    """With cubic splines, where the detail is coarse enough for them."""
    rng = np.random.default_rng(seed)
    volume = scipy.ndimage.gaussian_filter(rng.normal(size=(16, 16, 16)), 2.5)
    matrix = np.eye(4)
    matrix[:3, 3] = rng.uniform(-0.9, 0.9, 3)
    there = jd.warp(volume, matrix, order="cubic", outside=np.nan)
    there = jnp.where(jnp.isnan(there), 0, there)
    back = np.asarray(jd.warp(there, np.linalg.inv(matrix), order="cubic"))
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(
        back[inner], volume[inner], atol=0.02 * abs(volume).max()
    )
