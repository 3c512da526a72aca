"""Networks: fast convolutions, the published wirings, physics, halos, gradients."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from flax import nnx

import jaxdecon as jd
from jaxdecon.learning import (
    RLN,
    DenseDeconNet,
    NetworkConfig,
    ResidualChannelAttention,
    UnrolledRichardsonLucy,
    build,
)
from jaxdecon.learning.networks import _convolve as fast
from jaxdecon.learning.networks._attention import average
from jaxdecon.learning.networks._layers import Norm
from jaxdecon.learning.networks._transfer_gain import (
    GainOfTransfer,
    Transfer,
    strengths,
    wiener_log_gain,
)

from ._random_networks import randomised

KEY = jax.random.key(3)


def correlate(x, kernel):
    """Feature maps (channels, *spatial) through a kernel, in float64, zeros outside."""
    x, kernel = np.asarray(x, float), np.asarray(kernel, float)
    return np.stack(
        [
            sum(
                scipy.ndimage.correlate(channel, kernel[..., c, o], mode="constant")
                for c, channel in enumerate(x)
            )
            for o in range(kernel.shape[-1])
        ]
    )


def random(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def parameters_of(network):
    """Arrays by dotted names."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(network, nnx.Param))
    names = [[k.key for k in path if hasattr(k, "key")] for path, _ in leaves]
    return {".".join(n): np.asarray(v) for n, (_, v) in zip(names, leaves, strict=True)}


# ------------------------------------------------------------------ convolutions


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [((2, 6, 5, 7), 3), ((5, 4, 5, 6), 6), ((26, 3, 4, 5), 2), ((3, 6, 7), 8)],
)
def test_all_convolutions_give_the_same(shape, outputs):
    rng = np.random.default_rng(0)
    x, kernel = (
        random(rng, 2, *shape),
        random(rng, *(3,) * (len(shape) - 1), shape[0], outputs),
    )
    expected = np.stack([correlate(sample, kernel) for sample in x])
    scale = abs(expected).max()
    ways = [fast.convolve, fast.direct, fast.by_planes]
    for way in [*ways, fast.by_taps] if shape[0] < 4 else ways:
        assert abs(np.asarray(jax.jit(way)(x, kernel)) - expected).max() < 1e-5 * scale


@pytest.mark.parametrize(
    ("shape", "outputs"), [((2, 4, 3, 5), 3), ((25, 3, 4, 3), 2), ((5, 6, 7), 4)]
)
def test_gradients_of_fast_convolutions_are_adjoints(shape, outputs):
    rng = np.random.default_rng(1)
    x, kernel = (
        random(rng, 2, *shape),
        random(rng, *(3,) * (len(shape) - 1), shape[0], outputs),
    )
    g = random(rng, 2, outputs, *shape[1:])
    dx, dk = jax.jit(lambda x, k, g: jax.vjp(fast.convolve, x, k)[1](g))(x, kernel, g)
    for given, derivative in ((x, dx), (kernel, dk)):
        direction = random(rng, *given.shape)
        pair = (direction, kernel) if given is x else (x, direction)
        change = np.stack([correlate(sample, pair[1]) for sample in pair[0]])
        left, right = np.vdot(change, g), np.vdot(direction, derivative)
        assert abs(left - right) < 1e-5 * np.linalg.norm(change) * np.linalg.norm(g)


def test_changes_of_resolution():
    rng = np.random.default_rng(2)
    x, kernel = random(rng, 1, 3, 4, 6, 8), random(rng, 2, 2, 2, 3, 5)
    low = np.asarray(fast.downsample(x, kernel))
    blocks = np.asarray(x, float)[0].reshape(3, 2, 2, 3, 2, 4, 2)
    expected = np.einsum("czaybxe,abecf->fzyx", blocks, kernel)
    assert abs(low[0] - expected).max() < 1e-5 * abs(expected).max()
    # Going up is the transpose, with the channels exchanged.
    g = random(rng, *low.shape)
    up = np.asarray(fast.upsample(g, kernel.swapaxes(-1, -2)))
    assert np.vdot(up, x) == pytest.approx(np.vdot(g, low), rel=1e-5)
    assert abs(np.asarray(fast.pool(x))[0] - blocks.mean((2, 4, 6))).max() < 1e-6


def test_running_average():
    x = random(np.random.default_rng(3), 1, 2, 7, 9)
    expected = np.zeros(x.shape)
    for i, j in np.ndindex(7, 9):
        part = x[:, :, max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]
        expected[:, :, i, j] = part.mean((2, 3))
    assert abs(np.asarray(average(x, 2)) - expected).max() < 1e-6
    assert np.asarray(average(x, None)).shape == (1, 2, 1, 1)


def test_group_normalisation():
    """Groups of four channels, each sample for itself."""
    x = 3 + 2 * random(np.random.default_rng(12), 2, 8, 5, 6)
    groups = np.asarray(Norm(8, "group")(x)).reshape(2, 2, -1).astype(float)
    assert abs(groups.mean(-1)).max() < 1e-5
    assert abs(groups.std(-1) - 1).max() < 1e-4
    alone = np.asarray(Norm(8, "group")(x[1:]))[0]
    np.testing.assert_allclose(alone.reshape(2, -1), groups[1], atol=1e-5)
    assert (np.asarray(Norm(8, "none")(x)) == x).all()


# ------------------------------------------------------- the published networks


def standardise(x, scale, offset):
    """Batch statistics of a batch of one."""
    axes = tuple(range(1, x.ndim))
    x = x - x.mean(axes, keepdims=True)
    x = x / np.sqrt((x**2).mean(axes, keepdims=True) + 1e-4)
    per_channel = (-1, *(1,) * len(axes))
    return x * scale.reshape(per_channel) + offset.reshape(per_channel)


def softplus(x):
    return np.logaddexp(x, 0)


def spread(x, kernel):
    """The transposed convolution of two taps per axis, in 2D."""
    y = np.einsum("cyx,abcf->fyaxb", x, kernel)
    return y.reshape(kernel.shape[-1], 2 * x.shape[1], 2 * x.shape[2])


class Published:
    """Convolution and batch normalisation by the names of a network's parameters."""

    def __init__(self, network):
        self.p = {k: v.astype(float) for k, v in parameters_of(network).items()}

    def norm(self, x, name):
        return standardise(x, self.p[f"{name}.scale"], self.p[f"{name}.offset"])

    def __call__(self, x, name, way=correlate):
        y = way(x, self.p[f"{name}.convolution.kernel"])
        return self.norm(y, f"{name}.norm")


def test_dense_decon_net_has_the_published_wiring():
    network = randomised(
        DenseDeconNet(ndim=2, views=2, norm="batch", residual=False, key=KEY)
    )
    net = Published(network)
    image = random(np.random.default_rng(4), 2, 8, 10)

    def relu(x):
        return np.maximum(x, 0)

    def strided(x, kernel):
        c, h, w = x.shape
        return np.einsum("cyaxb,abcf->fyx", x.reshape(c, h // 2, 2, w // 2, 2), kernel)

    def cat(*x):
        return np.concatenate(x)

    r1 = relu(net(net.norm(image.astype(float), "entry"), "c1"))
    r2 = relu(net(r1, "c2"))
    r3 = relu(net(cat(r1, r2), "c3"))
    r4 = relu(net(cat(r2, r1, r3), "c4"))
    r5 = relu(net(r4, "c5", strided))
    r6 = relu(net(r5, "c6"))
    r7 = relu(net(cat(r5, r6), "c7"))
    r8 = relu(net(cat(r6, r7, r5), "c8"))
    r9 = relu(net(r8, "c9"))
    r10 = relu(net(r9, "c10"))
    r11 = relu(net(cat(r9, r10), "c11"))
    r12 = relu(net(cat(r10, r11, r9), "c12"))
    last = net(relu(net(r12, "up", spread) + r1), "last")[0]
    expected = np.where(last > 0, last, 0.2 * last)
    assert abs(np.asarray(network(image[None]))[0] - expected).max() < 1e-4


def test_rln_has_the_published_wiring():
    network = randomised(RLN(ndim=2, norm="batch", key=KEY))
    net = Published(network)
    net.p = {name.removeprefix("wiring."): value for name, value in net.p.items()}
    image = np.random.default_rng(5).random((1, 8, 10)).astype(np.float32)

    def bare(x, name):
        kernel, bias = net.p[f"{name}.kernel"], net.p.get(f"{name}.bias")
        assert bias is None
        return correlate(x, kernel)

    x = image.astype(float)
    low = x.reshape(1, 4, 2, 5, 2).mean((2, 4))
    a = softplus(net(low, "e1"))
    b = softplus(net(a, "e2"))
    c = softplus(net(np.concatenate([a, b]), "e3")) + softplus(low)
    ratio = net.norm(low / (c.mean(0, keepdims=True) + 1e-3), "t1")
    a = softplus(net(ratio, "e4"))
    b = softplus(net(a, "e5"))
    c = softplus(net(np.concatenate([b, a]), "e6"))
    up = softplus(net(softplus(net(c, "e7", spread)), "e8"))
    first = softplus(net.norm(x * up.mean(0, keepdims=True), "t2"))
    blurred = softplus(net(softplus(net(x, "u1")), "u2")) + softplus(x)
    ratio = net.norm(x / (blurred.mean(0, keepdims=True) + 1e-3), "t3")
    back = softplus(net(softplus(net(ratio, "u3")), "u4")) + 1
    second = softplus(net.norm(first * back.mean(0, keepdims=True), "t4"))
    f1 = softplus(bare(second, "u5"))
    f2 = softplus(bare(np.concatenate([f1, second, first]), "u6"))
    expected = softplus(net(np.concatenate([f1, f2]), "u7")).mean(0)
    assert abs(np.asarray(network(image[None]))[0] - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # 16,712 weights, 74 normalised channels with two parameters each.
        ({"kind": "densedeconnet", "norm": "batch", "residual": False}, 16_860),
        ({"kind": "densedeconnet"}, 16_712 + 73),
        ({"kind": "densedeconnet", "bias": False}, 16_712),
        # Another view: 27 x 4 weights, and no more.
        ({"kind": "densedeconnet", "bias": False, "views": 2}, 16_712 + 108),
        # 15,808 weights, 80 normalised channels.
        ({"kind": "rln", "norm": "batch"}, 15_968),
        # 92 biases, and scale and offset of four images.
        ({"kind": "rln"}, 15_808 + 92 + 8),
        ({"kind": "rln", "physics": True}, 12_091),
        ({"kind": "rcan"}, 1_002_621),
        ({"kind": "rcan", "width": 8, "depth": 2}, 26_631),
        ({"kind": "unrolled"}, 12_015),
    ],
)
def test_parameter_counts(options, count):
    network = nnx.eval_shape(lambda: build(NetworkConfig(**options)))
    assert network.parameter_count == count


# ------------------------------------------------------------------ one interface

SMALL = [
    {"kind": "densedeconnet", "width": 2},
    {"kind": "rln", "width": 2},
    {"kind": "rln", "width": 2, "physics": True},
    {"kind": "rcan", "width": 4, "depth": 2, "blocks": 1, "reduction": 2},
    {"kind": "unrolled", "width": 3, "depth": 2},
]


@pytest.fixture(scope="module")
def views():
    """Two samples of two views in 2D, odd sizes, and the operator of the views."""
    rng = np.random.default_rng(6)
    shape = (11, 14)
    psfs = [jd.psf.gaussian((5, 5), (3.0, 1.5)), jd.psf.gaussian((5, 5), (1.5, 3.0))]
    blurs = [jd.operators.Convolution.from_psf(psf, shape) for psf in psfs]
    operator = jd.operators.Views(blurs)
    objects = rng.gamma(0.5, 4.0, (2, *operator.domain)).astype(np.float32)
    images = np.stack([np.stack(operator(x)) for x in objects])
    return rng.poisson(np.maximum(images, 0)).astype(np.float32), operator


@pytest.mark.parametrize("options", SMALL, ids=lambda o: "-".join(map(str, o.values())))
def test_one_interface(options, views):
    """Shapes, samples on their own, pure use under jit, finite gradients."""
    images, operator = views
    network = randomised(build(NetworkConfig(ndim=2, views=2, **options), KEY))
    both = np.asarray(network(images, operator))
    assert both.shape == (2, 11, 14)
    assert both.dtype == np.float32
    graphdef, state = nnx.split(network)

    @jax.jit
    def pure(state, images):
        estimate = nnx.merge(graphdef, state)(images, operator)
        return (estimate**2).mean(), estimate

    (_, estimate), gradient = jax.value_and_grad(pure, has_aux=True)(state, images[1:])
    rounding = 1e-6 * both.max()  # products and sums that cancel
    np.testing.assert_allclose(estimate[0], both[1], rtol=1e-4, atol=rounding)
    norms = [float(abs(leaf).max()) for leaf in jax.tree.leaves(gradient)]
    assert np.isfinite(norms).all()
    assert np.mean([norm > 0 for norm in norms]) > 0.8


@pytest.mark.parametrize("options", SMALL[:4:3], ids=lambda o: o["kind"])
def test_half_precision_is_near(options, views):
    images, operator = views
    config = NetworkConfig(ndim=2, views=2, **options)
    full = np.asarray(build(config, KEY)(images, operator))
    half = build(dataclasses.replace(config, dtype="bfloat16"), KEY)(images, operator)
    assert half.dtype == jnp.float32
    error = np.linalg.norm(half - full) / np.linalg.norm(full)
    assert 0 < error < 0.02


def test_an_odd_size_is_the_repeated_edge_cut_off():
    network = DenseDeconNet(ndim=2, width=2, key=KEY)
    image = random(np.random.default_rng(7), 1, 1, 9, 11)
    padded = np.pad(image, [(0, 0), (0, 0), (0, 1), (0, 1)], mode="edge")
    expected = np.asarray(network(padded))[:, :9, :11]
    np.testing.assert_array_equal(network(image), expected)


def test_without_biases_a_network_keeps_intensities():
    network = DenseDeconNet(ndim=2, width=2, bias=False, key=KEY)
    image = np.random.default_rng(8).random((1, 1, 8, 8))
    once = np.asarray(network(image))
    np.testing.assert_allclose(network(8 * image), 8 * once, rtol=1e-5, atol=1e-5)
    plain = DenseDeconNet(ndim=2, width=2, bias=False, residual=False, key=KEY)
    assert abs(np.asarray(plain(image)) - once).max() > 1e-2


@pytest.mark.parametrize(
    "network",
    [
        DenseDeconNet(ndim=2, key=KEY),
        RLN(ndim=2, key=KEY),
        ResidualChannelAttention(
            ndim=2, width=4, depth=2, blocks=2, reduction=2, window=2, key=KEY
        ),
    ],
    ids=lambda network: network.config.kind,
)
def test_halo_is_the_reach(network):
    """Derivatives vanish beyond the halo, and reach it from one of the two parities."""
    network = randomised(network)
    (halo, _), middle = network.halo, 25
    image = np.random.default_rng(9).random((1, 1, 52, 52)).astype(np.float32)
    furthest = 0
    jacobian = jax.jit(jax.grad(lambda image, i, j: network(image)[0, i, j]))
    for voxel in (middle, middle + 1):
        reach = np.asarray(jacobian(image, voxel, voxel))[0, 0] != 0
        where = np.argwhere(reach) - voxel
        furthest = max(furthest, abs(where).max())
    assert furthest == halo


def test_what_sees_all_of_the_image_has_no_halo():
    for config in (
        NetworkConfig(kind="rcan", width=8),
        NetworkConfig(kind="rln", norm="batch"),
        NetworkConfig(kind="densedeconnet", norm="group"),
        NetworkConfig(kind="rln", physics=True),
        NetworkConfig(kind="unrolled"),
    ):
        assert build(config).halo is None


# ------------------------------------------------------------------ physics


@pytest.mark.parametrize(
    ("network", "updates", "boundary"),
    [
        (RLN(physics=True, key=KEY), 2, "extend"),
        (UnrolledRichardsonLucy(depth=3, key=KEY), 3, "extend"),
        (UnrolledRichardsonLucy(depth=3, key=KEY), 3, "periodic"),
    ],
    ids=lambda value: value.config.kind if hasattr(value, "config") else str(value),
)
def test_untrained_it_is_richardson_lucy(network, updates, boundary, scene):
    _, psf, image = scene
    image = image[:9, 5:20, 7:19]
    blur = jd.operators.Convolution.from_psf(psf, image.shape, boundary=boundary)
    expected = jd.richardson_lucy(image, psf, iterations=updates, boundary=boundary)
    estimate = network(image[None, None], blur)[0]
    np.testing.assert_allclose(estimate, expected, rtol=1e-4, atol=1e-4)


def test_untrained_it_fuses_views(views):
    images, operator = views
    network = UnrolledRichardsonLucy(ndim=2, views=2, depth=2, key=KEY)
    scheme = jd.deconvolution.RichardsonLucy()
    for image, estimate in zip(images, network(images, operator), strict=True):
        result = jd.deconvolve(tuple(image), operator, scheme, iterations=2)
        np.testing.assert_allclose(estimate, result.value, rtol=1e-4, atol=1e-4)


def test_every_sample_may_have_its_own_operator(scene):
    _, _, image = scene
    image = image[4, :12, :13]
    blurs = [
        jd.operators.Convolution.from_psf(jd.psf.gaussian((5, 5), fwhm), image.shape)
        for fwhm in (1.5, 3.0)
    ]
    network = randomised(UnrolledRichardsonLucy(ndim=2, width=2, depth=2, key=KEY))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blurs)
    together = jax.vmap(lambda blur: network(image[None, None], blur)[0])(stacked)
    for estimate, blur in zip(together, blurs, strict=True):
        alone = network(image[None, None], blur)[0]
        np.testing.assert_allclose(estimate, alone, rtol=1e-4, atol=1e-4)
    assert abs(together[0] - together[1]).max() > 1


def test_wiener_start_is_a_wiener_filter():
    psf = np.asarray(jd.psf.gaussian((15, 15), (3.0, 2.0)), float)
    blur = jd.operators.Convolution.from_psf(psf, (15, 15), boundary="periodic")
    gain = GainOfTransfer(transfer=Transfer.of(blur), log_gain=wiener_log_gain())
    image = random(np.random.default_rng(10), 15, 15)
    transfer = abs(np.fft.fftn(psf))
    # Exact at the nodes, linear in both logarithms between them.
    nodes = np.asarray(strengths(), float)
    exact = np.log(1.05 / (nodes**2 + 0.05))
    curve = np.exp(np.interp(np.log(transfer), np.log(nodes), exact))
    assert abs(curve * (transfer**2 + 0.05) / 1.05 - 1).max() < 0.1
    expected = np.fft.ifftn(np.fft.fftn(image) * curve).real
    np.testing.assert_allclose(gain(jnp.asarray(image)), expected, atol=2e-3)
    # Anisotropic blur, and yet one curve: kept where the blur keeps, whatever the axis.
    assert curve[0, 0] == pytest.approx(1, abs=1e-6)


# ------------------------------------------------------------------ configuration


def test_configuration_goes_through_a_file():
    config = NetworkConfig(kind="rcan", ndim=2, width=8, depth=1, window=3)
    network = build(NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))))
    assert network.config.blocks == 3
    again = build(NetworkConfig.from_dict(network.config.to_dict()))
    assert again.config == network.config
    for left, right in zip(
        parameters_of(network).values(), parameters_of(again).values(), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    other = parameters_of(build(config, jax.random.key(1)))["first.kernel"]
    assert abs(other - parameters_of(network)["first.kernel"]).max() > 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetworkConfig(kind="unet"), "`kind` is 'unet'"),
        (lambda: NetworkConfig(kind="rln", ndim=4), "`ndim` is 4"),
        (lambda: NetworkConfig(kind="rln", width=0), "`width` is 0"),
        (lambda: DenseDeconNet(norm="layer"), "`norm` is 'layer'"),
        (lambda: NetworkConfig.from_dict({"kind": "rln", "heads": 3}), "no heads"),
        (lambda: NetworkConfig.from_dict({"ndim": 3}), "`kind` is missing"),
        (lambda: build(NetworkConfig(kind="rcan", physics=True)), "has no physics"),
        (lambda: RLN(physics=True, norm="group"), "only 'none'"),
        (lambda: ResidualChannelAttention(width=4), "at least `reduction`"),
    ],
)
def test_what_no_network_can_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("shape", "operator", "message"),
    [
        ((1, 1, 8, 8, 8), None, r"\(batch, 1, y, x\)"),
        ((8, 8), None, r"image\[None, None\]"),
        ((1, 2, 8, 8), None, "1 view"),
        ((1, 1, 8, 8), None, "`operator` is missing"),
        ((1, 1, 9, 8), (8, 8), r"one sample|gives \(8, 8\)"),
    ],
)
def test_wrong_input(shape, operator, message):
    network = UnrolledRichardsonLucy(ndim=2)
    if operator is not None:
        psf = jd.psf.gaussian((3, 3), 1.5)
        operator = jd.operators.Convolution.from_psf(psf, operator)
    with pytest.raises(ValueError, match=message):
        network(np.ones(shape, np.float32), operator)


def test_an_object_on_another_grid_is_refused():
    psf = jd.psf.gaussian((3, 3), 1.5)
    blur = jd.operators.Convolution.from_psf(psf, (8, 8), boundary="periodic")
    warp = jd.operators.Warp.from_matrix(np.eye(3), (10, 10), (8, 8))
    with pytest.raises(ValueError, match="field of view"):
        UnrolledRichardsonLucy(ndim=2)(np.ones((1, 1, 8, 8)), blur @ warp)
