"""Ten iterations, and time to quality, against other programs in one run.

    python tests/benchmarks/peers.py --python PYTHON_WITH_PEERS [--size 128]

The peers run in one process of their own, under a Python that has them (any of those
that `_peers.py` knows; missing ones are said). Programs take turns, so that a busy
machine hits all alike; the least of several runs counts, the first one, with its
compilation, is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from _common import header, interleaved, scene, table
from _peers import PEERS

import jaxdecon as jd

BACKGROUND = 5.0


class Peers:
    """The process with the other programs: `program`, with these arrays."""

    def __init__(self, python, program="_peers.py", **arrays):
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        np.savez(self._path / "arrays.npz", **arrays)
        self._python = python
        self._program = program
        self._start()

    def _start(self):
        python = self._python
        program = Path(__file__).with_name(self._program)
        self._process = subprocess.Popen(
            [python, program, self._path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # clij2-fft opens its library by its bare name.
            env={**os.environ, "LD_LIBRARY_PATH": str(Path(python).parents[1] / "lib")},
        )

    def run(self, name, count):
        """Seconds (wall, CPU) and the result; None if the program cannot run."""
        return self.ask(f"{name} {count}", name)

    def ask(self, line, name):
        """The same for a line that `program` understands, about `name`."""
        assert self._process.stdin
        assert self._process.stdout
        print(line, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            self._start()
        answer = json.loads(line or '{"error": "it died"}')
        if "error" in answer:
            print(f"{name}: {answer['error']}", file=sys.stderr)
            return None
        return answer["wall"], answer["cpu"], np.load(self._path / "result.npy")


def ten_iterations(peers, image, psf, repeats):
    """Least wall and CPU seconds of ten iterations, and who they belong to."""
    solve = partial(jd.richardson_lucy, jnp.asarray(image), jnp.asarray(psf))
    ours = {
        "jaxdecon, circular": lambda: solve(iterations=10, boundary="periodic"),
        "jaxdecon, extended": lambda: solve(iterations=10),
    }
    best = {}
    names = [n for n in PEERS if peers.run(n, 1) is not None] if peers else []
    for _ in range(repeats):
        found = interleaved(ours, 1)
        found |= {name: peers.run(name, 10)[:2] for name in names}
        for name, (wall, cpu) in found.items():
            old = best.get(name, (np.inf, np.inf))
            best[name] = min(wall, old[0]), min(cpu, old[1])
    return best


def error(result, truth):
    """Relative error of the object."""
    difference = np.asarray(result, float) - truth
    return float(np.linalg.norm(difference) / np.linalg.norm(truth))


def time_to_quality(peers, image, psf, truth):
    """Error against seconds for the ways that jaxdecon and a plain program have."""
    solve = partial(
        jd.richardson_lucy, jnp.asarray(image), jnp.asarray(psf), background=BACKGROUND
    )
    unmatched = {"back_projector": "wiener-butterworth", "restore_flux": True}
    ways = [("matched", n, {}) for n in (10, 20, 50, 100, 200)]
    ways += [("accelerated", n, {"accelerated": True}) for n in (5, 10, 20, 30)]
    constant = {"accelerated": True, "init": "constant"}
    ways += [("accelerated, constant start", n, constant) for n in (10, 20, 30)]
    ways += [("Wiener–Butterworth", n, unmatched) for n in (1, 2, 3, 5)]
    both = {**unmatched, "accelerated": True}
    ways += [("the same, accelerated", n, both) for n in (2, 3, 5)]
    rows = []
    for label, count, options in ways:
        run = partial(solve, iterations=count, **options)
        with warnings.catch_warnings():  # over-iteration is what the table shows
            warnings.simplefilter("ignore", jd.deconvolution.OverIterationWarning)
            wall, _ = interleaved({"run": run}, 3)["run"]
            rows.append([f"jaxdecon, {label}", count, wall, error(run(), truth)])
    for name in ("SciPy by hand, extended", "scikit-image", "clij2-fft, extended"):
        for count in (10, 50) if peers and peers.run(name, 1) else ():
            wall, _, result = peers.run(name, count)
            rows.append([name, count, wall, error(result - BACKGROUND, truth)])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--python", help="a Python that has the peers")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    header(f"Peers, {arguments.size}^3, PSF 33^3")
    truth, psf, image = scene(arguments.size)
    peers = None
    if arguments.python:
        peers = Peers(arguments.python, image=image, psf=psf)
    best = ten_iterations(peers, image, psf, arguments.repeats)
    rows = [[name, *seconds] for name, seconds in sorted(best.items())]
    rows.sort(key=lambda row: row[1])
    table(["ten matched iterations", "wall s", "CPU s"], rows)
    rows = time_to_quality(peers, image, psf, truth)
    table(["time to quality", "iterations", "wall s", "relative error"], rows)


if __name__ == "__main__":
    main()
