"""Pupils from beads: Zernike coefficients recovered, and a measured bead fitted.

    python tests/benchmarks/pupil_fit.py [--draws 8] [--bead STACK.tif]

Simulated: 0.1 waves rms over 12 polynomials (Noll 5 to 16), NA 1.1 in water, 24^3
voxels of 0.2 x 0.1 x 0.1 µm, beads anywhere within half a voxel of their crop's centre.
SNR is the peak signal over the noise (the square root of all photons) in the brightest
voxel, background 2 photons. The simulation is not the model: it is evaluated on a grid
three times finer with twice the nodes, so that a bead's position is exact and not
interpolated; further rows average pixels over 3 x 3 points of it (what cameras do and
the model does not know), simulate with the vectorial model and fit the scalar one, and
have beads of 0.2 µm, whose size the model is told. Errors are in waves: rms over the 12
coefficients; "per bound" is that error over what the Fisher information predicts (1 is
as good as any unbiased estimate can be).

Measured: `--bead` takes a stack of one widefield bead (one of pyotf's, say: NA 0.85 in
air, 520 nm, 0.3 x 0.13 µm, which the other options describe) and says how well theory
and fits of more and more of the pupil correlate with it, and the widths of the fits.
"""

import argparse
import functools
import time

import jax
import numpy as np
from _common import header, table

import jaxdecon as jd

SHAPE, SIZE = (24, 24, 24), (0.2, 0.1, 0.1)
OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
MODES = range(5, 17)
WAVES, BACKGROUND, FINE, MARGIN = 0.1, 2.0, 3, 2
LARGE = tuple(n + 2 * MARGIN for n in SHAPE)


def simulated(truth, shifts, model, pixels, diameter):
    """Noise-free beads (bead, z, y, x) at shifts in thirds of a voxel."""
    size = np.array(SIZE) / FINE
    shape = tuple(FINE * (n + 4) for n in SHAPE)
    fine = np.asarray(
        jd.psf.widefield(
            shape, size, model=model, aberrations=truth, nodes=90, **OPTICS
        )
    )
    if diameter:
        fine = with_sphere(fine, diameter / size)
    if pixels:
        fine = sum(
            np.roll(fine, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)
        )
    beads = []
    for shift in shifts:
        starts = [
            n // 2 - FINE * (m // 2) - s
            for n, m, s in zip(shape, SHAPE, shift, strict=True)
        ]
        cut = tuple(
            slice(s, s + FINE * m, FINE) for s, m in zip(starts, SHAPE, strict=True)
        )
        beads.append(fine[cut] / fine[cut].max())
    return np.stack(beads)


def with_sphere(psf, diameters):
    """Convolved with a ball, each voxel weighted by how much of it lies inside."""
    half = np.ceil(np.asarray(diameters) / 2).astype(int)
    steps = (np.arange(5) - 2) / 5
    axes = [
        (np.arange(-h, h + 1)[:, None] + steps).ravel() / (d / 2)
        for h, d in zip(half, diameters, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = (z**2 + y**2 + x**2 <= 1).astype(float)
    counts = [s for h in half for s in (2 * h + 1, 5)]
    ball = inside.reshape(counts).mean((1, 3, 5))
    kernel = np.zeros(psf.shape)
    kernel[
        tuple(
            slice(n // 2 - h, n // 2 + h + 1)
            for n, h in zip(psf.shape, half, strict=True)
        )
    ] = ball
    spectrum = np.fft.rfftn(psf) * np.fft.rfftn(np.fft.ifftshift(kernel / ball.sum()))
    return np.fft.irfftn(spectrum, psf.shape, axes=(0, 1, 2))


def one_draw(rng, snr, beads, model, *, fitted="scalar", pixels=False, diameter=0.0):
    """(rms error in waves, error per bound, seconds) of one random pupil."""
    vector = rng.standard_normal(len(MODES))
    vector *= 2 * np.pi * WAVES / np.linalg.norm(vector)
    truth = dict(zip(MODES, vector.tolist(), strict=True))
    shifts = rng.integers(-1, 2, (beads, 3))
    peak = (snr**2 + np.sqrt(snr**4 + 4 * snr**2 * BACKGROUND)) / 2
    clean = peak * simulated(truth, shifts, model, pixels, diameter) + BACKGROUND
    noisy = rng.poisson(np.maximum(clean, 0)).astype(np.float32)
    began = time.perf_counter()
    fit = jd.learning.fit_beads(
        noisy,
        lens(fitted),
        start={"aberrations": dict.fromkeys(MODES, 0.0)},
        noise=jd.deconvolution.Poisson(),
        diameter=diameter / np.array(SIZE),
        starts=4,
    )
    seconds = time.perf_counter() - began
    found = fit.parameters["aberrations"]
    error = np.array([float(found[j]) for j in MODES]) - vector
    bounds = np.array([float(fit.errors["aberrations"][j]) for j in MODES])
    waves = np.sqrt((error**2).mean()) / (2 * np.pi)
    return waves, np.sqrt(((error / bounds) ** 2).mean()), seconds, fit.chi_square


@functools.cache
def lens(model):
    return functools.partial(
        jd.psf.widefield, LARGE, SIZE, model=model, nodes=28, **OPTICS
    )


CASES = [
    ("same physics", {"model": "scalar"}),
    ("same physics, vectorial", {"model": "vectorial", "fitted": "vectorial"}),
    ("beads of 0.2 µm", {"model": "scalar", "diameter": 0.2}),
    ("pixels integrate", {"model": "scalar", "pixels": True}),
    ("vectorial, fitted as scalar", {"model": "vectorial"}),
]


def recovery(draws):
    rows = []
    for name, case in CASES:
        for beads in (1, 5):
            for snr in (10, 30):
                rng = np.random.default_rng(7)
                found = [one_draw(rng, snr, beads, **case) for _ in range(draws)]
                waves, per_bound, seconds, chi = np.transpose(found)
                rows.append(
                    [
                        name,
                        beads,
                        snr,
                        float(np.sqrt((waves**2).mean())),
                        float(waves.max()),
                        float(np.sqrt((per_bound**2).mean())),
                        float(np.median(chi)),
                        float(np.median(seconds)),
                    ]
                )
    columns = ["simulated", "beads", "SNR", "rms error, waves", "worst draw"]
    table([*columns, "per bound", "chi-square", "s, 4 starts"], rows)


def correlation(a, b):
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


PHASE, AMPLITUDE = range(5, 17), (4, 6, 7, 8, 11)
PUPILS = [
    ("spherical aberration", {"aberrations": [11]}),
    ("12 aberrations", {"aberrations": PHASE}),
    ("and 5 of the amplitude", {"aberrations": PHASE, "apodisation": AMPLITUDE}),
    (
        "and a blur",
        {"aberrations": PHASE, "apodisation": AMPLITUDE, "blur": (1.0, 1.0)},
    ),
]
"""Noll indices; and the FWHM of a Gaussian (z, lateral), voxels: for bead, bandwidth,
pixels, vibration."""


def blurred(shape, size, blur=(0.0, 0.0), **optics):
    """A widefield PSF, convolved with a Gaussian."""
    psf = jd.psf.widefield(shape, size, nodes=NODES, **optics)
    z, y, x = (jax.numpy.fft.fftfreq(n) for n in shape)
    power = (blur[0] * z[:, None, None]) ** 2
    power = power + blur[1] ** 2 * (y[:, None] ** 2 + x**2)
    gain = jax.numpy.exp(-(np.pi**2) / (4 * np.log(2)) * power)
    wide = jax.numpy.fft.ifftn(jax.numpy.fft.fftn(psf) * gain).real
    return jax.numpy.maximum(wide, 0) / wide.sum()


def measured(path, optics, size, crop):
    """Fits of more and more of the pupil to one measured bead."""
    stack = np.asarray(jd.io.read(path).data, np.float32).squeeze()
    peak = np.unravel_index(stack.argmax(), stack.shape)
    sides = [slice(max(p - crop // 2, 0), p + crop // 2 + 1) for p in peak[1:]]
    bead = stack[(slice(None), *sides)]
    shape = tuple(n + 4 for n in bead.shape)
    centred = (
        np.percentile(bead, 1),
        np.asarray(jd.psf.widefield(shape, size, **optics)),
    )
    direct = np.asarray(jd.psf.fwhm(np.maximum(bead - centred[0], 0))) * size
    shift = peak[0] - bead.shape[0] // 2
    theory = np.roll(centred[1], shift, 0)[2:-2, 2:-2, 2:-2]
    rows = [["measured directly", "", *direct.tolist(), "", ""]]
    widths = (np.asarray(jd.psf.fwhm(theory)) * size).tolist()
    rows += [
        ["theory, on the brightest voxel", correlation(bead, theory), *widths, "", ""]
    ]
    for name, free in PUPILS:
        fit, seconds = fit_pupil(bead, shape, size, optics, free)
        widths = (np.asarray(jd.psf.fwhm(np.asarray(fit.psf))) * size).tolist()
        ncc = correlation(bead, fit.fitted[0])
        rows.append([name, ncc, *widths, fit.gain, seconds])
        print(f"{name}: {fit.message}")
        print(jax.tree.map(lambda v: round(float(v), 3), fit.parameters))
    columns = ["the bead's PSF", "NCC", "FWHM z, µm", "y", "x"]
    table([*columns, "variance per unit", "s, with compilation"], rows)


def fit_pupil(bead, shape, size, optics, free):
    """A fit of some of the pupil, and what it took."""
    start = {
        key: value if key == "blur" else dict.fromkeys(value, 0.0)
        for key, value in free.items()
    }
    began = time.perf_counter()
    fit = jd.learning.fit_beads(
        bead,
        functools.partial(blurred, shape, tuple(size), **optics),
        start=start,
        bounds={"blur": (0.0, 6.0)} if "blur" in start else None,
        starts=2,
        residual="blur" in start,
    )
    return fit, time.perf_counter() - began


NODES = 36


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--bead", help="stack of one measured bead")
    parser.add_argument("--crop", type=int, default=65, help="voxels in y and x")
    parser.add_argument("--na", type=float, default=0.85)
    parser.add_argument("--wavelength", type=float, default=0.52)
    parser.add_argument("--index", type=float, default=1.0)
    parser.add_argument("--voxel", type=float, nargs=3, default=(0.3, 0.13, 0.13))
    arguments = parser.parse_args()
    header("Pupils from beads")
    if arguments.draws:
        recovery(arguments.draws)
    if arguments.bead:
        names = ("na", "wavelength", "index")
        optics = {name: getattr(arguments, name) for name in names}
        measured(arguments.bead, optics, arguments.voxel, arguments.crop)


if __name__ == "__main__":
    main()
