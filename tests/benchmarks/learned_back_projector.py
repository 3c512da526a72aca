"""Learned back projectors against the published settings and matched updates.

    python tests/benchmarks/learned_back_projector.py [--field 16,32,32] [--steps 25]

Three PSFs, two noise levels, K = 1, 2, 3. Scores are -20 log10(|x - t| / |t|) in dB,
means over the objects of a column; more is better. Columns: held-out objects of the
kinds that were learned from; objects of other kinds; the first with a fifth of the
photons that it was learned for; the first seen through a PSF that is 10 % wider than
the one that is used.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, table
from _objects import OBJECTS

import jaxdecon as jd
from jaxdecon.learning.schemes._back_projector import FAMILIAR, FINEST, LEAST_WIDTH

BACKGROUND, FEWER, WIDER = 5.0, 5.0, 1.1
PHOTONS = (100.0, 1000.0)
MATCHED = (10, 20, 30, 40, 80)
COLUMNS = ("same kinds", "other kinds", "fewer photons", "wrong PSF")


def psfs(wider=1.0):
    """Three PSFs, or the same from optics of a lower NA and a thicker sheet."""
    optics = {"na": 1.1 / wider, "wavelength": 0.52, "index": 1.33}
    sheet = {"na": 0.8 / wider, "wavelength": 0.52, "index": 1.33}
    size, voxel = (31, 25, 25), (0.2, 0.1, 0.1)
    thick = {"sheet_fwhm": 1.2 * wider}
    widths = wider * np.array((6.0, 3.0, 3.0))
    return {
        "Gaussian": (jd.psf.gaussian((25, 13, 13), widths), (1, 1, 1)),
        "light sheet": (jd.psf.light_sheet(size, voxel, **sheet, **thick), voxel),
        "widefield": (jd.psf.widefield(size, voxel, **optics), voxel),
    }


def simulated(psf, spacing, shape, key):
    """Objects of the kinds that are learned from, on a domain of `shape`."""
    lateral = float((np.asarray(jd.psf.fwhm(psf)) * spacing)[-2:].mean())
    width = np.maximum(FINEST * lateral / np.array(spacing), LEAST_WIDTH)
    keys = jax.random.split(key, len(FAMILIAR))
    return [
        jd.learning.simulated_object(kind, shape, width=width, key=k)
        for kind, k in zip(FAMILIAR, keys, strict=True)
    ]


def others(shape):
    """Objects of this folder's other benchmarks."""
    rng = np.random.default_rng(7)
    made = []
    for draw in OBJECTS.values():
        sharp, smooth = draw(shape, rng)
        kernel = jd.psf.gaussian((9, 9, 9), smooth)
        blur = jd.operators.Convolution.from_psf(kernel, shape, boundary="periodic")
        made.append(jnp.maximum(blur(sharp), 0))
    return made


def record(things, operator, seen_by, photons, rng):
    """(problem, truth): data by one operator, to be solved with another."""
    found = []
    for thing in things:
        clean = np.maximum(np.asarray(seen_by(thing)), 0)
        scale = photons / clean.max()
        data = rng.poisson(scale * clean + BACKGROUND).astype(np.float32)
        problem = jd.deconvolution.Problem(
            data=jnp.asarray(data),
            operator=operator,
            background=jnp.asarray(BACKGROUND, jnp.float32),
        )
        found.append((problem, scale * operator.image_region(thing)))
    return found


def columns(psf, wrong, spacing, field, photons):
    """Problems of all columns."""
    operator = jd.operators.Convolution.from_psf(psf, field)
    seen_by = jd.operators.Convolution.from_psf(wrong, field)
    rng = np.random.default_rng(11)
    same = simulated(psf, spacing, operator.domain, jax.random.key(123))
    return operator, {
        "same kinds": record(same, operator, operator, photons, rng),
        "other kinds": record(
            others(operator.domain), operator, operator, photons, rng
        ),
        "fewer photons": record(same, operator, operator, photons / FEWER, rng),
        "wrong PSF": record(same, operator, seen_by, photons, rng),
    }


@jax.jit
def _scores(scheme, problem, truth, count):
    def step(state, _):
        state = scheme.update(problem, state)
        seen = problem.operator.image_region(state.estimate)
        return state, -20 / jnp.log(10.0) * jd.learning.log_error(seen, truth)

    return jax.lax.scan(step, scheme.init(problem), count)[1]


def scores(scheme, problems, count):
    """dB after every update, mean over the problems of each column."""
    updates = jnp.zeros(count)
    return {
        name: np.mean([_scores(scheme, *pair, updates) for pair in pairs], 0)
        for name, pairs in problems.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--field", default="16,32,32")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--kind", default="wiener-butterworth")
    parser.add_argument("--restore-flux", action="store_true")
    arguments = parser.parse_args()
    field = tuple(map(int, arguments.field.split(",")))
    header(f"Learned back projectors, images of {field}")
    wrong = psfs(WIDER)
    tally = {"better than published": 0, "worse than published": 0, "cells": 0}
    reached, deep = 0, 0
    for name, (psf, spacing) in psfs().items():
        for photons in PHOTONS:
            case = columns(psf, wrong[name][0], spacing, field, photons)
            rows, gains, third, thirty = one(case, psf, spacing, photons, arguments)
            print(f"\n{name}, {photons:.0f} photons")
            table(["scheme", *COLUMNS], rows)
            tally["cells"] += gains.size
            tally["better than published"] += int((gains > 0).sum())
            tally["worse than published"] += int((gains < 0).sum())
            reached, deep = reached + int((third >= thirty).sum()), deep + third.size
    print("\nlearned: " + ", ".join(f"{k} {v}" for k, v in tally.items()))
    print(f"learned, K = 3, at least as good as 30 matched: {reached} of {deep} cells")


def one(case, psf, spacing, photons, arguments):
    """Rows of a table, gains over published, and scores of K = 3 and of 30 matched."""
    operator, problems = case
    flux = arguments.restore_flux

    def wrapped(kernel):
        scheme = jd.deconvolution.RichardsonLucy(
            back_projector=operator.back_projection(kernel)
        )
        return jd.deconvolution.FluxPreserving(scheme=scheme) if flux else scheme

    matched = scores(jd.deconvolution.RichardsonLucy(), problems, max(MATCHED))
    published = scores(wrapped(jd.back_projector(psf)), problems, 3)
    rows = [
        [f"matched, {n}", *(float(matched[c][n - 1]) for c in COLUMNS)] for n in MATCHED
    ]
    gains = []
    for k in (1, 2, 3):
        learned = jd.learning.back_projector(
            psf,
            iterations=k,
            kind=arguments.kind,
            photons=photons,
            background=BACKGROUND,
            shape=operator.range,
            spacing=spacing,
            restore_flux=flux,
            steps=arguments.steps,
        )
        found = scores(wrapped(learned.kernel), problems, k)
        before = [float(published[c][k - 1]) for c in COLUMNS]
        after = [float(found[c][k - 1]) for c in COLUMNS]
        rows += [[f"published, {k}", *before], [f"learned, {k}", *after]]
        print(f"K = {k}: {learned.message}")
        print("   ", _settings(learned))
        gains.append(np.array(after) - np.array(before))
    thirty = np.array([matched[c][29] for c in COLUMNS])
    return rows, np.array(gains), np.array(after), thirty


def _settings(learned):
    found = learned.parameters
    if not learned.share:
        return "as published"
    return {k: np.round(v, 3) for k, v in found.items() if k != "interpolate"}


if __name__ == "__main__":
    main()
