"""Registration of time series."""

import numpy as np
import pytest
import scipy.ndimage

from jaxdecon.registration import register_series

SHIFTS = np.array([(0, 0), (1.5, -2.0), (3.2, -3.5), (2.4, -7.0), (5.0, -9.5)])


@pytest.fixture(scope="module")
def movie():
    """A drifting scene, five time points; each with its own noise."""
    rng = np.random.default_rng(0)
    scene = scipy.ndimage.gaussian_filter(rng.normal(size=(110, 120)), 2.0) * 10
    frames = [
        scipy.ndimage.shift(scene, shift, order=3)[20:90, 20:100] for shift in SHIFTS
    ]
    return np.stack(frames) + 0.05 * rng.normal(size=(5, 70, 80))


@pytest.mark.parametrize("to", ["reference", "previous"])
@pytest.mark.parametrize("reference", [0, 2, 4])
def test_drift_is_found(movie, to, reference):
    found = register_series(movie, to=to, reference=reference)
    assert found.converged.all()
    shifts = found.matrices[:, :2, 2]
    np.testing.assert_allclose(shifts, SHIFTS - SHIFTS[reference], atol=0.15)
    assert found.registrations[reference] is None


def test_warped_time_points_agree(movie):
    found = register_series(movie, model="rigid")
    steady = np.stack(list(found.warp(movie, outside=np.nan)))
    seen = np.isfinite(steady).all(0)
    assert seen.mean() > 0.6
    for frame in steady[1:]:
        assert np.corrcoef(frame[seen], steady[0][seen])[0, 1] > 0.97


def test_smoothing_evens_out(movie):
    rough = register_series(movie).matrices[:, :2, 2]
    smooth = register_series(movie, smooth=2.0).matrices[:, :2, 2]
    assert abs(np.diff(smooth, 2, axis=0)).max() < abs(np.diff(rough, 2, axis=0)).max()
    turned = register_series(movie, model="rigid", smooth=1.0, voxel_size=(0.2, 0.1))
    np.testing.assert_allclose(turned.matrices[:, 2], [[0, 0, 1]] * 5)


def test_a_time_point_that_does_not_fit_is_told(movie):
    broken = movie.copy()
    broken[2] = np.random.default_rng(1).normal(size=movie[2].shape)
    found = register_series(broken)
    np.testing.assert_array_equal(found.converged, [True, True, False, True, True])
    np.testing.assert_allclose(found.matrices[3:, :2, 2], SHIFTS[3:], atol=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "next"}, "to"),
        ({"reference": 5}, "5 time points"),
        ({"smooth": -1.0}, "smooth"),
        ({"model": "elastic"}, "model"),
    ],
)
def test_bad_options_are_refused(movie, options, message):
    with pytest.raises(ValueError, match=message):
        register_series(movie, **options)
    with pytest.raises(ValueError, match="empty"):
        register_series([])
