"""Networks on structures that they have never seen: are failures flagged and repaired?

    python tests/benchmarks/networks_brittleness.py [--networks densedeconnet unrolled]
        [--classes ...] [--steps N] [--images N] [--save FILE]

A network is trained on one class of structures, seen by a widefield microscope (a
plane, NA 0.8, pixels of 65 nm), and tested on that class and four others. Its error is
the root of the mean squared difference from the truth, relative to the truth's. A
failure is an error above twice the median error on 64 held-out images of its own class,
which set the thresholds, too.
How well the trust score tells failures from the rest is the area under the ROC curve:
0.5 is chance, 1 perfect. Every class takes its turn as the one that is trained on.

Repair is a few accelerated matched Richardson-Lucy updates from the network's estimate,
from half of it and half the image where it is doubtful. Iterating starts from the image
and stops where the error to the truth is least, which takes n updates; repair has
n / 5. "Without network" is the repair of the image itself. "Other light" is the trained
class with a tenth of the photons.
"""

import argparse
import functools
import json
import math
import pathlib
import sys

import jax
import numpy as np
from _common import header, table
from _networks import BACKGROUND, Scene, iterates

import jaxdecon as jd
from jaxdecon import learning

SIZE, PSF = 96, 41
OPTICS = {"na": 0.8, "wavelength": 0.52, "index": 1.33}
CLASSES = ("tubules", "shells", "nuclei", "beads", "spheres")
ITERATIONS = 200
BATCH, RATE = 4, 3e-3
HELD_OUT = 64


def scene():
    psf = jd.psf.widefield((1, PSF, PSF), (0.3, 0.065, 0.065), **OPTICS)[0]
    blur = jd.operators.Convolution.from_psf(psf / psf.sum(), (SIZE, SIZE))
    return Scene(blur, dict(learning.STRUCTURES), ndim=2, views=1)


def error(estimate, truth):
    estimate, truth = np.asarray(estimate), np.asarray(truth)
    return float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))


def trained(kind, name, steps):
    """A model of one class, and its median error on held-out images."""
    world = scene()
    raw = world.pairs([name], length=100_000, seed=0)
    held_out = world.pairs([name], length=HELD_OUT, seed=1)
    pairs = learning.NormalisedPairs(raw, background=BACKGROUND)
    network = learning.build(learning.NetworkConfig(kind=kind, ndim=2))
    operator = world.operator if network.needs_operator else None
    found = learning.fit(
        network,
        pairs,
        steps=steps,
        batch=BATCH,
        optimizer=learning.make_optimizer(steps=steps, rate=RATE),
        loss="mse",
        operator=operator,
        key=jax.random.key(2),
    )
    found.raise_for_status()
    model = learning.Model.of(
        found.network,
        pairs,
        validation=held_out,
        operator=world.operator,
        background=BACKGROUND,
        most=HELD_OUT,
    )
    errors = [
        error(predicted(model, images, world.operator, check=False).image, truth)
        for images, truth in held_out
        if truth.any()
    ]
    return model, float(np.median(errors))


def predicted(model, images, operator, **options):
    return learning.predict(
        model, images[0], operator=operator, background=BACKGROUND, **options
    )


def tested(model, usual, pairs, operator):
    """One dictionary for each image."""
    rows = []
    for images, truth in pairs:
        found = predicted(model, images, operator)
        steps = np.asarray(iterates(operator, images, ITERATIONS))
        curve = [error(step, truth) for step in steps]
        best = int(np.argmin(curve)) + 1
        count = max(best // 5, 1)
        flagged = found.verdict == "doubtful"
        again = functools.partial(
            learning.repair,
            images=images,
            operator=operator,
            background=BACKGROUND,
            iterations=count,
        )
        repaired = again(found.image, doubt=0.5 if flagged else 0.0)
        without = again(found.image, doubt=1.0)
        rows.append(
            {
                "error": error(found.image, truth),
                "score": float(found.score),
                "scores": {k: float(v) for k, v in found.assessment.scores.items()},
                "flagged": flagged,
                "repaired": error(repaired.image, truth),
                "without": error(without.image, truth),
                "iterative": min(curve),
                "best": best,
                "spent": count,
                "usual": usual,
            }
        )
    return rows


def measure(kind, name, steps, images):
    """All rows for a network trained on one class."""
    model, usual = trained(kind, name, steps)
    world, rows = scene(), []
    for number, other in enumerate(CLASSES):
        pairs = world.pairs([other], length=images, seed=100 + number)
        rows += [
            {"on": other, **r} for r in tested(model, usual, pairs, world.operator)
        ]
    low = world.pairs([name], length=images, seed=200, photons=(10.0, 100.0))
    rows += [
        {"on": "other light", **r} for r in tested(model, usual, low, world.operator)
    ]
    return [{"kind": kind, "trained": name, **row} for row in rows]


def auroc(scores, failed):
    """Probability that a failure's score is above that of a success."""
    scores, failed = np.asarray(scores), np.asarray(failed, bool)
    bad, good = scores[failed], scores[~failed]
    if not len(bad) or not len(good):
        return math.nan
    above = (bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean()
    return float(above)


def failed(rows):
    return [row["error"] > 2 * row["usual"] for row in rows]


def summary(rows, label):
    """One row of the table of AUROCs."""
    bad = failed(rows)
    flagged = np.array([row["flagged"] for row in rows])
    own = [row["flagged"] for row in rows if row["on"] == row["trained"]]
    caught = flagged[np.array(bad)].mean() if any(bad) else math.nan
    return [
        *label,
        f"{rows[0]['usual']:.3f}",
        f"{sum(bad)} of {len(bad)}",
        auroc([row["score"] for row in rows], bad),
        float(caught),
        float(np.mean(own)),
    ]


def by_class(rows, kind):
    """Rows of the table of errors: own class, others, other light."""
    groups = {
        "own class": [r for r in rows if r["on"] == r["trained"]],
        "other classes": [
            r for r in rows if r["on"] not in (r["trained"], "other light")
        ],
        "of these, flagged": [
            r
            for r in rows
            if r["on"] not in (r["trained"], "other light") and r["flagged"]
        ],
        "other light": [r for r in rows if r["on"] == "other light"],
    }
    for name, group in groups.items():
        if not group:
            continue
        means = [
            float(np.mean([r[k] for r in group]))
            for k in ("error", "repaired", "without", "iterative")
        ]
        better = float(np.mean([r["repaired"] <= r["iterative"] for r in group]))
        spent = [float(np.mean([r[k] for r in group])) for k in ("spent", "best")]
        yield [kind, name, len(group), *means, better, *spent]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["densedeconnet", "unrolled"])
    parser.add_argument("--classes", nargs="+", default=list(CLASSES), choices=CLASSES)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--save", type=pathlib.Path)
    arguments = parser.parse_args()
    header("Networks on structures that they have never seen")
    rows = []
    if arguments.save is not None and arguments.save.exists():
        rows = [json.loads(line) for line in arguments.save.read_text().splitlines()]
    for kind in arguments.networks:
        for name in arguments.classes:
            if any((r["kind"], r["trained"]) == (kind, name) for r in rows):
                continue
            new = measure(kind, name, arguments.steps, arguments.images)
            print(summary(new, [kind, name]), file=sys.stderr, flush=True)
            rows += new
            if arguments.save is not None:
                with arguments.save.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in new)
    report(rows)


def report(rows):
    """Both tables."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    tables = []
    for kind in kinds:
        own = [row for row in rows if row["kind"] == kind]
        names = dict.fromkeys(row["trained"] for row in own)
        tables += [
            summary([r for r in own if r["trained"] == n], [kind, n]) for n in names
        ]
    columns = ["network", "trained on", "usual error", "failures", "AUROC"]
    table([*columns, "failures flagged", "own class flagged"], tables)
    columns = ["network", "images", "number", "error", "repaired", "without network"]
    columns += ["iterative"]
    columns += ["repaired <= iterative", "updates of repair", "of iterating"]
    table(
        columns,
        [
            line
            for kind in kinds
            for line in by_class([row for row in rows if row["kind"] == kind], kind)
        ],
    )


if __name__ == "__main__":
    main()
