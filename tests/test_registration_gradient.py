"""Derivatives through a converged registration, against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import jaxdecon as jd
from jaxdecon.registration import _implicit, _levels
from jaxdecon.registration._moments import Pair

from ._blobs import Blobs, pose
from ._x64 import x64

SHAPE = (34, 36, 32)
NAMES = ("fixed", "moving", "initial")


@pytest.fixture
def exact(monkeypatch):
    """Double precision, and searches that end where the slope is zero."""
    with x64():
        monkeypatch.setattr(_levels, "FINE_TOLERANCE", 1e-9)
        jax.clear_caches()
        yield monkeypatch
    jax.clear_caches()


def problem(metric):
    """Volumes, a start, and a number that depends on the pose; directions of change."""
    rng = np.random.default_rng(2)
    blobs = Blobs(count=900)
    fixed = blobs.image(SHAPE, np.eye(4), noise=0).astype(float)
    moving = blobs.image(SHAPE, pose("rigid", seed=1, shift=1.5), noise=0).astype(float)
    initial = np.eye(4)
    initial[:3, :3] += 0.02 * rng.normal(size=(3, 3))
    arguments = (fixed, moving, initial)
    mask = np.zeros(SHAPE)
    mask[4:-4, 4:-4, 4:-4] = 1  # so that the overlap does not change
    weights = rng.normal(size=(4, 4))
    directions = [gaussian_filter(rng.normal(size=SHAPE), 1.5) for _ in range(2)]
    directions = [d / d.std() for d in directions]
    directions.append(np.vstack([rng.normal(size=(3, 4)), np.zeros(4)]))

    def loss(fixed, moving, initial):
        found = jd.register(
            *(fixed, moving),
            model="rigid",
            metric=metric,
            initial=initial,
            mask=mask,
            iterations=100,
        )
        return (found.matrix * weights).sum(), found.score

    return loss, arguments, directions


def differences(loss, arguments, directions, step):
    """Central differences of both outputs, along every direction."""
    found = []
    for k, direction in enumerate(directions):
        ends = []
        for sign in (1, -1):
            moved = list(arguments)
            moved[k] = moved[k] + sign * step * direction
            ends.append(np.array(loss(*moved)))
        found.append((ends[0] - ends[1]) / (2 * step))
    return np.array(found)


def slopes(loss, arguments, directions):
    """The same by the implicit function theorem."""
    jacobian = jax.jacrev(loss, argnums=(0, 1, 2))(*arguments)
    return np.array(
        [
            [float((g * d).sum()) for g, d in zip(output, directions, strict=True)]
            for output in jacobian
        ]
    ).T


def test_a_smooth_maximum_has_the_exact_derivative():
    """Of a quadratic form in the rows, whose maximum is known in closed form."""
    rng = np.random.default_rng(0)
    with x64():
        root, into = rng.normal(size=(12, 12)), rng.normal(size=(12, 6))
        curvature = jnp.asarray(root @ root.T + np.eye(12))
        volume, base = jnp.asarray(rng.normal(size=(12,))), jnp.eye(4)

        def rows_of(p, base):
            return (into @ p + jnp.tile(base[:3].sum(), 12)).reshape(3, 4)

        def score(rows, pair, around=None):
            away = rows.ravel() - pair.moving
            return -away @ curvature @ away / 2

        def best(volume, base):
            """The maximum, in closed form."""
            aim = volume - jnp.tile(base[:3].sum(), 12)
            return jnp.linalg.solve(into.T @ curvature @ into, into.T @ curvature @ aim)

        def attached(volume, base):
            pair = Pair(fixed=jnp.zeros(1), moving=volume)
            found = jax.lax.stop_gradient(best(volume, base))
            value = score(rows_of(found, base), pair)
            value = jax.lax.stop_gradient(value)
            return _implicit.attach(score, rows_of, found, value, pair, base)

        def known(volume, base):
            pair = Pair(fixed=jnp.zeros(1), moving=volume)
            found = best(volume, base)
            return found, score(rows_of(found, base), pair)

        for made, exact in zip(
            jax.tree.leaves(jax.jacrev(attached, argnums=(0, 1))(volume, base)),
            jax.tree.leaves(jax.jacrev(known, argnums=(0, 1))(volume, base)),
            strict=True,
        ):
            np.testing.assert_allclose(made, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["ncc", "ssd", "mi"])
def test_derivatives_tell_what_a_change_does(exact, metric):
    """Of changes that move the pose by a part of a voxel."""
    setting = problem(metric)
    known = differences(*setting, step=0.02)
    error = np.abs(slopes(*setting)[:, 0] - known[:, 0])
    assert (error < 0.05 * np.abs(known[:, 0]).max()).all(), (error, known)


def test_what_the_start_cannot_change_has_no_slope():
    """Of an affine pose the start is forgotten."""
    blobs = Blobs(count=900)
    fixed = blobs.image(SHAPE, np.eye(4))
    moving = blobs.image(SHAPE, pose("affine", seed=1, shift=1.0))

    def shift(initial):
        return jd.register(fixed, moving, initial=initial).matrix[0, 3]

    slope = jax.grad(shift)(jnp.eye(4))
    assert np.abs(slope[:3]).max() < 1e-2  # of a rigid one's linear part, some 10


@pytest.mark.slow
def test_more_passes_need_no_more_memory():
    """The program for the derivative is the same, however long the search may be."""
    volume = jnp.zeros(SHAPE)

    def program(iterations):
        def shift(moving):
            return jd.register(
                volume + 1.0, moving, initial=np.eye(4), iterations=iterations
            ).matrix[0, 3]

        return jax.jit(jax.grad(shift)).lower(volume).compile().memory_analysis()

    few, many = program(5), program(500)
    assert many.temp_size_in_bytes < 1.01 * few.temp_size_in_bytes + 1e5


@pytest.mark.slow
def test_gradient_descent_on_the_light_of_one_view():
    """Registration inside a model that is fitted: it runs under jit and vmap."""
    blobs = Blobs(count=900)
    fixed = blobs.image(SHAPE, np.eye(4))
    moving = np.stack([blobs.image(SHAPE, pose("rigid", seed=s)) for s in range(2)])

    @jax.jit
    @jax.vmap
    def slope(moving):
        def score(scale):
            return jd.register(fixed, moving * scale, model="rigid").score

        return jax.value_and_grad(score)(1.0)

    scores, gradients = slope(jnp.asarray(moving))
    assert scores.shape == (2,)
    assert (scores > 0.9).all()
    assert np.abs(gradients).max() < 1e-3  # a correlation knows no brightness
