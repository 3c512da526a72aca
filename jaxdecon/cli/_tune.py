"""`jaxdecon tune`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ._console import say, start_jax
from ._inputs import with_voxel_size
from ._optics import PsfEnergy, PsfFiles, PsfSource, VoxelSize, parse_voxel_size
from ._psf_options import Optics, with_optics

BRIGHTEST = 0.9999
"""Quantile of an image that stands for its brightest voxel; hot pixels are above it."""


@with_optics
def tune(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="One of the images that it is for, as it was taken."
        ),
    ],
    psf: PsfFiles = None,
    optics: Optics = Optics(),
    psf_energy: PsfEnergy = 0.995,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="Where to write it: a .npz file."),
    ] = "learned.npz",
    iterations: Annotated[
        int,
        typer.Option("--iterations", "-n", help="For which it is to be right: 1-3."),
    ] = 2,
    kind: Annotated[
        str,
        typer.Option(
            help="wiener-butterworth (its five parameters), or radial (free)."
        ),
    ] = "wiener-butterworth",
    photons: Annotated[
        float | None,
        typer.Option(
            help="Photons of the brightest voxel, above the background; default: "
            "measured in IMAGE."
        ),
    ] = None,
    background_photons: Annotated[
        float | None,
        typer.Option(help="Photons of the background; default: measured in IMAGE."),
    ] = None,
    read_noise: Annotated[
        float, typer.Option(help="Of the camera, in electrons.")
    ] = 0.0,
    gain: Annotated[
        float | None,
        typer.Option(help="Camera: units per photon; default: measured in IMAGE."),
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(help="Camera: units without light; default: measured in IMAGE."),
    ] = None,
    objects: Annotated[
        list[str] | None,
        typer.Option(
            "--object",
            help="A sharp image of such an object, to learn from; two or more of one "
            "shape. Repeat it. Default: simulated points, filaments and nuclei.",
        ),
    ] = None,
    channel: Annotated[int, typer.Option(help="Of IMAGE, from 0.")] = 0,
    voxel_size: VoxelSize = None,
    steps: Annotated[int, typer.Option(help="Of the search.")] = 50,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output that exists.")
    ] = False,
) -> None:
    """Learn the back projector for an image's PSF and noise.

        jaxdecon tune cell.tif --na 1.1 --wavelength 0.52 --index 1.33 -o learned.npz

        jaxdecon deconvolve cell.tif --na 1.1 --wavelength 0.52 --index 1.33 \\
            --back-projector learned.npz

    It is tested on simulated objects that it has not learned from; what is worse than
    the published settings on any kind of object is not written, but these.
    """
    from .. import io

    target = Path(output)
    if target.suffix.lower() != ".npz":
        raise ValueError(f"--output is {output}; a file that ends in .npz is needed.")
    io.check_target(target, overwrite=overwrite)
    source = PsfSource(files=psf, optics=optics, energy=psf_energy, fields=False)
    opened = with_voxel_size(io.read(image), parse_voxel_size(voxel_size), image)
    start_jax()
    volume, size = _volume(opened, channel)
    kernel = source.get(channel, opened.sizes.get("c", 1), volume.shape, size, say)
    given = {
        "photons": photons,
        "background": background_photons,
        "gain": gain,
        "offset": offset,
    }
    light = light_of(volume, given)
    from .. import learning

    learned = learning.back_projector(
        kernel,
        iterations=iterations,
        kind=kind,  # pyright: ignore[reportArgumentType]  # checked there
        photons=light.photons,
        background=light.background,
        read_noise=read_noise,
        objects=None if objects is None else [_object(path) for path in objects],
        spacing=None if None in size else size,
        restore_flux=True,
        steps=steps,
    )
    io.write_back_projector(target, learned, overwrite=overwrite)
    for line in summary(learned):
        say(line)
    say(f"wrote {target}, for {iterations} iterations")


def _volume(image: Any, channel: int) -> tuple[np.ndarray, Any]:
    """The first volume of a channel, a plane where z has length one; its voxel size."""
    from .._core._check import check_choice

    channels = image.sizes.get("c", 1)
    check_choice("--channel", str(channel), [str(c) for c in range(channels)])
    leading = image.axes[: len(image.axes) - len(image.spatial_axes)]
    volume = image.volume(tuple(channel if axis == "c" else 0 for axis in leading))
    if image.sizes.get("z") == 1:
        return volume.squeeze(0), image.voxel_size[1:]
    return volume, image.voxel_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """Photons in an image, for a simulation of it.

    Attributes:
        photons: of the brightest voxels, above the background.
        background: photons per voxel.
    """

    photons: float
    background: float


def light_of(image: Any, given: dict[str, float | None]) -> Light:
    """What is given on the command line, and measured in the image where it is not.

    Args:
        image: (z, y, x) or (y, x), in the camera's units.
        given: photons, background (both in photons), gain, offset (in the units).

    Raises:
        ValueError: the image does not tell its gain, and it is not given.
    """
    from ..deconvolution import estimate_background, estimate_noise

    photons, background = given["photons"], given["background"]
    if photons is None or background is None:
        noise = estimate_noise(image)
        gain = noise.gain if given["gain"] is None else given["gain"]
        if not np.isfinite(gain):
            raise ValueError(
                "the image does not tell how noise grows with intensity: give "
                "--photons and --background-photons, or --gain."
            )
        level, offset = estimate_background(image), given["offset"]
        if offset is None:
            known = np.isfinite(noise.offset)
            offset = min(max(noise.offset, 0.0), level) if known else 0.0
        brightest = float(np.quantile(image, BRIGHTEST))
        photons = (brightest - level) / gain if photons is None else photons
        background = (level - offset) / gain if background is None else background
        say(
            f"image: {gain:.3g} units per photon, brightest voxels {photons:.3g} "
            f"photons above a background of {background:.3g}"
        )
    if not photons > 0:
        raise ValueError("nothing in the image is above its background.")
    return Light(photons=float(photons), background=max(float(background), 0.0))


def _object(path: str) -> np.ndarray:
    from .. import io

    volumes = [volume for _, volume in io.read(path).volumes()]
    if len(volumes) != 1:
        raise ValueError(f"{path} has {len(volumes)} volumes; one object is needed.")
    return volumes[0]


def summary(learned: Any) -> list[str]:
    """What was learned, and the errors on objects of the test."""
    lines = []
    if learned.kind == "wiener-butterworth" and learned.share:
        found = learned.parameters
        limits = " x ".join(f"{r:.2f}" for r in found["resolution"])
        lines.append(
            f"alpha {found['alpha']:.3g}, beta {found['beta']:.3g}, order "
            f"{found['order']:.3g}, resolution {limits} voxels"
        )
    lines.append("error on held-out objects: published, learned")
    lines += [
        f"  {before:.3f}  {after:.3f}  {name}"
        for name, (before, after) in learned.errors.items()
    ]
    return [*lines, learned.message]
