"""Tuned schemes and learned back projectors."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.learning.pairs._objects import OBJECTS
from jaxdecon.learning.schemes._bounded import Bounded
from jaxdecon.learning.schemes._judge import choose
from jaxdecon.learning.schemes._tune import _batch
from jaxdecon.learning.schemes._unrolled import seen_after, value_and_gradient

from ._x64 import x64

KINDS = {*OBJECTS, "coarse points", "coarse shells"}
START = {"alpha": 0.06, "beta": 0.1, "order": 6.0, "resolution": np.array([3.3, 2.6])}
BOUNDS = {
    "alpha": (1e-4, 1.0),
    "beta": (1e-4, 0.9),
    "order": (-np.inf, 40.0),
    "resolution": (0.0, np.inf),
}


def wiener_butterworth(psf, blur, weight=0.01):
    def build(parameters):
        kernel = jd.back_projector(psf, **parameters, interpolate=True)
        return jd.deconvolution.RichardsonLucy(
            back_projector=blur.back_projection(kernel),
            prior=jd.deconvolution.Tikhonov(weight=weight),
        )

    return build


def exercise(dtype, seed=0, boundary="extend"):
    """(PSF, operator, problem, object in the field), small and not symmetric."""
    rng = np.random.default_rng(seed)
    psf = jnp.asarray(jd.psf.gaussian((9, 11), (3.1, 2.7)), dtype)
    blur = jd.operators.Convolution.from_psf(psf, (14, 15), boundary=boundary)
    thing = 60 * jnp.asarray(rng.random(blur.domain) ** 6, dtype)
    data = rng.poisson(np.maximum(blur(thing), 0) + 5.0)
    problem = jd.deconvolution.Problem(
        data=jnp.asarray(data, dtype), operator=blur, background=jnp.asarray(5, dtype)
    )
    return psf, blur, problem, blur.image_region(thing)


def losses(iterations, lasts):
    """Losses of a vector of five parameters, one per number of last updates."""
    psf, blur, problem, truth = exercise(float)
    inside, vector = Bounded.of(START, BOUNDS)
    build = wiener_butterworth(psf, blur)

    def loss(last):
        def of(vector):
            scheme = build(inside(vector))
            seen = seen_after(scheme, problem, iterations=iterations, last=last)
            return jd.learning.log_error(seen, truth)

        return of

    return [loss(last) for last in lasts], vector


def all_gradients(functions, vector, steps):
    """(value, gradient) in four ways, and values at small steps."""
    exact, *_ = functions
    ways = [value_and_gradient(f, forward=False) for f in functions]
    ways.append(value_and_gradient(exact, forward=True))
    return [way(vector) for way in ways], jax.lax.map(exact, vector + steps)


def test_the_three_gradients():
    with x64():
        functions, vector = losses(4, (None, 4, 1))
        steps = 1e-5 * jnp.eye(vector.size)
        compiled = jax.jit(functools.partial(all_gradients, functions))
        found, values = compiled(vector, jnp.concatenate([steps, -steps]))
        (value, slope), whole, last, forward = found
        up, down = values.reshape(2, -1)
        np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol=1e-5)
        assert (abs(slope) > 1e-6).all()  # or the comparison would say nothing
        for other in (whole, last, forward):
            np.testing.assert_allclose(other[0], value, rtol=1e-12)
        np.testing.assert_allclose(whole[1], slope, rtol=1e-12)
        np.testing.assert_allclose(forward[1], slope, rtol=1e-9)
        norms = np.linalg.norm(slope) * np.linalg.norm(last[1])
        assert 0.5 < float(slope @ last[1] / norms) < 0.9999


@pytest.mark.parametrize(
    ("bounds", "value"),
    [((0, np.inf), 3.0), ((1, 4), 3.0), ((-np.inf, 4), 3.0), ((-np.inf, np.inf), -3.0)],
)
def test_parameters_stay_inside_their_bounds(bounds, value):
    inside, vector = Bounded.of({"a": value}, bounds)
    np.testing.assert_allclose(inside(vector)["a"], value, rtol=1e-6)
    for far in (-8.0, 8.0):
        assert bounds[0] <= float(inside(vector + far)["a"]) <= bounds[1]


def test_interpolated_gains_are_the_published_ones_on_the_grid():
    psf = jd.psf.gaussian((15, 21), (3.0, 4.2))
    options = {"resolution": (15 / 4, 21 / 4), "beta": 0.02}
    published = jd.back_projector(psf, **options)
    same = jd.back_projector(psf, interpolate=True, **options)
    np.testing.assert_allclose(same, published, atol=1e-5 * float(published.max()))
    between = {**options, "resolution": (15 / 4, 21 / 4.4)}
    published = jd.back_projector(psf, **between)
    other = jd.back_projector(psf, interpolate=True, **between)
    assert abs(other - published).max() > 1e-3 * float(published.max())


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    estimate: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Scaled:
    """The data times a number, whatever the number of updates."""

    factor: float

    def init(self, problem):
        return State(problem.data)

    def update(self, problem, state):
        return State(problem.data * self.factor)


def squared(value, truth):
    return ((value - truth) ** 2).mean()


def test_the_optimum_of_a_linear_scheme_is_found():
    """Whose best factor is known: <y, t> / <y, y>, over all problems."""
    made = [exercise(jnp.float32, seed, "periodic") for seed in (0, 1)]
    problems = [problem for _, _, problem, _ in made]
    data = np.stack([p.data for p in problems])
    truths = 1.7 * data + np.random.default_rng(0).normal(size=data.shape)
    best = (data * truths).sum() / (data**2).sum()
    for gradient in ("exact", "truncated", "forward"):
        tuned = jd.learning.tune(
            Scaled(1.0),
            problems,
            list(truths.astype(np.float32)),
            iterations=2,
            gradient=gradient,
            steps=80,
            loss=squared,
        )
        np.testing.assert_allclose(tuned.scheme.factor, best, rtol=1e-3)
        assert tuned.loss < 0.1 * tuned.start_loss == 0.1 * float(tuned.history[0])
        assert tuned.history.shape == (81,)


def test_the_best_is_kept_and_overflow_survived():
    """Steps that are far too long lead nowhere good; the start was better."""
    import optax

    *_, problem, _ = exercise(jnp.float32, boundary="periodic")
    tuned = jd.learning.tune(
        Scaled,
        problem,
        1.01 * problem.data,
        iterations=1,
        start=1.0,
        steps=5,
        optimizer=optax.sgd(1e6),
        loss=squared,
    )
    assert not np.isfinite(tuned.history).all()
    assert tuned.parameters == 1.0
    assert tuned.loss == tuned.start_loss


def test_what_problems_share_is_kept_once():
    *_, problem, truth = exercise(jnp.float32)
    other = dataclasses.replace(problem, data=problem.data + 1)
    batch = _batch([problem, other], [truth, truth])
    assert any(leaf is problem.operator.transfer for leaf in batch.shared)
    second, its_truth = batch.join([leaf[1] for leaf in batch.varying])
    np.testing.assert_array_equal(second.data, other.data)
    np.testing.assert_array_equal(its_truth, truth)
    assert second.operator.transfer is problem.operator.transfer


def test_unusable_arguments_are_refused():
    *_, problem, truth = exercise(jnp.float32, boundary="periodic")
    blur = jd.operators.Convolution.from_psf(jd.psf.gaussian((5, 5), 2.0), (12, 12))
    assert blur.range != problem.operator.range
    small = jd.deconvolution.Problem(
        data=jnp.ones((12, 12)), operator=blur, background=jnp.asarray(5.0)
    )

    def tune(scheme=Scaled, problems=problem, truths=truth, **options):
        options = {"iterations": 1, "start": 1.0, "steps": 1, **options}
        jd.learning.tune(scheme, problems, truths, **options)

    for match, options in {
        "known are": {"gradient": "backward"},
        "`last` is for": {"last": 1},
        "between its bounds": {"start": -1.0},
        "low below high": {"bounds": (1.0, 0.0)},
        "like `start`": {"bounds": {"a": (0.0, 1.0)}, "start": {"b": 0.5}},
        "`start` is needed": {"start": None},
        "one truth for each": {"problems": [problem, problem], "truths": [truth]},
        "field of view": {"truths": truth[1:]},
        "of one kind": {
            "problems": [problem, small],
            "truths": [truth, jnp.ones((12, 12))],
        },
        "no parameters": {"scheme": jd.deconvolution.RichardsonLucy(), "start": None},
        "finite estimates": {"truths": truth * np.nan},
    }.items():
        with pytest.raises(ValueError, match=match):
            tune(**options)
    with pytest.raises(TypeError, match="real numbers"):
        tune(start="1")


@pytest.mark.parametrize("kind", OBJECTS)
def test_simulated_objects(kind):
    first, same, other = (
        np.asarray(
            jd.learning.simulated_object(
                kind, (48, 48), width=3.0, key=jax.random.key(k)
            )
        )
        for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert abs(first - other).max() > 0.1
    assert first.min() >= 0
    np.testing.assert_allclose(first.max(), 1)
    # Nothing finer than a Gaussian of that width, at whose gain of 1e-3 this is.
    power = abs(np.fft.rfft2(first)) ** 2
    k = np.hypot(np.fft.fftfreq(48)[:, None], np.fft.rfftfreq(48)[None])
    assert power[k > 0.47].sum() < 1e-3 * power[k > 0].sum()


FIELD, LARGER = (40, 40), (54, 54)


@pytest.fixture(scope="module")
def psf():
    return jd.psf.gaussian((15, 15), (4.0, 3.0))


@pytest.fixture(scope="module")
def learned(psf):
    return jd.learning.back_projector(
        psf, iterations=3, photons=300.0, shape=FIELD, steps=25, restore_flux=True
    )


def test_learned_back_projector_is_never_worse_than_published(learned):
    assert set(learned.errors) == KINDS
    ratios = [after / before for before, after in learned.errors.values()]
    assert max(ratios) <= 1
    assert min(ratios) < 0.995
    assert learned.share > 0
    assert learned.history.min() < learned.history[0]
    # It starts at the published settings, but for gains between frequencies.
    np.testing.assert_allclose(learned.history[0], 0, atol=0.02)


def test_parameters_are_those_of_the_public_function(learned):
    kernel = jd.back_projector(learned.psf, **learned.parameters)
    np.testing.assert_allclose(learned.kernel, kernel, atol=1e-5 * float(kernel.max()))
    np.testing.assert_allclose(learned.kernel.sum(), 1, rtol=1e-5)
    y, x = learned.parameters["resolution"]
    widths = jd.psf.fwhm(learned.psf)
    np.testing.assert_allclose(y / x, widths[0] / widths[1], rtol=1e-5)


def test_the_kernel_does_the_same_in_richardson_lucy(learned):
    blur = jd.operators.Convolution.from_psf(learned.psf, FIELD)
    image = np.random.default_rng(0).poisson(20, FIELD).astype(np.float32)
    problem = jd.deconvolution.Problem(
        data=jnp.asarray(image), operator=blur, background=jnp.asarray(5.0)
    )
    ours = seen_after(learned.scheme(blur), problem, iterations=3)
    expected = jd.richardson_lucy(
        image,
        learned.psf,
        iterations=3,
        back_projector=learned.kernel,
        background=5.0,
        restore_flux=True,
        keep="last",
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


class Line:
    """A family whose parameters are a number, 0 as published."""

    def between(self, learned, share):
        return share * learned


def test_what_makes_a_kind_of_object_worse_is_taken_back():
    before = {"points": 0.5, "shells": 0.5}

    def tried(x):
        return {"points": 0.5 - 0.1 * x, "shells": 0.5 - 0.1 * x * (0.6 - x)}

    choice = choose(Line(), 1.0, tried, before)
    assert (choice.share, choice.worse) == (0.5, ["shells"])
    assert "worse than the published settings on shells: taken back" in choice.message
    none = choose(Line(), 1.0, lambda x: {"points": 0.4, "shells": 0.51}, before)
    assert (none.share, none.errors, none.worse) == (0.0, before, ["shells"])
    unknown = choose(Line(), 1.0, lambda x: dict.fromkeys(before, np.nan), before)
    assert unknown.share == 0.0


def test_a_free_gain_that_memorised_a_spectrum_is_not_given_back(psf):
    """Stripes of one period: all gain goes there, and other objects are spoiled."""
    x = np.arange(LARGER[1])
    stripes = [
        np.ones((LARGER[0], 1)) * (1 + np.sin(2 * np.pi * x / 5 + phase))
        for phase in (0, 1, 2)
    ]
    with pytest.warns(UserWarning, match="did worse than the published settings on"):
        learned = jd.learning.back_projector(
            psf, iterations=1, kind="radial", objects=stripes, steps=30
        )
    assert learned.history.min() < -0.1  # on stripes it was far better
    assert (learned.share, learned.kind) == (0.0, "wiener-butterworth")
    for expected in (
        jd.back_projector(psf),
        jd.back_projector(psf, **learned.parameters),
    ):
        np.testing.assert_allclose(learned.kernel, expected, atol=1e-6)
    assert set(learned.errors) == {"own", *KINDS}


def test_unusable_training_is_refused():
    psf = jd.psf.gaussian((9, 9), 3.0)
    for match, options in {
        "known are": {"kind": "free"},
        "two or more": {"objects": [np.ones((32, 32))]},
        "one is needed": {"objects": [np.ones((32, 32)), np.ones((32, 31))]},
        "more than the PSF": {"objects": [np.ones((15, 32))] * 2},
        "dark everywhere": {"objects": [np.ones((32, 32)), np.zeros((32, 32))]},
        "leave out either": {"objects": [np.ones((32, 32))] * 2, "shape": (16, 16)},
        "zero or more": {"background": -1.0},
        "`spacing`": {"spacing": (1.0, 1.0, 1.0)},
    }.items():
        with pytest.raises(ValueError, match=match):
            jd.learning.back_projector(psf, **options)


def test_files_keep_everything_and_hold_no_code(learned, tmp_path):
    path = tmp_path / "learned.npz"
    jd.io.write_back_projector(path, learned)
    stored = jd.io.read_back_projector(path)
    np.testing.assert_array_equal(stored.kernel, learned.kernel)
    np.testing.assert_array_equal(stored.psf, learned.psf)
    assert stored.iterations == 3
    assert stored.about == json.loads(json.dumps(learned.about))
    assert stored.about["errors"]["points"] == list(learned.errors["points"])
    again = tmp_path / "again.npz"
    jd.io.write_back_projector(again, stored)
    assert jd.io.read_back_projector(again).about == stored.about
    with pytest.raises(FileExistsError):
        jd.io.write_back_projector(path, learned)
    with pytest.raises(ValueError, match=r"\.npz is needed"):
        jd.io.write_back_projector(tmp_path / "learned.npy", learned)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.npz", "learned.npz"]


def _file(folder, **changes):
    kernel = np.ones((3, 3), np.float32)
    head = {"format": "jaxdecon back projector", "version": 1, "iterations": 2}
    head |= {"about": {}} | changes.pop("head", {})
    parts = {"kernel": kernel, "psf": kernel, "about": json.dumps(head), **changes}
    np.savez(folder / "file.npz", **parts)
    return folder / "file.npz"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kernel": np.array([{}], object)}, "no learned back projector"),
        ({"about": "{"}, "no learned back projector"),
        ({"about": "[]"}, "no learned back projector"),
        ({"head": {"format": "other"}}, "its format is 'other'"),
        ({"head": {"version": 2}}, "install a newer"),
        ({"psf": np.ones((3, 5))}, "cannot be used"),
        ({"kernel": np.full((3, 3), np.nan)}, "cannot be used"),
    ],
)
def test_files_that_are_not_ours_are_refused(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        jd.io.read_back_projector(_file(tmp_path, **changes))


def test_broken_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        jd.io.read_back_projector(tmp_path / "none.npz")
    path = _file(tmp_path)
    assert jd.io.read_back_projector(path).iterations == 2
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="no learned back projector"):
        jd.io.read_back_projector(path)
