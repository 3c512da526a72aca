"""Error against seconds: jaxdecon and other programs, given equal time.

    python tests/benchmarks/equal_time.py --python PYTHON_WITH_PEERS \\
        [--size 128] [--seconds 4] [--repeats 2] [--figure equal_time.png]

On two objects, blobs (`_common.scene`) and filaments (`_objects.make`), whose images
light enters from outside. Every program does 1, 2, 3, 5, 8 ... iterations, each count
from its start, until one takes longer than `--seconds` or 300 are done. Programs take
turns; the least of several runs counts, and compilation is left out. The table has the
least error up to a moment, as if all knew when to stop, interpolated between counts,
and the error after the last count; the plot has every count.

The error is the relative one of the object. jaxdecon is told the background. The peers
know none: it is taken off their results, and what is below zero set to zero. Then every
result, jaxdecon's too, is multiplied by the number that makes its error least, so that
no program suffers from how it scales.
"""

import argparse
import time
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from _common import PEAK_PHOTONS, header, scene, table
from _objects import make
from _peers import PEERS
from peers import BACKGROUND, Peers, error

import jaxdecon as jd

COUNTS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300)
MOMENTS = (0.5, 1, 2, 4)
OURS = {
    "jaxdecon, matched": {},
    "jaxdecon, accelerated": {"accelerated": True},
    "jaxdecon, Wiener–Butterworth, accelerated": {
        "back_projector": "wiener-butterworth",
        "accelerated": True,
        "restore_flux": True,
    },
    "jaxdecon, OMW": {"back_projector": "omw", "alpha": 0.005, "restore_flux": True},
}
OBJECTS = {
    "blobs": scene,
    "filaments": lambda size: make("filaments", size, PEAK_PHOTONS),
}


def our_runs(image, psf):
    """Functions of the count of iterations: seconds and result."""
    image, psf = jnp.asarray(image), jnp.asarray(psf)
    compiled = set()

    def run(options, count):
        solve = partial(
            jd.richardson_lucy, image, psf, background=BACKGROUND, **options
        )
        key = (*options, count)
        if key not in compiled:
            jax.block_until_ready(solve(iterations=count))
            compiled.add(key)
        began = time.perf_counter()
        result = jax.block_until_ready(solve(iterations=count))
        return time.perf_counter() - began, np.asarray(result)

    return {name: partial(run, options) for name, options in OURS.items()}


def their_runs(peers):
    """The same for those peers that run."""

    def run(name, count):
        wall, _, result = peers.run(name, count)
        return wall, np.maximum(result - BACKGROUND, 0)

    able = [name for name in PEERS if peers.run(name, 1) is not None]
    return {name: partial(run, name) for name in able}


def scaled_error(result, truth):
    """Relative error at the scale that makes it least."""
    result = np.asarray(result, float)
    return error((result * truth).sum() / (result**2).sum() * result, truth)


def measure(runs, truth, seconds, repeats):
    """For every program, {count: (least seconds, error)}."""
    curves = {name: {} for name in runs}
    for _ in range(repeats):
        late = set()
        for count in COUNTS:
            for name in [name for name in runs if name not in late]:
                wall, result = runs[name](count)
                known = curves[name].get(count, (np.inf, 0))
                curves[name][count] = min(known[0], wall), scaled_error(result, truth)
                if wall > seconds:
                    late.add(name)
    return {name: settled(curve) for name, curve in curves.items()}


def settled(curve):
    """The curve, where no count takes longer than a greater one."""
    walls, errors = np.transpose(list(curve.values()))
    walls = np.minimum.accumulate(walls[::-1])[::-1]
    return dict(zip(curve, zip(walls, errors, strict=True), strict=True))


def reached(curve, moment):
    """The least error up to a moment, or "" before the first count is done."""
    walls, errors = np.transpose(list(curve.values()))
    if moment < walls[0]:
        return ""
    now = np.interp(moment, walls, errors)  # NaN where a program has come to grief
    return float(np.nanmin([now, *errors[walls <= moment]]))


def report(kind, curves):
    rows = []
    for name, curve in curves.items():
        best, last = (
            list(curve)[np.nanargmin([e for _, e in curve.values()])],
            max(curve),
        )
        rows.append([name, *(reached(curve, moment) for moment in MOMENTS)])
        for count in (best, last):
            wall, least = curve[count]
            rows[-1].append(f"{least:.3g} ({count} in {wall:.2g} s)")
    rows.sort(key=lambda row: (row[4] == "", row[4]))
    moments = [f"{moment} s" for moment in MOMENTS]
    table([f"{kind}: error by", *moments, "least", "last"], rows)


def draw(curves_of, path, size):
    """One panel per object."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(curves_of), sharey=True, figsize=(13, 5.6))
    names = list(
        dict.fromkeys(name for curves in curves_of.values() for name in curves)
    )
    looks = dict(zip(names, map(style, names), strict=True))
    for panel, (kind, curves) in zip(axes, curves_of.items(), strict=True):
        for name, curve in curves.items():
            panel.plot(*np.transpose(list(curve.values())), label=name, **looks[name])
        panel.set(xscale="log", title=kind, xlabel="seconds", ylim=(None, 1.0))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.grid(alpha=0.3, which="both", lw=0.5)
    axes[0].set_ylabel("relative error of the object")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=9, frameon=False)
    device = jax.devices()[0].platform.upper()
    figure.suptitle(
        f"Error against time, {size}³, {device}: a marker per count of iterations; "
        "solid lines take care of the borders, dashed ones do not"
    )
    figure.tight_layout(rect=(0, 0, 0.755, 1))
    figure.savefig(path, dpi=150)


def style(name):
    """Colour by program; ours thick, borders taken care of solid, circular dashed."""
    program, _, way = name.partition(", ")
    if program == "jaxdecon":
        place = list(OURS).index(name)
        shades = ("#f4a582", "#d6604d", "#b2182b", "#67001f")
        return {"color": shades[place], "marker": "oDs^"[place], "lw": 2.6, "zorder": 3}
    programs = list(dict.fromkeys(n.partition(", ")[0] for n in PEERS))
    place = programs.index(program)
    aware = way in ("extended", "padded")
    return {
        "color": f"C{(0, 2, 4, 5, 6, 7, 8, 9)[place % 8]}",
        "marker": "vP<X>hd*"[place % 8],
        "ls": "-" if aware else "--",
        "mfc": None if aware else "none",
        "lw": 1.2,
        "ms": 5,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--python", help="a Python that has the peers")
    parser.add_argument("--seconds", type=float, default=max(MOMENTS))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--figure", help="a file for the plot")
    arguments = parser.parse_args()
    # Over-iteration is what the curves show.
    warnings.simplefilter("ignore", jd.deconvolution.OverIterationWarning)
    header(f"Equal time, {arguments.size}^3")
    curves_of = {}
    for kind, draw_object in OBJECTS.items():
        truth, psf, image = draw_object(arguments.size)
        runs = our_runs(image, psf)
        if arguments.python:
            runs |= their_runs(
                Peers(arguments.python, image=image, psf=np.asarray(psf))
            )
        curves = measure(runs, truth, arguments.seconds, arguments.repeats)
        curves_of[kind] = curves
        report(kind, curves)
    if arguments.figure:
        draw(curves_of, arguments.figure, arguments.size)


if __name__ == "__main__":
    main()
