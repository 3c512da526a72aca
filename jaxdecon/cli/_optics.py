"""The PSF that a command line describes: from files, or from the optics."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer

from .._core._check import check_share
from ._inputs import is_there
from ._psf_checks import check_optics
from ._psf_fields import is_field, read_field, say_of_depth, through_depth
from ._psf_models import describe, make_psf
from ._psf_numbers import check_micrometres
from ._psf_options import Optics, of_channel, option

PsfFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--psf",
        help="Measured PSF (TIFF, OME-Zarr, .npy), or PSFs over the field (.npz, of "
        "`jaxdecon psf --from-beads --grid`). Repeat it for every channel.",
        rich_help_panel="PSF",
    ),
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


def parse_voxel_size(
    text: str | None, name: str = "--voxel-size"
) -> tuple[float, ...] | None:
    """Numbers of "0.2,0.1,0.1"; `name` is the option that they come from."""
    if text is None:
        return None
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) not in (2, 3) or not all(0 < s < math.inf for s in sizes):
        raise ValueError(f"{name} is {text!r}; z,y,x in µm is needed: 0.2,0.1,0.1")
    check_micrometres(name, sizes)
    return sizes


class PsfSource:
    """PSFs for the channels of images, made once per voxel size and volume shape."""

    def __init__(
        self,
        *,
        files: Sequence[str] | None,
        optics: Optics,
        energy: float,
        background: float | None = None,
        file_voxel_size: Sequence[float] | None = None,
        files_name: str = "--psf",
        check: bool = True,
        fields: bool = True,
    ):
        """Refuse what cannot work; nothing is read or computed yet.

        Args:
            files: measured PSFs, one or one per channel.
            optics: for a modelled PSF, where there are no files.
            energy: share of it to keep.
            background: of measured PSFs; None: found in them.
            file_voxel_size: that of the files, µm, if they do not say or are wrong.
            files_name: what the user calls the files.
            check: whether the optics have to be there, and complete.
            fields: whether a file may hold PSFs that change over the field of view.
        """
        check_share("--psf-energy", energy)
        self.files, self.optics, self.energy = files or [], optics, energy
        self.background, self.file_voxel_size = background, file_voxel_size
        self._files_name, self._made = files_name, {}
        if check:
            self._check()
        if not fields and optics.through_depth:
            raise ValueError("--through-depth is for `jaxdecon deconvolve` only.")
        if not fields and any(is_field(file) for file in self.files):
            raise ValueError(
                f"{', '.join(self.files)}: PSFs that change over the field are for "
                f"`jaxdecon deconvolve` only; give one PSF, e.g. of `jaxdecon psf "
                f"BEADS --from-beads` without --grid."
            )

    def _check(self) -> None:
        if not self.files:
            check_optics(self.optics, instead=f"{self._files_name} FILE".strip())
            return
        given = ", ".join(option(name) for name in self.optics.given())
        if given:
            raise ValueError(
                f"give either {self._files_name or 'a FILE'} or the optics, not both "
                f"(given: {given})."
            )
        for file in self.files:
            if not is_there(file):
                raise FileNotFoundError(f"no file {file}.")

    def get(self, channel: int, channels: int, shape, voxel_size, say) -> Any:
        """The PSF of a channel; `say` gets the messages when it is made.

        An array, or a `jaxdecon.psf.PSFField` where the file is one.
        """
        if self.files:
            chosen = of_channel(self._files_name, self.files, channel, channels)
        else:
            chosen = self.optics.of_channel(channel, channels)
        key = (str(chosen), tuple(shape), tuple(voxel_size))
        if key not in self._made:
            make: Any = self._from_file if self.files else self._from_optics
            self._made[key] = make(chosen, tuple(shape), voxel_size, say)
        return self._made[key]

    def _from_file(self, path, shape, voxel_size, say) -> Any:
        from .. import io, psf

        if is_field(path):
            return read_field(path, shape, self.file_voxel_size or voxel_size, say)
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
            background="auto" if self.background is None else self.background,
            energy=self.energy,
        )
        for message in prepared.messages:
            say(f"psf: {message}")
        return np.asarray(prepared.psf)

    def _from_optics(self, optics: Optics, shape, voxel_size, say) -> Any:
        from .. import psf

        if None in voxel_size:
            raise ValueError(
                f"the voxel size in the file is {voxel_size}, not complete; give "
                f"--voxel-size z,y,x in µm, e.g. 0.3,0.1,0.1."
            )
        if optics.through_depth:
            return through_depth(optics, shape, voxel_size, self.energy, say)
        whole = np.asarray(make_psf(optics, shape, voxel_size))
        kept = np.asarray(psf.crop_to_energy(whole, self.energy))
        widths = ", ".join(f"{w:.2f}" for w in np.asarray(psf.fwhm(whole)))
        cut = ""
        if kept.shape != whole.shape:
            cut = f" (cut from {_times(whole.shape)}, with {share_kept(whole, kept)})"
        say(f"psf: {describe(optics)}, {_times(kept.shape)}{cut}, FWHM {widths} voxels")
        if optics.model == "gibson-lanni" and len(shape) == 3:
            say_of_depth(optics, kept, shape[0] * voxel_size[0], voxel_size, say)
        return kept / kept.sum()


def share_kept(before: np.ndarray, after: np.ndarray) -> str:
    """How much of a PSF's energy a part of it holds: "99.90 % of its energy"."""
    share = after.sum(dtype=float) / before.sum(dtype=float)
    return f"{100 * share:.2f} % of its energy"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _only_volume(path, image) -> np.ndarray:
    volumes = [volume for _, volume in image.volumes()]
    if len(volumes) != 1:
        raise ValueError(f"{path} has {len(volumes)} volumes; one PSF is needed.")
    return volumes[0]
