"""Stopping rules: where they stop, what they keep, and what they need."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import (
    STOPS,
    Agreement,
    Discrepancy,
    GradientConsensus,
    HeldOut,
    OverIterationWarning,
    Rehearsal,
    RelativeChange,
    RichardsonLucy,
)
from jaxdecon.deconvolution._likelihood import chi_square

KEY = jax.random.key(0)
PLAIN = RichardsonLucy(start="constant")
BACKGROUND = 2.0


@pytest.fixture(scope="module")
def blur(blobs):
    _, psf, image = blobs
    return jd.operators.Convolution.from_psf(psf, image.shape)


RULES = {
    "change": RelativeChange(tolerance=0.02),
    "discrepancy": Discrepancy(),
    "held-out": HeldOut(scheme=PLAIN, key=KEY),
    "rehearsal": Rehearsal(scheme=PLAIN, key=KEY, pilot_iterations=30),
}


def solve(image, blur, rule, scheme=PLAIN, iterations=150, **options):
    return jd.deconvolve(
        image,
        blur,
        scheme,
        iterations=iterations,
        stop=rule,
        background=BACKGROUND,
        **options,
    )


@pytest.mark.parametrize("name", RULES)
def test_rules_stop_and_keep_what_they_found_best(blobs, blur, name):
    _, _, image = blobs
    rule = RULES[name]
    result = solve(image, blur, rule)
    assert 1 < result.iterations < 150
    kept = int(result.iterations)
    if rule.ranks:
        seen = np.asarray(result.scores)[1 : kept + 1]
        kept = int(result.best_iteration)
        assert kept == 1 + np.nanargmin(seen)
    plain = solve(image, blur, None, iterations=kept)
    np.testing.assert_allclose(result.value, plain.value, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("name", ["held-out", "rehearsal"])
def test_both_loops_agree(blobs, blur, name):
    _, _, image = blobs
    compiled = solve(image, blur, RULES[name])
    hosted = solve(image, blur, RULES[name], progress=lambda count: None)
    assert compiled.iterations == hosted.iterations
    assert compiled.best_iteration == hosted.best_iteration
    np.testing.assert_allclose(compiled.value, hosted.value, rtol=1e-2, atol=0.05)


def test_rules_map_over_images(blobs, blur):
    _, _, image = blobs
    pair = jnp.stack([image, image[:, ::-1]])
    rule = RULES["held-out"]
    both = jax.vmap(lambda y: solve(y, blur, rule, iterations=40))(pair)
    for index in range(2):
        one = solve(pair[index], blur, rule, iterations=40)
        assert both.best_iteration[index] == one.best_iteration
        np.testing.assert_allclose(both.value[index], one.value, rtol=1e-2, atol=0.05)


def test_discrepancy_is_met_where_the_data_are_explained(blobs, blur):
    _, _, image = blobs
    result = solve(image, blur, Discrepancy())
    problem = jd.deconvolution.Problem(
        data=jnp.asarray(image), operator=blur, background=BACKGROUND
    )

    def misfit(count):
        state = PLAIN.init(problem)
        for _ in range(count):
            state = PLAIN.update(problem, state)
        return chi_square(
            problem.likelihood, problem.data, problem.predict(state.estimate)
        )

    best = int(result.best_iteration)
    assert misfit(best) <= 1 < misfit(best - 1)


def errors(blobs, blur, scheme, count):
    truth, _, image = blobs
    problem = jd.deconvolution.Problem(
        data=jnp.asarray(image), operator=blur, background=jnp.float32(BACKGROUND)
    )

    def step(state, _):
        state = scheme.update(problem, state)
        return state, jnp.linalg.norm(blur.image_region(state.estimate) - truth)

    return np.asarray(jax.lax.scan(step, scheme.init(problem), length=count)[1])


@pytest.mark.parametrize(
    "options",
    [{}, {"back_projector": "wiener-butterworth", "restore_flux": True}],
    ids=["matched", "unmatched"],
)
def test_a_rehearsal_stops_near_the_least_error(blobs, options):
    _, psf, image = blobs
    blur = jd.operators.Convolution.from_psf(psf, image.shape)
    scheme = jd.deconvolution.richardson_lucy_scheme(
        blur, psf, start="constant", **options
    )
    count = 100 if not options else 14
    found = errors(blobs, blur, scheme, count)
    rule = Rehearsal(scheme=scheme, key=KEY)
    stopped = solve(image, blur, rule, scheme=scheme, iterations=count)
    reached = found[int(stopped.best_iteration) - 1]
    assert reached < 1.1 * found.min()
    assert found[0] > 1.3 * found.min()  # so that the rule had something to do


@pytest.fixture(scope="module")
def blobs():
    """(object, PSF, counts): round specks, some 100 photons in the brightest voxel."""
    rng = np.random.default_rng(4)
    truth = np.zeros((24, 36, 36), np.float32)
    where = tuple(rng.integers(4, n - 4, 30) for n in truth.shape)
    truth[where] = rng.uniform(300, 1000, 30)
    periodic = {"shape": truth.shape, "boundary": "periodic"}
    psf = np.asarray(jd.psf.gaussian((17, 11, 11), (5.0, 3.0, 3.0)))
    round_off = jd.psf.gaussian((9, 9, 9), 2.5)
    smooth = jd.operators.Convolution.from_psf(round_off, **periodic)
    truth = np.maximum(np.asarray(smooth(truth)), 0)
    blur = jd.operators.Convolution.from_psf(psf, **periodic)
    clean = np.maximum(np.asarray(blur(truth)), 0)
    scale = 100 / clean.max()
    image = rng.poisson(scale * clean + BACKGROUND).astype(np.float32)
    return scale * truth, psf, image


def test_consensus_leaves_alone_what_the_halves_dispute(blobs, blur):
    _, _, image = blobs
    problem = jd.deconvolution.Problem(
        data=jnp.asarray(image), operator=blur, background=jnp.float32(BACKGROUND)
    )
    scheme = GradientConsensus(scheme=PLAIN, key=KEY)
    state = scheme.init(problem)
    for _ in range(30):
        before, state = state, scheme.update(problem, state)
    same = blur.image_region(before.estimate == state.estimate)
    assert 0.05 < same.mean() < 0.95
    np.testing.assert_allclose(1 - same.mean(), state.agreement, atol=1e-3)


def test_consensus_bounds_what_over_iteration_costs(blobs, blur):
    scheme = GradientConsensus(scheme=PLAIN, key=KEY)
    assert (
        errors(blobs, blur, scheme, 300)[-1] < 0.8 * errors(blobs, blur, PLAIN, 300)[-1]
    )


def test_consensus_stops(blobs, blur):
    _, _, image = blobs
    scheme = GradientConsensus(scheme=PLAIN, key=KEY)
    result = solve(image, blur, Agreement(), scheme=scheme, iterations=300)
    assert 1 < result.iterations < 300
    again = solve(image, blur, Agreement(), scheme=scheme, iterations=300)
    np.testing.assert_array_equal(result.value, again.value)


@pytest.mark.parametrize("stop", [name for name in STOPS if name != "change"])
def test_rules_have_names(blobs, stop):
    _, psf, image = blobs
    options = {"psf": psf, "iterations": 150, "background": BACKGROUND}
    stopped = jd.richardson_lucy(image, stop=stop, **options)
    assert np.isfinite(stopped).all()
    assert not np.allclose(stopped, jd.richardson_lucy(image, **options))


def test_change_is_the_name_of_a_rule(blobs):
    _, psf, image = blobs
    smooth = {"prior": jd.deconvolution.TotalVariation(weight=0.2), "iterations": 300}
    named, given, all_ = (
        jd.richardson_lucy(image, psf, stop=rule, **smooth)
        for rule in ("change", RelativeChange(tolerance=1e-3), None)
    )
    np.testing.assert_array_equal(named, given)
    assert not np.array_equal(named, all_)


def test_unknown_names_are_refused(scene):
    _, psf, image = scene
    with pytest.raises(ValueError, match=r"stop.*known are"):
        jd.richardson_lucy(image, psf, iterations=2, stop="morozov")


def counts(seed, brightest):
    """A bright structure on a dim ground, blurred, with photon noise."""
    rng = np.random.default_rng(seed)
    sharp = np.zeros((12, 64, 64), np.float32)
    for _ in range(12):
        z, y, x = (rng.integers(0, n) for n in sharp.shape)
        sharp[z : z + 6, y : y + 9, x : x + 9] += rng.uniform(0.2, 1)
    psf = jd.psf.gaussian((9, 9, 9), (4.0, 3.0, 3.0))
    blur = jd.operators.Convolution.from_psf(psf, sharp.shape, boundary="periodic")
    clean = np.maximum(np.asarray(blur(sharp)), 0)
    return rng.poisson(brightest * clean / clean.max() + 3).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("brightest", [20, 300, 5000])
def test_counts_are_taken_for_counts(seed, brightest):
    check_counts(counts(seed, brightest))


@pytest.mark.parametrize("gain", [0.2, 4.0])
def test_what_is_not_counts_is_asked_about(gain):
    image = np.round(100 + gain * counts(0, 300))
    for wrong in (image, counts(0, 300) + 0.5):
        with pytest.raises(ValueError, match=r"to_counts.*gain.*offset"):
            check_counts(wrong)


def check_counts(image):
    jd.deconvolution._counts.check_counts("image", jnp.asarray(image), "this")


@pytest.mark.parametrize("stop", ["held-out", "consensus", "rehearsal", "discrepancy"])
def test_rules_that_need_counts_say_so(scene, stop):
    _, psf, image = scene
    with pytest.raises(ValueError, match=rf"{stop}.*photon counts.*to_counts"):
        jd.richardson_lucy(image + 0.25, psf, iterations=2, stop=stop)


def test_unmatched_back_projectors_keep_the_best(scene):
    _, psf, image = scene
    options = {"back_projector": "wiener-butterworth", "alpha": 0.001}
    with pytest.warns(OverIterationWarning, match=r"least.*after \d+ is kept"):
        kept = jd.richardson_lucy(image, psf, iterations=25, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverIterationWarning)
        last = jd.richardson_lucy(image, psf, iterations=25, keep="last", **options)
        best = jd.richardson_lucy(image, psf, iterations=25, keep="best", **options)
    np.testing.assert_array_equal(kept, best)
    assert not np.allclose(kept, last)
    matched = [
        jd.richardson_lucy(image, psf, iterations=3, keep=k) for k in ("auto", "last")
    ]
    np.testing.assert_array_equal(*matched)
