"""What stops a run: how it ends, what it leaves, whether it then ends the same."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import zarr
from _common import header, table
from _volumes_cluster import Cluster
from _volumes_data import (
    BACKGROUND,
    digest,
    finish,
    markers,
    remove,
    run_child,
    start,
    write_source,
)

SHAPE, BLOCK, SHARD = (64, 512, 512), (64, 128, 128), (64, 64, 64)
QUICK = (64, 256, 512)
SEED, KILLS = 20_261, 20
PATIENCE = 90
"""Seconds until a run without an end counts as hung."""


def faults(folder, *, quick):
    """One row per fault."""
    header("Volumes: faults")
    shape = QUICK if quick else SHAPE
    scene = Scene(folder, shape)
    print(
        f"{' x '.join(map(str, shape))} in {scene.blocks} blocks, source in "
        f"{scene.blocks * 4} shards, matched, 3 iterations; an undisturbed run takes "
        f"{scene.seconds:.1f} s once all is imported."
    )
    rows = [killed(scene, 2 if quick else KILLS)]
    for fault in (worker_lost, scheduler_lost, disk_full, source_gone, shard_gone):
        rows.append(fault(scene))
    rows.append(corrupt(scene))
    table(["fault", "what the run said", "left", "afterwards", "bytes"], rows)
    survey(scene, 8 if quick else 40)


class Scene:
    """A source, and the result of an undisturbed run."""

    def __init__(self, folder, shape):
        self.folder = folder
        self.source = write_source(
            folder / "source.ome.zarr", shape, shard=SHARD, psf="small"
        )
        self.blocks = int(np.prod([n // b for n, b in zip(shape, BLOCK, strict=True)]))
        target = folder / "undisturbed.ome.zarr"
        run_child(self.spec(target))  # fills the cache
        remove(target)
        self.seconds = run_child(self.spec(target))["wall"]
        self.wanted = digest(target)

    def spec(self, target, **more):
        """What `_volumes_child.py` is to do."""
        return {
            "source": self.source,
            "target": target,
            "psf": "small",
            "cache": str(self.folder / "cache"),
            "options": {"iterations": 3, "background": BACKGROUND, "block": BLOCK},
            **more,
        }

    def end(self, target, *, told, fault, limit=None):
        """The row of a fault that has happened: resume, compare, tidy."""
        left = self.left(target)
        before, whole = len(markers(target)), target.exists()
        found = finish(start(self.spec(target)), PATIENCE)
        assert found is not None
        after = found.get("error") or f"{found['blocks']} blocks done"
        after = f"done before, {after}" if whole and "error" not in found else after
        assert "error" in found or found["blocks"] == self.blocks - before
        row = [fault, short(told), left, short(after), self.verdict(target)]
        remove(target)
        return row

    def left(self, target):
        """What there is of a target."""
        whole = "the target" if target.exists() else "no target"
        return f"{whole}, {len(markers(target))} of {self.blocks} blocks"

    def verdict(self, target):
        """Whether a target is that of the undisturbed run."""
        if not target.exists():
            return "no target"
        return "identical" if digest(target) == self.wanted else "DIFFERENT"


def until(process, line):
    """Wait for a line of a process; what it said instead if it ended before."""
    said = []
    for text in process.stdout:
        said.append(text.strip())
        if said[-1] == line:
            return
    raise RuntimeError(f"no {line!r}, but {said[-3:]}")


def killed(scene, kills):
    """SIGKILL at random moments, of runs and of those that take them up."""
    rng = random.Random(SEED)
    done, runs, verdicts, moments, torn = 0, 0, [], [0, 0, 0], 0
    while done < kills:
        target = scene.folder / f"killed{runs}.ome.zarr"
        while done < kills:
            process = start(scene.spec(target))
            until(process, "ready")
            time.sleep(rng.uniform(0, scene.seconds))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += process.returncode == -signal.SIGKILL
            count = len(markers(target))
            moments[0 if count == 0 else 1 if count < scene.blocks else 2] += 1
            torn += unmarked(target) > 0
        run_child(scene.spec(target), PATIENCE)
        verdicts.append(scene.verdict(target))
        runs += 1
        remove(target)
    before, within, after = moments
    same = verdicts.count("identical")
    return [
        f"`kill -9`, {done} times in {runs} runs",
        "",
        f"before the first block was done {before}, between {within} (in {torn} shards "
        f"that no marker names), after the last {after}",
        "each run taken up until it ended",
        "identical" if same == runs else f"DIFFERENT in {runs - same} of {runs}",
    ]


def unmarked(target):
    """Shards of the full image that are there and belong to no finished block."""
    stores = [*Path(f"{target}.journal").glob("**/unfinished.ome.zarr")]
    named = {s for m in markers(target) for s in json.loads(m.read_text())["shards"]}
    files = [
        str(f.relative_to(store))
        for store in stores
        for f in (store / "0" / "c").rglob("*")
        if f.is_file()
    ]
    return sum(name not in named for name in files)


def worker_lost(scene):
    """One of two workers is killed."""
    return on_cluster(scene, "a Dask worker of two killed", lambda c: c.workers[0])


def scheduler_lost(scene):
    """The scheduler is killed."""
    return on_cluster(scene, "the Dask scheduler killed", lambda c: c.scheduler)


def on_cluster(scene, fault, victim):
    """A process of a cluster is killed after a block."""
    target, cluster = scene.folder / "dask.ome.zarr", Cluster(scene.folder)
    try:
        process = start(scene.spec(target, engine=cluster.address))
        until(process, "block 1")
        victim(cluster).kill()
        began = time.perf_counter()
        found = finish(process, PATIENCE) or {"error": "killed"}
        seconds = time.perf_counter() - began
    finally:
        cluster.close()
    told = found.get("error") or f"nothing: {found['blocks']} blocks done"
    return scene.end(target, told=f"{told} (after {seconds:.0f} s)", fault=fault)


def disk_full(scene):
    """A file system without room; where none can be mounted, a limit on files."""
    place = scene.folder / "small"
    place.mkdir()
    room = max(scene.blocks, 8) // 3 + 1  # MiB; a block is nearly 4
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}m", "none", str(place)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    target, more = place / "full.ome.zarr", {} if mounted else {"file_limit": 2**19}
    try:
        found = finish(start(scene.spec(target, **more)), PATIENCE) or {"error": "died"}
        if mounted:
            larger = ["mount", "-o", "remount,size=1g", str(place)]
            subprocess.run(larger, check=True)
        how = f"a tmpfs of {room} MiB" if mounted else "RLIMIT_FSIZE"
        return scene.end(
            target, told=found.get("error", "nothing"), fault=f"disk full ({how})"
        )
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def source_gone(scene):
    """The source is moved away after a block, and back for the next run."""
    target, away = scene.folder / "gone.ome.zarr", scene.folder / "away.ome.zarr"
    process = start(scene.spec(target, pause=0.2))
    until(process, "block 1")
    scene.source.rename(away)
    found = finish(process, PATIENCE) or {}
    away.rename(scene.source)
    told = found.get("error", "nothing")
    return scene.end(target, told=told, fault="source removed during the run")


def last_shard(scene):
    """A file of the source, of the block that is read last."""
    return sorted((scene.source / "0" / "c").rglob("*/*/*"))[-1]


def shard_gone(scene):
    """One shard of the source is removed after a block, and then put back."""
    target, shard = scene.folder / "holes.ome.zarr", last_shard(scene)
    away = scene.folder / "shard"
    process = start(scene.spec(target, pause=0.2))
    until(process, "block 1")
    shard.rename(away)
    found = finish(process, PATIENCE) or {}
    away.rename(shard)
    told = found.get("error", "nothing")
    fault = "one shard of the source removed during the run"
    return scene.end(target, told=told, fault=fault)


def flipped(shard, position):
    """Flip a byte of a file, with its time as it was; what the file held."""
    times, whole = shard.stat(), shard.read_bytes()
    changed = bytearray(whole)
    changed[position] ^= 0xFF
    write_as_of(shard, bytes(changed), times)
    return whole, times


def write_as_of(file, content, times):
    """Write a file that keeps its time, as decay and a true backup do."""
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def corrupt(scene):
    """One byte of a shard is flipped before the run, and put back after it."""
    target, shard = scene.folder / "corrupt.ome.zarr", last_shard(scene)
    whole, times = flipped(shard, shard.stat().st_size // 2)
    found = finish(start(scene.spec(target)), PATIENCE) or {}
    write_as_of(shard, whole, times)
    told = found.get("error", "nothing")
    return scene.end(target, told=told, fault="one byte of a source's shard flipped")


def survey(scene, count):
    """Where a flipped byte is noticed at all."""
    rng, shard = random.Random(SEED), last_shard(scene)
    array = zarr.open_group(scene.source, mode="r")["0"]
    last = tuple(slice(n - s, n) for n, s in zip(array.shape, SHARD, strict=True))
    right, tally = array[last], {"an error": 0, "wrong values": 0, "no change": 0}
    for _ in range(count):
        whole, times = flipped(shard, rng.randrange(shard.stat().st_size))
        try:
            same = np.array_equal(array[last], right)
            tally["no change" if same else "wrong values"] += 1
        except Exception:
            tally["an error"] += 1
        write_as_of(shard, whole, times)
    print(
        f"\nOf {count} single bytes flipped at random places of a shard (zstd, as "
        f"`jaxdecon.io.write` has it), zarr read: "
        + ", ".join(f"{k} {v}" for k, v in tally.items())
    )


def short(text):
    """An error as a cell of a table, without the folder that nobody has."""
    words = [w if w.count("/") < 2 else f".../{Path(w).name}" for w in text.split()]
    text = " ".join(words).replace("|", "\\|")
    return text if len(text) <= 200 else f"{text[:197]}..."
