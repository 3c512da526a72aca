"""PSFs from simulated images of beads: what went in has to come out."""

import dataclasses

import numpy as np
import pytest
from scipy import fft
from scipy.spatial import KDTree

import jaxdecon as jd
from jaxdecon.psf._bead_background import mesh
from jaxdecon.psf._distil_clean import sphere_otf

from ._beads import curved_field, gaussian_beads, places_in_plane

WIDTH = (4.5, 3.2, 3.2)
SHAPE = (24, 72, 80)


def scattered(shape=SHAPE, step=15, seed=0):
    """Places, well apart, at all depths that a bead needs."""
    across = places_in_plane(shape, step, seed)
    depth = np.random.default_rng(seed + 5).uniform(8, shape[0] - 9, len(across))
    return np.column_stack([depth, across])


def heights_of(positions, seed=1):
    return np.random.default_rng(seed).uniform(1000, 3000, len(positions))


@pytest.fixture(scope="module")
def faulty():
    """Good beads and every kind of bad ones, on a ramp, with hot pixels."""
    good = scattered()[:-5]
    bad = {
        "overlaps": np.array([[12.0, 60.0, 8.0], [12.0, 60.0, 14.0]]),
        "saturated": np.array([[12.0, 60.0, 36.0]]),
        "too dim": np.array([[12.0, 60.0, 54.0]]),
        "at the border": np.array([[12.0, 50.0, 79.0]]),
    }
    heights = {"overlaps": 2000, "saturated": 9000, "too dim": 150}
    others = np.concatenate(list(bad.values()))
    tall = [heights.get(k, 2000) for k, places in bad.items() for _ in places]
    image = gaussian_beads(
        SHAPE,
        np.concatenate([good, others]),
        WIDTH,
        [*heights_of(good), *tall],
        background=np.linspace(80, 240, SHAPE[2]),
    )
    image = np.minimum(image, 4095)
    rng = np.random.default_rng(2)
    for place in zip(*(rng.integers(2, n - 2, 12) for n in SHAPE), strict=True):
        image[place] = 4095
    return image, good, bad


def statuses_at(beads, places):
    distance, nearest = map(np.atleast_1d, KDTree(beads.positions).query(places))
    assert (distance < 2).all()
    return [beads.status[i] for i in nearest]


@pytest.mark.parametrize("dtype", [">u2", np.int32, np.float32])
def test_beads_are_found_and_bad_ones_rejected_for_the_right_reason(faulty, dtype):
    image, good, bad = faulty
    beads = jd.psf.find_beads(image.astype(dtype))
    assert statuses_at(beads, good) == ["good"] * len(good)
    assert beads.good.sum() == len(good)
    for reason, places in bad.items():
        assert statuses_at(beads, places) == [reason] * len(places)
    distance, _ = KDTree(beads.positions).query(good)
    assert np.sqrt((distance**2).mean()) < 0.05
    np.testing.assert_allclose(beads.fwhm, WIDTH, rtol=0.03)
    assert 11 <= beads.hot_voxels <= 13
    assert beads.saturation == 4095
    assert f"{len(good)} good" in beads.summary()


def test_saturation_can_be_given_or_left_alone(faulty):
    image, good, _ = faulty
    level = float(np.sort(heights_of(good))[-3])
    beads = jd.psf.find_beads(image, saturation=level)
    assert beads.status.count("saturated") > 1
    beads = jd.psf.find_beads(image, saturation=None)
    assert "saturated" not in beads.status
    beads = jd.psf.find_beads(image.astype(float) + 0.3)
    assert beads.saturation == pytest.approx(4095.3)


def test_largest_number_of_the_type_is_saturation():
    image = gaussian_beads((40, 40), [[20.2, 20.1]], (4, 4), [180], background=20.0)
    image[20, 20] = 255
    beads = jd.psf.find_beads(image.astype(np.uint8))
    assert beads.status == ("saturated",)


def test_noise_alone_has_no_beads():
    noise = np.random.default_rng(0).poisson(50, (20, 64, 64))
    with pytest.raises(ValueError, match="no spot that rises"):
        jd.psf.find_beads(noise)


def test_single_high_voxels_of_few_counts_are_no_beads():
    image = np.random.default_rng(0).poisson(3.0, (20, 64, 64))
    image[10, 30, 30] = 20  # too little above its neighbours for a hot pixel
    beads = jd.psf.find_beads(image)
    assert statuses_at(beads, [[10, 30, 30]]) == ["too dim"]
    assert not beads.good.any()


def test_count_keeps_the_brightest():
    places = scattered()
    image = gaussian_beads(SHAPE, places, WIDTH, heights_of(places))
    beads = jd.psf.find_beads(image, count=5)
    assert beads.good.sum() == 5
    assert beads.heights[beads.good].min() > beads.heights[~beads.good].max()


def test_background_mesh_follows_a_ramp_under_beads():
    places = places_in_plane((96, 96), 16)
    ramp = np.linspace(100, 140, 96)
    image = gaussian_beads(
        (96, 96), places, (3, 3), heights_of(places), background=ramp
    )
    level, noise = mesh(image.astype(float), (24, 24))
    inner = np.s_[12:-12, 12:-12]
    assert abs(level - ramp)[inner].max() < 3
    np.testing.assert_allclose(noise[inner], np.sqrt(ramp + 0 * level)[inner], rtol=0.3)


@pytest.fixture(scope="module")
def distilled():
    places = scattered()
    image = gaussian_beads(SHAPE, places, WIDTH, heights_of(places))
    return jd.psf.distil(image), places


def relative_error(psf, truth):
    psf, truth = np.asarray(psf, float), np.asarray(truth, float)
    return np.linalg.norm(psf - truth) / np.linalg.norm(truth)


def test_distilled_psf_is_the_true_one(distilled):
    result, _ = distilled
    psf = np.asarray(result.psf)
    assert relative_error(psf, jd.psf.gaussian(psf.shape, WIDTH)) < 0.03
    assert psf.min() >= 0
    assert psf.sum(dtype=float) == pytest.approx(1, abs=1e-6)
    assert np.unravel_index(psf.argmax(), psf.shape) == tuple(n // 2 for n in psf.shape)
    np.testing.assert_allclose(result.fwhm, WIDTH, rtol=0.02)
    assert result.ellipticity == pytest.approx(1, abs=0.02)
    assert result.asymmetry < 0.03
    assert result.scatter < 0.02
    assert result.snr > 200
    assert sum(fit.weight for fit in result.fits) == pytest.approx(1)


def test_beads_are_aligned_to_hundredths_of_a_voxel(distilled):
    result, places = distilled
    positions = np.array([fit.position for fit in result.fits])
    distance, nearest = KDTree(places).query(positions)
    assert len(set(nearest)) == len(positions) >= len(places) - 2
    assert np.sqrt((distance**2).mean() / 3) < 0.02


def test_places_that_are_roughly_known_are_refined():
    places = scattered()
    image = gaussian_beads(SHAPE, places, WIDTH, heights_of(places))
    beads = jd.psf.find_beads(image)
    astray = np.random.default_rng(3).uniform(-0.45, 0.45, beads.positions.shape)
    beads = dataclasses.replace(beads, positions=beads.positions + astray)
    result = jd.psf.distil(image, beads)
    positions = np.array([fit.position for fit in result.fits])
    distance, _ = KDTree(places).query(positions)
    assert np.sqrt((distance**2).mean() / 3) < 0.02
    truth = jd.psf.gaussian(result.psf.shape, WIDTH)
    assert relative_error(result.psf, truth) < 0.03


def test_tilted_ellipse_is_measured_in_physical_units():
    angle, long, short = 0.5, 6.0, 4.0
    y, x = np.mgrid[:64, :64].astype(float)
    voxel = (1.0, 0.5)

    def bead(cy, cx):
        dy, dx = (y - cy) * voxel[0], (x - cx) * voxel[1]
        along = dx * np.cos(angle) + dy * np.sin(angle)
        across = dy * np.cos(angle) - dx * np.sin(angle)
        scale = 4 * np.log(2)
        return np.exp(-scale * ((along / long) ** 2 + (across / short) ** 2))

    image = 10 + 5000 * bead(31.3, 32.6)
    result = jd.psf.distil(image, shape=(31, 41), voxel_size=voxel)
    assert result.ellipticity == pytest.approx(long / short, rel=0.01)
    assert result.orientation == pytest.approx(angle, abs=0.01)
    assert result.asymmetry < 0.02


def test_coma_is_asymmetric():
    psf = jd.psf.widefield(
        (41, 41), (0.1, 0.1), na=1.2, wavelength=0.52, index=1.33,
        aberrations={"vertical coma": 0.8},
    )  # fmt: skip
    result = jd.psf.distil(10 + 1e5 * np.asarray(psf), shape=(21, 21))
    assert result.asymmetry > 0.1


def test_bead_unlike_the_others_is_left_out():
    places = scattered()
    widths = np.tile(WIDTH, (len(places), 1))
    widths[7, 2] *= 1.5
    image = gaussian_beads(SHAPE, places, widths, 2 * heights_of(places))
    beads = jd.psf.find_beads(image)
    assert statuses_at(beads, places[7:8]) == ["good"]
    result = jd.psf.distil(image, beads)
    assert statuses_at(result.beads[0], places[7:8]) == ["unlike the others"]
    assert [reason for *_, reason in result.rejected].count("unlike the others") == 1
    assert any("1 bead left out" in text for text in result.messages)
    assert len(result.fits) == beads.good.sum() - 1


def test_neighbours_in_the_box_do_not_get_into_the_psf():
    places = scattered(step=22)
    apart = np.array([0, 0, 9.0])  # not in the box to be alone in, but in the PSF's
    beside = places + apart
    both = np.concatenate([places, beside])
    heights = np.tile(heights_of(places), 2)
    image = gaussian_beads(SHAPE, both, WIDTH, heights)
    result = jd.psf.distil(image, shape=(15, 23, 23))
    truth = jd.psf.gaussian((15, 23, 23), WIDTH)
    assert len(result.fits) > len(places)
    assert relative_error(result.psf, truth) < 0.04


def test_sphere_otf_is_the_transform_of_a_fine_sphere():
    n, diameter, step = 64, 20.3, 1.0
    squares = sum(a**2 for a in np.ogrid[-32:32, -32:32, -32:32])
    ball = (squares <= (diameter / 2) ** 2).astype(float)
    measured = fft.rfftn(fft.ifftshift(ball / ball.sum())).real
    exact = sphere_otf((n, n, n), (step,) * 3, diameter)
    assert abs(measured - exact)[:6, :6, :6].max() < 0.01
    assert exact[0, 0, 0] == pytest.approx(1)


def test_diameter_of_beads_is_removed():
    shape, voxel, diameter = (41, 41, 41), (0.2, 0.08, 0.08), 0.2
    truth = np.asarray(jd.psf.gaussian(shape, (4.0, 3.0, 3.0)))
    ball = sphere_otf(shape, voxel, diameter)
    image = 1e4 / truth.max() * fft.irfftn(fft.rfftn(truth) * ball, shape)
    image = np.random.default_rng(0).poisson(image.clip(0) + 20)
    with_ball = jd.psf.distil(image, shape=(25, 19, 19), voxel_size=voxel)
    without = jd.psf.distil(
        image, shape=(25, 19, 19), voxel_size=voxel, diameter=diameter
    )
    inner = truth[8:33, 11:30, 11:30]
    before, after = (relative_error(r.psf, inner) for r in (with_ball, without))
    assert before > 0.1
    assert after < 0.05
    assert without.fwhm[2] == pytest.approx(3.0, rel=0.03)
    assert with_ball.fwhm[2] > 3.2
    assert any("spheres of diameter 0.2" in text for text in without.messages)
    with pytest.raises(ValueError, match=r"hides the PSF.*units"):
        jd.psf.distil(image, voxel_size=voxel, diameter=200.0)


def test_images_are_pooled_and_agree_with_one_image():
    places = scattered()
    images = [
        gaussian_beads(SHAPE, part, WIDTH, heights_of(part), seed=i)
        for i, part in enumerate((places[::2], places[1::2]))
    ]
    result = jd.psf.distil(images)
    assert {fit.image for fit in result.fits} == {0, 1}
    assert len(result.beads) == 2
    truth = jd.psf.gaussian(result.psf.shape, WIDTH)
    assert relative_error(result.psf, truth) < 0.04


def test_bead_near_the_end_of_a_stack_counts_with_what_is_there():
    places = scattered()
    places[0, 0] = 4.6  # the box begins at -9
    image = gaussian_beads(SHAPE, places, WIDTH, heights_of(places))
    result = jd.psf.distil(image)
    assert any(abs(fit.position - places[0]).max() < 0.1 for fit in result.fits)
    assert relative_error(result.psf, jd.psf.gaussian(result.psf.shape, WIDTH)) < 0.03
    single = jd.psf.distil(image[:, :16, :16])
    assert "beyond the image" in " ".join(single.messages)
    assert any("a single bead" in text for text in single.messages)


@pytest.fixture(scope="module")
def curved():
    image, positions, width = curved_field()
    return image, positions, width, jd.psf.distil_field(image, grid=(1, 2, 3))


def test_field_has_the_true_trend(curved):
    _, _, width, result = curved
    across = result.map("position")[0, :, :, 2]
    assert across[0].tolist() == pytest.approx([100 / 6 - 0.5, 49.5, 500 / 6 - 0.5])
    fwhm = result.map("fwhm")[0]
    np.testing.assert_allclose(fwhm[..., 2], width(across), rtol=0.04)
    np.testing.assert_allclose(fwhm[..., 1], 3.0, rtol=0.04)
    np.testing.assert_allclose(fwhm[..., 0], 4.5, rtol=0.04)
    ratio = result.map("ellipticity")[0]
    np.testing.assert_allclose(ratio, width(across) / 3.0, rtol=0.04)
    assert abs(result.map("orientation")[0]).max() < 0.15
    assert result.map("count").sum() == len(result.fits)
    at_node = result.field.at(result.table[0].position)
    np.testing.assert_allclose(at_node, result.field.psfs[0, 0, 0])


def test_field_curvature_is_that_of_the_beads(curved):
    image, _, _, result = curved
    bent = result.curvature
    assert bent.determined
    half = (np.array(image.shape[1:]) - 1) / 2
    np.testing.assert_allclose(np.diag(bent.quadratic), 3.0 / half**2, rtol=0.02)
    assert abs(bent.quadratic[0, 1]) < 0.02 * bent.quadratic[0, 0]
    np.testing.assert_allclose(bent.tilt, np.array([0.8, -0.5]) / half, rtol=0.05)
    assert bent.sag == pytest.approx(3.0, rel=0.02)
    assert bent.residual < 0.05
    r = (result.map("position")[0, ..., 1:] - half) / half
    expected = 3.0 * (r**2).sum(-1) / 2
    np.testing.assert_allclose(result.map("z_shift")[0], expected, atol=0.03)


def test_one_psf_for_a_field_that_varies_says_so():
    places = scattered()
    widths = np.tile(WIDTH, (len(places), 1))
    widths[:, 2] *= np.where(places[:, 2] > 40, 1.5, 1.0)
    image = gaussian_beads(SHAPE, places, widths, 2 * heights_of(places))
    result = jd.psf.distil(image)
    assert any("distil_field" in text for text in result.messages)
    alike = jd.psf.distil(image[:, :, :48])
    assert not any("distil_field" in text for text in alike.messages)


def test_curvature_can_be_kept_in_the_psfs(curved):
    image, _, _, result = curved
    kept = jd.psf.distil_field(image, grid=(1, 2, 3), curvature="kept")
    z = np.arange(kept.field.shape[0])

    def depths(field):
        return np.tensordot(np.asarray(field.psfs).sum((-1, -2)), z, axes=1)

    moved = depths(kept.field) - depths(result.field)
    np.testing.assert_allclose(moved, result.map("z_shift"), atol=0.02)


def test_curvature_of_beads_at_all_depths_is_not_known():
    places = scattered()
    image = gaussian_beads(SHAPE, places, WIDTH, heights_of(places))
    result = jd.psf.distil_field(image, grid=(1, 1, 2))
    assert not result.curvature.determined
    assert "not in one plane" in result.curvature.message
    assert np.isnan(result.map("z_shift")).all()
    with pytest.raises(ValueError, match=r'"kept".*not in one plane'):
        jd.psf.distil_field(image, grid=(1, 1, 2), curvature="kept")


def test_holes_are_named_or_filled_from_neighbours():
    image, *_ = curved_field()
    empty = np.s_[:, :50, 66:]
    image[empty] = np.random.default_rng(0).poisson(100, image[empty].shape)
    with pytest.raises(ValueError, match=r"holes in the grid \(1, 2, 3\).*\(0, 0, 2\)"):
        jd.psf.distil_field(image, grid=(1, 2, 3))
    result = jd.psf.distil_field(image, grid=(1, 2, 3), fill="neighbours")
    filled = np.asarray(result.field.psfs[0, 0, 2])
    near = np.asarray(result.field.psfs)[[0, 0], [0, 1], [1, 2]].mean(0)
    np.testing.assert_allclose(filled, near, atol=1e-6)
    assert result.table[2].count == 0
    assert any("cell (0, 0, 2): filled from" in text for text in result.messages)


@pytest.mark.parametrize("function", [jd.psf.find_beads, jd.psf.distil])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((20, 20), 7.0), "7 everywhere"),
        (np.full((20, 20), np.nan), "NaN"),
        (np.ones(5), "shape"),
    ],
)
def test_unusable_images_are_refused(function, image, message):
    with pytest.raises(ValueError, match=message):
        function(image)


def test_too_few_beads_says_what_was_found_and_why():
    pair = [[20.0, 20.0], [20.0, 28.0]]
    image = gaussian_beads((40, 40), pair, (4, 4), [2000, 1500])
    with pytest.raises(
        ValueError, match=r"0 good beads, and 1 are needed \(2 spots: 0"
    ):
        jd.psf.distil(image)
    alone = gaussian_beads((40, 40), pair[:1], (4, 4), [2000])
    with pytest.raises(ValueError, match="1 good beads, and 3 are needed"):
        jd.psf.distil_field(alone, grid=(1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 1}, "`size` is 1"),
        ({"threshold": 0}, "threshold"),
        ({"alike": 0.5}, "alike"),
        ({"border": -1}, "border"),
        ({"saturation": "most"}, "saturation"),
        ({"count": 0}, "count"),
    ],
)
def test_wrong_ways_to_find_are_refused(options, message):
    image = gaussian_beads((40, 40), [[20.0, 20.0]], (4, 4), [2000])
    with pytest.raises(ValueError, match=message):
        jd.psf.find_beads(image, **options)


def test_wrong_ways_to_distil_are_refused():
    image = gaussian_beads((40, 40), [[20.0, 20.0]], (4, 4), [2000])
    beads = jd.psf.find_beads(image)
    for options, message in (
        ({"shape": (5,)}, "`shape`"),
        ({"voxel_size": (1,)}, "`voxel_size`"),
        ({"diameter": -1}, "`diameter`"),
        ({"min_beads": 0}, "`min_beads`"),
    ):
        with pytest.raises(ValueError, match=message):
            jd.psf.distil(image, beads, **options)
    with pytest.raises(ValueError, match="one for each"):
        jd.psf.distil([image, image], beads)
    with pytest.raises(ValueError, match="`grid`"):
        jd.psf.distil_field(image, beads, grid=(1, 2, 2))
    with pytest.raises(ValueError, match="one shape"):
        jd.psf.distil_field([image, image[1:]], grid=(1, 1))
    with pytest.raises(ValueError, match="`fill`"):
        jd.psf.distil_field(image, beads, grid=(1, 1), fill="zero")
