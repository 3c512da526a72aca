"""Functions as multiview-stitcher calls them: keywords, NaN beyond a view, a halo."""

import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.volumes import multiview_stitcher as ours

from ._volumes import PSF, texture


def test_a_pair_is_registered_where_both_have_values():
    whole = texture((32, 70, 70), seed=7).astype(np.float32)
    fixed, moving = whole[:, 5:65, 5:65].copy(), whole[1:, 2:62, 9:69].copy()
    fixed[:, :10], moving[:, :, -8:] = np.nan, np.nan
    fixed = fixed[:31]
    found = ours.registration()(fixed_data=fixed, moving_data=moving)
    np.testing.assert_allclose(found["affine_matrix"][:3, 3], (-1, 3, -4), atol=0.1)
    assert found["quality"] > 0.9
    noise = np.random.default_rng(0).random((2, 24, 40, 40), np.float32)
    found = ours.registration()(fixed_data=noise[0], moving_data=noise[1])
    assert np.isnan(found["quality"])
    np.testing.assert_array_equal(found["affine_matrix"], np.eye(4))
    with pytest.raises(ValueError, match="`model` is 'bent'"):
        ours.registration("bent")


def test_views_are_deconvolved_where_they_have_values():
    image = texture((24, 48, 48), seed=8).astype(np.float32)
    fuse = ours.deconvolution(
        [PSF], iterations=2, background=10, back_projectors="matched"
    )
    both = fuse(transformed_views=np.stack([image, image]))
    one = jd.richardson_lucy(image, PSF, iterations=4, background=10)
    np.testing.assert_allclose(both, one, atol=0.02 * float(one.max()))
    views = np.stack([image, image])
    views[0, :, :20], views[:, :, :, 44:] = np.nan, np.nan
    part = fuse(transformed_views=views)
    assert np.isfinite(part).all()
    assert (part[:, :, 44:] == 0).all()
    inner = (slice(None), slice(26, 48), slice(0, 38))
    np.testing.assert_allclose(part[inner], both[inner], atol=0.02 * float(one.max()))
    assert fuse.required_overlap({}) >= 2 * 4
    with pytest.raises(ValueError, match="2 `psfs` and 3 views"):
        ours.deconvolution([PSF, PSF])(transformed_views=np.ones((3, 8, 8, 8)))
