"""Time series of views: poses followed, kept, smoothed; what fails is told."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.fusion import fuse_series, smooth_poses
from tests._blobs import Blobs, corner_error, pose

SHAPE = (24, 28, 26)


@pytest.fixture(scope="module")
def series():
    """Two views over time; the second one drifts by half a voxel per time point."""
    scene = Blobs(count=120, seed=2)
    start = pose("rigid", seed=1, angle=0.05, shift=1.5)
    matrices = []
    for t in range(4):
        moved = start.copy()
        moved[2, 3] += 0.5 * t
        matrices.append(moved)
    views = [
        (scene.image(SHAPE, np.eye(4), seed=t), scene.image(SHAPE, m, seed=9 + t))
        for t, m in enumerate(matrices)
    ]
    return views, matrices


def test_poses_are_followed(series):
    views, matrices = series
    points = list(fuse_series(views, None, method="average"))
    for point, matrix in zip(points, matrices, strict=True):
        assert point.note == ""
        assert corner_error(point.fusion.matrices[1], matrix, SHAPE) < 0.1


def test_poses_found_once_stay(series):
    views, _ = series
    points = list(fuse_series(views[:2], None, method="average", poses="once"))
    first, second = (p.fusion.matrices for p in points)
    np.testing.assert_array_equal(first, second)


def test_what_cannot_be_registered_takes_the_last_good_poses(series):
    views, _ = series
    rng = np.random.default_rng(0)
    noise = rng.normal(size=SHAPE).astype(np.float32) + 10
    empty = np.zeros(SHAPE)
    spoiled = [
        views[0],
        (views[1][0], noise),
        None,
        (views[2][0], empty),
        views[2],
    ]
    points = list(fuse_series(spoiled, None, method="average"))
    assert [p.index for p in points] == [0, 1, 2, 3, 4]
    assert "last good poses" in points[1].note
    np.testing.assert_array_equal(points[1].fusion.matrices, points[0].fusion.matrices)
    assert points[2].note == "missing"
    assert points[2].fusion is None
    assert "empty" in points[3].note
    assert points[3].fusion is None
    assert points[4].note == ""


def test_grids_psfs_and_programs_are_used_again(series):
    """Of the second time point nothing is compiled anew."""
    from jaxdecon.fusion._solve import solve

    views, _ = series
    psfs = [jd.psf.gaussian((7, 7, 7), 2.5)] * 2
    points = fuse_series([(a + 1, b + 1) for a, b in views[:3]], psfs)
    next(points)
    second = next(points).fusion
    compiled = solve._cache_size()
    third = next(points).fusion
    assert solve._cache_size() == compiled
    assert third.blurs is second.blurs
    assert third.grid is second.grid


def test_smooth_poses():
    base = pose("rigid", seed=3, angle=0.4, shift=5)
    rng = np.random.default_rng(0)
    truth, noisy = [], []
    for t in range(20):
        drift = np.eye(4)
        drift[1, 3] = 0.1 * t
        truth.append(base @ drift)
        drift = drift.copy()
        drift[:3, 3] += rng.normal(0, 0.2, 3)
        noisy.append(base @ drift)
    matrices = np.stack([[np.eye(4), m] for m in noisy])
    even = smooth_poses(matrices, 2.0, shape=SHAPE)
    np.testing.assert_array_equal(even[:, 0], matrices[:, 0])
    errors = [
        np.mean([corner_error(m, t, SHAPE) for m, t in zip(group, truth, strict=True)])
        for group in (noisy, even[:, 1])
    ]
    assert errors[1] < 0.6 * errors[0]
    with pytest.raises(ValueError, match="sigma"):
        smooth_poses(matrices, 0, shape=SHAPE)
