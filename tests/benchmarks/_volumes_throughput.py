"""Speed of block-wise deconvolution on disk, against the same in memory."""

import math
import time

import jax
import numpy as np
from _common import header, table
from _volumes_data import (
    BACKGROUND,
    psf_of,
    remove,
    step_seconds,
    texture,
    write_source,
)

import jaxdecon as jd

SHARD = (256, 256, 256)
METHODS = {
    "Wiener-Butterworth, 2": {"iterations": 2, "back_projector": "wiener-butterworth"},
    "matched, 10": {"iterations": 10},
}
SHAPE, QUICK = (512, 512, 1024), (128, 256, 256)
REPEATS = 3
"""Calls in memory before the run on disk, and after it."""
GOAL = 0.8


def throughput(folder, *, quick):
    """Both methods, each in turns with the same in memory."""
    header("Volumes: throughput")
    rows, parts = [], []
    for name, options in METHODS.items():
        shape, block = (QUICK, (128, 128, 128)) if quick else (SHAPE, SHARD)
        source = write_source(folder / "source.ome.zarr", shape, shard=block)
        found = compare(source, folder, block, options)
        remove(source)
        rows.append([name, *found[0]])
        parts.append([name, *found[1]])
    table(
        [
            *("", "volume", "block", "with halo", "in memory Mvoxel/s"),
            *("on disk, computed", "ratio", "on disk, kept", "ratio", "waited"),
        ],
        rows,
    )
    print("\nThe same in CPU time, and what a block takes (journal), seconds:")
    table(
        [
            *("", "CPU s per Gvoxel in memory", "on disk, computed", "ratio"),
            *("read", "compute", "write", "compute in memory"),
        ],
        parts,
    )
    print(f"\ngoal: {GOAL:.0%} of the speed in memory, per computed voxel")


def compare(source, folder, block, options):
    """Rows of both tables for one method."""
    psf, target = psf_of("common"), folder / "target.ome.zarr"
    options = options | {"background": BACKGROUND}
    plan = jd.volumes.deconvolve(
        source, target, psf, block=block, dry_run=True, **options
    )
    shape = plan.grid.read_shape
    image = texture(shape)

    def in_memory():  # "last": as blocks are done, without a look at the residual
        return np.asarray(jd.richardson_lucy(image, psf, keep="last", **options))

    def on_disk():
        return jd.volumes.deconvolve(
            source, target, psf, block=block, overwrite=True, resume=False, **options
        )

    in_memory()
    memory = [timed(in_memory) for _ in range(REPEATS)]
    run, _, run_cpu = timed(on_disk)
    memory += [timed(in_memory) for _ in range(REPEATS)]
    steps = [step_seconds(target, s) for s in ("read", "compute", "write")]
    remove(target)
    wall = float(np.mean([m[1] for m in memory]))
    voxels, kept = math.prod(shape), math.prod(plan.grid.shape)
    computed = len(plan.grid) * voxels
    seconds, base = run.seconds, voxels / wall
    first = [
        *map(sizes, (plan.grid.shape, plan.grid.core, shape)),
        base / 1e6,
        computed / seconds / 1e6,
        f"{computed / seconds / base:.0%}",
        kept / seconds / 1e6,
        f"{kept / seconds / base:.0%}",
        f"{run.waited:.1%}",
    ]
    cpu = 1e9 * np.mean([m[2] for m in memory]) / voxels
    cpu_run = 1e9 * run_cpu / computed
    second = [*(float(cpu), float(cpu_run)), f"{cpu / cpu_run:.0%}", *steps, wall]
    return first, second


def timed(function):
    """(what it returned, wall seconds, CPU seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - wall, time.process_time() - cpu


def sizes(shape):
    return " x ".join(map(str, shape))
