"""`jaxdecon demo`: the bundled nucleus, before, after, and in a sharper microscope."""

import importlib.resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ._console import say, start_jax
from ._outputs import Overwrite

SAMPLE = "nucleus_confocal_widefield.tif"
OPTICS: dict[str, Any] = {"na": 1.4, "wavelength": 0.46, "index": 1.518}
PSF_SHAPE = (89, 65, 65)
BACKGROUND = 650.0
RUNS: dict[str, dict[str, Any]] = {
    "Wiener–Butterworth, 2 iterations": {
        "iterations": 2,
        "back_projector": "wiener-butterworth",
        "resolution": (2.0, 2.0, 2.0),
        "alpha": 0.02,
        "restore_flux": True,
    },
    "accelerated Richardson–Lucy, 20 iterations": {
        "iterations": 20,
        "accelerated": True,
    },
}
OFFSET = (2, 0, -3)
"""Voxels between the two instruments, widefield minus confocal (x: 3.5)."""


def demo(
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder for the results.")
    ] = "jaxdecon-demo",
    overwrite: Overwrite = False,
) -> None:
    """Deconvolve a bundled widefield stack, and compare it with a confocal one.

    The same nucleus (Hoechst; NEUBIAS training resources, CC-BY 4.0) was recorded in
    widefield and in confocal. Writes the stacks and a figure, prints correlations.
    """
    from .. import io, psf, report

    report.check_plots()
    targets = [Path(output) / name for name in ("nucleus.png", "nucleus.ome.tif")]
    Path(output).mkdir(exist_ok=True)
    for target in targets:
        io.check_target(target, overwrite=overwrite)
    start_jax()
    confocal, widefield, voxel_size = load_sample()
    kernel = psf.widefield(PSF_SHAPE, voxel_size, **OPTICS)
    results = {
        name: _run(widefield, kernel, **run).raise_for_status()
        for name, run in RUNS.items()
    }
    volumes = {"widefield, raw": widefield}
    volumes |= {name: np.asarray(result.value) for name, result in results.items()}
    say("correlation with the confocal stack (as recorded; instruments aligned)")
    for name, volume in volumes.items():
        plain, aligned = correlations(volume, confocal)
        say(f"  {plain:.3f}  {aligned:.3f}  {name}")
    figure = report.deconvolution_figure(
        {**volumes, "confocal, for comparison": confocal},
        np.asarray(kernel),
        voxel_size=voxel_size,
        histories={name: result.history for name, result in results.items()},
        title="One nucleus: widefield, deconvolved, confocal",
    )
    io.write(targets[1], as_channels(volumes, voxel_size), overwrite=overwrite)
    with io.atomic_target(targets[0], overwrite=overwrite) as partial:
        figure.savefig(partial, format="png")
    say(f"wrote {targets[0]} and {targets[1]}")


def load_sample() -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """The confocal and the widefield stack (z, y, x), and the voxel size in µm."""
    from .. import io

    resource = importlib.resources.files("jaxdecon") / "data" / SAMPLE
    with importlib.resources.as_file(resource) as path:
        image = io.read(path)
        confocal, widefield = np.asarray(image).astype(np.float32)
    return confocal, widefield, image.known_voxel_size


def as_channels(volumes: dict[str, np.ndarray], voxel_size: tuple[float, ...]) -> Any:
    """The volumes as the channels of one image."""
    from .. import io

    return io.Image(
        data=np.stack([v.astype(np.float32) for v in volumes.values()]),
        axes="czyx",
        voxel_size=voxel_size,
        channels=tuple(volumes),
    )


def _run(image: np.ndarray, kernel: Any, *, iterations: int, **options: Any) -> Any:
    from .. import deconvolution as decon
    from ..operators import Convolution

    operator = Convolution.from_psf(kernel, image.shape, boundary="reflect")
    scheme = decon.richardson_lucy_scheme(operator, kernel, **options)
    return decon.deconvolve(
        image, operator, scheme, iterations=iterations, background=BACKGROUND
    )


def correlations(volume: np.ndarray, confocal: np.ndarray) -> tuple[float, float]:
    """NCC with the confocal stack, as recorded and without the offset of the two."""
    from ..metrics import ncc

    here, there = [], []
    for shift, n in zip(OFFSET, volume.shape, strict=True):
        here.append(slice(max(-shift, 0), n - max(shift, 0)))
        there.append(slice(max(shift, 0), n - max(-shift, 0)))
    aligned = ncc(volume[tuple(here)], confocal[tuple(there)])
    return float(ncc(volume, confocal)), float(aligned)
