"""The loop: any scheme, stopping, history, the best estimate, and user schemes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import (
    OverIterationWarning,
    RelativeChange,
    RichardsonLucy,
    Status,
)


@pytest.fixture(scope="module")
def blur(scene):
    _, psf, image = scene
    return jd.operators.Convolution.from_psf(psf, image.shape)


def over_iterated(scene, blur, keep="last", iterations=25):
    _, psf, image = scene
    scheme = jd.deconvolution.richardson_lucy_scheme(
        blur, psf, back_projector="wiener-butterworth", alpha=0.001
    )
    return jd.deconvolve(image, blur, scheme, iterations=iterations, keep=keep)


def test_history_is_the_deviance_of_every_estimate(scene, blur):
    _, _, image = scene
    result = jd.deconvolve(image, blur, RichardsonLucy(), iterations=4, background=1.0)
    assert result.history.shape == (5,)
    problem = jd.deconvolution.Problem(data=image, operator=blur, background=1.0)
    state = RichardsonLucy().init(problem)
    for step in range(5):
        expected = problem.residual(problem.predict(state.estimate))
        np.testing.assert_allclose(result.history[step], expected, rtol=1e-3)
        state = RichardsonLucy().update(problem, state)
    assert np.all(np.diff(result.history) < 0)
    assert result.status == Status.ITERATIONS
    assert "4 iterations" in result.message
    assert result.value.shape == image.shape


def test_scan_while_and_host_loops_agree(scene, blur):
    _, _, image = scene
    counts = []
    never = RelativeChange(tolerance=0.0)
    a = jd.deconvolve(image, blur, RichardsonLucy(), iterations=5)
    b = jd.deconvolve(image, blur, RichardsonLucy(), iterations=5, stop=never)
    c = jd.deconvolve(
        image, blur, RichardsonLucy(), iterations=5, progress=counts.append
    )
    for other in (b, c):
        np.testing.assert_allclose(a.value, other.value, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(a.history, other.history, rtol=1e-4)
    assert counts == [1, 2, 3, 4, 5]


def test_relative_change_stops_early(scene, blur):
    _, _, image = scene
    rule = RelativeChange(tolerance=0.05)
    result = jd.deconvolve(image, blur, RichardsonLucy(), iterations=200, stop=rule)
    done = int(result.iterations)
    assert 1 < done < 200
    assert result.status == Status.STOPPED
    assert "stopped" in result.message
    assert np.isnan(result.history[done + 1 :]).all()
    assert np.isfinite(result.history[: done + 1]).all()
    on_host = jd.deconvolve(
        image,
        blur,
        RichardsonLucy(),
        iterations=200,
        stop=rule,
        progress=lambda count: None,
    )
    assert int(on_host.iterations) == done
    fixed = jd.richardson_lucy(image, scene[1], iterations=done)
    np.testing.assert_allclose(result.value, fixed, rtol=1e-3, atol=1e-2)


def test_a_growing_residual_is_told_with_numbers(scene, blur):
    result = over_iterated(scene, blur)
    best = int(result.best_iteration)
    assert result.status == Status.RESIDUAL_GREW
    assert 0 < best < 25
    assert np.argmin(result.history) == best
    with pytest.warns(OverIterationWarning, match=f"after {best} of 25 iterations"):
        result.raise_for_status()
    with pytest.warns(OverIterationWarning):
        jd.richardson_lucy(
            scene[2],
            scene[1],
            iterations=25,
            back_projector="wiener-butterworth",
            alpha=0.001,
        )


def test_the_best_estimate_is_kept_on_request(scene, blur):
    best = over_iterated(scene, blur, keep="best")
    count = int(best.best_iteration)
    again = over_iterated(scene, blur, iterations=count)
    np.testing.assert_allclose(best.value, again.value, rtol=1e-3, atol=1e-2)


def test_not_finite_is_an_error_on_the_host(scene, blur):
    @jd.deconvolution._problem.pytree
    class Broken:
        def init(self, problem):
            return RichardsonLucy().init(problem)

        def update(self, problem, state):
            return dataclasses.replace(state, estimate=state.estimate * jnp.nan)

    result = jax.jit(lambda image: jd.deconvolve(image, blur, Broken(), iterations=1))(
        scene[2]
    )
    assert result.status == Status.NOT_FINITE
    with pytest.raises(FloatingPointError, match="NaN"):
        result.raise_for_status()


@jd.deconvolution._problem.pytree
class Landweber:
    """A scheme of a user: gradient descent with positivity."""

    step: float = 1.0

    def init(self, problem):
        return LandweberState(estimate=problem.operator.lift(problem.data))

    def update(self, problem, state):
        misfit = problem.data - problem.predict(state.estimate)
        move = self.step * problem.operator.adjoint(misfit)
        return LandweberState(estimate=jnp.maximum(state.estimate + move, 0))


@jd.deconvolution._problem.pytree
class LandweberState:
    estimate: jax.Array


def test_wrappers_nest_in_any_order(scene, blur):
    _, _, image = scene
    fast, kept = jd.deconvolution.Accelerated, jd.deconvolution.FluxPreserving
    schemes = (
        fast(scheme=kept(scheme=RichardsonLucy())),
        kept(scheme=fast(scheme=RichardsonLucy())),
    )
    a, b = (jd.deconvolve(image, blur, scheme, iterations=8) for scheme in schemes)
    np.testing.assert_allclose(a.history, b.history, rtol=2e-2)
    for result in (a, b):
        assert float(result.history[-1]) < float(result.history[0])


def test_a_scheme_of_fifteen_lines_runs_and_accelerates(scene, blur):
    truth, _, image = scene
    plain = jd.deconvolve(image, blur, Landweber(), iterations=30)
    wrapped = jd.deconvolution.Accelerated(scheme=Landweber())
    fast = jd.deconvolve(image, blur, wrapped, iterations=30)
    assert float(fast.history[-1]) < float(plain.history[-1])
    assert float(plain.history[-1]) < float(plain.history[0])
    assert float(jd.metrics.ncc(plain.value, truth)) > float(
        jd.metrics.ncc(image, truth)
    )


def test_binned_camera_and_two_views(scene):
    """Other operators: an object on a finer grid, seen by two cameras."""
    truth, psf, _ = scene
    fine = truth[:, :, :24]
    blur = jd.operators.Convolution.from_psf(psf, fine.shape, boundary="reflect")
    sharp = jd.operators.Convolution.from_psf(
        np.asarray(jd.psf.gaussian((9, 13, 9), (2.5, 4.0, 2.5))),
        fine.shape,
        boundary="reflect",
    )
    binned = jd.operators.Downsample.from_factor((1, 2, 2), (20, 16, 12)) @ blur
    views = jd.operators.Views([binned, sharp])
    data = jax.tree.map(lambda v: jnp.maximum(v, 0) + 0.1, views(fine))
    both = jd.deconvolve(data, views, RichardsonLucy(), iterations=30, background=0.1)
    one = jd.deconvolve(
        data[0], binned, RichardsonLucy(), iterations=30, background=0.1
    )
    assert both.value.shape == one.value.shape == fine.shape
    assert float(both.history[-1]) < float(both.history[0])
    assert jd.metrics.ncc(both.value, fine) > jd.metrics.ncc(one.value, fine) > 0.3


def test_result_survives_jit_and_vmap(scene, blur):
    _, _, image = scene
    batch = jnp.stack([image, 2 * image])
    rule = RelativeChange(tolerance=0.2)

    def solve(image):
        return jd.deconvolve(image, blur, RichardsonLucy(), iterations=30, stop=rule)

    results = jax.jit(jax.vmap(solve))(batch)
    assert results.value.shape == batch.shape
    np.testing.assert_array_equal(results.iterations[0], results.iterations[1])


def test_misuse(scene, blur):
    _, _, image = scene
    with pytest.raises(ValueError, match=r"operator.*gives"):
        jd.deconvolve(image[1:], blur, RichardsonLucy(), iterations=1)
    with pytest.raises(ValueError, match="keep"):
        jd.deconvolve(image, blur, RichardsonLucy(), iterations=1, keep="worst")
    with pytest.raises(TypeError, match="integer"):
        jd.deconvolve(image, blur, RichardsonLucy(), iterations=1.5)


def test_a_batch_tells_of_its_worst_element(scene, blur):
    _, psf, image = scene
    scheme = jd.deconvolution.richardson_lucy_scheme(
        blur, psf, back_projector="wiener-butterworth", alpha=0.001
    )
    flat = jnp.full_like(image, 5.0)

    def solve(image):
        return jd.deconvolve(image, blur, scheme, iterations=25)

    results = jax.vmap(solve)(jnp.stack([flat, image]))
    assert results.message.startswith("batch element 1: the data residual")
    with pytest.warns(OverIterationWarning, match="batch element 1"):
        results.raise_for_status()


def test_keeping_the_best_is_told_as_such(scene, blur):
    result = over_iterated(scene, blur, keep="best")
    with pytest.warns(OverIterationWarning, match=r"that after \d+ is kept"):
        assert result.raise_for_status() is result


def test_negative_data_and_background_are_refused(scene, blur):
    _, _, image = scene
    with pytest.raises(ValueError, match=r"image.*negative"):
        jd.deconvolve(image - 30, blur, RichardsonLucy(), iterations=1)
    with pytest.raises(ValueError, match=r"background.*negative"):
        jd.deconvolve(image, blur, RichardsonLucy(), iterations=1, background=-5)


def test_progress_is_silent_while_tracing(scene, blur):
    calls = []

    @jax.jit
    def solve(image):
        return jd.deconvolve(
            image, blur, RichardsonLucy(), iterations=2, progress=calls.append
        ).value

    solve(scene[2])
    assert not calls
