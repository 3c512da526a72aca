"""Resampling to another shape or voxel size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxdecon import geometry

from ._x64 import x64

ORDERS = pytest.mark.parametrize("order", geometry.ORDERS)
SHAPES = [
    ((9, 12, 7), (18, 12, 7)),
    ((9, 12, 7), (5, 6, 4)),
    ((9, 12, 7), (4, 17, 14)),
    ((1, 12, 7), (1, 5, 9)),
    ((1, 6, 6), (3, 6, 1)),
    ((11, 16), (22, 33)),
    ((11, 16), (4, 5)),
    ((300, 8), (140, 8)),
    ((300, 8), (700, 3)),
]


def noise(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def with_scipy(volume, shape, order):
    """Gaussian filter, then interpolation at the centres of the new voxels."""
    factors = np.array(volume.shape) / shape
    sigmas = np.maximum(0, (factors - 1) / 2)
    filtered = ndimage.gaussian_filter(volume.astype(float), sigmas, mode="reflect")
    at = [
        np.clip((np.arange(m) + 0.5) * f - 0.5, 0, n - 1)
        for n, m, f in zip(volume.shape, shape, factors, strict=True)
    ]
    places = np.meshgrid(*at, indexing="ij")
    number = {"linear": 1, "cubic": 3}[order]
    return ndimage.map_coordinates(filtered, places, order=number, mode="mirror")


@ORDERS
@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_it_agrees_with_scipy(old, new, order):
    volume = noise(old)
    found = geometry.resample(volume, new, order=order)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, with_scipy(volume, new, order), atol=1e-5)


@ORDERS
def test_inside_it_is_a_warp(order):
    volume = noise((9, 12, 7))
    new = (17, 20, 14)
    factors = np.array(volume.shape) / new
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.diag(factors), 0.5 * factors - 0.5
    warped = geometry.warp(volume, matrix, new, order=order, outside=np.nan)
    found = np.where(
        np.isnan(warped), np.nan, geometry.resample(volume, new, order=order)
    )
    np.testing.assert_allclose(found, warped, atol=1e-5)


@ORDERS
@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_a_constant_stays_to_the_border(old, new, order):
    found = geometry.resample(np.full(old, 7.0), new, order=order)
    np.testing.assert_allclose(found, np.full(new, 7.0), rtol=1e-5)


@ORDERS
@pytest.mark.parametrize("m", [16, 15, 64, 77])
def test_a_ramp_stays_a_ramp(m, order):
    n = 32
    ramp = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None], (n, 3))
    found = geometry.resample(ramp, (m, 3), order=order)[:, 0]
    expected = (np.arange(m) + 0.5) * n / m - 0.5
    # A mirrored ramp has a kink, which filter and spline feel for some voxels.
    inside = (expected > 8) & (expected < n - 9)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)


def cosine(n, periods):
    """Whole periods of half a cosine, the same function of place for every n."""
    line = np.cos(np.pi * 2 * periods * (np.arange(n) + 0.5) / n)
    return np.broadcast_to(line[:, None], (n, 4)).astype(np.float32)


@ORDERS
@pytest.mark.parametrize("m", [32, 33, 256, 200])
def test_a_slow_cosine_keeps_amplitude_and_phase(m, order):
    found = geometry.resample(cosine(128, 2), (m, 4), order=order)
    np.testing.assert_allclose(found, cosine(m, 2), atol=0.015)


@ORDERS
def test_a_fast_cosine_vanishes(order):
    """60 periods in 128 voxels, which 32 voxels would show as 4."""
    fast = cosine(128, 60)
    filtered = geometry.resample(fast, (32, 4), order=order)
    np.testing.assert_allclose(filtered, 0, atol=1e-3)
    aliased = geometry.resample(fast, (31, 4), order=order, antialias=False)
    assert abs(aliased).max() > 0.5


def test_the_filter_is_the_gaussian_that_it_says():
    """Between 3 voxels are centres again: only the filter acts."""
    found = geometry.resample(cosine(96, 6), (32, 4))
    transfer = np.exp(-2 * (np.pi * 6 / 96) ** 2)  # of a standard deviation of 1
    np.testing.assert_allclose(found, transfer * cosine(32, 6), atol=1e-3)


def test_the_mean_is_kept():
    volume = noise((12, 20, 16)) + 3
    found = geometry.resample(volume, (4, 5, 8))
    assert found.mean() == pytest.approx(volume.mean(), rel=0.01)


def test_voxel_sizes_make_a_shape():
    volume = noise((10, 8, 9))
    sizes = {"voxel_size": (0.3, 0.1, 0.1), "new_voxel_size": 0.1}
    found = geometry.resample(volume, **sizes)
    np.testing.assert_array_equal(found, geometry.resample(volume, (30, 8, 9)))
    assert geometry.resample(volume, voxel_size=1, new_voxel_size=100).shape == (
        1,
        1,
        1,
    )


def test_the_same_shape_changes_nothing():
    volume = noise((5, 6, 7))
    np.testing.assert_array_equal(geometry.resample(volume, (5, 6, 7)), volume)


@ORDERS
def test_jit_and_vmap(order):
    volumes = noise((2, 6, 7, 8))

    def half(volume):
        return geometry.resample(volume, (3, 9, 4), order=order)

    expected = np.stack([half(v) for v in volumes])
    np.testing.assert_allclose(jax.jit(half)(volumes[0]), expected[0], atol=1e-6)
    np.testing.assert_allclose(jax.vmap(half)(volumes), expected, atol=1e-6)


@ORDERS
def test_gradient_and_double_precision(order):
    with x64():
        volume, weights = noise((5, 6)).astype(float), noise((3, 8)).astype(float)

        def loss(v):
            return (weights * geometry.resample(v, (3, 8), order=order) ** 2).sum()

        assert geometry.resample(volume, (3, 8), order=order).dtype == jnp.float64
        gradient = jax.grad(loss)(jnp.asarray(volume))
        for index in np.ndindex(volume.shape):
            step = np.zeros_like(volume)
            step[index] = 1e-4
            slope = (loss(volume + step) - loss(volume - step)) / 2e-4
            assert float(gradient[index]) == pytest.approx(float(slope), abs=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"shape": (3, 3), "new_voxel_size": 1.0}, "exactly one"),
        ({"new_voxel_size": 1.0}, "both are needed"),
        ({"shape": (3, 3), "voxel_size": 1.0}, "both are needed"),
        ({"shape": (3, 3, 3)}, "2 axes"),
        ({"shape": (3, 0)}, "1 or more"),
        ({"new_voxel_size": (1, 1, 1), "voxel_size": 1.0}, "one number, or 2"),
        ({"new_voxel_size": -1, "voxel_size": 1.0}, "positive"),
        ({"shape": (3, 3), "order": "sinc"}, "order"),
    ],
)
def test_what_is_wrong_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        geometry.resample(np.ones((4, 4)), **arguments)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        geometry.resample(np.full((4, 4), np.nan), (2, 2))
