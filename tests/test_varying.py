"""Blur that changes over the field, against the PSF of every voxel."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon.operators import (
    BOUNDARIES,
    Convolution,
    VaryingConvolution,
    check_adjoint,
)
from jaxdecon.operators._varying_parts import parts_of
from jaxdecon.psf import PSFField
from tests._x64 import x64

RNG = np.random.default_rng(0)
METHODS = ("low-rank", "tiles")
PAD = {"extend": "constant", "reflect": "symmetric", "edge": "edge"}

CASES = {
    # nodes, PSF, image, positions
    "one axis": ((1, 3), (5, 4), (9, 12), ([0.0], [1.0, 5.0, 9.5])),
    "beyond the image": (
        *((3, 4), (4, 5), (10, 11)),
        ([-2.0, 3.0, 7.5], [0.0, 2.0, 5.0, 30.0]),
    ),
    "nodes in a corner": (
        *((2, 4), (3, 3), (6, 31)),
        ([1.0, 3.0], [20.0, 22.0, 24.0, 26.0]),
    ),
    "volume": (
        *((2, 3, 1), (3, 4, 3), (5, 8, 4)),
        ([0.0, 4.0], [0.0, 2.0, 5.0], [1.0]),
    ),
    "PSF larger than the image": (
        *((3, 3), (9, 12), (4, 5)),
        ([0.0, 1.0, 3.0], [0.0, 2.0, 4.0]),
    ),
}
RUNS = [("one axis", b) for b in BOUNDARIES]
RUNS += [("beyond the image", "periodic"), ("nodes in a corner", "extend")]
RUNS += [("volume", "extend"), ("PSF larger than the image", "edge")]


def field_of(nodes, psf, positions, seed=0):
    psfs = np.random.default_rng(seed).random((*nodes, *psf))
    return PSFField.from_grid(psfs, positions)


def psf_at(field, position):
    """Linear between nodes, by NumPy's own interpolation."""
    psf = np.asarray(field.psfs, np.float64)
    for nodes, p in zip(field.positions, position, strict=True):
        nodes = np.asarray(nodes, np.float64)
        weights = [np.interp(p, nodes, row) for row in np.eye(nodes.size)]
        psf = np.tensordot(weights, psf, 1)
    return psf


def within_reach(field, shape):
    """As `Convolution` does it: without what is further away than the image is long."""
    cut = []
    for m, n in zip(field.shape, shape, strict=True):
        keep = min(m, 2 * n - 1)
        cut.append(slice(m // 2 - keep // 2, m // 2 - keep // 2 + keep))
    return PSFField(psfs=field.psfs[..., *cut], positions=field.positions)


def exact(field, x, before, shape):
    """The sum over voxels of what each sends, by its own PSF; nothing wraps."""
    psf_shape = field.shape
    sizes = zip(before, x.shape, shape, psf_shape, strict=True)
    reach = [max(b, d - b - n) + m for b, d, n, m in sizes]
    image = np.zeros([n + 2 * r for n, r in zip(shape, reach, strict=True)])
    for index in np.ndindex(x.shape):
        place = np.array(index) - before
        corner = place - np.array(psf_shape) // 2 + reach
        where = tuple(slice(c, c + m) for c, m in zip(corner, psf_shape, strict=True))
        image[where] += x[index] * psf_at(field, place)
    return image, reach


def expected(field, operator, x):
    """What the operator should give, for every boundary."""
    shape, boundary = operator.range, operator.boundary
    if boundary != "periodic":
        field = within_reach(field, shape)
    if boundary == "extend":
        before = np.array([b for b, _ in operator._margins])
    elif boundary == "periodic":
        before = np.zeros(len(shape), int)
    else:
        margin = [(m, m) for m in field.shape]
        x = np.pad(x, margin, mode=PAD[boundary])
        before = np.array(field.shape)
    image, reach = exact(field, x, before, shape)
    if boundary == "periodic":
        for axis, (r, n) in enumerate(zip(reach, shape, strict=True)):
            image = np.stack(
                [
                    np.take(image, range((i + r) % n, image.shape[axis], n), axis).sum(
                        axis
                    )
                    for i in range(n)
                ],
                axis,
            )
        return image
    return image[tuple(slice(r, r + n) for r, n in zip(reach, shape, strict=True))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("case", "boundary"), RUNS)
def test_every_voxel_is_blurred_by_its_own_psf(case, boundary, method):
    nodes, psf, shape, positions = CASES[case]
    with x64():
        field = field_of(nodes, psf, positions)
        accuracy = 1e-7 if method == "low-rank" else None
        operator = VaryingConvolution.from_field(
            field, shape, boundary=boundary, method=method, accuracy=accuracy
        )
        x = RNG.random(operator.domain)
        np.testing.assert_allclose(
            operator(x), expected(field, operator, x), rtol=1e-10, atol=1e-12
        )
        error = check_adjoint(operator, key=jax.random.key(1), dtype=jnp.float64)
        assert float(error) < 1e-12


SIZE, NODES = 48, 4


def model(position):
    """A Gaussian that widens from the centre of the field, and leans outwards."""
    off = np.asarray(position) / ((SIZE - 1) / 2) - 1
    r, width = np.arange(15) - 7, 1.2 + (off**2).sum()
    y, x = r[:, None] - off[0], r - off[1]
    return np.exp(-((y / width) ** 2 + (x / (0.8 * width)) ** 2) / 2)


@pytest.fixture(scope="module")
def field():
    return PSFField.from_model(model, (np.linspace(0, SIZE - 1, NODES),) * 2)


def points_at_nodes(field, operator):
    """Points of light: around each the image is the PSF of a node."""
    inner = [np.round(np.asarray(p[1:-1])).astype(int) for p in field.positions]
    places = np.stack(np.meshgrid(*inner, indexing="ij"), -1).reshape(-1, 2)
    points = np.zeros((len(places), *operator.domain), np.float32)
    for point, place in zip(points, places, strict=True):
        point[tuple(place + [before for before, _ in operator._margins])] = 1
    return points


def test_accuracy_is_kept_and_error_falls_with_rank(field):
    shape = (SIZE, SIZE)
    whole = VaryingConvolution.from_field(field, shape, method="tiles")
    points = points_at_nodes(field, whole)
    right = np.asarray(jax.vmap(whole)(points))

    def error(**options):
        few = VaryingConvolution.from_field(field, shape, method="low-rank", **options)
        off = np.linalg.norm(np.asarray(jax.vmap(few)(points)) - right, axis=(1, 2))
        share = (off / np.linalg.norm(right, axis=(1, 2))).max()
        return len(few.filter.weights), share

    ranks, errors = zip(*(error(rank=r) for r in (1, 2, 4, 8)), strict=True)
    assert ranks == (1, 2, 4, 8)
    assert errors[0] > 0.2
    assert all(b < 0.8 * a for a, b in itertools.pairwise(errors))
    rank, reached = error(accuracy=0.02)
    assert reached < 0.02
    assert error(accuracy=0.02, rank=rank) == (rank, reached)
    with pytest.raises(ValueError, match=f"rank of {rank}"):
        error(accuracy=0.02, rank=rank - 1)


def test_light_is_conserved_at_any_rank(field):
    x = jnp.asarray(RNG.random((SIZE, SIZE)), jnp.float32)
    for options in ({"rank": 1}, {"rank": 3}, {"method": "tiles"}):
        operator = VaryingConvolution.from_field(
            field, x.shape, boundary="periodic", **options
        )
        np.testing.assert_allclose(operator(x).sum(), x.sum(), rtol=1e-6)
        np.testing.assert_allclose(operator.sensitivity(), 1, rtol=1e-5)


def test_the_cheaper_method_is_chosen(field):
    # Little changes: few kernels. Something new at each of many nodes: tiles.
    slow = PSFField(
        psfs=0.05 * field.psfs + 0.95 * field.mean, positions=field.positions
    )
    kernels = VaryingConvolution.from_field(slow, (SIZE, SIZE)).filter
    assert len(kernels.transfers) < NODES**2
    nodes, psf = (1, 12), (5, 5)
    fast = field_of(nodes, psf, ([0.0], np.linspace(0, 511, 12)))
    tiles = VaryingConvolution.from_field(fast, (16, 512)).filter
    assert len(tiles.transfers) == 12
    assert tiles.transfers[0].size < 16 * 256


@pytest.mark.parametrize("method", METHODS)
def test_back_projection_of_mirrored_psfs_is_the_adjoint(method):
    field = field_of((2, 3), (4, 5), ([0.0, 8.0], [0.0, 5.0, 9.0]))
    # Mirrored about n // 2, which for 4 is not the middle.
    mirrored = np.flip(np.pad(field.psfs, [(0, 0)] * 2 + [(0, 1), (0, 0)]), (-2, -1))
    kernels = PSFField(psfs=jnp.asarray(mirrored), positions=field.positions)
    blur = VaryingConvolution.from_field(field, (9, 10), method=method)
    back = blur.back_projection(kernels, method=method, accuracy=1e-6)
    y = RNG.random((9, 10)).astype(np.float32)
    np.testing.assert_allclose(back(y), blur.adjoint(y), atol=2e-6)


def sample(rng, size=SIZE + 24):
    """Bright points on a dim ground, with what lies around the field."""
    truth = np.full((size, size), 5.0)
    truth[tuple(rng.integers(2, size - 2, (2, 60)))] += rng.uniform(300, 1000, 60)
    return truth


def record(field, truth, rng):
    """Photons that a camera counts, by the sum over all voxels in float64."""
    image, reach = exact(field, truth, np.array([12, 12]), (SIZE, SIZE))
    inside = tuple(slice(r, r + SIZE) for r in reach)
    return rng.poisson(image[inside]).astype(np.float32), truth[12:-12, 12:-12]


@pytest.fixture(scope="module")
def recorded(field):
    rng = np.random.default_rng(3)
    return record(field, sample(rng), rng)


def ncc(value, truth):
    """Correlation of what a slightly blurred truth would show."""
    kernel = jd.psf.gaussian((7, 7), 2.0)
    smooth = Convolution.from_psf(kernel, (SIZE, SIZE), boundary="edge")
    return float(jd.metrics.ncc(smooth(value), smooth(jnp.asarray(truth))))


@pytest.mark.filterwarnings("ignore:the data residual was least")  # of the mean PSF
@pytest.mark.parametrize(
    ("iterations", "options"),
    [
        (20, {}),
        (2, {"back_projector": "wiener-butterworth"}),
    ],
)
def test_own_psfs_beat_the_mean_psf(field, recorded, iterations, options):
    image, truth = recorded
    options["iterations"] = iterations
    varying = ncc(jd.richardson_lucy(image, field, **options), truth)
    single = ncc(jd.richardson_lucy(image, field.mean, **options), truth)
    assert varying > 0.75
    assert varying > single + 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"back_projector": "omw", "keep": "last"},
        {"boundary": "reflect", "accelerated": True, "init": "constant"},
        {"stop": "change", "prior": jd.deconvolution.TotalVariation(weight=0.01)},
    ],
    ids=str,
)
def test_a_field_of_one_psf_is_that_psf(recorded, options):
    image, psf = recorded[0][:30, :25], np.asarray(jd.psf.gaussian((8, 9), (2.5, 3.0)))
    same = PSFField.from_grid(
        np.broadcast_to(psf, (2, 3, *psf.shape)), ([0.0, 20.0], [0.0, 9.0, 22.0])
    )
    expected = jd.richardson_lucy(image, psf, iterations=4, **options)
    found = jd.richardson_lucy(image, same, iterations=4, **options)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=0.05)


def test_schemes_take_fields(field, recorded):
    image, kind = recorded[0], "wiener-butterworth"
    blur = VaryingConvolution.from_field(field, image.shape)
    scheme = jd.deconvolution.richardson_lucy_scheme(blur, field, back_projector=kind)
    result = jd.deconvolve(image, blur, scheme, iterations=2)
    expected = jd.richardson_lucy(
        image, field, iterations=2, back_projector=kind, keep="last"
    )
    np.testing.assert_allclose(result.value, expected, rtol=1e-4, atol=1e-2)


def test_dark_images_stay_sane_at_low_rank(field):
    """Few kernels have negative parts, of which nothing negative may come."""
    image = np.zeros((SIZE, SIZE), np.float32)
    image[20:23, 30:33] = 1000
    blur = VaryingConvolution.from_field(field, image.shape, rank=2)
    assert float(blur(jnp.zeros(blur.domain).at[30, 40].set(1.0)).min()) < 0
    result = jd.deconvolve(
        image, blur, jd.deconvolution.RichardsonLucy(), iterations=20
    )
    value = np.asarray(result.value)
    assert np.isfinite(value).all()
    assert value.min() >= 0
    np.testing.assert_allclose(value.sum(), image.sum(), rtol=0.1)


def test_depth_varying_blur():
    """Under a mismatch of indices PSFs worsen with depth; the plane's own is right."""
    optics = {"na": 1.2, "wavelength": 0.52, "ns": 1.36, "ni": 1.515}
    depths = np.linspace(0.0, 12.0, 3)
    psfs = [
        jd.psf.gibson_lanni((25, 13, 13), (0.25, 0.1, 0.1), depth=d, **optics)
        for d in depths
    ]
    field = PSFField.from_depths(psfs, depths / 0.25)
    shape = (49, 16, 16)
    blur = VaryingConvolution.from_field(field, shape, boundary="edge")
    plane = round(depths[1] / 0.25)
    point = jnp.zeros(shape).at[plane, 8, 8].set(1.0)
    seen = blur(point)[plane - 12 : plane + 13, 2:15, 2:15]
    assert float(jnp.linalg.norm(seen - psfs[1]) / jnp.linalg.norm(psfs[1])) < 0.01


@pytest.mark.filterwarnings("ignore:the data residual was least")  # of the mean PSF
def test_joint_deconvolution_of_fields_and_psfs(field, recorded):
    image, truth = recorded
    sharp = jd.psf.gaussian((9, 9), (5.0, 2.0))
    rng = np.random.default_rng(4)
    once = PSFField.from_grid(np.asarray(sharp)[None, None], ([0.0], [0.0]))
    other, _ = record(once, sample(np.random.default_rng(3)), rng)
    kinds = ["wiener-butterworth", "matched"]

    def joint(psf):
        psfs, views = [psf, sharp], [image, other]
        return jd.joint_richardson_lucy(
            views, psfs, iterations=2, back_projectors=kinds, keep="last"
        )

    single = PSFField.from_grid(field.mean[None, None], ([0.0], [0.0]))
    expected, found = joint(field.mean), joint(single)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.02)
    assert ncc(joint(field), truth) > ncc(found, truth) + 0.01


def test_gradient_with_respect_to_a_field(recorded):
    """A field that is traced is taken node by node, without any approximation."""
    with x64():
        image = jnp.asarray(recorded[0][:9, :10], float)
        field = field_of((1, 2), (3, 2), ([0.0], [0.0, 9.0]))
        change = field.psfs * (jnp.asarray(RNG.random(field.psfs.shape)) - 0.5)

        def loss(step):
            moved = PSFField(psfs=field.psfs + step * change, positions=field.positions)
            found = jd.richardson_lucy(image, moved, iterations=2, boundary="periodic")
            return (found**2).mean()

        value_and_slope = jax.jit(jax.value_and_grad(loss))
        slope = value_and_slope(0.0)[1]
        numeric = (value_and_slope(1e-4)[0] - value_and_slope(-1e-4)[0]) / 2e-4
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "least"),
    [  # the scale that restores the light is measured on a few blocks, not the whole
        (
            *(
                "low-rank",
                {"back_projector": "wiener-butterworth", "restore_flux": True},
            ),
            5e-3,
        ),
        ("tiles", {}, 1e-3),
    ],
)
def test_blocks_are_parts_of_the_whole(tmp_path, monkeypatch, method, options, least):
    """Every block sees the field from where it lies."""
    monkeypatch.setattr(
        jd.volumes._deconvolve, "parts_of", functools.partial(parts_of, method=method)
    )
    nodes = np.linspace(0, 79, 6)
    widths = 1.0 + 1.5 * np.abs(nodes / 79 - 0.4)
    field = PSFField.from_grid(
        np.stack([jd.psf.gaussian((9, 9), (w, 2 * w)) for w in widths])[:, None],
        (nodes, [0.0]),
    )
    rng = np.random.default_rng(5)
    truth = np.full((96, 52), 4.0)
    truth[tuple(rng.integers(0, (96, 52), (70, 2)).T)] += 800
    image, reach = exact(field, truth, np.array([8, 6]), (80, 40))
    image = rng.poisson(image[reach[0] : -reach[0], reach[1] : -reach[1]])
    options = {"iterations": 3, **options}
    target = tmp_path / "sharp.zarr"
    run = jd.volumes.deconvolve(
        image.astype(np.uint16), target, field, block=(28, 40), **options
    )
    assert run.blocks == 3
    whole = np.asarray(jd.richardson_lucy(image, field, keep="last", **options))
    found = np.asarray(jd.io.read(target))
    assert np.abs(found - whole).max() < least * whole.max()
    moved = field.shifted((5.0, 0.0))
    with pytest.raises(jd.volumes.RunRefused):
        jd.volumes.deconvolve(image.astype(np.uint16), target, moved, **options)


def test_misuse_is_refused(field):
    image = np.ones((SIZE, SIZE), np.float32)
    with pytest.raises(TypeError, match="PSFField"):
        VaryingConvolution.from_field(np.ones((3, 3)), image.shape)
    with pytest.raises(ValueError, match="`field` is 2D, but the image is 3D"):
        VaryingConvolution.from_field(field, (4, 5, 6))
    with pytest.raises(ValueError, match="leave out one"):
        VaryingConvolution.from_field(field, image.shape, rank=2, method="tiles")
    with pytest.raises(ValueError, match="accuracy"):
        VaryingConvolution.from_field(field, image.shape, accuracy=2.0)
    with pytest.raises(ValueError, match="method"):
        VaryingConvolution.from_field(field, image.shape, method="eigen")
    with pytest.raises(ValueError, match="being traced"):
        jax.jit(lambda f: VaryingConvolution.from_field(f, (9, 9), rank=2))(field)
    with pytest.raises(ValueError, match="2D `PSFField`, but the image is 3D"):
        jd.richardson_lucy(image[None], field, iterations=1)
    with pytest.raises(ValueError, match=r"`psfs\[1\]` is a 2D"):
        jd.joint_richardson_lucy(
            [image[None]] * 2, [np.ones((1, 3, 3)), field], iterations=1
        )
    with pytest.raises(ValueError, match="compound"):
        jd.joint_richardson_lucy(
            [image] * 2, [field] * 2, iterations=1, update="compound"
        )
    with pytest.raises(ValueError, match="mesh"):
        jd.richardson_lucy(image, field, iterations=1, mesh=jd.operators.z_mesh())
    with pytest.raises(ValueError, match="larger than the PSF"):
        jd.richardson_lucy(image, field, iterations=1, back_projector=np.ones((31, 3)))
    psfs = np.ones((2, 2, 3, 3))
    psfs[1, 0] = 0
    with pytest.raises(ValueError, match=r"holes.*\(1, 0\)"):
        PSFField.from_grid(psfs, ([0.0, 9.0], [0.0, 9.0]))
