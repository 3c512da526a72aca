"""PSFs against closed forms and against other programs: differences, and time.

    python tests/benchmarks/psfs.py --python PYTHON_WITH_PEERS [--size 127]

The peers, psfmodels and psf_generator, run in one process of their own, under a Python
that has them. `_psf_peers.py` says what they mean by their arguments. Differences are
the largest one over the grid, as a share of the maximum, after division by the sums.
Both programs centre odd sizes only. Times are the least of several, taken in turns.

All three mean the same by a scalar PSF (a uniform pupil) and by a vectorial one (all
polarisations alike, amplitude cos(theta)^(-1/2) in the pupil), if told to. Where they
do not, the table says why:

- psfmodels takes pixels for means over 3x3 points, and interpolates the profile
  linearly between such points.
- Where the NA exceeds the sample's index, jaxdecon ends the pupil at the critical
  angle; psfmodels goes on, with evanescent rays, by Simpson's rule across it.
- psf_generator by itself has a pupil uniform in solid angle (scalar), or without
  apodisation and polarised along x (vectorial), and stretches positions behind layers.
- psf_generator's vectorial model has no Fresnel transmission, and the angles are those
  in the immersion, not those in the sample.
- Its Cartesian pupil is a disc cut from a square grid.
"""

import argparse
import json
import time
import warnings
from functools import partial

import jax
import numpy as np
import scipy.special
from _common import header, interleaved, table
from peers import Peers

import jaxdecon as jd

GRID = {"shape": (21, 31, 31), "dz": 0.2, "dxy": 0.08}
WATER = {"na": 1.1, "wavelength": 0.52, "ns": 1.33, "ni": 1.33, "ng": 1.33, "depth": 0}
OIL = {**WATER, "na": 1.25, "ni": 1.515, "ng": 1.515, "depth": 5.0}
STACK = {"tg": 170.0, "ti0": 150.0}
COMA = {(3, 1): 0.6, (2, 2): -0.4, (4, 0): 0.3}


def optics(model="scalar", aberrations=None, **lens):
    """A full description; `layers` where indices differ."""
    layers = lens["ns"] != lens["ni"]
    settings = {**GRID, **STACK, **lens, "model": model, "layers": layers}
    return {**settings, "aberrations": aberrations}


def ours(optics, finer=1):
    """jaxdecon's PSF; every pixel is the mean over `finer`^2 points."""
    o = optics
    planes, rows, columns = o["shape"]
    shape = (planes, finer * rows, finer * columns)
    size = (o["dz"], o["dxy"] / finer, o["dxy"] / finer)
    common = {name: o[name] for name in ("na", "wavelength", "model", "aberrations")}
    if o["layers"]:
        stack = {name: o[name] for name in ("ns", "ni", "ng", "depth", "tg", "ti0")}
        psf = jd.psf.gibson_lanni(shape, size, centre="paraxial", **stack, **common)
    else:
        psf = jd.psf.widefield(shape, size, index=o["ni"], **common)
    return psf.reshape(planes, rows, finer, columns, finer).sum((2, 4))


def ours_in_double(optics, finer=1):
    with jax.enable_x64(True):
        return np.asarray(ours(optics, finer))


def request(program, optics, **settings):
    """A line for `_psf_peers.py`, with Zernike polynomials as psf_generator has them.

    Those are in OSA order, and not divided by their rms.
    """
    described = dict(optics)
    zernike = [0.0]
    for (n, m), coefficient in (described.pop("aberrations") or {}).items():
        place = (n * (n + 2) + m) // 2
        zernike += [0.0] * (place + 1 - len(zernike))
        zernike[place] = coefficient * np.sqrt((n + 1) * (2 if m else 1))
    described["zernike"] = zernike
    return json.dumps({"program": program, "optics": described, **settings})


POINTS = {"program": "psfmodels", "fine": 15, "integrate": False}
PIXELS = {"program": "psfmodels", "fine": 3, "integrate": True}
RINGS = {"program": "psf_generator", "grid": "Spherical", "pupil": 1025, "double": True}
CHORDS = {**RINGS, "grid": "Cartesian", "pupil": 513}
AS_IT_COMES = {**RINGS, "conventions": "theirs"}


def difference(psf, reference):
    """(largest difference as a share of the maximum, 1 - correlation)."""
    psf, reference = np.asarray(psf, float), np.asarray(reference, float)
    psf = psf * reference.sum() / psf.sum()
    largest = abs(psf - reference).max() / reference.max()
    return float(largest), float(1 - np.corrcoef(psf.ravel(), reference.ravel())[0, 1])


def closed_forms(peers):
    """Airy pattern, and the axis of the scalar integral, by every program."""
    lens = optics(**WATER)
    low = optics(**{**WATER, "na": 0.3})
    low["dz"] = 3.0
    programs = {"jaxdecon, float64": ours_in_double, "jaxdecon, float32": ours}
    if peers:
        others = {
            "psfmodels": POINTS,
            "psf_generator, spherical": RINGS,
            "psf_generator, Cartesian": CHORDS,
        }
        programs |= {
            name: partial(theirs, peers, name, settings)
            for name, settings in others.items()
        }
    rows = []
    for name, make in programs.items():
        full, paraxial = make(lens), make(low)
        if full is None or paraxial is None:
            continue
        n, c = (size // 2 for size in lens["shape"][:2])
        pairs = [
            (full[n], airy(lens)),
            (full[:, c, c], axis(lens)),
            (paraxial[:, c, c], sinc_squared(low)),
        ]
        rows.append([name, *(difference(*pair)[0] for pair in pairs)])
    table(["closed forms", "Airy, NA 1.1", "axis, NA 1.1", "sinc², NA 0.3"], rows)


def theirs(peers, name, settings, lens):
    settings = dict(settings)
    answer = peers.ask(request(settings.pop("program"), lens, **settings), name)
    return None if answer is None else answer[2]


def airy(o):
    x = (np.arange(o["shape"][1]) - o["shape"][1] // 2) * o["dxy"]
    v = 2 * np.pi * o["na"] / o["wavelength"] * np.hypot(x[:, None], x) + 1e-12
    return (2 * scipy.special.j1(v) / v) ** 2


def axis(o):
    """|integral of q exp(i k z q)|^2 over q = sqrt(n^2 - s^2), in elementary terms."""
    planes = o["shape"][0]
    t = 2 * np.pi / o["wavelength"] * o["dz"] * (np.arange(planes) - planes // 2)
    low = np.sqrt(o["ni"] ** 2 - o["na"] ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = [np.exp(1j * t * q) * (q / (1j * t) + 1 / t**2) for q in (o["ni"], low)]
    return abs(np.where(t == 0, (o["ni"] ** 2 - low**2) / 2, ends[0] - ends[1])) ** 2


def sinc_squared(o):
    """What the axis tends to for small apertures."""
    planes = o["shape"][0]
    z = o["dz"] * (np.arange(planes) - planes // 2)
    depth = o["ni"] - np.sqrt(o["ni"] ** 2 - o["na"] ** 2)
    return np.sinc(depth * z / o["wavelength"]) ** 2


def comparisons():
    """(case, what differs, optics, our points along a pixel, the peer's settings)."""
    both = {model: optics(model, **WATER) for model in ("scalar", "vectorial")}
    deep = {model: optics(model, **OIL) for model in both}
    beyond = {model: optics(model, **{**OIL, "na": 1.4}) for model in both}
    bent = {model: optics(model, COMA, **WATER) for model in both}
    for model in both:
        yield f"{model}, matched", "", both[model], 1, POINTS
        yield f"{model}, matched", "its 3x3 points", both[model], 1, PIXELS
        yield f"{model}, matched, 3x3 points", "interpolation", both[model], 3, PIXELS
        yield f"{model}, deep", "", deep[model], 1, POINTS
        yield f"{model}, deep, NA 1.4", "critical angle", beyond[model], 1, POINTS
    untold = {"scalar": "solid angle", "vectorial": "apodisation, polarisation"}
    layers = {"scalar": "", "vectorial": "Fresnel, angles"}
    for model in both:
        yield f"{model}, matched", "", both[model], 1, RINGS
        yield f"{model}, matched, Cartesian", "disc", both[model], 1, CHORDS
        yield f"{model}, matched, by itself", untold[model], both[model], 1, AS_IT_COMES
        yield f"{model}, coma etc., Cartesian", "disc", bent[model], 1, CHORDS
        yield f"{model}, deep", layers[model], deep[model], 1, RINGS
        yield f"{model}, deep, by itself", "all of it", deep[model], 1, AS_IT_COMES


def against_peers(peers):
    rows = []
    for what, why, lens, finer, settings in comparisons():
        name = settings["program"]
        psf = theirs(peers, name, settings, lens)
        if psf is None:
            continue
        largest, decorrelation = difference(ours_in_double(lens, finer), psf)
        single, _ = difference(ours(lens, finer), psf)
        rows.append([name, what, why, largest, single, decorrelation])
    columns = [
        "difference from",
        "case",
        "what differs",
        "float64",
        "float32",
        "1 - NCC",
    ]
    table(columns, rows)


def timed_programs(lens):
    """Settings of those peers that can do it."""
    rings = {"program": "psf_generator", "grid": "Spherical", "pupil": 129}
    found = {"psf_generator, Cartesian": {**rings, "grid": "Cartesian", "pupil": 128}}
    if not lens["aberrations"]:
        points = {"program": "psfmodels", "fine": 1, "integrate": False}
        found |= {"psfmodels, centres": points, "psfmodels, 3x3 points": PIXELS}
        found["psf_generator, spherical"] = rings
    return found


def times(peers, size, repeats):
    """Seconds for size^3; the difference is that from jaxdecon in float64."""
    grid = {"shape": (size, size, size), "dz": 0.2, "dxy": 0.1}
    cases = {
        "": (WATER, None),
        ", deep": (OIL, None),
        ", coma etc.": (WATER, COMA),
    }
    rows = []
    for what, (lens, aberrations) in cases.items():
        for model in ("scalar", "vectorial"):
            described = {**optics(model, aberrations, **lens), **grid}
            for name, *numbers in time_one(peers, described, repeats):
                rows.append([f"{model}{what}", name, *numbers])
    columns = ["time", "program", "wall s", "CPU s", "first call, s", "difference"]
    table(columns, rows)


def time_one(peers, lens, repeats):
    """Rows, ours first: wall and CPU seconds, those of the first call, difference."""
    reference = ours_in_double(lens)
    began = time.perf_counter()
    psf = np.asarray(ours(lens))
    first = time.perf_counter() - began
    names, best, differences = {}, {}, {}
    for name, settings in timed_programs(lens).items() if peers else ():
        result = theirs(peers, name, settings, lens)
        if result is not None:
            names[name] = settings
            differences[name] = difference(result, reference)[0]
    for _ in range(repeats):
        found = interleaved({"jaxdecon": lambda: ours(lens)}, 1)
        for name, settings in names.items():
            settings = dict(settings)
            line = request(settings.pop("program"), lens, **settings)
            found[name] = peers.ask(line, name)[:2]
        for name, pair in found.items():
            best[name] = tuple(map(min, pair, best.get(name, pair)))
    differences["jaxdecon"] = difference(psf, reference)[0]
    return [
        [name, *pair, first if name == "jaxdecon" else "", differences[name]]
        for name, pair in best.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=127)
    parser.add_argument("--python", help="a Python that has the peers")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    # NA 1.4 in water, and its sampling, are meant.
    warnings.simplefilter("ignore", UserWarning)
    grid = "x".join(map(str, GRID["shape"]))
    header(f"PSFs: differences on {grid}, times on {arguments.size}^3")
    peers = None
    if arguments.python:
        peers = Peers(arguments.python, "_psf_peers.py")
    closed_forms(peers)
    if peers:
        against_peers(peers)
    times(peers, arguments.size, arguments.repeats)


if __name__ == "__main__":
    main()
