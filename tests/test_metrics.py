import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxdecon import metrics


def test_ncc_is_pearson():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 8)).astype(np.float32)
    expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    np.testing.assert_allclose(metrics.ncc(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.ncc(a, 3 * b + 2), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="shape"):
        metrics.ncc(a, b[:3])


def test_poisson_deviance_is_twice_the_missing_log_likelihood():
    rng = np.random.default_rng(0)
    m = rng.uniform(0.5, 30, 500)
    y = rng.poisson(m)
    best = scipy.stats.poisson.logpmf(y, np.maximum(y, 1e-300))
    best[y == 0] = 0
    expected = 2 * np.mean(best - scipy.stats.poisson.logpmf(y, m))
    np.testing.assert_allclose(metrics.poisson_deviance(y, m), expected, rtol=1e-4)


def test_deviance_of_a_true_model_is_near_one():
    y = np.random.default_rng(0).poisson(50, 20_000)
    assert abs(float(metrics.poisson_deviance(y, np.full(y.shape, 50.0))) - 1) < 0.05


@pytest.mark.slow
def test_sums_over_many_voxels_do_not_stall():
    # A running float32 sum of ones stops growing at 2^24.
    ones = jnp.ones((400, 400, 400))
    mean = jax.jit(lambda x: metrics.poisson_deviance(x, 2 * x))(ones)
    np.testing.assert_allclose(mean, 2 * (np.log(0.5) + 1), rtol=1e-5)
