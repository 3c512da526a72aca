"""Seconds that `jaxdecon deconvolve` takes from a cold process, import included.

    python tests/benchmarks/cold_start.py [--size 128] [--repeats 3]

First with an empty compilation cache, then with the one that this left.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import header, scene, table

import jaxdecon as jd


def run(folder, cache, *options):
    """Wall seconds of one command."""
    command = [sys.executable, "-m", "jaxdecon", "deconvolve", folder / "image.tif"]
    command += ["--psf", folder / "psf.tif", "-o", folder / "out.tif", "--overwrite"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    began = time.perf_counter()
    subprocess.run(
        [*command, *options], check=True, env=environment, capture_output=True
    )
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    header(f"Cold start of the command line, {arguments.size}^3, PSF 33^3")
    _, psf, image = scene(arguments.size)
    cases = {
        "default (Wiener-Butterworth, 2 iterations)": (),
        "matched, 10 iterations": ("--back-projector", "matched", "-n", "10"),
    }
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem, array in (("image", image), ("psf", np.asarray(psf))):
            wrapped = jd.io.Image(data=array, axes="zyx", voxel_size=(0.2, 0.1, 0.1))
            jd.io.write(folder / f"{stem}.tif", wrapped)
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], check=True)
        rows.append(["import jax alone", time.perf_counter() - began, ""])
        for label, options in cases.items():
            caches = [folder / f"{label}{i}" for i in range(arguments.repeats)]
            first = min(run(folder, cache, *options) for cache in caches)
            again = min(run(folder, caches[0], *options) for _ in caches)
            rows.append([label, first, again])
    table(["command", "first time, s", "with the cache, s"], rows)


if __name__ == "__main__":
    main()
