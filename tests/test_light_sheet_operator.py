"""Light-sheet stacks, plain and reflected, against a direct sum in double precision."""

import functools
import math

import jax
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

import jaxdecon as jd
from jaxdecon.operators import Convolution, LightSheet, Views

from ._x64 import x64

RNG = np.random.default_rng(0)
SHAPE = (7, 5, 8)
LENS, OTHER_LENS = RNG.random((5, 4, 3)), RNG.random((4, 3, 5))
SHEET = {"fwhm": 2.5, "rayleigh": 5.0, "focus": 3.0}
OBLIQUE = math.radians(32)


def makers():
    """Every geometry: (maker, PSF, mirror column, angle, turned)."""
    lattice = functools.partial(
        LightSheet.reflective_lattice,
        *(LENS, SHAPE),
        **{**SHEET, "mirror": 7.4, "angle": OBLIQUE, "reflectivity": 0.8},
    )

    def view(index, mirror):
        def make(**options):
            options = {**SHEET, "mirror": mirror, "reflectivity": 0.8, **options}
            both = LightSheet.reflective_dispim((LENS, OTHER_LENS), SHAPE, **options)
            return both.operators[index]

        return make

    plain = functools.partial(LightSheet.from_psf, LENS, SHAPE, **SHEET)
    return {
        "plain": (plain, LENS, None, None, False),
        "lattice": (lattice, LENS, 7.4, OBLIQUE, False),
        "view A": (view(0, 8), LENS, 8, math.pi / 4, False),
        "view B, between voxels": (view(1, 8.3), OTHER_LENS, 8.3, math.pi / 4, True),
    }


MAKERS = makers()


def direct_sum(x, shape, psf, column, angle, turned):
    """The stack of an object, plane by plane, by the formula."""
    x = x.swapaxes(0, 2) if turned else x
    start = [(d - n) // 2 for d, n in zip(x.shape, shape, strict=True)]
    z, x_ = np.arange(x.shape[0]) - start[0], np.arange(x.shape[2]) - start[2]
    here = np.stack(np.meshgrid(z, x_, indexing="ij"), -1).astype(float)

    def sheet(places, camera):
        wide = np.sqrt(1 + ((places[..., 1] - SHEET["focus"]) / SHEET["rayleigh"]) ** 2)
        across = (places[..., 0] - camera) / (SHEET["fwhm"] * wide)
        return np.exp(-4 * np.log(2) * across**2) / wide

    direct, reflected, there = np.ones(here.shape[:2]), 0, here
    if column is not None:
        normal = np.array([np.cos(angle), np.sin(angle)])
        distance = (here - [0, column]) @ normal
        there = here - 2 * distance[..., None] * normal
        sample = np.clip(0.5 - distance, 0, 1)
        x = x * sample[:, None]
        at = np.moveaxis(there, -1, 0) + np.reshape([start[0], start[2]], (2, 1, 1))
        image = [
            scipy.ndimage.map_coordinates(p, at, order=1) for p in x.swapaxes(0, 1)
        ]
        x = x + 0.8 * np.stack(image, 1)
        direct, reflected = sample + 0.8 * (1 - sample), 0.8 * sample + (1 - sample)
    centre = [s + m // 2 for s, m in zip(start, psf.shape, strict=True)]
    planes = []
    for camera in range(shape[0]):
        light = direct * sheet(here, camera) + reflected * sheet(there, camera)
        seen = scipy.signal.convolve(x * light[:, None], psf, method="direct")
        plane = seen[centre[0] + camera]
        planes.append(plane[centre[1] :][: shape[1], centre[2] :][:, : shape[2]])
    return np.stack(planes)


def published_sum(x, shape, psf, column):
    """The published formula: E(u, v) = (w0 / w)^2 exp(-2 v^2 / w^2), direct and turned.

    With w0 = FWHM / sqrt(2 ln 2), w = w0 sqrt(1 + (u / z_R)^2), u along and v across.
    """
    start = [(d - n) // 2 for d, n in zip(x.shape, shape, strict=True)]
    z, column_x = (np.arange(x.shape[a]) - start[a] for a in (0, 2))
    z, column_x = z[:, None].astype(float), column_x[None].astype(float)
    w0 = SHEET["fwhm"] / np.sqrt(2 * np.log(2))

    def beam(along, across):
        w = w0 * np.sqrt(1 + (along / SHEET["rayleigh"]) ** 2)
        return (w0 / w) ** 2 * np.exp(-2 * across**2 / w**2)

    centre = [s + m // 2 for s, m in zip(start, psf.shape, strict=True)]
    planes = []
    for camera in range(shape[0]):
        light = beam(column_x - SHEET["focus"], z - camera)
        light = light + beam(column - z - SHEET["focus"], column_x - column + camera)
        seen = scipy.signal.convolve(x * light[:, None], psf, method="direct")
        plane = seen[centre[0] + camera]
        planes.append(plane[centre[1] :][: shape[1], centre[2] :][:, : shape[2]])
    return np.stack(planes)


def test_the_published_model_is_one_of_them():
    with x64():
        both = LightSheet.reflective_dispim(
            (LENS, OTHER_LENS),
            SHAPE,
            **SHEET,
            mirror=8,
            mirror_image=False,
            divergence="beam",
            accuracy=1e-5,
        )
        x = RNG.random(both.domain)
        expected = published_sum(x, SHAPE, LENS, 8)
        assert relative(apply(both.operators[0], x), expected) < 1e-5


apply = jax.jit(lambda operator, x: operator(x))


bring_back = jax.jit(lambda operator, y: operator.adjoint(y))


def relative(a, b):
    return float(np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b))


@pytest.mark.parametrize("name", MAKERS)
def test_operator_is_the_sum_over_planes(name):
    make, psf, *geometry = MAKERS[name]
    with x64():
        exact, fast = make(exact=True), make(accuracy=1e-5)
        assert fast.domain == exact.domain
        assert fast.range == exact.range == (SHAPE[::-1] if geometry[2] else SHAPE)
        x = RNG.random(fast.domain)
        expected = direct_sum(x, fast.range, psf, *geometry)
        images = apply(exact, x), apply(fast, x)
        assert relative(images[0], expected) < 1e-12
        assert relative(images[1], expected) < 1e-5
        y = RNG.standard_normal(fast.range)
        for operator, image in zip((exact, fast), images, strict=True):
            product = np.vdot(x, bring_back(operator, y))
            size = np.linalg.norm(image) * np.linalg.norm(y)
            assert abs(np.vdot(image, y) - product) < 1e-12 * size


@functools.cache
def lens():
    """Of an immersion objective, voxels of 0.2 and 0.16 um."""
    optics = {"na": 0.8, "wavelength": 0.52, "index": 1.33}
    return jd.psf.widefield((17, 11, 11), (0.2, 0.16, 0.16), **optics)


def reflective(**options):
    """The first view of a smooth scene."""
    options = {"fwhm": 4.0, "rayleigh": 12.0, "mirror": 22, **options}
    pair = (lens(), lens())
    return LightSheet.reflective_dispim(pair, (20, 8, 24), **options).operators[0]


def test_error_stays_below_what_was_asked_for():
    exact = reflective(exact=True)
    x = np.zeros(exact.domain, np.float32)
    x[tuple(RNG.integers(4, n - 4, 60) for n in x.shape)] = RNG.uniform(1, 9, 60)
    expected = apply(exact, x)
    errors, terms = [], []
    for accuracy in (3e-2, 1e-3, 1e-4):
        fast = reflective(accuracy=accuracy)
        errors.append(relative(apply(fast, x), expected))
        terms.append((fast.terms, fast.support))
        assert errors[-1] < accuracy
    assert errors[0] > errors[1] > errors[2]
    assert terms[0] < terms[1] < terms[2]


def test_thick_sheet_is_plain_convolution():
    blur = Convolution.from_psf(LENS, SHAPE)
    sheet = LightSheet.from_psf(LENS, SHAPE, fwhm=1e4)
    x = RNG.random(blur.domain)
    assert (sheet.domain, sheet.terms) == (blur.domain, 1)
    assert relative(apply(sheet, x), blur(x)) < 1e-5
    np.testing.assert_allclose(sheet.image_region(x), blur.image_region(x))


def test_sheet_of_one_thickness_is_convolution_with_the_lit_psf():
    sheet = LightSheet.from_psf(LENS, SHAPE, fwhm=2.0)
    depth = np.arange(5)[:, None, None] - 2
    profile = np.exp(-4 * np.log(2) * (depth / 2.0) ** 2)
    lit = jd.psf.illuminate(LENS, profile)
    blur = Convolution.from_psf(lit, SHAPE)
    x = RNG.random(blur.domain)
    gain = (LENS * profile).sum()
    assert relative(apply(sheet, x), gain * blur(x)) < 1e-5


def test_mirror_image_is_lit_and_seen_by_reflection():
    delta = np.zeros((9, 1, 1))
    delta[4] = 1  # a lens that sees one plane
    first, _ = LightSheet.reflective_dispim(
        (delta, delta), (16, 3, 16), fwhm=1.0, mirror=15, reflectivity=0.5
    ).operators
    corner = [(d - n) // 2 for d, n in zip(first.domain, first.range, strict=True)]
    x = np.zeros(first.domain, np.float32)
    x[4 + corner[0], 1 + corner[1], 6 + corner[2]] = 1
    image = np.array(apply(first, x))[:, 1]
    expected = np.zeros_like(image)
    expected[4, 6] = 1
    # The sheet in plane 9 meets the mirror at column 6 and comes back along it.
    expected[15 - 6, 15 - 4] = 0.5 * 0.5
    np.testing.assert_allclose(image, expected, atol=1e-3)


def test_out_of_focus_light_comes_with_the_reflected_sheet():
    first = reflective()
    alone = LightSheet.from_psf(lens(), first.range, fwhm=4.0, rayleigh=12.0)
    corner = [(d - n) // 2 for d, n in zip(first.domain, first.range, strict=True)]
    x = np.zeros(first.domain, np.float32)
    x[8 + corner[0], 4 + corner[1], 8 + corner[2]] = 1
    inner = tuple(
        slice((d - n) // 2, (d - n) // 2 + n)
        for d, n in zip(first.domain, alone.domain, strict=True)
    )
    # The column x = 8 is lit when the camera is at plane 22 - 8, six planes away.
    far = np.asarray(apply(first, x))[14].sum()
    assert far > 0.5 * np.asarray(apply(first, x))[8].sum()
    assert np.asarray(apply(alone, x[inner]))[14].sum() < 0.01 * far


def test_gradients_agree_with_finite_differences():
    with x64():
        known = MAKERS["lattice"][0]()
        keys = jax.random.split(jax.random.key(1), 2)
        x = jax.random.uniform(keys[0], known.domain, float)
        y = jax.random.normal(keys[1], known.range, float)
        sizes = {"terms": known.terms, "support": known.support, "angle": OBLIQUE}

        @jax.jit
        @jax.value_and_grad
        def loss(numbers):
            numbers = dict(numbers)
            psf = numbers.pop("psf")
            operator = LightSheet.reflective_lattice(psf, SHAPE, **sizes, **numbers)
            return (operator.adjoint(y) * x).sum() + (operator(x) ** 2).sum()

        start = {"psf": LENS, **SHEET, "mirror": 7.4, "reflectivity": 0.8}
        slopes = loss(start)[1]
        for name, value in start.items():
            ends = [loss({**start, name: value * (1 + s)})[0] for s in (1e-5, -1e-5)]
            along = (slopes[name] * value).sum()
            numeric = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(along, numeric, rtol=1e-6, err_msg=name)


class Sample:
    """Points between the mirror and a lens, seen through a model; few photons."""

    shape = (24, 10, 24)
    background = 2.0

    def __init__(self, model, column, angle):
        start = [(d - n) // 2 for d, n in zip(model.domain, self.shape, strict=True)]
        self.inside = tuple(
            slice(s, s + n) for s, n in zip(start, self.shape, strict=True)
        )
        z, x = np.indices((24, 24))
        distance = z * np.cos(angle) + (x - column) * np.sin(angle)
        self.lit = np.broadcast_to((distance < -2)[:, None], self.shape)
        rng = np.random.default_rng(3)
        points = np.where(rng.random(self.shape) < 0.015, rng.uniform(90, 600), 0.0)
        self.truth = scipy.ndimage.gaussian_filter(points * self.lit, 0.7)
        whole = np.zeros(model.domain, np.float32)
        whole[self.inside] = self.truth
        self.data = jax.tree.map(
            lambda clean: rng.poisson(np.maximum(clean, 0) + 2).astype(np.float32),
            jax.device_get(apply(model, whole)),
        )

    def solve(self, model, iterations, data=None, back=None):
        """What a number of Richardson-Lucy updates finds."""
        scheme = jd.deconvolution.RichardsonLucy(back_projector=back)
        options = {"iterations": iterations, "background": self.background}
        data = self.data if data is None else data
        return jd.deconvolve(data, model, scheme, **options)

    def correlation(self, found):
        """Of an object found with the truth, where the sample is."""
        value = np.asarray(found.value)
        return np.corrcoef(value[self.lit], self.truth[self.lit])[0, 1]


THIN = {"fwhm": 5.0, "rayleigh": 20.0, "reflectivity": 0.9}


def test_two_views_on_a_mirror_are_better_than_one():
    both = LightSheet.reflective_dispim((lens(),) * 2, Sample.shape, mirror=23, **THIN)
    sample = Sample(both, 23, math.pi / 4)
    alone = sample.solve(both.operators[0], 40, sample.data[0])
    joint = sample.solve(both, 40)
    assert sample.correlation(joint) > sample.correlation(alone) + 0.03
    kernel = jd.back_projector(lens())
    back = Views([v.back_projection(kernel).T for v in both.operators]).T
    unmatched = sample.correlation(sample.solve(both, 4, back=back))
    assert unmatched > sample.correlation(sample.solve(both, 8))


def test_oblique_view_needs_the_mirror_in_its_model():
    oblique = LightSheet.reflective_lattice(
        lens(), Sample.shape, mirror=40, angle=OBLIQUE, **THIN
    )
    sample = Sample(oblique, 40, OBLIQUE)
    plain = LightSheet.from_psf(lens(), Sample.shape, fwhm=5.0, rayleigh=20.0)
    mirrored, unaware = (sample.solve(model, 30) for model in (oblique, plain))
    assert sample.correlation(mirrored) > sample.correlation(unaware) + 0.03


def test_misuse_is_refused():
    make = functools.partial(LightSheet.from_psf, LENS, SHAPE)
    for number in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="fwhm"):
            make(fwhm=number)
    with pytest.raises(ValueError, match="rayleigh"):
        make(fwhm=2.0, rayleigh=-3.0)
    with pytest.raises(ValueError, match="focus"):
        make(fwhm=2.0, focus=np.inf)
    with pytest.raises(ValueError, match="accuracy"):
        make(fwhm=2.0, accuracy=0.0)
    with pytest.raises(ValueError, match="terms"):
        jax.jit(lambda w: make(fwhm=w).range)(2.0)
    with pytest.raises(ValueError, match="a stack needs"):
        LightSheet.from_psf(LENS, (8, 8), fwhm=2.0)
    lattice = functools.partial(LightSheet.reflective_lattice, LENS, SHAPE, fwhm=2.0)
    with pytest.raises(ValueError, match="radians"):
        lattice(mirror=7, angle=32)
    with pytest.raises(ValueError, match="mirror"):
        lattice(mirror=(7, 8), angle=OBLIQUE)
    with pytest.raises(ValueError, match="reflectivity"):
        lattice(mirror=7, angle=OBLIQUE, reflectivity=1.2)
    with pytest.raises(ValueError, match="support"):
        jax.jit(lambda m: lattice(mirror=m, angle=OBLIQUE).range)(7.0)
    with pytest.raises(ValueError, match="two are needed"):
        LightSheet.reflective_dispim((LENS,), SHAPE, fwhm=2.0, mirror=8)
    with pytest.raises(ValueError, match="one per view"):
        LightSheet.reflective_dispim((LENS, LENS), SHAPE, fwhm=(1, 2, 3), mirror=8)
    plain = make(fwhm=2.0)
    with pytest.raises(ValueError, match="vmap"):
        plain(np.zeros(SHAPE))
    with pytest.raises(ValueError, match="vmap"):
        plain.adjoint(np.zeros(plain.domain))
    with pytest.raises(ValueError, match="reaches further"):
        plain.back_projection(np.ones((13, 9, 15)))
