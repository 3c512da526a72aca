"""Metrics, robust weights and stages: each does what the default cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy

import jaxdecon as jd
from jaxdecon.registration import METRICS, Status
from jaxdecon.registration._histogram import information, joint_counts, to_bins
from jaxdecon.registration._metrics import as_metric

from ._blobs import SHAPE, Blobs, corner_error, pose


@pytest.fixture(scope="module")
def blobs():
    return Blobs()


@pytest.fixture(scope="module")
def fixed(blobs):
    return blobs.image(SHAPE, np.eye(4))


@pytest.fixture(scope="module")
def truth():
    return pose("rigid", seed=3)


@pytest.fixture(scope="module")
def moving(blobs, truth):
    return blobs.image(SHAPE, truth, seed=1)


def least_squares_in_logs(warped, fixed, weight):
    """A metric as a user might write it."""
    difference = jnp.log1p(jnp.maximum(warped, 0)) - jnp.log1p(jnp.maximum(fixed, 0))
    return -(weight * difference**2).sum() / weight.sum()


FUNCTION = pytest.param(least_squares_in_logs, marks=pytest.mark.slow)


@pytest.mark.parametrize("metric", [*METRICS, FUNCTION])
def test_every_metric_finds_the_pose(fixed, moving, truth, metric):
    found = jd.register(fixed, moving, model="rigid", metric=metric)
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.1
    assert corner_error(found.matrix, truth) < 5 * float(found.uncertainty)
    last = np.nanmax(found.history[-1])
    assert np.isclose(found.score, last, rtol=0.05)  # of a function, too, its own
    assert (found.score < 0) == (metric not in ("ncc", "local-ncc", "mi"))


def test_the_history_rises_to_the_score(fixed, moving):
    found = jd.register(fixed, moving, model="rigid")
    assert found.history.shape == (len(found.iterations), 30)
    for count, scores in zip(found.iterations, np.asarray(found.history), strict=True):
        assert np.isfinite(scores[:count]).all()
        assert np.isnan(scores[count:]).all()
        assert (np.diff(scores[:count]) >= 0).all()
    assert found.score == found.ncc == np.nanmax(found.history[-1])


@pytest.mark.slow
def test_mutual_information_needs_no_like_values(fixed, moving, truth):
    """A function without an inverse between the values of the two."""
    rng = np.random.default_rng(0)
    other = (np.sin(4 * moving) + 0.02 * rng.normal(size=SHAPE)).astype(np.float32)
    by_values = jd.register(fixed, -other, model="rigid", start="identity")
    found = jd.register(fixed, -other, model="rigid", metric="mi")
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.15
    assert not by_values.converged
    assert found.ncc < 0


@pytest.fixture(scope="module", params=range(6))
def views(request):
    """Of one of several scenes: (fixed, moving, matrix)."""
    blobs, truth = Blobs(request.param), pose("rigid", seed=3 + request.param)
    fixed, moving = (
        blobs.image(SHAPE, m, seed=s) for s, m in enumerate([np.eye(4), truth])
    )
    return fixed, moving, truth


@pytest.mark.slow
def test_local_correlation_survives_uneven_light(views):
    fixed, moving, truth = views
    light = np.linspace(0.1, 1.0, SHAPE[0])[:, None, None]
    uneven = np.float32(moving * light + 3 * np.linspace(0, 1, SHAPE[2]))
    plain = jd.register(fixed, uneven, model="rigid")
    found = jd.register(fixed, uneven, model="rigid", metric="local-ncc")
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.5
    assert not plain.converged


def test_squared_differences_ask_for_equal_brightness(fixed, moving):
    same = jd.register(fixed, moving, model="rigid", metric="ssd")
    brighter = jd.register(fixed, 2 * moving, model="rigid", metric="ssd")
    assert brighter.score < same.score < 0


@pytest.mark.slow
def test_robust_weights_leave_out_what_only_one_shows(views):
    fixed, moving, truth = views
    other = 2 * Blobs(seed=109).image(SHAPE, np.eye(4))
    mixed = np.where(np.arange(SHAPE[2]) > 0.7 * SHAPE[2], other, moving)
    plain = jd.register(fixed, mixed, model="rigid")
    found = jd.register(fixed, mixed, model="rigid", robust=True)
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.5
    assert corner_error(found.matrix, truth) < 0.6 * corner_error(plain.matrix, truth)


def test_stages_end_with_the_last_model(blobs, fixed):
    truth = pose("affine", seed=5)
    moving = blobs.image(SHAPE, truth, seed=2)
    found = jd.register(fixed, moving, model=("rigid", "affine"))
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.05
    assert found.covariance.shape == (12, 12)


@pytest.mark.slow
def test_stages_know_what_the_first_one_saw():
    """A pattern that repeats: the second stage alone sees one pose."""
    rng = np.random.default_rng(0)
    tile = np.kron(
        np.ones((4, 4)), gaussian_filter(rng.normal(size=(40, 40)), 3, mode="wrap")
    )
    fixed, moving = tile[:100, :100], tile[20:120, 20:120]
    for model in ("translation", ("translation", "rigid")):
        found = jd.register(fixed, moving, model=model)
        assert found.status == Status.AMBIGUOUS, found.message


def test_values_under_a_mask_do_not_count_at_all(fixed, moving, truth):
    """Not even ones that are a million times brighter."""
    spoilt, mask = fixed.copy(), np.ones(SHAPE, np.float32)
    spoilt[:, :12], mask[:, :12] = 1e6, -1
    found = jd.register(spoilt, moving, model="rigid", mask=mask)
    assert found.converged, found.message
    assert corner_error(found.matrix, truth) < 0.05


def test_a_small_mask(fixed, moving, truth):
    """It holds a twentieth of the volume."""
    mask = np.zeros(SHAPE, np.float32)
    mask[10:26, 14:32, 12:30] = 1
    found = jd.register(fixed, moving, model="rigid", mask=mask)
    onto = np.eye(4)
    onto[:3, 3] = (10, 14, 12)  # errors at the corners of what the mask holds
    assert corner_error(found.matrix @ onto, truth @ onto, (16, 18, 18)) < 0.1
    assert corner_error(found.matrix, truth) < 3 * float(found.uncertainty)


def test_bins_are_of_the_whole_volume():
    volume = np.random.default_rng(0).normal(size=(256, 16, 256)).astype(np.float32)
    volume[50:150, 4:12, 60:180] += 100 + 100 * np.linspace(0, 1, 120)
    bins = to_bins(jnp.asarray(volume), None, 32)
    assert len(np.unique(np.round(bins[50:150, 4:12, 60:180]))) > 8


@pytest.mark.parametrize("metric", METRICS)
def test_steps_point_where_the_score_rises(fixed, moving, truth, metric):
    """Every metric's own slope against the derivative of its plain function."""
    from jaxdecon.registration._gauss_newton import look, rows_of
    from jaxdecon.registration._metrics import score_at
    from jaxdecon.registration._moments import Pair

    chosen = as_metric(metric)
    inner = np.zeros(SHAPE, np.float32)
    inner[8:-8, 8:-8, 8:-8] = 1  # so that the overlap does not change
    volumes = map(jnp.asarray, (fixed, moving, inner))
    names = ("fixed", "moving", "fixed_weight")
    pair = chosen.prepare(Pair(**dict(zip(names, volumes, strict=True))))

    def matrix_of(p):
        return jnp.asarray(truth, p.dtype).at[:3, 3].add(p)

    def score(p):
        return score_at(chosen, pair, rows_of(matrix_of(p), SHAPE))

    at = jnp.array([0.4, -0.3, 0.2])
    normal = look(chosen, pair, matrix_of, at)
    assert np.isclose(normal.score, score(at), rtol=1e-4)
    slope, step = jax.grad(score)(at), chosen.step(normal, jnp.asarray(1e3))
    # Under much damping a step is the slope, scaled by the diagonal.
    towards = step * jnp.diagonal(normal.hessian)
    cosine = slope @ towards / jnp.linalg.norm(slope) / jnp.linalg.norm(towards)
    assert cosine > 0.999


def test_information_of_a_table():
    """Against SciPy's entropies, and of independent values none."""
    rng = np.random.default_rng(0)
    counts = jnp.asarray(rng.uniform(0, 5, (12, 12)))
    joint = np.asarray(counts) / counts.sum()
    known = entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.ravel())
    assert np.isclose(information(counts).mutual, known, rtol=1e-3)
    apart = jnp.outer(jnp.arange(1.0, 9), jnp.arange(2.0, 10))
    assert abs(information(apart).mutual) < 1e-5
    assert information(apart).ratio < 1e-3
    assert information(jnp.eye(12)).ratio > 0.999


def test_all_of_a_voxel_s_weight_is_in_the_histogram():
    values = jnp.asarray(np.random.default_rng(0).normal(size=(9, 10)), jnp.float32)
    bins = to_bins(values, None, 12)
    assert bins.min() >= 1
    assert bins.max() <= 10
    counts = joint_counts(bins, bins[::-1], jnp.full((9, 10), 0.5), 12)
    assert np.isclose(counts.sum(), 45, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"metric": "nmi"}, {"metric": 3}, {"model": ()}, {"model": ("rigid", "free")}],
)
def test_unknown_options_are_refused(fixed, options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        jd.register(fixed, fixed, **options)
