"""What the benchmarks of large volumes share: sources, PSFs, processes of their own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import zarr

import jaxdecon as jd

BACKGROUND = 10.0
PSFS = {
    "common": ((33, 17, 17), (9.0, 4.0, 4.0)),
    "small": ((9, 7, 7), (3.0, 2.0, 2.0)),
}
"""Shapes, and widths (FWHM) in voxels."""
CHILD = Path(__file__).with_name("_volumes_child.py")


def psf_of(name):
    """A Gaussian PSF."""
    return np.asarray(jd.psf.gaussian(*PSFS[name]))


def texture(shape, *, psf="common", seed=0):
    """Points of light, blurred without a border, with photon noise; uint16."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.float32)
    count = max(truth.size // 800, 20)
    places = tuple(rng.integers(0, n, count) for n in shape)
    truth[places] = rng.uniform(2000, 20_000, count)
    blur = jd.operators.Convolution.from_psf(psf_of(psf), shape, boundary="periodic")
    clean = np.maximum(np.asarray(blur(truth)), 0) + BACKGROUND
    return rng.poisson(clean).astype(np.uint16)


def write_source(path, shape, *, shard, chunk=64, psf="common"):
    """An OME-Zarr of one texture again and again, of which a shard is written and the
    rest are copies: as fast as the disk."""
    shape = tuple(shape)
    group = zarr.create_group(path, zarr_format=3)
    array = group.create_array(
        "0",
        shape=shape,
        chunks=tuple(min(chunk, s) for s in shard),
        shards=tuple(shard),
        dtype="uint16",
        dimension_names=list("zyx"),
    )
    group.attrs["ome"] = ome("zyx")
    tile = texture(shard, psf=psf)
    array[tuple(slice(0, s) for s in shard)] = tile
    first = Path(path, "0", "c", "0", "0", "0")
    for place in np.ndindex(*(-(-n // s) for n, s in zip(shape, shard, strict=True))):
        copy = Path(path, "0", "c", *map(str, place))
        if copy != first:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(first, copy)
    return path


def ome(axes):
    """The least that OME-Zarr 0.5 asks for."""
    scale = {"type": "scale", "scale": [0.3, 0.1, 0.1]}
    return {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [
                    {"name": a, "type": "space", "unit": "micrometer"} for a in axes
                ],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
    }


def digest(folder):
    """The content of every file of a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(Path(folder).rglob("*"))
        if file.is_file()
    }


def remove(*paths):
    """Delete a result or a source, and its journal."""
    for path in paths:
        for one in (Path(path), Path(f"{path}.journal")):
            shutil.rmtree(one, ignore_errors=True)


def markers(target):
    """The blocks that an unfinished target's journal has marked as done."""
    return sorted(Path(f"{target}.journal").glob("**/blocks/*.json"))


def start(spec, **environment):
    """A process that does what `_volumes_child.py` is told."""
    return subprocess.Popen(
        [sys.executable, str(CHILD), json.dumps(spec, default=str)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # errors are told on stdout
        text=True,
        env=os.environ | environment,
    )


def finish(process, timeout=None):
    """What a process reported at its end; None if it was killed."""
    hung = threading.Event()
    timer = threading.Timer(timeout or 1e6, lambda: (hung.set(), process.kill()))
    timer.daemon = True
    timer.start()
    text = process.stdout.read()
    process.wait()
    timer.cancel()
    if hung.is_set():
        return {"error": f"hung: no end within {timeout} s"}
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if lines:
        return json.loads(lines[-1])
    code = process.returncode
    return None if code < 0 else {"error": f"exit code {code}"}


def run_child(spec, timeout=None, **environment):
    """A whole run in a process of its own."""
    found = finish(start(spec, **environment), timeout)
    if found is None or "error" in found:
        raise RuntimeError(f"{spec} ended with {found}")
    return found


def step_seconds(target, step):
    """Mean seconds per block of a step, by the journal's log."""
    lines = Path(f"{target}.journal", "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    begun = max(i for i, event in enumerate(events) if event["event"] == "begin")
    found = [e["seconds"].get(step) for e in events[begun:] if e["event"] == "done"]
    return float(np.mean([s for s in found if s is not None] or [np.nan]))
