"""Raw views in, one volume out: poses, grids, models of views, doubts."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import jaxdecon as jd
from jaxdecon.fusion import BLENDS, register_views
from jaxdecon.fusion._sampling import SplineReturn, SplineSample, spline_blur
from jaxdecon.geometry import common_grid, turned
from jaxdecon.operators import Convolution
from tests._blobs import corner_error
from tests._dual_view import BACKGROUND, SHAPE, make, ncc

EYE = np.eye(4)


@pytest.fixture(scope="module")
def pair():
    return make()


def fuse(pair, **options):
    _, views, psfs, matrix = pair
    options = {"matrices": [EYE, matrix], "background": BACKGROUND, **options}
    return jd.fuse(views, psfs, **options)


def test_poses_are_not_taken_in_by_blur(pair):
    """Alike in blur, views register far better than as they are."""
    _, views, psfs, matrix = pair
    plain = [v - BACKGROUND for v in views]
    (raw,) = register_views(plain)
    (alike,) = register_views(plain, psfs)
    assert bool(alike.converged)
    assert corner_error(alike.matrix, matrix) < 0.05
    assert corner_error(raw.matrix, matrix) > 3 * corner_error(alike.matrix, matrix)


def test_raw_views_become_one_sharp_volume(pair):
    truth, views, psfs, matrix = pair
    found = jd.fuse(views, psfs, background=BACKGROUND, iterations=2, alpha=0.02)
    assert corner_error(found.matrices[1], matrix) < 0.05
    one = jd.richardson_lucy(
        np.maximum(views[0] - BACKGROUND, 0), psfs[0], iterations=20
    )
    average = fuse(pair, method="blending")
    score = ncc(found.image, truth)
    assert score > ncc(one, truth) + 0.02
    assert score > ncc(average.image, truth) + 0.05
    assert found.notes == ()
    assert found.image.shape == SHAPE
    assert found.image.min() >= 0
    assert found.ncc[0] == 1
    assert 0.5 < found.ncc[1] < 1
    # Photons and a read noise of 2: the image explains the views to their noise.
    np.testing.assert_allclose(found.residuals, 1, atol=0.25)


@pytest.mark.parametrize(
    "options",
    [
        {"iterations": 20, "back_projector": "matched"},
        {"iterations": 30, "back_projector": "matched", "update": "additive"},
        {"iterations": 10, "update": "compound"},
        {"iterations": 3, "alpha": 0.02},
    ],
)
def test_every_update_reaches_the_truth(pair, options):
    truth = pair[0]
    assert ncc(fuse(pair, **options).image, truth) > 0.965


def test_own_grids_are_as_good_as_views_resampled_to_one(pair):
    truth, views, psfs, matrix = pair
    moved = np.asarray(jd.warp(views[1] - BACKGROUND, matrix, order="cubic"))
    resampled = jd.joint_richardson_lucy(
        [views[0] - BACKGROUND + 20, moved + 20],
        psfs,
        iterations=20,
        background=20.0,
        likelihood=jd.deconvolution.MixedPoisson(read_noise=2.0),
    )
    own = fuse(pair, iterations=20, back_projector="matched")
    assert ncc(own.image, truth) > ncc(resampled, truth) - 0.002


def test_a_view_from_the_side_on_other_voxels(pair):
    """Every third plane of either view, the second one turned by 90 degrees."""
    truth, views, psfs, matrix = pair
    side = (SHAPE[2], SHAPE[1], SHAPE[0])
    turn = turned(90, shape=SHAPE, to_shape=side)
    other = np.asarray(jd.warp(views[1], np.linalg.inv(turn), side))
    around = turned(90, shape=psfs[1].shape, to_shape=psfs[0].shape)
    psf = np.asarray(jd.warp(psfs[1], np.linalg.inv(around), psfs[0].shape))
    planes = [views[0][::3], other[::3]]
    sizes = [(3.0, 1.0, 1.0)] * 2
    rough = turned(
        90, shape=planes[0].shape, to_shape=planes[1].shape, voxel_size=sizes[0]
    )
    found = jd.fuse(
        planes,
        [psfs[0], psf],
        voxel_sizes=sizes,
        psf_voxel_sizes=[1.0, 1.0],
        initial=[None, rough],
        background=BACKGROUND,
        iterations=15,
        back_projector="matched",
    )
    third = np.diag([1 / 3, 1, 1, 1])
    assert corner_error(found.matrices[1] @ third, third @ turn @ matrix) < 0.1
    assert found.grid.voxel_size == (1.0, 1.0, 1.0)
    n = found.grid.shape[0]
    assert n == 3 * len(planes[0]) - 2
    assert ncc(found.image, truth[:n]) > 0.97


def test_regions(pair):
    whole = fuse(pair, method="average", region="union")
    shared = fuse(pair, method="average", region="intersection")
    assert all(a > b for a, b in zip(whole.grid.shape, SHAPE, strict=True))
    assert all(a <= b for a, b in zip(shared.grid.shape, SHAPE, strict=True))
    sharp = fuse(pair, region="union", iterations=2)
    corner = -sharp.grid.matrix[:3, 3]
    pairs = zip(corner, SHAPE, strict=True)
    place = tuple(slice(round(c), round(c) + n) for c, n in pairs)
    assert ncc(sharp.image[place], pair[0]) > 0.94


def test_no_seam_where_a_view_ends():
    """Half of the second view is missing; the object is as bright on both sides."""
    rng = np.random.default_rng(0)
    scene = scipy.ndimage.gaussian_filter(rng.random((32, 32, 40)), 2)
    scene = 100 + 400 * (scene - scene.min()) / np.ptp(scene)
    psfs = [
        np.asarray(jd.psf.gaussian((9, 9, 9), width))
        for width in ((4.0, 2.0, 2.0), (2.0, 2.0, 4.0))
    ]
    views = [scipy.ndimage.convolve(scene, psf, mode="nearest") for psf in psfs]
    views[1] = views[1][:, :, :22]
    options = {"matrices": [EYE, EYE], "boundary": "edge"}
    for extra in (
        {"iterations": 2},
        {"iterations": 10, "back_projector": "matched"},
        {"iterations": 10, "back_projector": "matched", "update": "additive"},
    ):
        found = np.asarray(jd.fuse(views, psfs, **options, **extra).image)
        ratio = found / scene
        steps = abs(np.diff(ratio[4:-4, 4:-4].mean((0, 1))))
        assert steps[19:24].max() < 3 * steps[6:34].std() + 0.01
        np.testing.assert_allclose(ratio[4:-4, 4:-4, 4:-4].mean((0, 1)), 1, atol=0.02)


def test_exposures_are_measured_or_taken(pair):
    _, views, psfs, matrix = pair
    bright = [views[0], BACKGROUND + 2.5 * (views[1] - BACKGROUND)]
    plain = fuse(pair, iterations=2)
    found = jd.fuse(
        bright, psfs, matrices=[EYE, matrix], background=BACKGROUND, iterations=2
    )
    ratio = found.exposures[1] / plain.exposures[1]
    np.testing.assert_allclose(ratio, 2.5, rtol=0.01)
    # The brighter view counts more, as if it had more photons.
    assert ncc(found.image, plain.image) > 0.99
    np.testing.assert_allclose(found.image.sum(), plain.image.sum(), rtol=0.02)


def test_voxels_without_weight_do_not_count(pair):
    _, views, psfs, matrix = pair
    spoiled, bad = views[1].copy(), np.zeros(SHAPE, bool)
    bad[10:20, 10:20] = True
    spoiled[bad] = np.random.default_rng(0).uniform(3000, 4000, bad.sum())
    level = fuse(pair, method="average").exposures[1]
    options = {"matrices": [EYE, matrix], "background": BACKGROUND, "iterations": 2}
    plain = jd.fuse(views, psfs, exposures=[1.0, level], **options).image
    weight = np.where(bad, 0, level)
    found = jd.fuse([views[0], spoiled], psfs, exposures=[1.0, weight], **options).image
    assert ncc(found, plain) > 0.97


@pytest.mark.parametrize("method", BLENDS)
def test_views_fused_without_deconvolution(pair, method):
    _, views, _, matrix = pair
    found = jd.fuse(
        views,
        None,
        matrices=[EYE, matrix],
        background=BACKGROUND,
        method=method,
        region="union",
    )
    shown = [
        np.asarray(
            jd.warp(
                v - BACKGROUND, m @ found.grid.matrix, found.grid.shape, outside=np.nan
            )
        )
        for v, m in zip(views, (EYE, matrix), strict=True)
    ]
    level = found.exposures[1]
    shown[1] = shown[1] / level
    nowhere = np.isnan(shown).all(0)
    image, seen = np.asarray(found.image), np.stack(shown)[:, ~nowhere]
    assert (image[nowhere] == 0).all()
    assert (image[~nowhere] >= np.nanmin(seen, 0) - 1e-2).all()
    assert (image[~nowhere] <= np.nanmax(seen, 0) + 1e-2).all()
    expected = {"average": np.nanmean(seen, 0), "maximum": np.nanmax(seen, 0)}
    if method in expected:
        np.testing.assert_allclose(image[~nowhere], expected[method], atol=1e-2)
    assert np.isnan(found.residuals).all()


def test_content_prefers_what_resolves():
    """Where one view is sharp and one is blurred, the sharp one counts more."""
    rng = np.random.default_rng(0)
    sharp = rng.random((24, 48, 48)).astype(np.float32)
    blurred = scipy.ndimage.gaussian_filter(sharp, 3)
    left = np.arange(48) < 24
    views = [np.where(left, sharp, blurred), np.where(left, blurred, sharp)]
    options = {"matrices": [EYE, EYE]}
    content = jd.fuse(views, None, method="content", **options).image
    average = jd.fuse(views, None, method="average", **options).image

    def error(image):
        return ((image - sharp)[6:-6, 6:-6, 6:-6] ** 2).mean()

    assert error(content) < 0.25 * error(average)


def test_refinement_mends_a_wrong_pose(pair):
    truth, _, _, matrix = pair
    wrong = matrix.copy()
    wrong[:3, 3] += (0.6, -0.6, 0.5)
    options = {"iterations": 10, "back_projector": "matched"}
    fixed = fuse(pair, matrices=[EYE, wrong], **options)
    refined = fuse(pair, matrices=[EYE, wrong], refine=True, **options)
    right = fuse(pair, **options)
    assert corner_error(refined.matrices[1], matrix) < 0.15
    assert ncc(fixed.image, truth) < 0.9
    assert ncc(refined.image, truth) > ncc(right.image, truth) - 0.003
    assert refined.refinement[-1] < refined.refinement[0]
    assert abs(refined.offsets).max() < 1


def test_exchanged_psfs_are_told(pair):
    _, views, psfs, matrix = pair
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = jd.fuse(
            views, psfs[::-1], matrices=[EYE, matrix], background=BACKGROUND
        )
    assert any("exchanged" in note for note in found.notes)
    assert [str(warning.message) for warning in told] == list(found.notes)


def test_a_view_that_is_explained_badly_is_told(pair):
    """A view with stripes that no object could make."""
    _, views, psfs, matrix = pair
    light = views[1] - BACKGROUND
    light = light * np.where(np.arange(SHAPE[1]) % 2, 1.8, 0.2)[:, None]
    striped = [views[0], BACKGROUND + light]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = jd.fuse(striped, psfs, matrices=[EYE, matrix], background=BACKGROUND)
    assert any("view 1 is explained" in note for note in found.notes)


def test_saturation_is_told(pair):
    _, views, psfs, matrix = pair
    clipped = [np.minimum(views[0], np.quantile(views[0], 0.99)), views[1]]
    with pytest.warns(UserWarning, match="view 0 is saturated"):
        jd.fuse(clipped, psfs, matrices=[EYE, matrix], background=BACKGROUND)


def far_away():
    matrix = np.eye(4)
    matrix[2, 3] = 500
    return matrix


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"views": 1}, ValueError, "two or more"),
        ({"views": "constant"}, ValueError, r"views\[1\].*empty"),
        ({"views": "clipped"}, ValueError, r"views\[1\].*saturated"),
        ({"views": "nan"}, ValueError, r"views\[1\].*NaN"),
        ({"views": "plane"}, ValueError, r"\(z, y, x\)"),
        ({"psfs": None}, ValueError, "psfs"),
        ({"psfs": 1}, ValueError, "one PSF per view"),
        ({"matrices": [EYE]}, ValueError, "one per view"),
        ({"matrices": [EYE, np.zeros((4, 4))]}, ValueError, r"matrices\[1\]"),
        ({"matrices": [EYE, far_away()]}, ValueError, "outside the region"),
        ({"matrices": [EYE, far_away()], "region": "intersection"}, ValueError,
         "no common region"),
        ({"background": 1e6}, ValueError, "nothing above its background"),
        ({"voxel_sizes": [1.0]}, ValueError, "voxel_sizes"),
        ({"method": "mean"}, ValueError, "method"),
        ({"exposures": [1.0, 0.0]}, ValueError, "exposure"),
        ({"matrices": None, "views": "noise"}, RuntimeError, "could not be registered"),
    ],
)  # fmt: skip
def test_bad_input_is_told(pair, change, error, message):
    _, views, psfs, matrix = pair
    rng = np.random.default_rng(0)
    other = {
        "constant": np.full(SHAPE, 7.0),
        "clipped": np.minimum(views[1], BACKGROUND),
        "nan": np.where(views[1] > 200, np.nan, views[1]),
        "plane": views[1][0],
        "noise": rng.normal(100, 5, SHAPE).astype(np.float32),
    }
    given = change.get("views")
    views = (
        views[:given]
        if isinstance(given, int)
        else [views[0], other.get(given, views[1])]
    )
    psfs = change.get("psfs", psfs[:given] if isinstance(given, int) else psfs)
    psfs = [np.ones((3, 3, 3)) / 27] if psfs == 1 else psfs
    options = {"matrices": [EYE, matrix], "background": 0.0, **change}
    options = {k: v for k, v in options.items() if k not in ("views", "psfs")}
    with pytest.raises(error, match=message):
        jd.fuse(views, psfs, **options)


def test_common_grids():
    grid = common_grid([(5, 8, 9)] * 2, [EYE, EYE], voxel_sizes=[(2.0, 0.5, 0.5)] * 2)
    assert grid.shape == (17, 8, 9)
    np.testing.assert_allclose(grid.matrix @ [16, 7, 8, 1], [4, 7, 8, 1])
    shift = EYE.copy()
    shift[0, 3] = -3.0  # the second view begins three planes further on
    union = common_grid([(5, 8, 9)] * 2, [EYE, shift], region="union")
    assert union.shape == (8, 8, 9)
    shared = common_grid([(5, 8, 9)] * 2, [EYE, shift], region="intersection")
    assert shared.shape == (2, 8, 9)
    np.testing.assert_allclose(shared.matrix @ [0, 0, 0, 1], [3, 0, 0, 1])


def test_a_turn_goes_back():
    shape, side = (5, 8, 9), (9, 8, 5)
    there = turned(90, shape=shape, to_shape=side)
    back = turned(-90, shape=side, to_shape=shape)
    np.testing.assert_allclose(back @ there, EYE, atol=1e-12)
    for axis in "zyx":
        np.testing.assert_allclose(
            np.linalg.det(turned(30, axis=axis, shape=shape)[:3, :3]), 1
        )
    half = turned(
        90,
        shape=shape,
        to_shape=(9, 8, 17),
        voxel_size=(4.0, 1.0, 1.0),
        to_voxel_size=1.0,
    )
    np.testing.assert_allclose(half @ [0, 0, 0, 1], [8, 0, 0, 1])
    np.testing.assert_allclose(half @ [4, 0, 0, 1], [8, 0, 16, 1])


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("direction", [1, -1])
def test_deskewing_straightens_a_scan(upright, direction):
    """A ball, recorded plane by plane obliquely, is a ball again."""
    angle, step, pixel = np.radians(35), 0.4, 0.15
    shape = (40, 48, 60)
    grid = jd.geometry.deskewed_grid(
        shape,
        angle=angle,
        step=step,
        pixel_size=pixel,
        upright=upright,
        direction=direction,
    )
    k, y, x = np.indices(shape).astype(float)
    place = np.stack(
        [
            k * step * np.sin(angle),
            y * pixel,
            x * pixel + direction * k * step * np.cos(angle),
        ]
    )
    centre = place[:, 20, 24, 30]
    square = ((place - centre[:, None, None, None]) ** 2).sum(0)
    raw = np.exp(-0.5 * square / 0.6**2)
    straight = np.asarray(jd.warp(raw, grid.matrix, grid.shape))
    index = np.indices(grid.shape).reshape(3, -1)
    weight = straight.ravel() / straight.sum()
    middle = index @ weight
    spread = (index * weight) @ index.T - np.outer(middle, middle)
    np.testing.assert_allclose(spread * pixel**2, 0.6**2 * np.eye(3), atol=0.03)
    # The place of the centre, and the operator's adjoint.
    np.testing.assert_allclose((grid.matrix @ [*middle, 1])[:3], [20, 24, 30], atol=0.1)
    deskew = jd.operators.Warp.from_matrix(grid.matrix, shape, grid.shape)
    error = jd.operators.check_adjoint(deskew, key=jax.random.key(0))
    assert float(error) < 1e-5


def test_a_skewed_stack_is_deconvolved_where_it_was_recorded():
    """One grid for a raw oblique stack and its opposite, without deskewing either."""
    truth, views, psfs, _ = make(shift=(0.0, 0, 0), turn=(0.0, 0, 0))
    skew = np.eye(4)
    skew[2, 0] = 0.5  # planes lie half a voxel further along x, one after the other
    raw_shape = (SHAPE[0], SHAPE[1], SHAPE[2] + 20)
    to_raw = np.linalg.inv(skew)
    to_raw[2, 3] = 20
    raw = np.asarray(
        jd.warp(views[0], np.linalg.inv(to_raw), raw_shape, outside=BACKGROUND)
    )
    grid = jd.geometry.Grid(shape=SHAPE, voxel_size=(1.0,) * 3, matrix=to_raw)
    other = np.linalg.inv(to_raw)  # from voxels of the raw stack to the second view's
    linear = np.linalg.inv(to_raw)[:3, :3]
    psf = np.asarray(jd.warp(psfs[0], *_about_centre(linear, psfs[0].shape)))
    found = jd.fuse(
        [raw, views[1]],
        [np.maximum(psf, 0) / psf.sum(), psfs[1]],
        matrices=[EYE, other],
        grid=grid,
        background=BACKGROUND,
        iterations=10,
        back_projector="matched",
    )
    assert ncc(found.image, truth) > 0.95


def _about_centre(linear, shape):
    """The matrix and the shape of a PSF on other voxels."""
    size = (shape[0], shape[1], shape[2] + 16)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    centres = [np.array([n // 2 for n in s]) for s in (size, shape)]
    matrix[:3, 3] = centres[1] - linear @ centres[0]
    return matrix, size


def test_a_view_is_sampled_from_a_cubic_spline():
    """As SciPy samples the blurred object, inside; with an exact adjoint."""
    rng = np.random.default_rng(0)
    shape, seen = (14, 15, 16), (10, 12, 11)
    blur = Convolution.from_psf(jd.psf.gaussian((7, 7, 7), 2.5), shape)
    matrix = np.array(
        [
            [0.98, 0.05, -0.03, 2.3],
            [-0.04, 1.01, 0.02, 1.6],
            [0.03, -0.02, 0.97, 2.7],
            [0, 0, 0, 1.0],
        ]
    )
    sample = SplineSample(matrix=jnp.asarray(matrix), domain=shape, range=seen)
    model = sample @ spline_blur(blur)
    x = rng.random(blur.domain).astype(np.float32)
    at = np.einsum("ij,jzyx->izyx", matrix[:3, :3], np.indices(seen)) + matrix[
        :3, 3
    ].reshape(3, 1, 1, 1)
    whole = np.asarray(blur(x), float)
    expected = scipy.ndimage.map_coordinates(whole, at, order=3, mode="mirror")
    inner = ((at > 3) & (at < np.array(shape).reshape(3, 1, 1, 1) - 4)).all(0)
    assert inner.sum() > 200
    found = np.asarray(model(x))
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-3)
    key = jax.random.key(0)
    assert float(jd.operators.check_adjoint(model, key=key)) < 1e-5


def test_showing_a_view_on_the_grid_is_nearly_the_adjoint():
    """Of smooth data, in the interior; also where the view has fewer planes."""
    shape = (24, 24, 24)
    for planes in (1.0, 2.0):
        to_view = np.diag([1 / planes, 1, 1, 1.0])
        to_view[:3, 3] = (0.2, -0.3, 0.4)
        seen = (int(24 / planes), 24, 24)
        pull = jnp.asarray(np.linalg.inv(to_view))
        exact = SplineSample(matrix=pull, domain=shape, range=seen)
        quick = SplineReturn(matrix=jnp.asarray(to_view), domain=seen, range=shape)
        blur = Convolution.from_psf(
            jd.psf.gaussian((15, 9, 9), (9.0, 3.0, 3.0)), shape, boundary="edge"
        )
        z, y, x = np.indices(seen) / np.array(seen).reshape(3, 1, 1, 1)
        ratio = jnp.asarray(1 + np.sin(5 * z) * np.cos(7 * y) * np.sin(6 * x + 1))
        exactly = spline_blur(blur).adjoint(exact.adjoint(ratio))
        quickly = blur.adjoint(quick(ratio))
        inside = (slice(8, -8), slice(6, -6), slice(6, -6))
        scale = float(abs(exactly[inside]).max())
        np.testing.assert_allclose(quickly[inside], exactly[inside], atol=0.05 * scale)
