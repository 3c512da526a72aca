"""One clear error for each kind of unusable input, before any work."""

import numpy as np
import pytest

import jaxdecon as jd

IMAGE = np.random.default_rng(0).poisson(20, (10, 12, 11)).astype(np.float32)
PSF = np.asarray(jd.psf.gaussian((5, 5, 5), 1.5))


def with_voxel(array, value):
    changed = np.array(array)
    changed[1, 2, 3] = value
    return changed


@pytest.mark.parametrize(
    ("image", "psf", "options", "error", "message"),
    [
        (with_voxel(IMAGE, np.nan), PSF, {}, ValueError, r"image.*1 NaN.*\(1, 2, 3\)"),
        (with_voxel(IMAGE, np.inf), PSF, {}, ValueError, "image.*infinite"),
        (with_voxel(IMAGE, -3), PSF, {}, ValueError, "1 negative values, down to -3"),
        (IMAGE, np.zeros((5, 5, 5)), {}, ValueError, "psf.*zero everywhere"),
        (IMAGE, with_voxel(PSF, np.nan), {}, ValueError, "psf.*NaN"),
        (IMAGE, with_voxel(PSF, -1), {}, ValueError, "psf.*negative"),
        (IMAGE, PSF[2], {}, ValueError, "image is 3D"),
        (IMAGE[0], PSF, {}, ValueError, "image is 2D"),
        (IMAGE[None], PSF, {}, ValueError, "vmap"),
        (IMAGE[0, 0], PSF, {}, ValueError, "is needed"),
        (IMAGE[:0], PSF, {}, ValueError, "empty"),
        (IMAGE * 1j, PSF, {}, TypeError, "real numbers"),
        ("cell.tif", PSF, {}, TypeError, "real numbers"),
        ([[1, 2], [3]], PSF, {}, TypeError, "array"),
        (np.ma.masked_less(IMAGE, 5), PSF, {}, TypeError, "masked"),
        (IMAGE.astype(np.uint32) + 2**25, PSF, {}, ValueError, "exactly"),
        (IMAGE, PSF, {"iterations": -1}, ValueError, "iterations"),
        (IMAGE, PSF, {"iterations": 2.0}, TypeError, "iterations"),
        (IMAGE, PSF, {"boundary": "wrap"}, ValueError, "boundary.*known"),
        (IMAGE, PSF, {"background": -1}, ValueError, "background"),
        (IMAGE, PSF, {"background": np.nan}, ValueError, "background"),
        (IMAGE, PSF, {"background": np.ones(3)}, ValueError, "broadcast"),
        (IMAGE, PSF, {"back_projector": "magic"}, ValueError, "known are"),
        (IMAGE, PSF, {"back_projector": PSF[1]}, ValueError, "back_projector"),
        (IMAGE, PSF, {"back_projector": -PSF}, ValueError, "positive sum"),
        (IMAGE, PSF, {"back_projector": np.ones((7, 7, 7))}, ValueError, "larger"),
        (IMAGE, PSF, {"init": "zeros"}, ValueError, "init"),
        (IMAGE, PSF, {"init": IMAGE[1:]}, ValueError, "init"),
        (IMAGE, PSF, {"keep": "first"}, ValueError, "keep"),
    ],
)
def test_unusable_input_is_named(image, psf, options, error, message):
    with pytest.raises(error, match=message):
        jd.richardson_lucy(image, psf, **{"iterations": 1, **options})


def test_an_unnormalised_psf_is_normalised_and_said():
    with pytest.warns(UserWarning, match="divided by its sum"):
        result = jd.richardson_lucy(IMAGE, 7 * PSF, iterations=2)
    np.testing.assert_allclose(
        result, jd.richardson_lucy(IMAGE, PSF, iterations=2), rtol=1e-4
    )


def test_a_pedestal_is_said():
    pedestal = PSF + 0.01 * PSF.max()
    wide = np.pad(pedestal, 6, mode="edge")
    with pytest.warns(UserWarning, match="pedestal"):
        jd.richardson_lucy(IMAGE, wide / wide.sum(), iterations=1)


def test_a_psf_larger_than_the_image_is_fine():
    large = np.asarray(jd.psf.gaussian((41, 43, 40), 1.5))
    for boundary in jd.operators.BOUNDARIES:
        ours = jd.richardson_lucy(IMAGE, large, iterations=3, boundary=boundary)
        same = jd.richardson_lucy(
            IMAGE, large[16:25, 17:26, 16:25], iterations=3, boundary=boundary
        )
        np.testing.assert_allclose(ours, same, atol=5e-3 * float(same.max()))


@pytest.mark.parametrize("bad", [0, -0.1, np.inf])
def test_wiener_needs_positive_noise(bad):
    with pytest.raises(ValueError, match="noise"):
        jd.wiener(IMAGE, PSF, noise=bad)


def test_floats_of_another_byte_order_are_taken():
    image = np.arange(64.0).reshape(8, 8)
    psf = jd.psf.gaussian((7, 7), 2.0)
    plain, other = (
        jd.richardson_lucy(image.astype(kind), psf, iterations=1)
        for kind in ("<f4", ">f4")
    )
    np.testing.assert_array_equal(plain, other)
