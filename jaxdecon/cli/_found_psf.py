"""PSFs that are found in the images: beads in them, their metadata, themselves."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._job_blocks import bright_part
from ._psf_checks import check_optics
from ._psf_models import describe, make_psf, model_name, model_of, psf_at_depth
from ._psf_options import Optics, option

MOST_VOXELS = 2**24
"""Of a volume in which beads are looked for; of a larger one, a bright part."""
LIKELY_PSF = 33
OIL = 1.42
"""Index of the immersion from which a watery sample aberrates with depth."""
DEEPEST_UM = 20.0
"""Below the coverslip, to which depths are tried."""


def is_complete(optics: Optics) -> bool:
    """Whether the user has said enough for a PSF."""
    given = optics.given()
    return bool(given) and all(need in given for need in model_of(optics).needs)


class FoundPSFs:
    """PSFs for the channels of one image, found when they are asked for."""

    def __init__(self, job: Any, optics: Optics, energy: float):
        """Nothing is read yet.

        Args:
            job: whose image it is.
            optics: what the user says of them; the file may say the rest.
            energy: share of a PSF's to keep.
        """
        self._job, self._optics, self._energy = job, optics, energy
        self._made: dict[int, Any] = {}

    def get(self, channel: int, channels: int, shape, voxel_size, say) -> Any:
        """The PSF of a channel; `say` gets how it was found."""
        if channel not in self._made:
            label = f"c {channel}: " if channels > 1 else ""
            self._made[channel] = self._find(
                channel, channels, voxel_size, lambda text: say(label + text)
            )
        return self._made[channel]

    def _find(self, channel, channels, voxel_size, say) -> Any:
        from .. import psf
        from ..learning import find_psf

        volume = self._volume(channel)
        optics = optics_of(self._job.image, channel, channels, self._optics)
        known: dict[str, Any] = {}
        if optics is not None and None not in voxel_size:
            known = _model(optics, volume.shape, tuple(voxel_size), self._energy)
            say(f"psf: optics are {_words(optics)}")
        try:
            found = find_psf(volume, **known, **self._light(volume))
        except ValueError as error:
            raise ValueError(
                f"{self._job.name}: {error} On the command line: --psf FILE, or the "
                f"optics (--na, --wavelength, --index)."
            ) from None
        for line in found.explain().splitlines():
            say(f"psf: {line}")
        if isinstance(found.psf, psf.PSFField):
            if volume.size == np.prod(self._job.image.volume_shape):
                return found.psf
            say("psf: it was found in a part of the image; the mean PSF is used")
        one = found.psf.mean if isinstance(found.psf, psf.PSFField) else found.psf
        kept = np.asarray(psf.crop_to_energy(one, self._energy))
        return kept / kept.sum()

    def _light(self, volume: np.ndarray) -> dict[str, Any]:
        """Gain, offset and background of a volume, as given or measured."""
        from ..deconvolution._light import measure_light

        settings = self._job.settings
        light = measure_light(
            volume,
            gain=settings.gain,
            offset=settings.offset,
            background=settings.background,
        )
        return {
            "gain": light.camera.gain,
            "offset": light.camera.offset,
            "background": light.background,
        }

    def _volume(self, channel: int) -> np.ndarray:
        """The first volume of a channel, or a bright part of a large one."""
        job = self._job
        if np.prod(job.image.volume_shape) <= MOST_VOXELS:
            return job.first_volume(channel)
        shape = (LIKELY_PSF,) * len(job.image.spatial_axes)
        part = bright_part(job.image, shape, job.settings, None)
        return part[0] if job.is_plane else part


def optics_of(image: Any, channel: int, channels: int, given: Optics) -> Optics | None:
    """What the user and the file say of the optics; None if that is too little.

    What the user says counts more.
    """
    said = image.metadata.get("optics", {})
    said = said if isinstance(said, dict) else {}
    listed = said.get("channels") or []
    own = listed[channel] if len(listed) == channels else {}
    first = given.of_channel(channel, channels)
    values = {
        "na": said.get("na"),
        "index": said.get("index"),
        "wavelength": [own["wavelength"]] if "wavelength" in own else None,
    }
    if first.model is None and own.get("mode") == "light-sheet":
        return None  # how thick the sheet is, no file says
    if first.model is None and own.get("mode") == "confocal":
        values["model"] = "confocal"
        values["excitation"] = [own["excitation"]] if "excitation" in own else None
    missing = {n: v for n, v in values.items() if getattr(first, n) is None}
    optics = dataclasses.replace(first, **missing)
    lens = optics.model == "gaussian" or all(
        getattr(optics, n) for n in ("na", "index", "wavelength")
    )
    if not lens or not optics.given():
        return None
    check_optics(optics, instead="--psf FILE")
    return optics


def _words(optics: Optics) -> str:
    numbers = ", ".join(
        f"{option(n)[2:]} {v[0] if isinstance(v, list) else v:g}"
        for n in ("na", "wavelength", "index")
        if (v := getattr(optics, n))
    )
    return f"{describe(optics)} ({numbers})"


def _model(
    optics: Optics, shape: Sequence[int], voxel_size: tuple[float, ...], energy: float
) -> dict[str, Any]:
    """What `find_psf` takes of the optics: a model, and what of it may be estimated.

    Of a widefield stack through oil that is the depth below the coverslip.
    """
    from .. import psf

    whole = make_psf(optics, shape, voxel_size)
    oil = optics.index is not None and optics.index > OIL
    if not (oil and len(shape) == 3 and model_name(optics) == "widefield"):
        return {"model": lambda: whole}
    deep = psf_at_depth(optics, whole.shape, voxel_size, DEEPEST_UM / 2)
    size = psf.crop_to_energy(deep, energy).shape
    return {
        "model": functools.partial(psf_at_depth, optics, size, voxel_size=voxel_size),
        "start": {"depth": 0.0},
        "bounds": {"depth": (0.0, DEEPEST_UM)},
    }
