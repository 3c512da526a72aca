"""A volume on disk, and what is done with it by processes of their own."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

import jaxdecon as jd

SHAPE, BLOCK = (24, 72, 80), (24, 32, 32)
PSF = np.asarray(jd.psf.gaussian((9, 7, 7), (3.0, 2.0, 2.0)))
OPTIONS = {"iterations": 3, "background": 10.0, "block": BLOCK}


def texture(shape=SHAPE, *, seed=0) -> np.ndarray:
    """Points of light, blurred, with photon noise; uint16."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.float32)
    count = max(truth.size // 800, 20)
    truth[tuple(rng.integers(0, n, count) for n in shape)] = rng.uniform(
        500, 3000, count
    )
    psf = PSF if len(shape) == 3 else PSF[4]
    blur = jd.operators.Convolution.from_psf(
        psf / psf.sum(), shape, boundary="periodic"
    )
    return rng.poisson(np.maximum(np.asarray(blur(truth)), 0) + 10).astype(np.uint16)


def write_source(folder: Path, **options) -> Path:
    """An OME-Zarr of such a volume."""
    path = folder / "source.ome.zarr"
    image = jd.io.Image(data=texture(**options), axes="zyx", voxel_size=(0.3, 0.1, 0.1))
    jd.io.write(path, image)
    return path


def digest(folder: Path) -> dict[str, str]:
    """The content of every file of a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


SCRIPT = """
import os, sys, time
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[3])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
import jaxdecon as jd
from tests import _volumes

def slowly(progress):
    print("block", progress.blocks, flush=True)
    time.sleep(float(sys.argv[4]))

jd.volumes.deconvolve(
    sys.argv[1], sys.argv[2], _volumes.PSF, progress=slowly, **_volumes.OPTIONS
)
"""


def start(source: Path, target: Path, *, pause: float = 0.0) -> subprocess.Popen:
    """A process that deconvolves, and prints a line after every block."""
    import jax

    cache = jax.config.values["jax_compilation_cache_dir"]
    arguments = [str(source), str(target), str(cache), str(pause)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
