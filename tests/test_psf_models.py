"""PSF models against float64 quadrature of their integrals, voxel by voxel."""

import importlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

import jaxdecon as jd

from ._x64 import x64

OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
SHAPE, SIZE = (7, 9, 10), (0.3, 0.1, 0.095)
OIL = {
    "na": 1.25,
    "wavelength": 0.52,
    "ns": 1.36,
    "ni": 1.515,
    "ng": 1.52,
    "ng0": 1.515,
}
OIL |= {"tg": 171.0, "tg0": 170.0, "ti0": 140.0, "depth": 6.0}


def positions(shape=SHAPE, size=SIZE):
    axes = [(np.arange(n) - n // 2) * s for n, s in zip(shape, size, strict=True)]
    return np.meshgrid(*axes, indexing="ij")


def normal(psf):
    psf = np.asarray(psf, float)
    return psf / psf.max()


def polar_nodes(radial=60, angular=64):
    """(x, y, weight) of a quadrature on the unit disc."""
    points, weights = np.polynomial.legendre.leggauss(radial)
    r = (points + 1) / 2
    angle = 2 * np.pi * (np.arange(angular) + 0.5) / angular
    weight = np.outer(r * weights, np.ones(angular))
    return np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle)), weight


def brute_force(pupil, na, wavelength, phase_of_z):
    """Intensity by a polar quadrature; `pupil(x, y)` gives fields and their shares."""
    x, y, weight = polar_nodes()
    s = na * np.hypot(x, y)
    fields, shares = pupil(x, y)
    zs, ys, xs = positions()
    psf = np.zeros(zs.shape)
    k = 2 * np.pi * na / wavelength
    for index in np.ndindex(zs.shape):
        wave = np.exp(1j * (k * (x * xs[index] + y * ys[index])))
        wave *= weight * np.exp(1j * phase_of_z(s, zs[index]))
        psf[index] = sum(
            c * abs((f * wave).sum()) ** 2 for f, c in zip(fields, shares, strict=True)
        )
    return psf


def free_phase(s, z):
    n, wavelength = OPTICS["index"], OPTICS["wavelength"]
    return 2 * np.pi / wavelength * z * np.sqrt(n**2 - s**2)


def test_zernike_polynomials_are_orthonormal():
    x, y, weight = polar_nodes(20, 32)
    values = [np.asarray(jd.psf.zernike(j, y, x), float) for j in range(1, 22)]
    weight = weight / weight.sum()
    gram = [[(a * b * weight).sum() for a in values] for b in values]
    np.testing.assert_allclose(gram, np.eye(21), atol=3e-6)


def test_zernike_names_pairs_and_noll_indices_agree():
    y, x = np.random.default_rng(0).uniform(-0.7, 0.7, (2, 50))
    r, t = np.hypot(y, x), np.arctan2(y, x)
    known = {
        "defocus": np.sqrt(3) * (2 * r**2 - 1),
        "astigmatism": np.sqrt(6) * r**2 * np.cos(2 * t),
        "oblique astigmatism": np.sqrt(6) * r**2 * np.sin(2 * t),
        "vertical coma": np.sqrt(8) * (3 * r**3 - 2 * r) * np.sin(t),
        "spherical": np.sqrt(5) * (6 * r**4 - 6 * r**2 + 1),
    }
    noll = {4: "defocus", 6: "astigmatism", 5: "oblique astigmatism"}
    noll |= {7: "vertical coma", 11: "spherical"}
    pairs = {4: (2, 0), 6: (2, 2), 5: (2, -2), 7: (3, -1), 11: (4, 0)}
    for j, name in noll.items():
        for key in (j, name, pairs[j]):
            ours = jd.psf.zernike(key, y, x)
            np.testing.assert_allclose(ours, known[name], atol=2e-6)


def test_vectorial_is_richards_and_wolf():
    """|I0|^2 + 2 |I1|^2 + |I2|^2 by adaptive quadrature over the angle."""
    psf = normal(jd.psf.widefield((7, 1, 9), SIZE, model="vectorial", **OPTICS))[:, 0]
    k = 2 * np.pi * OPTICS["index"] / OPTICS["wavelength"]
    widest = np.arcsin(OPTICS["na"] / OPTICS["index"])

    def integral(order, r, z):
        def part(t, take):
            angular = {0: 1 + np.cos(t), 1: np.sin(t), 2: 1 - np.cos(t)}[order]
            value = np.sqrt(np.cos(t)) * np.sin(t) * angular
            value = value * scipy.special.jv(order, k * r * np.sin(t))
            return value * take(k * z * np.cos(t))

        real = scipy.integrate.quad(part, 0, widest, (np.cos,))[0]
        return real + 1j * scipy.integrate.quad(part, 0, widest, (np.sin,))[0]

    expected = np.zeros(psf.shape)
    for i, j in np.ndindex(psf.shape):
        z, r = SIZE[0] * (i - 3), SIZE[2] * abs(j - 4)
        parts = [abs(integral(order, r, z)) ** 2 for order in range(3)]
        expected[i, j] = parts[0] + 2 * parts[1] + parts[2]
    np.testing.assert_allclose(psf, expected / expected.max(), atol=3e-6)


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
def test_aberrated_psf_is_the_pupil_integral(model):
    terms = {"coma": 0.7, (2, -2): -0.5, 11: 0.3}

    def pupil(x, y):
        wavefront = sum(
            c * np.asarray(jd.psf.zernike(key, y, x), float) for key, c in terms.items()
        )
        phase = np.exp(1j * wavefront)
        if model == "scalar":
            return [phase], [1]
        # Fields on the camera of dipoles along x, y, z, from the rotation of p and s.
        r = np.hypot(x, y)
        cosine, sine = x / r, y / r
        depth = np.sqrt(1 - (r * OPTICS["na"] / OPTICS["index"]) ** 2)
        phase = phase / np.sqrt(depth)
        tilt = r * OPTICS["na"] / OPTICS["index"]
        fields = [
            depth * cosine**2 + sine**2,
            (depth - 1) * sine * cosine,
            depth * sine**2 + cosine**2,
            tilt * cosine,
            tilt * sine,
        ]
        return [phase * f for f in fields], [1, 2, 1, 1, 1]

    args = (OPTICS["na"], OPTICS["wavelength"], free_phase)
    expected = brute_force(pupil, *args)
    psf = jd.psf.widefield(SHAPE, SIZE, model=model, aberrations=terms, **OPTICS)
    np.testing.assert_allclose(normal(psf), normal(expected), atol=5e-6)


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
def test_rings_and_chords_are_two_ways_to_one_integral(model):
    round_terms, term = {"spherical": 0.8, "defocus": 0.3}, {(2, 2): 0.0}
    rings = jd.psf.widefield(
        SHAPE, SIZE, model=model, aberrations=round_terms, **OPTICS
    )
    chords = jd.psf.widefield(
        SHAPE, SIZE, model=model, aberrations=round_terms | term, **OPTICS
    )
    np.testing.assert_allclose(normal(chords), normal(rings), atol=3e-6)


def test_aberrations_in_noll_order_and_tilt_moves_the_psf():
    terms = {3: 0.4, 6: 0.5}
    named = jd.psf.widefield(SHAPE, SIZE, aberrations=terms, **OPTICS)
    vector = jd.psf.widefield(SHAPE, SIZE, aberrations=[0, 0, 0.4, 0, 0, 0.5], **OPTICS)
    np.testing.assert_allclose(named, vector, atol=1e-7)
    # Z = 2 x over the pupil: a shift of 2 c wavelength / (2 pi NA).
    shift = 4 * 0.1
    c = shift * np.pi * OPTICS["na"] / OPTICS["wavelength"]
    tilted = jd.psf.widefield((1, 1, 31), 0.1, aberrations={"tilt": -c}, **OPTICS)
    assert int(np.argmax(tilted)) - 15 == 4


@pytest.mark.parametrize("aberrations", [None, {"coma": 1.0, "spherical": 0.5}])
@pytest.mark.parametrize("model", ["scalar", "vectorial"])
def test_every_plane_carries_the_same_energy(model, aberrations):
    psf = jd.psf.widefield(
        (5, 151, 151), (0.3, 0.06, 0.06), model=model, aberrations=aberrations, **OPTICS
    )
    energy = np.asarray(psf.sum((1, 2)))
    np.testing.assert_allclose(energy / energy[2], 1, atol=0.025)


def gibson_lanni_phase(s, z):
    """The optical path difference as Gibson and Lanni write it, float64."""
    o = OIL
    ni0 = o["ni"]
    path = {n: np.sqrt(n**2 - s**2) for n in (o["ns"], o["ni"], o["ng"], o["ng0"])}
    ti = o["ni"] * (
        o["ti0"] / ni0 + o["tg0"] / o["ng0"] - o["tg"] / o["ng"] - o["depth"] / o["ns"]
    )
    difference = (
        o["depth"] * path[o["ns"]]
        + (ti - z) * path[o["ni"]]
        - o["ti0"] * path[ni0]
        + o["tg"] * path[o["ng"]]
        - o["tg0"] * path[o["ng0"]]
    )
    return 2 * np.pi / o["wavelength"] * difference


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
def test_gibson_lanni_is_its_integral(model):
    def pupil(x, y):
        r = np.hypot(x, y)
        if model == "scalar":
            return [np.ones_like(r)], [1]
        s = OIL["na"] * r
        cos = {n: np.sqrt(1 - (s / n) ** 2) for n in (OIL["ns"], OIL["ng"], OIL["ni"])}
        ts = tp = 1.0
        for n, m in ((OIL["ni"], OIL["ng"]), (OIL["ng"], OIL["ns"])):
            ts = ts * 2 * n * cos[n] / (n * cos[n] + m * cos[m])
            tp = tp * 2 * n * cos[n] / (m * cos[n] + n * cos[m])
        c, (cx, cy) = cos[OIL["ns"]], (x / r, y / r)
        fields = [
            tp * c * cx**2 + ts * cy**2,
            (tp * c - ts) * cx * cy,
            tp * c * cy**2 + ts * cx**2,
            tp * s / OIL["ns"] * cx,
            tp * s / OIL["ns"] * cy,
        ]
        apodised = 1 / np.sqrt(cos[OIL["ni"]])
        return [apodised * f for f in fields], [1, 2, 1, 1, 1]

    expected = brute_force(pupil, OIL["na"], OIL["wavelength"], gibson_lanni_phase)
    psf = jd.psf.gibson_lanni(SHAPE, SIZE, model=model, centre="paraxial", **OIL)
    np.testing.assert_allclose(normal(psf), normal(expected), atol=3e-4)
    with x64():  # float32 rounds the phase of 150 µm of oil
        psf = jd.psf.gibson_lanni(SHAPE, SIZE, model=model, centre="paraxial", **OIL)
    np.testing.assert_allclose(normal(psf), normal(expected), atol=1e-6)


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
def test_gibson_lanni_without_mismatch_is_widefield(model):
    layers = {"ns": 1.33, "ni": 1.33, "ng": 1.33, "depth": 20.0}
    lens = {"na": 1.1, "wavelength": 0.52, "model": model}
    psf = jd.psf.gibson_lanni(SHAPE, SIZE, **lens, **layers)
    same = jd.psf.widefield(SHAPE, SIZE, index=1.33, **lens)
    np.testing.assert_allclose(normal(psf), normal(same), atol=5e-6)


def test_gibson_lanni_deeper_is_longer_dimmer_lopsided_and_shifted():
    """What the publications show for oil immersion and a watery sample."""
    grid, lens = ((121, 1, 1), (0.1, 0.1, 0.1)), {"na": 1.25, "wavelength": 0.52}

    def axis(depth, centre):
        psf = jd.psf.gibson_lanni(*grid, depth=depth, ns=1.33, centre=centre, **lens)
        return np.asarray(psf)[:, 0, 0]

    axes = [axis(depth, "peak") for depth in (0.0, 5.0, 20.0)]
    widths = [(a > a.max() / 2).sum() for a in axes]
    assert widths[0] < widths[1] < widths[2]
    assert all(np.argmax(a) == 60 for a in axes)
    # Lopsided: the rings lie on one side of the focus.
    sides = [a[:60].sum() / a[61:].sum() for a in axes]
    assert abs(np.log(sides[0])) < 0.01
    assert abs(np.log(sides[2])) > 0.2
    # Marginal rays focus beyond the paraxial focus, the more the deeper.
    shifts = [np.argmax(axis(depth, "paraxial")) - 60 for depth in (0.0, 5.0, 20.0)]
    assert shifts[0] == 0
    assert 0 < shifts[1] < shifts[2]


def test_confocal_is_excitation_times_detection_through_a_disc():
    shape, size, pinhole, excitation = (5, 9, 9), (0.3, 0.08, 0.08), 1.2, 0.488
    psf = jd.psf.confocal(shape, size, excitation=excitation, pinhole=pinhole, **OPTICS)
    x, y, weight = polar_nodes(12, 16)
    radius = pinhole * 1.2197 * OPTICS["wavelength"] / OPTICS["na"] / 2
    points, weights = np.polynomial.legendre.leggauss(80)
    rho, weights = (points + 1) / 2, weights * (points + 1) / 2

    def intensity(r, z, wavelength):
        k = 2 * np.pi / wavelength
        wave = np.exp(1j * k * z * np.sqrt(OPTICS["index"] ** 2 - (1.1 * rho) ** 2))
        bessel = scipy.special.j0(1.1 * k * np.multiply.outer(r, rho))
        return abs(bessel @ (weights * wave)) ** 2

    expected = np.zeros(shape)
    for i, j, m in np.ndindex(shape):
        z, b, a = 0.3 * (i - 2), 0.08 * (j - 4), 0.08 * (m - 4)
        seen = intensity(np.hypot(b + radius * y, a + radius * x), z, 0.52)
        lit = intensity(np.hypot(b, a), z, excitation)
        expected[i, j, m] = lit * (seen * weight).sum()
    np.testing.assert_allclose(normal(psf), normal(expected), atol=2e-3)


def test_confocal_limits():
    grid = ((5, 15, 15), (0.3, 0.05, 0.05))
    lens = {"na": 1.1, "index": 1.33}
    lit = jd.psf.widefield(*grid, wavelength=0.488, **lens)
    seen = jd.psf.widefield(*grid, wavelength=0.52, **lens)
    both = {"wavelength": 0.52, "excitation": 0.488, **lens}
    point = jd.psf.confocal(*grid, pinhole=0, **both)
    np.testing.assert_allclose(normal(point), normal(lit * seen), atol=2e-4)
    open_wide = jd.psf.confocal(*grid, pinhole=8, **both)
    np.testing.assert_allclose(normal(open_wide), normal(lit), atol=0.02)
    coarse = jd.psf.confocal((5, 5, 5), (0.3, 0.1, 0.1), pinhole=1.0, **both)
    fine = jd.psf.confocal((5, 9, 9), (0.3, 0.05, 0.05), pinhole=1.0, **both)
    np.testing.assert_allclose(normal(coarse), normal(fine[:, ::2, ::2]), atol=2e-3)


def test_light_sheet_multiplies_detection_and_sheet():
    grid = ((15, 9, 11), (0.2, 0.1, 0.1))
    sheet = {"sheet_fwhm": 0.7, "angle": 0.4}
    psf = jd.psf.light_sheet(*grid, **sheet, **OPTICS)
    z, _, x = positions(*grid)
    across = z * np.cos(0.4) + x * np.sin(0.4)
    light = 0.5 ** ((2 * across / 0.7) ** 2)
    expected = np.asarray(jd.psf.widefield(*grid, **OPTICS)) * light
    np.testing.assert_allclose(normal(psf), normal(expected), atol=1e-5)
    np.testing.assert_allclose(psf.sum(), 1, rtol=1e-5)
    same = jd.psf.illuminate(jd.psf.widefield(*grid, **OPTICS), light)
    np.testing.assert_allclose(psf, same, atol=1e-7)


def derivative_cases():
    scalar = {**OPTICS, "aberrations": {"coma": 0.4, "spherical": -0.3}}
    vector = {**scalar, "model": "vectorial"}
    layers = {name: OIL[name] for name in ("na", "wavelength", "depth", "ns", "ni")}
    return [
        pytest.param(jd.psf.widefield, scalar, id="widefield scalar"),
        pytest.param(jd.psf.widefield, vector, id="widefield vectorial"),
        pytest.param(
            jd.psf.gibson_lanni,
            {**layers, "aberrations": {"astigmatism": 0.2}, "model": "vectorial"},
            id="gibson_lanni",
        ),
        pytest.param(
            jd.psf.confocal,
            {**OPTICS, "excitation": 0.488, "pinhole": 0.9},
            id="confocal",
        ),
        pytest.param(
            jd.psf.light_sheet,
            {**OPTICS, "sheet_fwhm": 0.8, "angle": 0.2},
            id="light_sheet",
        ),
    ]


@pytest.mark.parametrize(("make", "optics"), derivative_cases())
def test_derivatives_agree_with_finite_differences(make, optics):
    """In NA, wavelengths, depth, indices and every coefficient, float64."""
    fixed = {name: v for name, v in optics.items() if isinstance(v, str)}
    optics = {name: v for name, v in optics.items() if not isinstance(v, str)}
    weight = np.random.default_rng(0).uniform(0, 1, (5, 6, 5))

    def loss(optics):
        psf = make((5, 6, 5), (0.3, 0.1, 0.1), **optics, **fixed)
        return (psf * weight).sum()

    with x64():
        point = jax.tree.map(jnp.asarray, optics)
        ours, value = jax.jit(jax.grad(loss))(point), jax.jit(loss)
        leaves, tree = jax.tree.flatten(point)
        for i, leaf in enumerate(leaves):
            step = 1e-5
            up, down = list(leaves), list(leaves)
            up[i], down[i] = leaf + step, leaf - step
            slope = value(tree.unflatten(up)) - value(tree.unflatten(down))
            np.testing.assert_allclose(
                jax.tree.leaves(ours)[i], slope / (2 * step), rtol=2e-3, atol=1e-7
            )


def test_two_dimensional_psfs_are_the_plane_in_focus():
    for make, extra in (
        (jd.psf.widefield, {"aberrations": {"coma": 0.3}}),
        (jd.psf.confocal, {"pinhole": 1.0}),
    ):
        flat = make((9, 9), 0.1, **OPTICS, **extra)
        deep = make((5, 9, 9), (0.3, 0.1, 0.1), **OPTICS, **extra)
        np.testing.assert_allclose(normal(flat), normal(deep[2]), atol=1e-5)


def test_cutoffs_and_nyquist():
    k = np.asarray(jd.psf.cutoffs(**OPTICS))
    axial = (1.33 - np.sqrt(1.33**2 - 1.1**2)) / 0.52
    np.testing.assert_allclose(k, (axial, 2.2 / 0.52, 2.2 / 0.52), rtol=1e-6)
    np.testing.assert_allclose(jd.psf.nyquist(**OPTICS), 0.5 / k, rtol=1e-6)
    # Beyond the cut-off the OTF of the model is nothing.
    psf = np.asarray(jd.psf.widefield((1, 64, 64), (1, 0.08, 0.08), **OPTICS))[0]
    gain = abs(np.fft.rfft(psf.sum(0)))
    outside = np.fft.rfftfreq(64, 0.08) > 1.05 * k[2]
    assert gain[outside].max() < 5e-3 * gain[0]


def test_large_voxels_are_warned_about_with_nyquists_size():
    with pytest.warns(jd.psf.UndersampledWarning, match=r"at most 0\.446 x 0\.118"):
        jd.psf.widefield((5, 5, 5), (0.2, 0.2, 0.2), **OPTICS)
    with pytest.warns(jd.psf.UndersampledWarning):
        jd.psf.confocal((5, 5), 0.12, **{**OPTICS, "excitation": 0.488})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jd.psf.widefield((1, 5, 5), (5.0, 0.1, 0.1), **OPTICS)  # one plane is no axis


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        ("widefield", {"wavelength": 520}, r"nm\? Then pass 0\.52"),
        ("widefield", {"wavelength": 0.00052}, "µm are needed"),
        ("widefield", {"na": 1.4}, "cannot reach"),
        ("widefield", {"aberrations": {"coma": 500.0}}, "radians"),
        ("widefield", {"aberrations": {"chromatic": 1.0}}, "no Zernike polynomial"),
        ("widefield", {"aberrations": {(3, 2): 1.0}}, "no Zernike polynomial"),
        ("widefield", {"aberrations": {(2, 0): 1.0, "defocus": 1.0}}, "twice"),
        ("widefield", {"aberrations": np.ones((2, 2))}, "Noll order"),
        ("confocal", {"excitation": 488}, "nm"),
        ("confocal", {"pinhole": -1.0}, "negative"),
        ("light_sheet", {"sheet_fwhm": 1600.0}, "nm"),
        ("light_sheet", {"sheet_fwhm": 0.0}, "positive"),
        ("gibson_lanni", {"depth": -1.0}, "coverslip"),
        ("gibson_lanni", {"depth": 200.0}, "touch"),
        ("gibson_lanni", {"ni": 1.0}, "cannot reach"),
        ("gibson_lanni", {"ng": 0.0}, "positive"),
        ("gibson_lanni", {"centre": "middle"}, "known are"),
    ],
)
def test_impossible_optics_are_refused(make, change, message):
    optics = dict(OPTICS)
    if make == "light_sheet":
        optics["sheet_fwhm"] = 1.0
    if make == "gibson_lanni":
        optics.pop("index")
    with pytest.raises(ValueError, match=message):
        getattr(jd.psf, make)((5, 5, 5), 0.1, **{**optics, **change})


def test_an_aperture_beyond_the_sample_is_told():
    lens = {"na": 1.4, "wavelength": 0.52, "depth": 2.0}
    with pytest.warns(UserWarning, match=r"exceeds the sample's index 1\.33"):
        psf = jd.psf.gibson_lanni((5, 5, 5), (0.2, 0.09, 0.09), ns=1.33, **lens)
    assert np.isfinite(psf).all()


def test_light_that_does_not_fit_is_refused():
    psf = jd.psf.gaussian((5, 5, 5), 2.0)
    with pytest.raises(ValueError, match="broadcast"):
        jd.psf.illuminate(psf, np.ones((4, 1, 1)))
    with pytest.raises(ValueError, match="zero wherever"):
        jd.psf.illuminate(psf, np.zeros((5, 1, 1)))
    with pytest.raises(ValueError, match="needs"):
        jd.psf.gaussian_sheet((5, 5), 0.1, fwhm=1.0)


def test_a_pupil_that_ends_in_grazing_light_is_integrated_well(monkeypatch):
    """Ten times as many nodes change the PSF by rounding only."""
    module = importlib.import_module("jaxdecon.psf._gibson_lanni")
    usual = module._nodes

    def psf():
        with pytest.warns(UserWarning, match="exceeds the sample's index"):
            return np.asarray(
                jd.psf.gibson_lanni(
                    (15, 11, 11),
                    (0.15, 0.06, 0.06),
                    na=1.4,
                    wavelength=0.52,
                    depth=5.0,
                    ns=1.33,
                    ni=1.515,
                    centre="paraxial",
                )
            )

    found = psf()
    monkeypatch.setattr(module, "_nodes", lambda *given: 10 * usual(*given))
    expected = psf()
    assert abs(found - expected).max() < 2e-5 * expected.max()


def test_a_confocal_warns_once():
    with pytest.warns(jd.psf.UndersampledWarning) as caught:
        jd.psf.confocal((5, 9, 9), (1.0, 0.5, 0.5), na=1.2, wavelength=0.5, index=1.33)
    assert len(caught) == 1
