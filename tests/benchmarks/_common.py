"""What the benchmarks share: the scene, interleaved timing, a header, a table."""

import importlib.metadata
import os
import platform
import time

import jax
import numpy as np

import jaxdecon as jd

PEAK_PHOTONS = 500


def header(title: str) -> None:
    """Say what is measured, and on what."""
    device = jax.devices()[0]
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "numpy")
    )
    print(f"\n## {title}")
    print(
        f"jaxdecon {jd.__version__}, {versions}, Python {platform.python_version()}; "
        f"{device.platform} {device.device_kind}, {os.cpu_count()} cores"
    )


def scene(n: int = 128, psf_size: int = 33, seed: int = 0):
    """(truth, PSF, Poisson image): blobs, cut from a larger object, as a camera does.

    The image is made without wrapping: light from outside the field enters it.
    """
    rng = np.random.default_rng(seed)
    large = n + psf_size - 1
    truth = np.zeros((large,) * 3, np.float32)
    count = large**3 // 2000
    where = tuple(rng.integers(0, large, (3, count)))
    truth[where] = rng.uniform(100, 1000, count)
    smooth = jd.operators.Convolution.from_psf(
        jd.psf.gaussian((9, 9, 9), 2.5), truth.shape, boundary="periodic"
    )
    truth = np.maximum(np.asarray(smooth(truth)), 0)
    psf = np.asarray(jd.psf.gaussian((psf_size,) * 3, (9.0, 4.0, 4.0)))
    blur = jd.operators.Convolution.from_psf(psf, (n,) * 3, boundary="extend")
    margins = [(d - large) // 2 for d in blur.domain]
    padding = [(m, d - large - m) for m, d in zip(margins, blur.domain, strict=True)]
    clean = np.maximum(np.asarray(blur(np.pad(truth, padding))), 0)
    brightness = PEAK_PHOTONS / clean.max()
    truth, clean = brightness * truth, brightness * clean
    image = rng.poisson(clean + 5).astype(np.float32)
    inside = slice((large - n) // 2, (large - n) // 2 + n)
    return truth[inside, inside, inside], psf, image


def interleaved(functions: dict, repeats: int = 7) -> dict[str, tuple[float, float]]:
    """Least wall and CPU seconds of each function, taken in turns.

    Turns let a busy moment of the machine hit all alike; the least of several is what
    the machine can do.
    """
    best = dict.fromkeys(functions, (np.inf, np.inf))
    for function in functions.values():
        jax.block_until_ready(function())
    for _ in range(repeats):
        for name, function in functions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(function())
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = (min(best[name][0], wall), min(best[name][1], cpu))
    return best


def table(columns: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    print("\n| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        cells = [f"{c:.3g}" if isinstance(c, float) else str(c) for c in row]
        print("| " + " | ".join(cells) + " |")
