"""Time and memory of Richardson-Lucy on one volume that several devices hold.

    python tests/benchmarks/sharded.py [--size 128] [--devices 1 2 4 8]

CPU devices are forced, and share the cores of one machine: times tell what the
exchange of slabs costs, not how much faster more devices are. Every number of devices
runs in a process of its own, in turns with the unsharded operator on one device.
"Per iteration" is what each further iteration costs; memory is what the compiler
plans for each device: arguments, results, temporaries.
"""

import argparse
import functools
import json
import os
import subprocess
import sys

PSF_SIZE = 33
COUNTS = (2, 10)


def planned(solve, image, psf):
    """Bytes of one device, and the seconds to compile."""
    import time

    import jax

    lowered = jax.jit(solve).lower(image, psf)
    start = time.perf_counter()
    plan = lowered.compile().memory_analysis()
    sizes = plan.argument_size_in_bytes + plan.output_size_in_bytes
    seconds = time.perf_counter() - start
    return sizes + plan.temp_size_in_bytes - plan.alias_size_in_bytes, seconds


def measure(n, repeats):
    """Milliseconds per iteration, bytes and seconds to compile, unsharded and not."""
    import jax.numpy as jnp
    import numpy as np
    from _common import interleaved, scene

    import jaxdecon as jd

    _, psf, image = scene(n, PSF_SIZE)
    mesh = jd.operators.z_mesh()
    inputs = {"one": jnp.asarray(image), "all": jd.operators.on_mesh(image, mesh)}
    solves = {
        "one": jd.richardson_lucy,
        "all": functools.partial(jd.richardson_lucy, mesh=mesh),
    }
    functions = {
        (who, count): functools.partial(solve, inputs[who], psf, iterations=count)
        for who, solve in solves.items()
        for count in COUNTS
    }
    times = interleaved(functions, repeats)
    found = {}
    for who, solve in solves.items():
        short, long = (times[who, count][0] for count in COUNTS)
        size, seconds = planned(
            functools.partial(solve, iterations=COUNTS[0]), inputs[who], psf
        )
        found[who] = {
            "ms": 1e3 * (long - short) / (COUNTS[1] - COUNTS[0]),
            "MiB": size / 2**20,
            "compile s": seconds,
        }
    one, both = (np.asarray(functions[who, COUNTS[0]]()) for who in ("one", "all"))
    return {**found, "difference": float(abs(one - both).max() / one.max())}


def child(n, devices, repeats):
    """Run this file on so many forced devices and return what it printed."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--size", n, "--repeats", repeats, "--measure"]
    text = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    return json.loads(text.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    n = arguments.size
    if arguments.measure:
        print(json.dumps(measure(n, arguments.repeats)))
        return
    from _common import header, table

    header(f"One volume on several devices: {n}^3, PSF {PSF_SIZE}^3, extend")
    rows = []
    for devices in arguments.devices:
        found = child(n, devices, arguments.repeats)
        one, every = found["one"], found["all"]
        row = [devices, every["ms"], one["ms"], every["ms"] / one["ms"]]
        row += [every["MiB"], one["MiB"], every["MiB"] / one["MiB"]]
        rows.append([*row, every["compile s"], found["difference"]])
    table(
        [
            *("devices", "ms per iteration", "unsharded ms", "ratio"),
            *("MiB per device", "unsharded MiB", "ratio"),
            *("compile s", "difference"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
