"""PSFs without beads: phase diversity, semi-blind and blind estimates in simulation.

    python tests/benchmarks/without_beads.py [--draws 5] [--sweep 50] [--only diversity]

Images are crops of larger objects, with photon noise and a background of 5 photons;
nothing is periodic, and light enters from outside the field.
"""

import argparse
import functools
import time
import warnings

import jax
import numpy as np
from _common import header, table
from _objects import BACKGROUND, OBJECTS

import jaxdecon as jd
from jaxdecon.psf._zernike import mode_of

OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
VOXEL_SIZE = (0.2, 0.1, 0.1)
SHAPE = (17, 33, 33)
MODES = (5, 6, 7, 8, 9, 10, 11)
WAVE = 2 * np.pi
PARTS = ("diversity", "semi-blind", "blind")

WIDEFIELD = functools.partial(jd.psf.widefield, SHAPE, VOXEL_SIZE, **OPTICS)
SHEET = functools.partial(
    jd.psf.light_sheet, SHAPE, VOXEL_SIZE, sheet_fwhm=1.0, **OPTICS
)
ASTIGMATIC = [
    {},
    {"astigmatism": 1.5},
    {"oblique astigmatism": 1.5},
    {"astigmatism": -1.5},
]
DEFOCUSED = [{}, {"astigmatism": 1.5}, {"oblique astigmatism": 1.5}, {"defocus": 1.5}]


def draw_object(kind, shape, rng):
    """An object without a direction of its own: drawn on cubic voxels."""
    sharp, smooth = OBJECTS[kind]((2 * shape[0], *shape[1:]), rng)
    kernel = jd.psf.gaussian((9, 9, 9), smooth)
    soft = jd.operators.Convolution.from_psf(kernel, sharp.shape, boundary="periodic")
    return np.maximum(np.asarray(soft(sharp)), 0)[::2]


def photograph(kind, psfs, crop, photons, seed):
    """Counts of crops of one object; `photons` at the 99th percentile of the first."""
    rng = np.random.default_rng(seed)
    margins = [n - 1 for n in psfs[0].shape]
    large = tuple(n + m for n, m in zip(crop, margins, strict=True))
    if len(crop) == 2:  # a plane of an object, without what is above and below it
        thing = draw_object(kind, (8, *large), rng)[4]
    else:
        thing = draw_object(kind, large, rng)
    inside = tuple(
        slice(m // 2, m // 2 + n) for m, n in zip(margins, crop, strict=True)
    )
    # The large field may wrap around: the crop sees nothing of it.
    clean = [
        np.asarray(
            jd.operators.Convolution.from_psf(psf, large, boundary="periodic")(thing)
        )[inside]
        for psf in psfs
    ]
    scale = photons / np.percentile(clean[0], 99)
    return [
        rng.poisson(np.maximum(scale * c, 0) + BACKGROUND).astype(np.float32)
        for c in clean
    ]


def added(aberrations, known):
    total = {mode_of(key): value for key, value in aberrations.items()}
    for key, value in known.items():
        total[mode_of(key)] = total.get(mode_of(key), 0.0) + value
    return total


def random_aberrations(rng, waves):
    values = rng.normal(size=len(MODES))
    values *= waves * WAVE / np.linalg.norm(values)
    return dict(zip(MODES, values.tolist(), strict=True))


def diversity(draws, crop=(32, 48, 48), photons=500, waves=0.15):
    header(f"Phase diversity, four views of {'x'.join(map(str, crop))} voxels")
    rows = []
    for name, model, known in (
        ("widefield", WIDEFIELD, ASTIGMATIC),
        ("light sheet", SHEET, DEFOCUSED),
    ):
        for kind in OBJECTS:
            found = [
                one_diversity(kind, model, known, crop, photons, waves, seed)
                for seed in range(draws)
            ]
            errors, said, reliable, seconds = map(np.array, zip(*found, strict=True))
            rows.append(
                [
                    name,
                    kind,
                    errors.mean(),
                    errors.max(),
                    said.mean(),
                    f"{int(reliable.sum())} of {draws}",
                    np.median(seconds),
                ]
            )
    columns = ["PSF", "object", "error, waves", "worst", "its own", "reliable", "s"]
    table(columns, rows)


def one_diversity(kind, model, known, crop, photons, waves, seed):
    """Error and claimed error (waves rms), verdict, seconds."""
    truth = random_aberrations(np.random.default_rng(seed + 50), waves)
    psfs = [np.asarray(model(aberrations=added(truth, d))) for d in known]
    images = photograph(kind, psfs, crop, photons, seed)
    began = time.perf_counter()
    found = jd.learning.phase_diversity(
        images,
        model,
        start={"aberrations": dict.fromkeys(MODES, 0.0)},
        diversities=known,
        background=BACKGROUND,
    )
    seconds = time.perf_counter() - began
    values = found.parameters["aberrations"]
    error = np.linalg.norm([float(values[m]) - truth[m] for m in MODES]) / WAVE
    said = np.linalg.norm([float(e) for e in found.errors["aberrations"].values()])
    return error, said / WAVE, found.reliable, seconds


DEEP = functools.partial(
    jd.psf.gibson_lanni, SHAPE, VOXEL_SIZE, na=1.1, wavelength=0.52
)
THIN = functools.partial(jd.psf.light_sheet, SHAPE, VOXEL_SIZE, **OPTICS)
PHYSICAL = {
    "spherical aberration": (
        WIDEFIELD,
        {"aberrations": {"spherical": 0.0}},
        (0.0, 2.0),
    ),
    "depth, µm": (DEEP, {"depth": 0.0}, (0.0, 20.0)),
    "sheet_fwhm, µm": (THIN, {"sheet_fwhm": 1.0}, (0.4, 3.0)),
}


def semi_blind(draws, crop=(32, 64, 64), photons=200):
    header(f"Semi-blind, one parameter, one image of {'x'.join(map(str, crop))} voxels")
    rows = []
    for name, (model, start, limits) in PHYSICAL.items():
        for kind in OBJECTS:
            found = [
                one_semi_blind(kind, model, start, limits, crop, photons, seed)
                for seed in range(draws)
            ]
            errors, said, reliable = map(np.array, zip(*found, strict=True))
            kept = reliable.astype(bool)
            within = abs(errors) < np.maximum(3 * said, 0.05 * (limits[1] - limits[0]))
            rows.append(
                [
                    name,
                    kind,
                    f"{int(kept.sum())} of {draws}",
                    f"{int((within & kept).sum())}",
                    np.sqrt((errors[kept] ** 2).mean()) if kept.any() else "",
                    said[kept].mean() if kept.any() else "",
                    np.sqrt((errors[~kept] ** 2).mean()) if not kept.all() else "",
                ]
            )
    columns = [
        "parameter",
        "object",
        "reliable",
        "of them right",
        "their rms error",
        "their own",
        "rms error of the others",
    ]
    table(columns, rows)


def one_semi_blind(kind, model, start, limits, crop, photons, seed):
    """Error, claimed error, verdict."""
    low, high = limits
    rng = np.random.default_rng(seed + 50)
    truth = low + (high - low) * rng.uniform(0.1, 0.9)
    psf = np.asarray(model(**jax.tree.map(lambda _: truth, start)))
    (image,) = photograph(kind, [psf], crop, photons, seed)
    (name,) = start
    found = jd.learning.semi_blind(image, model, start=start, bounds={name: limits})
    (value,) = jax.tree.leaves(found.parameters)
    error = np.sqrt(float(found.covariance[0, 0]))
    return float(value) - truth, error, found.reliable


PLANE = functools.partial(jd.psf.widefield, (33, 33), 0.1, **OPTICS)
OUTCOMES = ("collapsed", "caught", "better", "accepted", "wrongly")


def blind(runs, photons=200):
    header(f"Blind, one image, {runs} runs")
    rows = []
    for model, crop in ((WIDEFIELD, (24, 40, 40)), (PLANE, (64, 64))):
        counts = blind_runs(model, crop, runs // 2, photons)
        rows.append(["x".join(map(str, crop)), runs // 2, *counts.values()])
    table(
        [
            "image",
            "runs",
            "at no blur, or further from the truth than that",
            "of them caught",
            "error halved",
            "accepted",
            "with an error that is not halved",
        ],
        rows,
    )


def blind_runs(model, crop, runs, photons):
    """How often each outcome was seen; every other run has four times as long."""
    counts = dict.fromkeys(OUTCOMES, 0)
    for seed in range(runs):
        kind = list(OBJECTS)[seed % len(OBJECTS)]
        rng = np.random.default_rng(seed + 50)
        truth = random_aberrations(rng, 0.05 + 0.15 * rng.uniform())
        begin = {mode: 0.2 * rng.normal() for mode in MODES}
        psf = np.asarray(model(aberrations=truth))
        (image,) = photograph(kind, [psf], crop, photons, seed)
        found = jd.learning.experimental_blind(
            image,
            model,
            start={"aberrations": begin},
            spread={"aberrations": 0.3},
            background=BACKGROUND,
            steps=240 if seed % 2 else 60,
        )
        values = found.parameters["aberrations"]
        size = np.linalg.norm(list(truth.values()))
        error = np.linalg.norm([float(values[m]) - truth[m] for m in MODES])
        left = np.linalg.norm([float(v) for v in values.values()])
        collapsed = left < 0.3 * size or error > size
        counts["collapsed"] += collapsed
        counts["caught"] += collapsed and not found.reliable
        counts["better"] += error < 0.5 * size
        counts["accepted"] += found.reliable
        counts["wrongly"] += found.reliable and error > 0.5 * size
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sweep", type=int, default=50)
    parser.add_argument("--only", choices=PARTS)
    arguments = parser.parse_args()
    # The blind estimates are experiments, and water under oil ends the pupil.
    warnings.simplefilter("ignore", UserWarning)
    parts = PARTS if arguments.only is None else (arguments.only,)
    if "diversity" in parts:
        diversity(arguments.draws)
    if "semi-blind" in parts:
        semi_blind(2 * arguments.draws)
    if "blind" in parts:
        blind(arguments.sweep)


if __name__ == "__main__":
    main()
