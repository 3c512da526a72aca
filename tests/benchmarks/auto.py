"""What `plan` chooses, against the best of all schemes and counts; and its PSF check.

    python tests/benchmarks/auto.py [--size 48] [--seeds 21 22] [--data FOLDER]

Simulated: three kinds of object at three noise levels, as counts and in the units of a
camera (gain 2.2, offset 100) of which nothing is told. The error is that of the object
inside the field, relative, in the square mean; "best" is the least error that any of
six schemes reaches at any count, with background and gain known. "default" is what the
command line does without `--auto`. The PSF check is given PSFs that are too narrow and
too wide. With FOLDER also real stacks, by NCC with the truth or a sharper instrument.
"""

import argparse
import time
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from _common import header, table
from _objects import BACKGROUND, OBJECTS, make
from acceleration import light_sheet, nucleus
from stopping import PEAKS, distance, errors

import jaxdecon as jd
from jaxdecon import deconvolution as decon

GAIN, OFFSET = 2.2, 100
UNMATCHED = {"back_projector": "wiener-butterworth", "restore_flux": True}
SCHEMES = {
    "matched": ({"start": "constant"}, 120),
    "accelerated": ({"start": "constant", "accelerated": True}, 60),
    "accelerated, from the image": ({"start": "image", "accelerated": True}, 60),
    "Wiener–Butterworth": ({**UNMATCHED, "start": "constant"}, 15),
    "Wiener–Butterworth, from the image": ({**UNMATCHED, "start": "image"}, 15),
    "OMW": ({**UNMATCHED, "back_projector": "omw", "alpha": 0.005}, 15),
}
FACTORS = (0.67, 0.8, 1.0, 1.25, 1.5)
WIDTH = (6.0, 3.0, 3.0)


def best_of_all(truth, psf, image):
    """(least error, its scheme and count) with everything known."""
    blur = jd.operators.Convolution.from_psf(psf, image.shape)
    problem = decon.Problem(
        data=jnp.asarray(image), operator=blur, background=jnp.float32(BACKGROUND)
    )
    found = {}
    for name, (options, count) in SCHEMES.items():
        scheme = decon.richardson_lucy_scheme(blur, psf, **options)
        curve = np.asarray(errors(problem, scheme, truth, count=count))
        found[name] = float(curve.min()), int(curve.argmin()) + 1
    name = min(found, key=lambda key: found[key])
    return found[name][0], f"{name}, {found[name][1]}"


def default(truth, psf, image):
    """Error of the command line's default."""
    value = jd.richardson_lucy(
        image,
        psf,
        iterations=2,
        background=decon.estimate_background(image),
        **UNMATCHED,
    )
    return float(distance(value, truth))


def planned(truth, psf, image, gain=1.0):
    """(plan, error of its run, seconds to plan, seconds to run)."""
    began = time.perf_counter()
    plan = decon.plan(image, psf)
    made = time.perf_counter()
    value = np.asarray(plan.run(image, psf).value) / gain
    ended = time.perf_counter()
    return plan, float(distance(value, truth)), made - began, ended - made


def simulated(size, seeds):
    """A row per scene, and the excess of counts, of camera units and of the default."""
    excess = {"counts": [], "camera": [], "default": []}
    rows = []
    for kind in OBJECTS:
        for peak in PEAKS:
            for seed in seeds:
                truth, psf, image = make(kind, size, peak, seed=seed, width=WIDTH)
                best, how = best_of_all(truth, psf, image)
                plan, error, _, _ = planned(truth, psf, image)
                units = np.round(GAIN * image + OFFSET)
                other, camera, _, _ = planned(truth, psf, units, GAIN)
                plain = default(truth, psf, image)
                for name, value in (
                    ("counts", error),
                    ("camera", camera),
                    ("default", plain),
                ):
                    excess[name].append(value / best - 1)
                rows.append(
                    [
                        *(kind, peak, f"{best:.3f} ({how})"),
                        f"{error:.3f} ({plan.summary})",
                        f"{camera:.3f} ({other.gain:.2f}, {other.offset:.1f})",
                        f"{plain:.3f}",
                    ]
                )
    return rows, excess


def psf_alarms(size, seeds):
    """How often the check warns, by the PSF's width over the right one."""
    for peak in PEAKS:
        row = [peak]
        for factor in FACTORS:
            alarms = 0
            for kind in OBJECTS:
                for seed in seeds:
                    _, right, image = make(kind, size, peak, seed=seed, width=WIDTH)
                    widths = tuple(factor * w for w in WIDTH)
                    wrong = jd.psf.gaussian(right.shape, widths)
                    warned = decon.plan(image, wrong).warnings
                    alarms += any("PSF" in w for w in warned if "undersample" not in w)
            row.append(f"{alarms} of {len(OBJECTS) * len(seeds)}")
        yield row


def real(folder):
    """Rows of real stacks: correlation of raw, default and planned."""
    sets = {"dualview_sim": light_sheet, "wf_confocal": nucleus}
    for name, load in sets.items():
        if not (folder / name).is_dir():
            print(f"{name} is not there; left out")
            continue
        for label, setting in load(folder):
            image, psf, score = (setting[k] for k in ("image", "psf", "score"))
            boundary = setting.get("boundary", "extend")
            began = time.perf_counter()
            plan = decon.plan(image, psf, boundary=boundary)
            made = time.perf_counter()
            value = plan.run(image, psf).value.block_until_ready()
            ended = time.perf_counter()
            plain = jd.richardson_lucy(
                image,
                psf,
                iterations=2,
                background=decon.estimate_background(image),
                boundary=boundary,
                **UNMATCHED,
            )
            yield [
                *(label, f"{-score(jnp.asarray(image)):.3f}"),
                f"{-score(plain):.3f}",
                f"{-score(value):.3f} ({plan.summary})",
                f"{made - began:.1f} + {ended - made:.1f}",
            ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22])
    parser.add_argument("--data", type=Path, help="folder with the real stacks")
    arguments = parser.parse_args()
    header(f"Automatic choices, {arguments.size}^3, seeds {arguments.seeds}")
    warnings.simplefilter("ignore")
    rows, excess = simulated(arguments.size, arguments.seeds)
    columns = ["object", "peak", "best", "counts", "camera (gain, offset)", "default"]
    table(columns, rows)
    table(
        ["excess over the best", "mean", "median", "largest"],
        [
            [k, *(f"{f(v):+.1%}" for f in (np.mean, np.median, np.max))]
            for k, v in excess.items()
        ],
    )
    columns = ["photons", *(f"PSF x {factor}" for factor in FACTORS)]
    table(columns, list(psf_alarms(arguments.size, arguments.seeds)))
    if arguments.data is not None:
        columns = ["stack", "raw", "default", "planned", "s to plan + run"]
        table(columns, list(real(arguments.data)))


if __name__ == "__main__":
    main()
