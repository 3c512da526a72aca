"""PSFs on a grid of nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

import jaxdecon as jd

WIDTHS = np.array([[2.0, 2.5, 4.0], [2.2, 3.0, 3.5]])
NODES = ([0.0, 40.0], [5.0, 20.0, 60.0])


def field():
    psfs = jnp.stack(
        [jnp.stack([jd.psf.gaussian((9, 8), w) for w in row]) for row in WIDTHS]
    )
    return jd.psf.PSFField.from_grid(psfs, NODES)


@pytest.mark.parametrize("position", [(0, 5), (13, 31), (40, 60), (20.5, 5)])
def test_interpolates_between_nodes(position):
    varying = field()
    oracle = RegularGridInterpolator(NODES, np.asarray(varying.psfs))
    np.testing.assert_allclose(varying.at(position), oracle(position), atol=1e-7)
    assert float(varying.at(position).sum()) == pytest.approx(1, abs=1e-6)


def test_beyond_the_nodes_is_as_at_the_last():
    np.testing.assert_array_equal(field().at((-50, 500)), field().psfs[0, 2])


def test_a_part_of_the_image_sees_the_same_psfs():
    part = field().shifted((10, -7))
    np.testing.assert_allclose(part.at((3, 40)), field().at((13, 33)), atol=1e-7)


def test_one_node_is_constant():
    one = jd.psf.PSFField.from_grid(jd.psf.gaussian((7, 7), 2.0)[None, None], (0, 0))
    np.testing.assert_array_equal(one.at((3, -9)), one.mean)
    assert one.variation == 0
    assert field().variation > 0.2


def test_from_a_model():
    def model(position):
        return jd.psf.gaussian((9, 8), 2 + position[1] / 30)

    made = jd.psf.PSFField.from_model(model, (0.0, [0.0, 60.0]))
    assert made.nodes == (1, 2)
    np.testing.assert_allclose(
        made.at((9, 60)), jd.psf.gaussian((9, 8), 4.0), rtol=1e-6
    )


def test_is_differentiable_in_psfs_and_position():
    def sharpness(varying, position):
        return (varying.at(position) ** 2).sum()

    in_psfs, in_position = jax.grad(sharpness, (0, 1))(field(), jnp.array([9.0, 30.0]))
    assert float(abs(in_psfs.psfs).sum()) > 0
    step = jnp.array([0, 0.5])
    change = sharpness(field(), jnp.array([9.0, 30.0]) + step) - sharpness(
        field(), jnp.array([9.0, 30.0]) - step
    )
    assert float(in_position[1]) == pytest.approx(float(change), rel=1e-2)


def holed():
    psfs = np.asarray(field().psfs).copy()
    psfs[1, 2] = np.nan
    psfs[0, 1] = 0
    return psfs


@pytest.mark.parametrize(
    ("psfs", "positions", "words"),
    [
        (holed, NODES, r"holes: at 2 of 6 nodes \(\(0, 1\), \(1, 2\)\)"),
        (lambda: field().psfs, (NODES[0], [0.0, 1.0]), r"\(2, 2\) nodes.*\(2, 3\)"),
        (lambda: field().psfs, (NODES[0], [5.0, 5.0, 6.0]), r"`positions\[1\]`"),
        (lambda: field().psfs[0], NODES, "as many axes of nodes"),
        (lambda: -field().psfs, NODES, "negative values"),
    ],
)
def test_bad_grids_are_refused(psfs, positions, words):
    with pytest.raises(ValueError, match=words):
        jd.psf.PSFField.from_grid(psfs(), positions)


def test_a_field_is_refused_where_one_psf_is_needed():
    with pytest.raises(TypeError, match=r"`PSFField` is many PSFs"):
        jd.wiener(np.ones((16, 16)), field(), noise=0.1)
