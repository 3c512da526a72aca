"""Where the PSF of an image is looked for, and what is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd

from ._beads import curved_field, gaussian_beads, places_in_plane

SHAPE = (20, 72, 72)
WIDTHS = (5.0, 3.0, 3.0)
MODEL = {"model": lambda: jd.psf.gaussian((17, 13, 13), WIDTHS)}


@pytest.fixture(scope="module")
def beads():
    across = places_in_plane(SHAPE, 15)
    depth = 10 + np.random.default_rng(3).uniform(-1, 1, len(across))
    heights = np.random.default_rng(4).uniform(400, 900, len(across))
    positions = np.column_stack([depth, across])
    return gaussian_beads(SHAPE, positions, WIDTHS, heights, background=10.0)


@pytest.fixture(scope="module")
def cells():
    """Filaments, and points of all sizes."""
    psf = jd.psf.gaussian((17, 13, 13), WIDTHS)
    blur = jd.operators.Convolution.from_psf(psf, SHAPE)
    keys = jax.random.split(jax.random.key(0), 3)
    sharp = 800 * jd.learning.simulated_object("filaments", blur.domain, key=keys[0])
    sharp += 800 * jd.learning.simulated_object("nuclei", blur.domain, key=keys[1])
    mean = jnp.maximum(blur(sharp), 0) + 10
    return np.asarray(jax.random.poisson(keys[2], mean))


def test_beads_show_their_psf(beads):
    found = jd.learning.find_psf(beads)
    assert found.source == "beads"
    np.testing.assert_allclose(jd.psf.fwhm(found.psf), WIDTHS, rtol=0.03)
    assert found.worth is None or not found.worth.worth_it
    assert "spots are alike" in found.explain()


def test_cells_are_no_beads(cells):
    found = jd.learning.find_psf(cells, **MODEL)
    assert found.source == "optics"
    np.testing.assert_array_equal(found.psf, MODEL["model"]())
    with pytest.raises(ValueError, match=r"no PSF was found.*not one of beads"):
        jd.learning.find_psf(cells)


def test_spots_that_the_optics_do_not_allow_are_no_beads(beads):
    narrow = jd.psf.gaussian((17, 13, 13), (2.5, 1.5, 1.5))
    found = jd.learning.find_psf(beads, model=lambda: narrow)
    assert found.source == "optics"
    assert "; the optics give 2.60 x 1.41 x 1.41 voxels" in found.explain()


def test_a_field_is_found_and_tried():
    image, *_ = curved_field(shape=(20, 120, 120), step=11, sag=0, tilt=(0, 0))
    found = jd.learning.find_psf(image, background=100.0)
    assert found.source == "beads"
    assert found.worth is not None
    assert 0.05 < found.worth.variation < 0.6
    assert found.worth.worth_it == (found.worth.saved >= 0.03)
    if found.worth.worth_it:
        assert isinstance(found.psf, jd.psf.PSFField)


def test_the_worth_of_a_field_follows_how_much_it_varies(cells):
    def field(last):
        psfs = [jd.psf.gaussian((15, 11, 11), (5.0, 3.0, w)) for w in (3.0, last)]
        return jd.psf.PSFField.from_grid(
            jnp.stack(psfs)[None, None], ([0.0], [0.0], [0.0, 71.0])
        )

    same, other = (
        jd.learning.varying_worth(cells, field(w), background=10.0) for w in (3.1, 6.0)
    )
    assert not same.worth_it
    assert other.worth_it
    assert other.saved > 3 * abs(same.saved)
    assert "not worth its cost" in str(same)


def test_a_field_of_other_axes_is_refused(cells):
    flat = jd.psf.PSFField.from_grid(jd.psf.gaussian((5, 5), 2.0)[None, None], (0, 0))
    with pytest.raises(ValueError, match="`field` is 2D"):
        jd.learning.varying_worth(cells, flat)


def test_one_call_goes_every_way():
    with pytest.raises(ValueError, match="`method` is 'guess'"):
        jd.learning.estimate_psf(
            jnp.ones((9, 9, 9)),
            MODEL["model"],
            method="guess",  # pyright: ignore[reportArgumentType]
            start={},
        )


def test_bounds_of_what_is_no_parameter_are_refused(cells):
    with pytest.raises(ValueError, match=r"`bounds` names \['NA'\]"):
        jd.learning.find_psf(cells, **MODEL, bounds={"NA": (0.8, 1.2)}, beads=False)
