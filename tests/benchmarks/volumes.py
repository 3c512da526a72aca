"""Volumes larger than memory: throughput, memory, growth, scaling, faults.

    python tests/benchmarks/volumes.py [--only throughput,memory,...] [--quick]
        [--folder SCRATCH]

Sources are OME-Zarr of uint16 (chunks of 64^3, shards of 256^3, zstd) of a random
texture; they and the results lie in SCRATCH, up to some 30 GB, and are deleted. Runs
that are measured by memory or CPU time are processes of their own.

- throughput: `volumes.deconvolve` against `richardson_lucy` in memory on an array of
  the shape of a block with its halo, in turns.
- memory: peak resident memory and time for inputs of 1 to 16 GB at one budget.
- scaling: Dask workers, `Workers` and `Local`, each worker held to one core.
- faults: what kills, full disks and damaged sources do, and that runs then end with
  the bytes of an undisturbed one.
- paper: an estimate for 100 TB on 64 GPUs, nothing measured but a real plan.
"""

import argparse
import importlib
import shlex
import sys
import tempfile
import warnings
from pathlib import Path

SECTIONS = ("throughput", "memory", "scaling", "faults", "paper")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    unknown = sorted(set(chosen) - set(SECTIONS))
    if unknown:
        parser.error(f"--only has {', '.join(unknown)}; of {', '.join(SECTIONS)}.")
    print(f"python tests/benchmarks/volumes.py {shlex.join(sys.argv[1:])}")
    warnings.simplefilter("ignore")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        section = importlib.import_module(f"_volumes_{name}")
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            getattr(section, name)(Path(folder), quick=arguments.quick)


if __name__ == "__main__":
    main()
