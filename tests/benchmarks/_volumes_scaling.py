"""Workers on one machine: time and efficiency."""

import os

from _common import header, table
from _volumes_data import BACKGROUND, remove, run_child, write_source

ONE_CORE = {
    "NPROC": "1",  # threads of XLA's pool
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
}
TEAMS = [
    *(("local", 1), ("workers", 1), ("workers", 2)),
    *(("dask", 1), ("dask", 2), ("dask", 4)),
]
ROUNDS = 3
"""Turns, of which the fastest run of each engine counts."""
NAMES = {"local": "Local()", "workers": "Workers({})", "dask": "Dask, {} workers"}


def scaling(folder, *, quick):
    """The same volume by every engine, in a process of its own with its workers."""
    header("Volumes: scaling")
    print(
        "Wiener-Butterworth, 2 iterations. Every process computes with one thread: "
        + ", ".join(f"{k}={v}" for k, v in ONE_CORE.items())
        + "; programs are compiled before."
    )
    edge = 64 if quick else 128
    shape, block = (edge, 4 * edge, 4 * edge), (edge,) * 3
    source = write_source(folder / "source.ome.zarr", shape, shard=block, psf="small")
    spec = {
        "source": source,
        "target": folder / "target.ome.zarr",
        "psf": "small" if quick else "common",
        "options": {
            "iterations": 2,
            "back_projector": "wiener-butterworth",
            "background": BACKGROUND,
            "block": block,
        },
    }
    environment = ONE_CORE | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    run_child(spec, **environment)  # fills the cache
    remove(spec["target"])
    teams, found = TEAMS[: -1 if quick else None], {}
    for team in teams * (1 if quick else ROUNDS):
        name, count = team
        engine = {"engine": name, "workers": count}
        run = run_child(spec | engine, **environment)
        found[team] = min(found.get(team, run), run, key=pace)
        remove(spec["target"])
    rows = [row(team, found) for team in teams]
    table(
        [
            *("engine", "s in all", "s per block, once begun", "speed-up"),
            *("efficiency", "CPU s", "waited"),
        ],
        rows,
    )
    print(
        f"\nSpeed-up over one worker of the same engine, by the pace from the first "
        f"block to the last, without the start of processes; efficiency: of "
        f"min(workers, {os.cpu_count()} cores). Of several turns the fastest counts."
    )


def row(team, found):
    """One engine."""
    name, count = team
    run = found[team]
    faster = pace(found[name, 1]) / pace(run)
    return [
        NAMES[name].format(count),
        float(run["wall"]),
        float(pace(run)),
        f"{faster:.2f}",
        f"{faster / min(count, os.cpu_count() or 1):.0%}",
        float(run["cpu"]),
        "" if run["waited"] is None else f"{run['waited']:.0%}",
    ]


def pace(run):
    """Seconds per block, between the ends of the first and of the last."""
    times = run["times"]
    return (times[-1] - times[0]) / (len(times) - 1)
