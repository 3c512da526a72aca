"""Pupils fitted to beads, against simulated truth on a grid of its own."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdecon as jd

from ._x64 import x64

OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
SHAPE, SIZE = (13, 17, 17), (0.25, 0.1, 0.1)
LARGE = tuple(n + 4 for n in SHAPE)
MODES = (5, 6, 7, 11)
TRUTH = {5: 0.3, 6: -0.25, 7: 0.4, 11: 0.35}
MODEL = functools.partial(jd.psf.widefield, LARGE, SIZE, nodes=20, **OPTICS)
START = {"aberrations": dict.fromkeys(MODES, 0.0)}
POISSON = jd.deconvolution.Poisson()


@functools.cache
def fine_psf():
    """The truth on voxels half as large, by another quadrature."""
    shape = tuple(2 * n for n in LARGE)
    size = np.array(SIZE) / 2
    psf = jd.psf.widefield(shape, size, aberrations=TRUTH, nodes=60, **OPTICS)
    return np.asarray(psf, float)


def bead(shift):
    """Without noise, maximum 1, its centre at `shift` half voxels from n // 2."""
    cut = []
    for n, m, s in zip(LARGE, SHAPE, shift, strict=True):
        first = n - s - 2 * (m // 2)
        cut.append(slice(first, first + 2 * m, 2))
    image = fine_psf()[tuple(cut)]
    return image / fine_psf().max()


def noisy(rng, peak, shifts=((0, 0, 0),), background=2.0, read=0.0):
    clean = np.stack([peak * bead(s) + background for s in shifts])
    return rng.poisson(clean) + read * rng.standard_normal(clean.shape)


def fit(beads, **options):
    options = {"start": START, "noise": POISSON, "starts": 2, **options}
    return jd.learning.fit_beads(beads, MODEL, **options)


def coefficients(tree):
    return np.array([float(tree["aberrations"][j]) for j in MODES])


def test_coefficients_positions_and_light_are_recovered():
    """Four beads, camera units and read noise; to five standard errors of each."""
    rng = np.random.default_rng(0)
    shifts = ((1, -1, 2), (0, 3, -1), (0, 0, 0), (-1, 0, 1))
    photons = noisy(rng, 900, shifts, background=5.0, read=2.0)
    noise = jd.deconvolution.MixedPoisson(read_noise=6.0, gain=3.0)
    found = fit(100 + 3 * photons, noise=noise, offset=100.0)
    error = coefficients(found.parameters) - np.array([TRUTH[j] for j in MODES])
    assert (abs(error) < 5 * coefficients(found.errors)).all()
    assert np.sqrt((error**2).mean()) < 0.005 * 2 * np.pi
    np.testing.assert_allclose(found.positions, np.array(shifts) / 2, atol=0.05)
    np.testing.assert_allclose(found.backgrounds, 115, atol=0.6)
    psf = np.asarray(MODEL(aberrations=TRUTH))
    np.testing.assert_allclose(found.psf, psf, atol=0.02 * psf.max())
    np.testing.assert_allclose(found.photons, 3 * 900 / psf.max(), rtol=0.03)
    assert found.reliable, found.message
    assert abs(found.chi_square - 1) < 0.1
    assert found.null_test is not None
    assert found.null_test.passed
    assert found.unidentified == ()
    history = np.asarray(found.history)
    assert (np.diff(history) <= 0).all()


def test_errors_are_the_scatter_over_noise():
    """24 draws: the rms of error over its prediction is 1 within 4 standard errors."""
    rng = np.random.default_rng(1)
    truth = np.array([TRUTH[j] for j in MODES])
    ratios = []
    for _ in range(24):
        found = fit(noisy(rng, 100))
        error = coefficients(found.parameters) - truth
        ratios.append(error / coefficients(found.errors))
    ratio = np.square(ratios).mean()
    assert abs(ratio - 1) < 4 * np.sqrt(2 / np.size(ratios))


def test_unknown_gain_is_found_from_the_misfit():
    beads = noisy(np.random.default_rng(2), 400)
    known, unknown = fit(beads), fit(10 + 2.5 * beads, noise=None, offset=10.0)
    assert abs(unknown.gain - 2.5) < 0.25
    np.testing.assert_allclose(
        coefficients(unknown.parameters), coefficients(known.parameters), atol=2e-3
    )
    np.testing.assert_allclose(
        coefficients(unknown.errors), coefficients(known.errors), rtol=0.1
    )


def test_known_order_of_planes_settles_the_sign_of_even_modes():
    """Read backwards, even aberrations come out with the other sign."""
    rng = np.random.default_rng(3)
    turned = noisy(rng, 900)[:, ::-1]
    found = coefficients(fit(turned).parameters)
    signs = np.array([-1, -1, 1, -1])  # of Noll 5, 6, 7 and 11
    np.testing.assert_allclose(found, signs * [TRUTH[j] for j in MODES], atol=0.05)
    wrong = {"aberrations": {j: -TRUTH[j] for j in MODES}}
    again = fit(noisy(rng, 900), start=wrong, starts=2)
    np.testing.assert_allclose(
        coefficients(again.parameters), [TRUTH[j] for j in MODES], atol=0.05
    )


def test_bead_diameter_is_taken_out():
    """A ball of 3 x 8 x 8 half voxels, made from points."""
    diameters = np.array([0.8, 2.0, 2.0])
    shape = fine_psf().shape
    z, y, x = np.meshgrid(
        *(np.arange(-n * 4, n * 4 + 1) / 8 for n in (1, 3, 3)), indexing="ij"
    )
    ball = ((2 * z / 1.6) ** 2 + (y / 2) ** 2 + (x / 2) ** 2) <= 1
    spectrum = np.fft.rfftn(fine_psf())
    k = [np.fft.fftfreq(n) for n in shape[:2]] + [np.fft.rfftfreq(shape[2])]
    places = np.stack([z[ball], y[ball], x[ball]])
    transfer = np.zeros(spectrum.shape, complex)
    for p in places.T[::7]:
        waves = [np.exp(-2j * np.pi * f * s) for f, s in zip(k, p, strict=True)]
        transfer += waves[0][:, None, None] * waves[1][:, None] * waves[2]
    blurred = np.fft.irfftn(spectrum * transfer, shape, axes=(0, 1, 2))
    cut = tuple(
        slice(n - 2 * (m // 2), n + 2 * (m // 2) + 1, 2)
        for n, m in zip(LARGE, SHAPE, strict=True)
    )
    image = np.maximum(blurred[cut], 0)
    image = 2000 * image / image.max() + 2
    truth = np.array([TRUTH[j] for j in MODES])
    told, untold = (
        coefficients(fit(image, diameter=d).parameters) - truth
        for d in (diameters, 0.0)
    )
    assert abs(told).max() < 0.015
    assert abs(untold).max() > 2 * abs(told).max()


def test_what_beads_do_not_determine_is_named():
    """Of NA, wavelength and index only ratios; and the tilt is a position."""

    def model(scale, tilt, na):
        optics = {"na": scale * na, "wavelength": scale * 0.52, "index": scale * 1.33}
        return jd.psf.widefield(
            LARGE, SIZE, aberrations={3: tilt, 6: 0.3}, nodes=20, **optics
        )

    psf = model(1.0, 0.0, 1.1)[2:-2, 2:-2, 2:-2]
    image = np.random.default_rng(4).poisson(900 * psf / psf.max() + 2)
    start = {"scale": 1.0, "tilt": 0.0, "na": 1.05}
    bounds = {"na": (0.9, 1.3)}
    found = jd.learning.fit_beads(
        image, model, start=start, bounds=bounds, noise=POISSON, starts=1
    )
    assert set(found.unidentified) == {"scale", "tilt"}
    assert np.isinf(float(found.errors["scale"]))
    assert np.isinf(float(found.errors["tilt"]))
    assert abs(float(found.parameters["na"]) - 1.1) < 5 * float(found.errors["na"])
    assert 0 < float(found.errors["na"]) < 0.01
    assert "not determined: " in found.message


def test_a_start_that_is_right_already_is_said_to_be_enough():
    beads = noisy(np.random.default_rng(5), 30)
    found = fit(beads, start={"aberrations": TRUTH})
    assert not found.reliable
    assert "do not prefer it to the start" in found.message
    with pytest.raises(ValueError, match="do not prefer"):
        found.raise_if_unreliable()


def test_bounds_hold():
    beads = noisy(np.random.default_rng(6), 900)
    found = fit(beads, bounds={"aberrations": (-0.2, 0.2)})
    assert abs(coefficients(found.parameters)).max() <= np.float32(0.2)
    assert not found.reliable
    assert "aberrations[7] ended at a bound" in found.message.replace(
        "aberrations[5], aberrations[6], ", ""
    ).replace(", aberrations[11]", "")


def test_residual_is_kept_only_where_other_beads_confirm_it():
    """Of a PSF with a halo that no pupil makes, and of one without."""
    rng = np.random.default_rng(7)
    shifts = [(0, 0, 0), (1, 0, 1), (0, 1, -1), (-1, 1, 0)]
    plain = fit(noisy(rng, 900, shifts), residual=True)
    np.testing.assert_array_equal(plain.residual, 0)
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij")
    halo = np.exp(-((z / 3) ** 2 + ((y - 4) / 2) ** 2 + (x / 2) ** 2) / 2)
    clean = np.stack([900 * (bead(s) + 0.08 * halo) for s in shifts]) + 2
    beads = rng.poisson(clean)
    without, found = fit(beads), fit(beads, residual=True)
    assert found.residual is not None
    np.testing.assert_allclose(found.psf, without.psf + found.residual, atol=1e-6)
    assert float(found.psf.min()) >= 0
    inner = tuple(slice(2, -2) for _ in range(3))
    truth = bead((0, 0, 0)) + 0.08 * halo

    def error(psf):
        psf = np.asarray(psf)[inner]
        return np.linalg.norm(psf / psf.sum() - truth / truth.sum())

    assert error(found.psf) < 0.6 * error(without.psf)


GRID = (101, 121)
SLOPES = {6: (0.3, 0.25, -0.2), 7: (0.0, 0.35, 0.0), 11: (0.2, 0.0, 0.3)}
"""Of 1, x and y^2 over the field, by Noll index."""


def field_scene(rng, count, peak=900):
    positions = rng.uniform(0, np.array(GRID) - 1, (count, 2))
    v, u = (2 * positions / (np.array(GRID) - 1) - 1).T
    large = tuple(n + 4 for n in SHAPE)
    beads = []
    for i in range(count):
        terms = {j: a + b * u[i] + c * v[i] ** 2 for j, (a, b, c) in SLOPES.items()}
        psf = np.asarray(field_truth(jnp.asarray([terms[j] for j in SLOPES])), float)
        crop = psf[tuple(slice(2, -2) for _ in large)]
        beads.append(rng.poisson(peak * crop / crop.max() + 2))
    return np.stack(beads), positions


@jax.jit
def field_truth(values):
    terms = dict(zip(SLOPES, values, strict=True))
    return jd.psf.widefield(LARGE, SIZE, aberrations=terms, nodes=40, **OPTICS)


def test_field_of_pupils_is_recovered_from_scattered_beads():
    beads, positions = field_scene(np.random.default_rng(8), 14)
    found = jd.learning.fit_pupil_field(
        beads,
        positions,
        MODEL,
        start={"aberrations": dict.fromkeys(SLOPES, 0.0)},
        field_shape=GRID,
        noise=POISSON,
    )
    assert found.terms == ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
    for j, (constant, across, along) in SLOPES.items():
        expected = np.array([constant, across, 0, 0, 0, along])
        error = np.asarray(found.coefficients["aberrations"][j]) - expected
        bound = np.asarray(found.errors["aberrations"][j])
        assert (abs(error) < 4.5 * bound).all()
        assert abs(error).max() < 0.06
    assert found.reliable, found.message
    assert found.null_test.null - found.null_test.score > 100
    corner = found.parameters((100.0, 120.0))["aberrations"]
    np.testing.assert_allclose(
        [float(corner[j]) for j in SLOPES],
        [sum(c) for c in SLOPES.values()],
        atol=0.08,
    )
    middle, edge = (
        float(found.errors_at(p)["aberrations"][6]) for p in ((50, 60), (0, 0))
    )
    assert 0 < middle < edge
    field = found.field((2, 3))
    assert field.nodes == (1, 2, 3)
    truth = field_truth(jnp.asarray([sum(c) for c in SLOPES.values()]))
    np.testing.assert_allclose(
        field.at((9.0, 100.0, 120.0)), truth, atol=0.05 * float(truth.max())
    )


def test_fields_need_enough_beads_in_enough_places():
    beads = np.ones((5, *SHAPE)) + bead((0, 0, 0))
    start = {"aberrations": {6: 0.0}}
    options = {"start": start, "field_shape": GRID}
    places = np.random.default_rng(9).uniform(0, 100, (5, 2))
    with pytest.raises(ValueError, match=r"`beads` are 5: too few .* 6 terms"):
        jd.learning.fit_pupil_field(beads, places, MODEL, **options)
    line = np.linspace(0, 100, 5)[:, None] * np.ones(2)
    with pytest.raises(ValueError, match="do not determine"):
        jd.learning.fit_pupil_field(beads, line, MODEL, degree=1, **options)
    with pytest.raises(ValueError, match="outside the image"):
        jd.learning.fit_pupil_field(beads, places + 50, MODEL, degree=1, **options)
    with pytest.raises(ValueError, match=r"`positions` has shape \(4, 2\)"):
        jd.learning.fit_pupil_field(beads, places[:4], MODEL, degree=1, **options)


def plain_model(na, index=1.33):
    return jd.psf.widefield(LARGE, SIZE, na=na, wavelength=0.52, index=index, nodes=20)


BAD = [
    ({"start": {"aberrations": {5: np.nan}}}, "not finite"),
    ({"start": {}}, "a mapping from the model's keywords"),
    ({"start": {"aberrations": {5: 0.3}}, "bounds": {"aberrations": (0, 0.1)}}, "outs"),
    ({"bounds": {"na": (1, 2)}}, "`bounds` names"),
    ({"bounds": {"aberrations": 3}}, r"\(low, high\)"),
    ({"diameter": -1.0}, "`diameter` is -1.0"),
    ({"starts": 0}, "`starts` is 0"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit(bead((0, 0, 0)), **options)


def test_bad_beads_are_refused():
    image = bead((0, 0, 0))
    with pytest.raises(ValueError, match="planes; 3 or more"):
        fit(image[:2])
    with pytest.raises(ValueError, match=r"\(bead, z, y, x\) or \(z, y, x\)"):
        fit(image[0])
    with pytest.raises(ValueError, match="no light"):
        fit(np.ones((2, *SHAPE)))
    with pytest.raises(ValueError, match="NaN"):
        fit(np.where(image > 0.5, np.nan, image))
    with pytest.raises(ValueError, match="one as large as they are"):
        fit(np.pad(image, 4))
    with pytest.raises(TypeError, match="`noise`"):
        fit(image, noise=3.0)


def test_optics_out_of_the_physical_range_are_refused():
    image = bead((0, 0, 0))
    with pytest.raises(ValueError, match="NA cannot reach the refractive"):
        jd.learning.fit_beads(image, plain_model, start={"na": 1.4})
    with pytest.raises(ValueError, match=r"na reach 1.5 \(high\)"):
        jd.learning.fit_beads(
            image, plain_model, start={"na": 1.1}, bounds={"na": (0.9, 1.5)}
        )


def test_apodisation_is_the_amplitude_of_the_pupil():
    """exp(a Z) on the pupil, by a polar quadrature, also with aberrations."""
    amplitude, phase = {"defocus": -0.4, (1, 1): 0.2}, {"coma": 0.5}
    shape, size = (3, 7, 8), (0.3, 0.1, 0.1)
    points, weights = np.polynomial.legendre.leggauss(40)
    rho, angle = (points + 1) / 2, 2 * np.pi * np.arange(64) / 64
    y, x = np.multiply.outer(rho, np.sin(angle)), np.multiply.outer(rho, np.cos(angle))
    bent, gain = (
        sum(c * np.asarray(jd.psf.zernike(k, y, x), float) for k, c in terms.items())
        for terms in (phase, amplitude)
    )
    field = (weights * rho)[:, None] * np.exp(gain + 1j * bent)
    s, k = 1.1 * rho[:, None], 2 * np.pi / 0.52
    expected = np.zeros(shape)
    for i, j, m in np.ndindex(shape):
        z, b, a = 0.3 * (i - 1), 0.1 * (j - 3), 0.1 * (m - 4)
        wave = k * (z * np.sqrt(1.33**2 - s**2) + 1.1 * (x * a + y * b))
        expected[i, j, m] = abs((field * np.exp(1j * wave)).sum()) ** 2
    psf = jd.psf.widefield(
        shape, size, aberrations=phase, apodisation=amplitude, **OPTICS
    )
    np.testing.assert_allclose(psf, expected / expected.sum(), atol=1e-6)
    round_one = jd.psf.widefield(shape, size, apodisation={"defocus": -0.4}, **OPTICS)
    chords = jd.psf.widefield(
        shape, size, apodisation={"defocus": -0.4, 5: 0.0}, **OPTICS
    )
    np.testing.assert_allclose(round_one, chords, atol=1e-6)


def test_gradient_in_the_apodisation_agrees_with_finite_differences():
    weight = np.random.default_rng(0).uniform(0, 1, (5, 6, 5))

    def loss(vector):
        apodisation = {4: vector[0], 6: vector[1]}
        psf = jd.psf.widefield(
            (5, 6, 5),
            (0.3, 0.1, 0.1),
            aberrations={8: 0.2},
            apodisation=apodisation,
            nodes=16,
            **OPTICS,
        )
        return (psf * weight).sum()

    with x64():
        at = jnp.asarray([-0.3, 0.2])
        ours, value = jax.jit(jax.grad(loss))(at), jax.jit(loss)
        for i in range(2):
            step = 1e-5 * jnp.eye(2)[i]
            slope = (value(at + step) - value(at - step)) / 2e-5
            np.testing.assert_allclose(ours[i], slope, rtol=1e-5)


def test_known_optics_take_few_nodes_inside_a_jit():
    """What is traced hides how fast the phase is; what is not does not."""
    found = []

    def psf(coefficient):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jd.psf.widefield(
                (9, 9, 9), 0.1, aberrations={5: coefficient, 7: 0.2}, **OPTICS
            )

    import jaxdecon.psf._widefield as module

    original = module._widefield
    try:
        module._widefield = lambda shape, nodes, *rest: (
            found.append(nodes) or original(shape, nodes, *rest)
        )
        inside, outside = jax.jit(psf)(0.3), psf(0.3)
    finally:
        module._widefield = original
    np.testing.assert_allclose(inside, outside, atol=1e-7)
    assert max(found) < 40


def test_apodisation_and_nodes_reach_the_other_microscopes():
    grid, pupil = ((3, 7, 7), (0.3, 0.1, 0.1)), {"apodisation": {4: -0.3, 5: 0.2}}
    pupil |= {"nodes": 16}
    wide = np.asarray(jd.psf.widefield(*grid, **pupil, **OPTICS))
    sheet = jd.psf.light_sheet(*grid, sheet_fwhm=0.5, **pupil, **OPTICS)
    light = jd.psf.gaussian_sheet(*grid, fwhm=0.5)
    np.testing.assert_allclose(sheet, jd.psf.illuminate(wide, light), atol=1e-6)
    point = np.asarray(jd.psf.confocal(*grid, pinhole=0, **pupil, **OPTICS))
    square = wide**2 / (wide**2).sum()
    np.testing.assert_allclose(point, square, atol=2e-4 * square.max())
    layers = {"na": 1.1, "wavelength": 0.52, "ns": 1.33, "ni": 1.33, "ng": 1.33}
    with x64():  # float32 rounds the phase of the layers
        same = jd.psf.gibson_lanni(*grid, centre="paraxial", **layers, **pupil)
    np.testing.assert_allclose(same, wide, atol=5e-6 * wide.max())
    with pytest.raises(ValueError, match="`nodes` is 2"):
        jd.psf.widefield(*grid, nodes=2, **OPTICS)
    with pytest.raises(ValueError, match=r"`apodisation\['coma'\]`"):
        jd.psf.widefield(*grid, apodisation={"coma": 100.0}, **OPTICS)


@pytest.mark.parametrize("noise", [POISSON, None])
def test_a_bead_that_the_model_cannot_explain_is_not_relied_on(noise):
    """Two beads in one crop: with or without a known gain."""
    rng = np.random.default_rng(5)
    clean = 3000 * bead((0, 0, 0)) + 2
    clean += 2000 * np.roll(bead((0, 0, 0)), (0, 3, 3), (0, 1, 2))
    found = fit(rng.poisson(clean), noise=noise)
    assert not found.reliable
    assert "overlap" in found.message


def test_a_start_that_is_right_can_be_relied_on():
    clean = noisy(np.random.default_rng(6), 3000)
    found = fit(clean, start={"aberrations": dict(TRUTH)})
    assert found.reliable, found.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": jd.deconvolution.MixedPoisson(read_noise=-3.0)}, "read_noise"),
        ({"offset": 1e6}, "no voxel of `beads` is above it"),
        ({"spread": {"aberrations": -1.0}}, "`spread`"),
        ({"start": {"aberrations": {"coma": 0.0, 11: 0.0}}}, "not both"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options, words):
    clean = noisy(np.random.default_rng(7), 300)
    with pytest.raises(ValueError, match=words):
        fit(clean, **options)
