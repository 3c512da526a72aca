"""What no deconvolution may do, for every scheme, back projector, boundary, parity."""

import warnings

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.deconvolution import KINDS, OverIterationWarning

BOUNDARIES = jd.operators.BOUNDARIES
SHAPES = {"even": (20, 24, 22), "odd": (21, 23, 25)}
PSFS = {"odd PSF": (11, 9, 9), "even PSF": (12, 10, 10)}
UNMATCHED_UPDATES, MATCHED_UPDATES = 2, 8


def solver(kind, boundary, psf, *, accelerated=False, **options):
    def solve(image):
        count = MATCHED_UPDATES if kind == "matched" else UNMATCHED_UPDATES
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OverIterationWarning)
            result = jd.richardson_lucy(
                image,
                psf,
                iterations=count,
                back_projector=kind,
                boundary=boundary,
                accelerated=accelerated,
                **options,
            )
        return np.asarray(result)

    return solve


cases = [
    pytest.param(kind, boundary, shape, psf, id=f"{kind}-{boundary}-{shape}-{psf}")
    for kind in KINDS
    for boundary in BOUNDARIES
    for shape, psf in (("even", "even PSF"), ("odd", "odd PSF"), ("even", "odd PSF"))
]


def psf_of(name):
    return np.asarray(jd.psf.gaussian(PSFS[name], (3.0, 2.5, 2.5)))


def blurred_point(shape, psf, where):
    point = np.zeros(shape, np.float32)
    point[where] = 1000
    blur = jd.operators.Convolution.from_psf(psf, shape, boundary="periodic")
    return np.maximum(np.asarray(blur(point)), 0)


def centroid(volume):
    volume = np.asarray(volume, float)
    return (
        np.indices(volume.shape).reshape(volume.ndim, -1)
        @ volume.ravel()
        / (volume.sum())
    )


@pytest.mark.parametrize(("kind", "boundary", "shape", "psf"), cases)
def test_invariants(kind, boundary, shape, psf):
    limit = 0.02 if psf == "odd PSF" else 0.03
    shape, psf = SHAPES[shape], psf_of(psf)
    solve = solver(kind, boundary, psf)
    where = tuple(n // 2 - 1 for n in shape)
    image = blurred_point(shape, psf, where)
    before = image.copy()
    result = solve(image)

    # A point stays where it was, and the caller's array as it was.
    assert abs(centroid(result) - where).max() < limit
    np.testing.assert_array_equal(image, before)

    # Light is kept, by matched updates and wherever it is asked for.
    if kind == "matched":
        np.testing.assert_allclose(result.sum(), image.sum(), rtol=1e-3)
    kept = solver(kind, boundary, psf, restore_flux=True)(image)
    np.testing.assert_allclose(kept.sum(), image.sum(), rtol=1e-3)

    # Zeros, dark corners.
    np.testing.assert_array_equal(solve(np.zeros(shape, np.float32)), 0)
    dark = np.random.default_rng(0).poisson(30, shape).astype(np.float32)
    dark[:6, :6, :6] = 0
    corner = solve(dark)
    assert np.isfinite(corner).all()
    assert corner.min() >= 0

    # Scale and type do not matter.
    scaled = solve(1e4 * dark)
    np.testing.assert_allclose(scaled, 1e4 * corner, atol=1e-3 * scaled.max())
    for dtype in (np.uint16, np.int32, np.float64, bool):
        same = dark.astype(dtype)
        expected = corner if dtype is not bool else solve(same.astype(np.float32))
        np.testing.assert_array_equal(solve(same), expected)

    # A flat field stays flat, up to the border.
    flat = solve(np.full(shape, 9, np.float32))
    np.testing.assert_allclose(flat, 9, rtol=0.01)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_invariants_of_accelerated_updates(boundary):
    shape, psf = SHAPES["odd"], psf_of("odd PSF")
    solve = solver("matched", boundary, psf, accelerated=True)
    where = (10, 11, 13)
    image = blurred_point(shape, psf, where)
    result = solve(image)
    assert abs(centroid(result) - where).max() < 0.02
    np.testing.assert_allclose(result.sum(), image.sum(), rtol=1e-3)
    np.testing.assert_array_equal(solve(np.zeros(shape)), 0)
    np.testing.assert_allclose(solve(np.full(shape, 9)), 9, rtol=0.01)


@pytest.mark.parametrize("psf", PSFS)
def test_invariants_of_wiener(psf):
    psf, shape = psf_of(psf), SHAPES["even"]
    where = (9, 11, 10)
    image = blurred_point(shape, psf, where)
    result = jd.wiener(image, psf, noise=0.01)
    assert abs(centroid(result) - where).max() < 0.03
    np.testing.assert_allclose(result.sum(), image.sum(), rtol=1e-3)
    np.testing.assert_array_equal(jd.wiener(np.zeros(shape), psf, noise=0.01), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_boundaries_agree_where_nothing_is_near_the_border(kind):
    shape, psf = (28, 28, 28), psf_of("odd PSF")
    image = blurred_point(shape, psf, (14, 13, 14))
    results = [solver(kind, boundary, psf)(image) for boundary in BOUNDARIES]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=2e-3 * results[0].max())


@pytest.mark.parametrize("kind", ["matched", "wiener-butterworth"])
def test_blocks_with_enough_overlap_agree_with_the_whole(kind):
    rng = np.random.default_rng(3)
    psf = psf_of("odd PSF")
    texture = rng.poisson(50, (20, 72, 20)).astype(np.float32)
    solve = solver(kind, "extend", psf)
    whole = solve(texture)
    halo = 4 * 4  # four PSF radii
    block = solve(texture[:, 36 - halo - 4 : 36 + halo + 4])
    inner = block[:, halo:-halo]
    np.testing.assert_allclose(inner, whole[:, 32:40], atol=2e-3 * whole.max())


def test_float64_is_kept():
    from ._x64 import x64

    with x64():
        image = np.random.default_rng(0).poisson(20, (12, 12)).astype(np.float64)
        psf = np.asarray(jd.psf.gaussian((5, 5), 2.0))
        assert jd.richardson_lucy(image, psf, iterations=2).dtype == np.float64
        single = jd.richardson_lucy(image.astype(np.float32), psf, iterations=2)
        assert single.dtype == np.float32
        blur = jd.operators.Convolution.from_psf(psf.astype(np.float32), (12, 12))
        run = jd.deconvolution.RichardsonLucy()
        found = jd.deconvolve(image.astype(np.float32), blur, run, iterations=2)
        assert found.value.dtype == np.float32
        filtered = jd.wiener(image.astype(np.float32), psf, noise=np.float64(0.1))
        assert filtered.dtype == np.float32
