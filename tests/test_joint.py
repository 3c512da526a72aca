"""Joint Richardson-Lucy of views on one grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

import jaxdecon as jd
from jaxdecon.deconvolution import Poisson, Problem, RichardsonLucy
from jaxdecon.fusion import AlternatingRichardsonLucy, compound_back_projectors
from jaxdecon.operators import Convolution, Crop, Views

UPDATES = jd.fusion.UPDATES
SHAPE = (14, 18, 16)
PSFS = [
    np.asarray(jd.psf.gaussian((9, 7, 7), (4.0, 2.0, 2.0))),
    np.asarray(jd.psf.gaussian((7, 7, 9), (2.0, 2.0, 4.0))),
]


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(3)
    truth = np.zeros(SHAPE, np.float32)
    truth[tuple(rng.integers(2, n - 2, 30) for n in SHAPE)] = rng.uniform(300, 900, 30)
    blurred = [scipy.ndimage.convolve(truth, p, mode="wrap") for p in PSFS]
    return truth, [rng.poisson(b + 5).astype(np.float32) for b in blurred]


def circular(x, kernel):
    """Convolution on the image's own grid, in float64."""
    whole = np.zeros(x.shape)
    centre = [n // 2 for n in kernel.shape]
    for index, value in np.ndenumerate(kernel):
        place = tuple(
            (i - c) % n for i, c, n in zip(index, centre, x.shape, strict=True)
        )
        whole[place] += value
    return np.fft.ifftn(np.fft.fftn(x) * np.fft.fftn(whole)).real


def published(views, psfs, backs, iterations):
    """The published order (Guo et al. 2020), as the reference states it."""
    x = np.maximum(np.mean(views, 0, dtype=float), 0.01)
    for _ in range(iterations):
        for view, psf, back in zip(views, psfs, backs, strict=True):
            ratio = view / np.maximum(circular(x, psf), 0.01)
            x = np.maximum(x * circular(ratio, back), 0.01)
    return x


@pytest.mark.parametrize("kind", ["matched", "wiener-butterworth"])
@pytest.mark.parametrize("iterations", [1, 4])
def test_the_published_order_is_kept(pair, kind, iterations):
    _, views = pair
    backs = [np.asarray(jd.back_projector(p, kind), float) for p in PSFS]
    expected = published(views, np.asarray(PSFS, object), backs, iterations)
    found = jd.joint_richardson_lucy(
        views,
        PSFS,
        iterations=iterations,
        back_projectors=kind,
        boundary="periodic",
        keep="last",
    )
    # Where it is dark the floors differ: 0.01 there, a share of the mean here.
    bright = expected > 0.1
    np.testing.assert_allclose(found[bright], expected[bright], rtol=5e-3)
    assert (np.asarray(found)[~bright] < 0.11).all()


def test_additive_is_richardson_lucy_of_all_views(pair):
    _, views = pair
    x = np.mean(views, 0, dtype=float)
    for _ in range(5):
        ratios = [v / circular(x, p) for v, p in zip(views, PSFS, strict=True)]
        mirrored = [p[::-1, ::-1, ::-1] for p in PSFS]
        parts = [circular(r, m) for r, m in zip(ratios, mirrored, strict=True)]
        x = x * np.mean(parts, 0)
    found = jd.joint_richardson_lucy(
        views, PSFS, iterations=5, update="additive", boundary="periodic"
    )
    np.testing.assert_allclose(found, x, rtol=1e-3, atol=1e-3 * x.max())


def test_compound_kernels_are_those_of_the_formula():
    """P_v* prod (P_v* x P_w x P_w*), by SciPy."""
    rng = np.random.default_rng(0)
    psfs = [p * rng.uniform(0.5, 1.5, p.shape) for p in PSFS]
    kernels = compound_back_projectors(psfs)
    size = (9, 7, 9)
    whole = []
    for psf in psfs:
        gap = [(n - m) // 2 for n, m in zip(size, psf.shape, strict=True)]
        whole.append(np.pad(psf, [(g, g) for g in gap]))
    flip = (slice(None, None, -1),) * 3
    for v, w in ((0, 1), (1, 0)):
        far = scipy.signal.convolve(
            scipy.signal.convolve(whole[v][flip], whole[w]), whole[w][flip]
        )
        middle = tuple(
            slice(s // 2 - n // 2, s // 2 + n // 2 + 1)
            for s, n in zip(far.shape, size, strict=True)
        )
        expected = whole[v][flip] * far[middle]
        expected = expected / expected.sum()
        np.testing.assert_allclose(kernels[v], expected, atol=1e-6)


def test_the_matched_kernel_is_the_adjoint_also_of_a_lopsided_psf(pair):
    _, views = pair
    rng = np.random.default_rng(0)
    psfs = [p * rng.uniform(0.2, 1.8, p.shape).astype(np.float32) for p in PSFS]
    psfs = [p / p.sum() for p in psfs]
    mixed = ["matched", jd.back_projector(psfs[1], "matched")]
    one, other = (
        jd.joint_richardson_lucy(
            views, psfs, iterations=3, back_projectors=kinds, boundary="periodic"
        )
        for kinds in ("matched", mixed)
    )
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3 * float(one.max()))


def test_compound_converges_faster(pair):
    truth, views = pair

    def error(update):
        found = jd.joint_richardson_lucy(
            views,
            PSFS,
            iterations=5,
            update=update,
            background=5.0,
            boundary="periodic",
        )
        return float(((found - truth) ** 2).sum())

    assert error("compound") < error("alternating") < error("additive")


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("boundary", ["extend", "periodic"])
def test_two_views_are_better_than_one(pair, update, boundary):
    truth, views = pair
    both = jd.joint_richardson_lucy(
        views, PSFS, iterations=10, update=update, background=5.0, boundary=boundary
    )
    one = jd.richardson_lucy(
        views[0], PSFS[0], iterations=20, background=5.0, boundary=boundary
    )
    assert jd.metrics.ncc(both, truth) > jd.metrics.ncc(one, truth) + 0.02


@pytest.mark.parametrize("update", UPDATES)
def test_light_is_kept_and_nothing_is_negative(pair, update):
    truth, views = pair
    found = np.asarray(
        jd.joint_richardson_lucy(
            views,
            PSFS,
            iterations=4,
            update=update,
            background=5.0,
            boundary="periodic",
            restore_flux=True,
        )
    )
    assert found.min() >= 0
    assert abs(found.sum() / truth.sum() - 1) < 0.05


def test_one_view_is_richardson_lucy(pair):
    _, views = pair
    joint = jd.joint_richardson_lucy(views[:1], PSFS[:1], iterations=4)
    alone = jd.richardson_lucy(views[0], PSFS[0], iterations=4)
    np.testing.assert_allclose(joint, alone, rtol=1e-4, atol=1e-3)


def test_a_background_of_offset_and_one_of_light():
    """An offset does not count as light; a background of photons does."""
    rng = np.random.default_rng(0)
    light = 50 * np.exp(-0.5 * ((np.arange(32) - 16) / 2) ** 2)
    image = np.broadcast_to(light, (32, 32))
    psf = np.asarray(jd.psf.gaussian((9, 9), 3.0))
    quiet = rng.poisson(image) + rng.normal(1000, 1, image.shape)
    shown = jd.joint_richardson_lucy(
        [quiet] * 2, [psf] * 2, iterations=10, background=1000.0
    )
    plain = jd.joint_richardson_lucy(
        [np.maximum(quiet - 1000, 0)] * 2, [psf] * 2, iterations=10
    )
    np.testing.assert_allclose(shown, plain, atol=0.1 * float(plain.max()))
    bright = rng.poisson(image + 1000).astype(np.float32)
    found = jd.joint_richardson_lucy(
        [bright] * 2, [psf] * 2, iterations=10, background=1000.0
    )
    known = jd.joint_richardson_lucy(
        [bright] * 2, [psf] * 2, iterations=10, background=1000.0, likelihood=Poisson()
    )
    np.testing.assert_allclose(found, known, atol=0.1 * float(known.max()))


def test_backgrounds_of_each_view(pair):
    _, views = pair
    plain = jd.joint_richardson_lucy(views, PSFS, iterations=3, background=5.0)
    moved = [views[0] + 20, views[1]]
    found = jd.joint_richardson_lucy(moved, PSFS, iterations=3, background=[25.0, 5.0])
    np.testing.assert_allclose(found, plain, rtol=1e-3, atol=1e-2)


def test_gradients_flow_to_a_back_projector(pair):
    _, views = pair

    def misfit(alpha, psf):
        found = jd.joint_richardson_lucy(
            views,
            [psf, PSFS[1]],
            iterations=2,
            back_projectors="wiener-butterworth",
            alpha=alpha,
            boundary="periodic",
            keep="last",
        )
        return (found**2).mean()

    value, slope = jax.value_and_grad(misfit)(0.05, jnp.asarray(PSFS[0]))
    high, low = (misfit(a, jnp.asarray(PSFS[0])) for a in (0.052, 0.048))
    assert np.isfinite(value)
    np.testing.assert_allclose(slope, (high - low) / 0.004, rtol=0.05)


def test_schemes_run_in_the_driver(pair):
    _, views = pair
    operators = [Convolution.from_psf(p, SHAPE, boundary="periodic") for p in PSFS]
    result = jd.deconvolve(
        tuple(views),
        Views(operators),
        AlternatingRichardsonLucy(),
        iterations=5,
        background=(5.0, 4.0),
    )
    assert result.value.shape == SHAPE
    assert np.all(np.diff(result.history) < 0)
    fast = jd.deconvolution.Accelerated(scheme=AlternatingRichardsonLucy())
    faster = jd.deconvolve(
        tuple(views), Views(operators), fast, iterations=5, background=5.0
    )
    assert faster.history[-1] < result.history[-1]


def test_a_voxel_that_one_view_sees_has_no_seam():
    """A view that sees a part: the object is as bright on both sides of its border."""
    shape, psf = (48, 40), np.asarray(jd.psf.gaussian((9, 9), 3.0))
    blur = Convolution.from_psf(psf, shape)
    part = Crop.at((0, 0), shape, (24, 40)) @ blur
    operators = Views([blur, part])
    flat = 50 * np.ones(blur.domain, np.float32)
    data = operators(flat)
    problem = Problem(data=data, operator=operators, background=0.0)
    for scheme in (AlternatingRichardsonLucy(start="constant"), RichardsonLucy()):
        state = scheme.init(problem)
        for _ in range(5):
            state = scheme.update(problem, state)
        seen = np.asarray(blur.image_region(state.estimate))
        np.testing.assert_allclose(seen, 50, rtol=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": []}, "one view or more"),
        ({"psfs": PSFS[:1]}, "one PSF per view"),
        ({"psfs": [PSFS[0], np.zeros((3, 3, 3))]}, "zero everywhere"),
        ({"views": [np.ones(SHAPE), np.ones((4, 5, 6))]}, "one shape"),
        ({"views": [np.full(SHAPE, np.nan), np.ones(SHAPE)]}, r"views\[0\].*NaN"),
        ({"update": "parallel"}, "update"),
        ({"back_projectors": ["matched"]}, "one per view"),
        ({"background": [1.0, 2.0, 3.0]}, "one per view"),
        ({"update": "compound", "back_projectors": "wiener"}, "of its own"),
    ],
)
def test_bad_input_is_told(change, message):
    options = {"views": [np.ones(SHAPE)] * 2, "psfs": PSFS, "iterations": 2, **change}
    with pytest.raises(ValueError, match=message):
        jd.joint_richardson_lucy(options.pop("views"), options.pop("psfs"), **options)
