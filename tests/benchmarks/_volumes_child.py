"""One run of `jaxdecon.volumes` in a process of its own; prints what it did as JSON.

    python tests/benchmarks/_volumes_child.py '{"source": ..., "target": ..., ...}'

A line "ready" is printed when all is imported, "block N" after every block.
"""

import contextlib
import functools
import json
import os
import re
import resource
import sys
import time
from pathlib import Path

STATUS = Path("/proc/self/status")


def status(field):
    """A size from /proc/self/status, in bytes."""
    found = re.search(rf"{field}:\s+(\d+)", STATUS.read_text())
    assert found
    return int(found[1]) * 1024


def reset_peak():
    """Let the peak resident size start again from the present one."""
    Path("/proc/self/clear_refs").write_text("5")


def cpu_seconds():
    """Of this process and of all that it has started."""
    import psutil

    found = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        found += used.ru_utime + used.ru_stime
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += sum(child.cpu_times()[:2])
    return found


@functools.cache
def smoothing():
    """A cheap function, jitted: the mean over 3 x 3 x 3 voxels."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def mean(volume):
        volume = volume.astype(jnp.float32)
        for axis in range(volume.ndim):
            sides = jnp.roll(volume, 1, axis) + jnp.roll(volume, -1, axis)
            volume = (volume + sides) / 3
        return volume

    return mean


def smooth(volume):
    return smoothing()(volume)


@contextlib.contextmanager
def engine_of(name, workers):
    """An engine by its name: local, workers, dask, or the address of a scheduler."""
    import jaxdecon as jd

    if name == "dask":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
            ) as cluster,
            Client(cluster) as client,
        ):
            client.run(warm_up)
            yield client
    elif name == "workers":
        yield jd.volumes.Workers(workers)
    else:
        yield jd.volumes.Local() if name == "local" else name


def warm_up():
    """Import in a worker what it will need."""
    import jaxdecon as jd

    jd.psf.gaussian((3, 3, 3), 1.0).block_until_ready()


def arguments_of(spec):
    """PSF and options, as `jaxdecon.volumes.deconvolve` wants them."""
    from _volumes_data import psf_of

    options = dict(spec["options"])
    if isinstance(options.get("block"), list):
        options["block"] = tuple(options["block"])
    return psf_of(spec.get("psf", "common")), options


def main():
    spec = json.loads(sys.argv[1])
    import jax

    if "cache" in spec:
        jax.config.update("jax_compilation_cache_dir", spec["cache"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if "file_limit" in spec:
        limit = spec["file_limit"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    import jaxdecon as jd

    psf, options = arguments_of(spec)

    times = []

    def told(progress):
        times.append(progress.seconds)
        print("block", progress.blocks, flush=True)
        time.sleep(spec.get("pause", 0.0))

    def call():
        if spec.get("function"):
            return jd.volumes.map_blocks(
                smooth, spec["source"], spec["target"], progress=told, **options
            )
        return jd.volumes.deconvolve(
            spec["source"], spec["target"], psf, progress=told, **options
        )

    with engine_of(spec.get("engine", "local"), spec.get("workers")) as engine:
        options["engine"] = engine
        print("ready", flush=True)
        before = status("VmRSS")
        with contextlib.suppress(OSError):
            reset_peak()
        began, cpu = time.perf_counter(), cpu_seconds()
        try:
            run = call()
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(found), flush=True)
            os._exit(1)  # threads of a lost cluster may wait for ever
        found = {
            "wall": time.perf_counter() - began,
            "cpu": cpu_seconds() - cpu,
            "times": times,
            "hwm": status("VmHWM") - before,
            "seconds": run.seconds,
            "blocks": run.blocks,
            "voxels": run.voxels,
            "waited": run.waited,
            "peak": run.peak_bytes,
            "overhead": run.plan.overhead,
            "core": run.plan.grid.core,
            "read": run.plan.grid.read_shape,
            "planned": [run.plan.device_bytes, run.plan.host_bytes],
        }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
