"""The PSF that a command line describes: from files, or from the optics."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .._core._check import check_share

PsfFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--psf",
        help="Measured PSF (TIFF, OME-Zarr, .npy). Repeat it for every channel.",
        rich_help_panel="PSF",
    ),
]
NA = Annotated[
    float | None,
    typer.Option("--na", help="Numerical aperture.", rich_help_panel="PSF"),
]
Wavelength = Annotated[
    list[float] | None,
    typer.Option(
        "--wavelength",
        help="Emission wavelength, µm (0.52). For several channels repeat the option: "
        "--wavelength 0.46 --wavelength 0.52.",
        rich_help_panel="PSF",
    ),
]
Index = Annotated[
    float | None,
    typer.Option(
        "--index",
        help="Refractive index (1.0 air, 1.33 water, 1.518 oil).",
        rich_help_panel="PSF",
    ),
]
Model = Annotated[
    str,
    typer.Option(help="Model: widefield.", rich_help_panel="PSF"),
]
PsfEnergy = Annotated[
    float,
    typer.Option(
        help="Share of the PSF's energy to keep; less makes transforms smaller.",
        rich_help_panel="PSF",
    ),
]
VoxelSize = Annotated[
    str | None,
    typer.Option(
        help="µm as z,y,x (or y,x), where the file does not say or is wrong.",
    ),
]

MODELS = ("widefield",)
LARGEST_HALF_WIDTH = 64
"""Lateral half width, in voxels, beyond which a modelled PSF is not computed."""


def parse_voxel_size(text: str | None) -> tuple[float, ...] | None:
    """Numbers of "0.2,0.1,0.1"."""
    if text is None:
        return None
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) not in (2, 3) or not all(0 < s < math.inf for s in sizes):
        raise ValueError(
            f"--voxel-size is {text!r}; z,y,x in µm is needed: 0.2,0.1,0.1"
        )
    return sizes


class PsfSource:
    """PSFs for the channels of images, made once per voxel size and volume shape."""

    def __init__(
        self,
        *,
        files: Sequence[str] | None,
        na: float | None,
        wavelengths: Sequence[float] | None,
        index: float | None,
        model: str,
        energy: float,
        file_voxel_size: Sequence[float] | None = None,
    ):
        check_share("--psf-energy", energy)
        self.files, self.wavelengths = files or [], wavelengths or []
        self.na, self.index, self.energy = na, index, energy
        self.file_voxel_size = file_voxel_size
        self._made: dict = {}
        self._check(model)

    def _check(self, model: str) -> None:
        optics = {
            "--na": self.na,
            "--wavelength": self.wavelengths or None,
            "--index": self.index,
        }
        missing = [name for name, value in optics.items() if value is None]
        if self.files and len(missing) < 3:
            raise ValueError("give either --psf or the optics, not both.")
        if not self.files and missing:
            raise ValueError(
                f"a PSF is needed: give --psf FILE, or --na, --wavelength and --index "
                f"(missing: {', '.join(missing)})."
            )
        for file in self.files:
            if not Path(file).exists():
                raise FileNotFoundError(f"no file {file}.")
        if model not in MODELS:
            raise ValueError(f"--model is {model!r}; known: {', '.join(MODELS)}.")

    def get(self, channel: int, channels: int, shape, voxel_size, say) -> np.ndarray:
        """The PSF of a channel; `say` gets the messages when it is made."""
        given = self.files or self.wavelengths
        if len(given) not in (1, channels):
            raise ValueError(
                f"{len(given)} PSFs or wavelengths for {channels} channels; give one, "
                f"or one per channel."
            )
        which = channel if len(given) > 1 else 0
        key = (which, tuple(shape), tuple(voxel_size))
        if key not in self._made:
            make = self._from_file if self.files else self._from_optics
            self._made[key] = make(given[which], tuple(shape), voxel_size, say)
        return self._made[key]

    def _from_file(self, path, shape, voxel_size, say) -> np.ndarray:
        from .. import io, psf

        image = io.read(path)
        volume = _only_volume(path, image)
        if volume.ndim != len(shape):
            raise ValueError(f"{path} is {volume.ndim}D; the image is {len(shape)}D.")
        if self.file_voxel_size is not None:
            image = image.replace(voxel_size=tuple(self.file_voxel_size))
        known = None not in image.voxel_size and None not in voxel_size
        if not known:
            say(f"psf: voxel size of {path} or of the image unknown; not resampled")
        prepared = psf.from_measured(
            volume,
            voxel_size=image.known_voxel_size if known else None,
            target_voxel_size=voxel_size if known else None,
            energy=self.energy,
        )
        for message in prepared.messages:
            say(f"psf: {message}")
        return np.asarray(prepared.psf)

    def _from_optics(self, wavelength, shape, voxel_size, say) -> np.ndarray:
        from .. import psf

        if None in voxel_size:
            raise ValueError(
                f"the voxel size in the file is {voxel_size}, not complete; give "
                f"--voxel-size z,y,x in µm, e.g. 0.3,0.1,0.1."
            )
        assert self.na is not None  # `_check` has made sure
        assert self.index is not None
        size = modelled_shape(shape, voxel_size, self.na, self.index)
        model = psf.widefield(
            size, voxel_size, na=self.na, wavelength=wavelength, index=self.index
        )
        model = np.asarray(psf.crop_to_energy(model, self.energy))
        widths = ", ".join(f"{w:.2f}" for w in psf.fwhm(model))
        say(f"psf: widefield, {'x'.join(map(str, model.shape))}, FWHM {widths} voxels")
        return model / model.sum()


def modelled_shape(shape, voxel_size, na, index) -> tuple[int, ...]:
    """A PSF as deep as the stack, and as wide as the cone of light at its ends."""
    lateral = voxel_size[-1]
    depth = 0.0
    if len(shape) == 3:
        depth = (shape[0] // 2) * voxel_size[0]
    cone = depth * math.tan(math.asin(min(na / index, 0.999)))
    half = min(8 + math.ceil(cone / lateral), LARGEST_HALF_WIDTH)
    sizes = [2 * min(half, n - 1) + 1 for n in shape[-2:]]
    return (2 * (shape[0] // 2) + 1, *sizes) if len(shape) == 3 else tuple(sizes)


def _only_volume(path, image) -> np.ndarray:
    volumes = [volume for _, volume in image.volumes()]
    if len(volumes) != 1:
        raise ValueError(f"{path} has {len(volumes)} volumes; one PSF is needed.")
    return volumes[0]
