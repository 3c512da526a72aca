import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdecon as jd
from jaxdecon.operators import (
    Convolution,
    Crop,
    Downsample,
    LightSheet,
    Transpose,
    VaryingConvolution,
    Views,
    Warp,
    Weight,
    check_adjoint,
)

RNG = np.random.default_rng(0)


def psf_of(shape):
    psf = RNG.random(shape).astype(np.float32)
    return psf / psf.sum()


TILTED = np.array(
    [
        [0.95, 0.1, 0.0, 0.3],
        [-0.1, 1.02, 0.1, -0.4],
        [0.0, -0.2, 0.9, 0.6],
        [0, 0, 0, 1],
    ]
)


def varying(nodes, psf, image, method, boundary):
    """Blur by PSFs that change from node to node."""
    positions = [np.linspace(0, n, m) for n, m in zip(image, nodes, strict=True)]
    field = jd.psf.PSFField.from_grid(RNG.random((*nodes, *psf)), positions)
    return VaryingConvolution.from_field(field, image, method=method, boundary=boundary)


def zoo():
    """Every operator, in 2D and 3D, with odd and even sizes."""
    blurs = {
        f"{boundary}-{'x'.join(map(str, psf + image))}": Convolution.from_psf(
            psf_of(psf), image, boundary=boundary
        )
        for boundary in jd.operators.BOUNDARIES
        for psf, image in (
            ((3, 4, 5), (6, 7, 8)),
            ((5, 4), (7, 10)),
            ((4, 3, 2), (5, 6, 4)),
            ((9, 8), (4, 5)),
        )
    }
    blur = Convolution.from_psf(psf_of((3, 3)), (8, 6))
    tilted, upright = LightSheet.reflective_dispim(
        (psf_of((3, 2, 3)), psf_of((4, 3, 3))), (4, 3, 6), fwhm=2.0, mirror=6
    ).operators
    reflected = {"reflective view A": tilted, "reflective view B": upright}
    return {
        **blurs,
        "crop": Crop.centred((9, 8), (4, 3)),
        "other-axes": Transpose.from_axes((2, 0, 1), (3, 4, 5)),
        "crop-at": Crop.at((0, 2, 1), (5, 6, 7), (5, 1, 3)),
        "downsample": Downsample.from_factor((1, 2, 3), (3, 4, 2)),
        "composition": Downsample.from_factor(2, (4, 3)) @ blur,
        "transpose": blur.T,
        "views": Views([blur, Crop.centred(blur.domain, (2, 3)) @ blur.T @ blur]),
        "warp": Warp.from_matrix(TILTED, (6, 7, 8), (5, 9, 7)),
        "warp in the plane": Warp.from_matrix(TILTED[1:, 1:], (7, 8), (6, 8)),
        **reflected,
        "light sheet": LightSheet.from_psf(
            psf_of((5, 4, 3)), (4, 5, 6), fwhm=2.0, rayleigh=4.0
        ),
        "weight": Weight.from_values(RNG.random((5, 1, 3)), (5, 4, 3)),
        "weighted pose": Weight.from_values(2.0, (5, 9, 7))
        @ Warp.from_matrix(TILTED, (6, 7, 8), (5, 9, 7)),
        "back projection": blur.back_projection(jnp.asarray(psf_of((3, 3)))),
        "varying": varying((2, 1, 3), (3, 4, 2), (5, 6, 8), "low-rank", "extend"),
        "varying, edge": varying((3, 2), (5, 4), (7, 10), "low-rank", "edge"),
        "varying tiles": varying((1, 2, 4), (2, 3, 3), (4, 5, 12), "tiles", "extend"),
        "varying tiles, periodic": varying((4, 3), (4, 3), (9, 8), "tiles", "periodic"),
    }


ZOO = zoo()


@pytest.fixture(params=ZOO.values(), ids=ZOO)
def operator(request):
    return request.param


def random_input(operator, seed=0):
    return jax.random.normal(jax.random.key(seed), operator.domain)


def test_adjoint_is_exact(operator):
    for seed in range(3):
        assert float(check_adjoint(operator, key=jax.random.key(seed))) < 1e-5


def transposed(operator, x, y):
    """What JAX makes of an operator; of a loop, before 0.8, only by its derivative."""
    if jax.__version_info__ < (0, 8):
        return jax.vjp(lambda v: operator(v), x)[1](y)[0]
    return jax.linear_transpose(lambda v: operator(v), x)(y)[0]


def test_adjoint_agrees_with_linear_transpose(operator):
    x = random_input(operator, 1)
    y = operator(x)
    derived = transposed(operator, x, y)
    np.testing.assert_allclose(operator.adjoint(y), derived, atol=2e-5)
    np.testing.assert_allclose(operator.T(y), derived, atol=2e-5)
    assert operator.T.domain == operator.range
    assert operator.T.range == operator.domain


def test_operator_is_linear(operator):
    x, y = random_input(operator, 1), random_input(operator, 2)
    both = operator(2 * x - 3 * y)
    apart = jax.tree.map(lambda a, b: 2 * a - 3 * b, operator(x), operator(y))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), both, apart)


def test_jit_vmap_and_shapes(operator):
    batch = jnp.stack([random_input(operator, s) for s in range(3)])
    compiled = jax.jit(lambda a, x: a(x))(operator, batch[0])
    mapped = jax.vmap(operator)(batch)
    for index in range(3):
        alone = operator(batch[index])
        assert jax.tree.map(jnp.shape, alone) == operator.range
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, atol=1e-5),
            mapped,
            alone,
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        compiled,
        operator(batch[0]),
    )


def test_sensitivity_is_the_adjoint_of_ones(operator):
    ones = jax.tree.map(
        jnp.ones, operator.range, is_leaf=lambda s: isinstance(s[0], int)
    )
    expected = operator.adjoint(ones)
    np.testing.assert_allclose(
        jnp.broadcast_to(operator.sensitivity(), expected.shape), expected, atol=1e-5
    )


sizes = st.integers(1, 9)


@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.sampled_from([0, 1, 2, 3]))
@settings(max_examples=25, deadline=None)
def test_any_shape_has_an_exact_adjoint(psf, image, which):
    boundary = jd.operators.BOUNDARIES[which]
    operator = Convolution.from_psf(psf_of(psf), image, boundary=boundary)
    assert float(check_adjoint(operator, key=jax.random.key(0))) < 1e-5


@pytest.mark.parametrize("psf_shape", [(3, 4, 5), (4, 4, 3)])
def test_extended_convolution_is_linear_convolution(psf_shape):
    psf, shape = psf_of(psf_shape), (6, 7, 8)
    operator = Convolution.from_psf(psf, shape)
    x = RNG.random(operator.domain).astype(np.float32)
    full = scipy.signal.convolve(x, psf, mode="full")
    margins = [(d - n) // 2 for d, n in zip(operator.domain, shape, strict=True)]
    starts = [g + m // 2 for g, m in zip(margins, psf_shape, strict=True)]
    expected = full[tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))]
    np.testing.assert_allclose(operator(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("boundary", "mode"),
    [("periodic", "wrap"), ("reflect", "symmetric"), ("edge",) * 2],
)
def test_other_boundaries_are_convolutions_of_padded_data(boundary, mode):
    psf, image = psf_of((5, 4)), RNG.random((7, 8)).astype(np.float32)
    operator = Convolution.from_psf(psf, image.shape, boundary=boundary)
    padded = np.pad(image, 8, mode=mode)
    full = scipy.signal.convolve(padded, psf, mode="full")
    expected = full[8 + 2 :, 8 + 2 :][:7, :8]
    np.testing.assert_allclose(operator(image), expected, atol=1e-5)


def test_psf_beyond_reach_changes_nothing():
    psf, shape = psf_of((31, 30)), (6, 7)
    whole = Convolution.from_psf(psf, shape)
    assert whole.domain <= (18, 21)
    x = RNG.random(whole.domain).astype(np.float32)
    full = scipy.signal.convolve(np.pad(x, 40), psf, mode="full")
    margins = [(d - n) // 2 for d, n in zip(whole.domain, shape, strict=True)]
    starts = [40 + g + m // 2 for g, m in zip(margins, psf.shape, strict=True)]
    expected = full[tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))]
    reach = np.asarray(whole.sensitivity()) > 1e-6
    seen = np.asarray(whole(np.where(reach, x, 0)))
    # Object voxels outside the domain are no part of the model.
    assert seen.shape == expected.shape
    assert float(check_adjoint(whole, key=jax.random.key(1))) < 1e-5


def test_extended_domain_sees_each_voxel_by_its_share():
    operator = Convolution.from_psf(psf_of((5, 5)), (16, 16))
    share = np.asarray(operator.sensitivity())
    inside = np.asarray(operator.image_region(jnp.asarray(share)))
    np.testing.assert_allclose(inside[4:-4, 4:-4], 1, atol=1e-5)
    assert share.min() > -1e-6
    assert inside[0, 0] < 0.6


def test_downsampling_integrates_light():
    operator = Downsample.from_factor((2, 3), (4, 5))
    x = RNG.random((8, 15)).astype(np.float32)
    np.testing.assert_allclose(operator(x).sum(), x.sum(), rtol=1e-5)
    assert operator(x)[1, 2] == pytest.approx(x[2:4, 6:9].sum())


def test_gradient_with_respect_to_the_psf():
    psf, x = jnp.asarray(psf_of((3, 4))), random_input(ZOO["crop"])[:6, :6]

    def loss(psf):
        blur = Convolution.from_psf(psf, (6, 6), boundary="edge")
        return (blur(x) ** 2).sum()

    direction = psf * jnp.asarray(psf_of((3, 4))) * 12  # keeps it positive
    slope = jax.grad(loss)(psf)
    numeric = (loss(psf + 1e-2 * direction) - loss(psf - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose((slope * direction).sum(), numeric, rtol=2e-3)


def test_misuse_is_refused_with_the_shapes():
    blur = Convolution.from_psf(psf_of((3, 3)), (8, 6), boundary="periodic")
    with pytest.raises(ValueError, match="vmap"):
        blur(jnp.ones((2, 8, 6)))
    with pytest.raises(ValueError, match=r"A\.domain == B\.range"):
        _ = blur @ Crop.centred((9, 9), (3, 3))
    with pytest.raises(ValueError, match="common domain"):
        Views([blur, Crop.centred((9, 9), (3, 3))])
    with pytest.raises(ValueError, match="common domain"):
        Views([])
    with pytest.raises(ValueError, match="does not fit"):
        Crop.at((5,), (8,), (4,))
    with pytest.raises(ValueError, match="each of the 3 axes"):
        Transpose.from_axes((0, 1, 1), (3, 4, 5))
    with pytest.raises(ValueError, match="factor"):
        Downsample.from_factor((2, 2, 2), (3, 3))
    with pytest.raises(ValueError, match="boundary"):
        Convolution.from_psf(psf_of((3, 3)), (8, 6), boundary="mirror")
    with pytest.raises(ValueError, match="image is 3D"):
        Convolution.from_psf(psf_of((3, 3)), (8, 6, 5))
