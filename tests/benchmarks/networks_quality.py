"""Networks against iterating with the exact operator, where blur varies; their cost.

    python tests/benchmarks/networks_quality.py [--scenes "light sheet" field]
        [--networks ...] [--steps N] [--save FILE]

Every network is trained by `jaxdecon.learning.fit` in a process of its own, on pairs
that are simulated as it goes, and tested on others. "Iterative" is Richardson-Lucy with
the operator that made the images: stopped where the error to the truth is least, which
nobody can do without the truth; and at the one number of iterations that is best for
all test images on average. "Peak memory" is what the process held at most, less what it
held before training. With `--save` results are added to a file as they come, one JSON
per line, and those that it has are not measured again.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time

import jax
import numpy as np
from _common import header, table
from _networks import BACKGROUND, NETWORKS, SCENES, iterates, network_for, scores

from jaxdecon import learning

TEST, VALIDATION = 12, 8
ITERATIONS = 200
STEPS = {"light sheet": 1500, "field": 3000}
OTHERS = {
    "light sheet": {
        "DenseDeconNet": 4000,
        "attention": 800,
        "RLN, physics": 500,
        "unrolled": 300,
    },
    "field": {
        "DenseDeconNet": 6000,
        "attention": 1500,
        "RLN, physics": 1000,
        "unrolled": 600,
    },
}
BATCH = {"light sheet": 2, "field": 4}
RATE = 3e-3


def test_pairs(scene):
    return scene.pairs(length=TEST, seed=99)


def normalised(pairs):
    return learning.NormalisedPairs(pairs, background=BACKGROUND)


def timed(function):
    """A result, and the seconds of a second call."""
    jax.block_until_ready(function())
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


def without_training(scene):
    """Rows: raw, iterative at best stopping, iterative at one number for all."""
    pairs = test_pairs(scene)
    rows, curves, seconds = [], [], []
    for images, truth in pairs:
        found, spent = timed(lambda im=images: iterates(scene.operator, im, ITERATIONS))
        errors = np.square(np.asarray(found) - truth).mean(tuple(range(1, found.ndim)))
        raw = np.asarray(images).mean(0) - BACKGROUND
        best = int(errors.argmin())
        rows.append((scores(raw, truth), scores(found[best], truth), best + 1))
        curves.append(10 * np.log10(np.asarray(truth).max() ** 2 / errors))
        seconds.append(spent / ITERATIONS)
    common = int(np.mean(curves, 0).argmax())
    at_common = [
        scores(iterates(scene.operator, images, ITERATIONS)[common], truth)
        for images, truth in pairs
    ]
    raw, best, counts = zip(*rows, strict=True)
    one = float(np.median(seconds))
    return [
        {"what": "raw", "scores": mean(raw)},
        {
            "what": f"iterative, best stopping ({min(counts)}-{max(counts)})",
            "scores": mean(best),
            "seconds": one * float(np.mean(counts)),
        },
        {
            "what": f"iterative, {common + 1} for all",
            "scores": mean(at_common),
            "seconds": one * (common + 1),
        },
    ]


def mean(values):
    return np.mean(values, 0).tolist()


def memory():
    """Peak of the process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def trained(scene_name, name, steps):
    """Row of a network."""
    scene = SCENES[scene_name]()
    network = network_for(name, scene)
    operator = scene.operator if network.needs_operator else None
    pairs = normalised(scene.pairs(length=100_000, seed=0))
    validation = normalised(scene.pairs(length=VALIDATION, seed=1))
    _ = pairs[0], validation[0]  # compiled before memory is looked at
    before = memory()
    steps = steps or OTHERS[scene_name].get(name, STEPS[scene_name])
    found = learning.fit(
        network,
        pairs,
        steps=steps,
        batch=BATCH[scene_name],
        optimizer=learning.make_optimizer(steps=steps, rate=RATE),
        loss="mse",
        validation=validation,
        validate_every=max(steps // 10, 1),
        operator=operator,
        key=jax.random.key(2),
        progress=say,
    )
    found.raise_for_status()
    cost = {"steps": found.steps, "wall": found.seconds, "memory": memory() - before}
    results, seconds = [], []
    for images, truth in normalised(test_pairs(scene)):
        run = lambda im=images: found.network(im[None], operator)[0]  # noqa: E731
        estimate, spent = timed(run)
        results.append(scores(estimate, truth))
        seconds.append(spent)
    return {
        "what": name,
        "parameters": network.parameter_count,
        "scores": mean(results),
        "seconds": float(np.median(seconds)),
        **cost,
    }


def say(step, values):
    if "validation" in values:
        print(f"  {step}: {values}", file=sys.stderr, flush=True)


def in_own_process(scene, name, steps):
    """So that its memory is its own."""
    command = [sys.executable, __file__, "--one", scene, name]
    command += [] if steps is None else ["--steps", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def collected(scene_name, networks, save, steps):
    """All rows of a scene; what is in the file already is taken from there."""
    known = []
    if save is not None and save.exists():
        lines = map(json.loads, save.read_text().splitlines())
        known = [line for line in lines if line["scene"] == scene_name]
    have = {row["what"] for row in known}
    rows = known

    def add(row):
        rows.append({"scene": scene_name, **row})
        if save is not None:
            with save.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")

    if "raw" not in have:
        for row in without_training(SCENES[scene_name]()):
            add(row)
    for name in networks:
        if name not in have:
            add(in_own_process(scene_name, name, steps))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES)
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS
    )
    parser.add_argument("--steps", type=int, help="in place of those of each network")
    parser.add_argument("--save", type=pathlib.Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(trained(*arguments.one, arguments.steps)))
        return
    header("Networks where blur varies")
    columns = ["method", "parameters", "PSNR, dB", "SSIM", "NCC", "s per volume"]
    columns += ["steps", "training, s", "peak memory, MiB"]
    keys = ("seconds", "steps", "wall", "memory")
    for scene in arguments.scenes:
        rows = collected(scene, arguments.networks, arguments.save, arguments.steps)
        print(f"\n{scene}: {TEST} test images")
        table(
            columns,
            [
                [r["what"], r.get("parameters", ""), *r["scores"]]
                + [r.get(key, "") for key in keys]
                for r in rows
            ],
        )


if __name__ == "__main__":
    main()
