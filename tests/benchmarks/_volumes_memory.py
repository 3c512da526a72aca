"""Peak memory and time of block-wise processing, against the size of the input."""

import functools

import numpy as np
from _common import header, table
from _volumes_data import BACKGROUND, psf_of, remove, run_child, write_source

BUDGET = 2e9
"""Bytes, of device and host together, which on a CPU are one."""
SHARD = (256, 256, 256)
SIZES = {
    0.25: (256, 512, 1024),
    0.5: (512, 512, 1024),
    1: (512, 1024, 1024),
    2: (1024, 1024, 1024),
    4: (1024, 1024, 2048),
    8: (1024, 2048, 2048),
    16: (2048, 2048, 2048),
}
"""Shapes by gigabytes of uint16; those up to 1 are deconvolved, the rest smoothed."""
QUICK = {0.03: (256, 256, 256), 0.07: (256, 256, 512)}
SMOOTH = {"halo": 1, "volumes": 8, "memory": BUDGET, "dtype": "uint16"}
DECONVOLVE = {
    "iterations": 1,
    "back_projector": "wiener-butterworth",
    "background": BACKGROUND,
    "memory": BUDGET,
    "dtype": "uint16",
}


def memory(folder, *, quick):
    """Inputs of several sizes, each worked through in a process of its own."""
    budget = 0.5e9 if quick else BUDGET
    header(f"Volumes: memory and growth, `memory={budget:.3g}`")
    sizes = QUICK if quick else SIZES
    found = {"smooth": [], "deconvolve": []}
    for size, shape in sizes.items():
        source = write_source(folder / "source.ome.zarr", shape, shard=SHARD)
        for name in found:
            if quick or (size <= 1 if name == "deconvolve" else size >= 1):
                found[name].append((size, one(name, source, folder, budget)))
                print(
                    f"({name}, {size} GB: {found[name][-1][1]['wall']:.0f} s)",
                    flush=True,
                )
        remove(source)
    for name, runs in found.items():
        report(name, runs)


def one(name, source, folder, budget):
    """One size, one operation."""
    target = folder / "target.ome.zarr"
    options = SMOOTH if name == "smooth" else DECONVOLVE
    spec = {
        "source": source,
        "target": target,
        "function": name == "smooth",
        "options": options | {"memory": budget},
        "psf": "small",
    }
    found = run_child(spec)
    remove(target)
    return found


def report(name, runs):
    """Tables of memory and of time."""
    what = {
        "smooth": "mean over 3 x 3 x 3 voxels, by `map_blocks`",
        "deconvolve": "Wiener-Butterworth, one iteration, PSF "
        + " x ".join(map(str, psf_of("small").shape)),
    }[name]
    print(f"\n{what}:")
    rows, mib = [], 2**20
    for size, run in runs:
        device, host = run["planned"]
        planned = device + host
        rows.append(
            [
                size,
                run["blocks"],
                " x ".join(map(str, run["read"])),
                round(planned / mib),
                round(run["peak"] / mib),
                round(run["hwm"] / mib),
                f"{run['hwm'] / planned:.2f}",
                f"{1e9 * run['wall'] / run['voxels']:.0f}",
                f"{1e9 * run['cpu'] / run['voxels']:.0f}",
                f"{run['waited']:.0%}",
            ]
        )
    table(
        [
            *("input GB", "blocks", "block with halo", "planned MiB"),
            *("`peak_bytes` MiB", "VmHWM MiB", "VmHWM / planned"),
            *("s per Gvoxel", "CPU s per Gvoxel", "waited"),
        ],
        rows,
    )
    peaks = np.array([run["hwm"] for _, run in runs])
    middle = (peaks.max() + peaks.min()) / 2
    print(f"\npeak: within +-{(peaks.max() - middle) / middle:.1%} of its middle")
    if len(runs) > 1:
        fit = functools.partial(exponent, runs)
        print(f"time ~ voxels^{fit('wall'):.2f}; CPU time ~ voxels^{fit('cpu'):.2f}")


def exponent(runs, clock):
    """p of time ~ voxels^p."""
    voxels = np.log([run["voxels"] for _, run in runs])
    return np.polyfit(voxels, np.log([run[clock] for _, run in runs]), 1)[0]
