"""The PSF models of the command line: what each needs, and how it is made."""

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ._psf_numbers import parse_aberrations, parse_widths
from ._psf_options import Optics, option

LENS = ("na", "wavelength", "index")
PUPIL = ("vectorial", "aberration")
INDICES = {
    "sample_index": 1.33,
    "coverslip_index": 1.515,
}
"""Refractive indices of layers where the user gives none."""
COVERSLIP_UM = 170.0
"""Thickness that lenses are made for."""
LAYERS = {
    "depth": "depth",
    "sample_index": "ns",
    "design_index": "ni0",
    "coverslip": "tg",
    "design_coverslip": "tg0",
    "coverslip_index": "ng",
    "working_distance": "ti0",
}
"""Options of Gibson and Lanni's model, and the names of the literature."""
LARGEST_HALF_WIDTH = 64
"""Lateral half width, in voxels, beyond which a modelled PSF is not computed."""

Make = Callable[[Optics, tuple[int, ...], Sequence[float]], Any]


@dataclasses.dataclass(frozen=True)
class Model:
    """A PSF model: fields of `Optics` that it needs and may take, and how to make it.

    Attributes:
        needs: fields that must be given.
        takes: fields that may be given.
        make: the PSF from the optics of one channel, a shape and a voxel size in µm.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    make: Make


def make_psf(optics: Optics, shape: Sequence[int], voxel_size: Sequence[float]) -> Any:
    """The PSF of one channel for a stack of this shape, as large as it may have to be.

    Args:
        optics: checked, of one channel.
        shape: of the stack, (z, y, x) or (y, x).
        voxel_size: µm.
    """
    if optics.model == "light-sheet" and len(shape) != 3:
        raise ValueError(
            f"{optics.model_option} light-sheet needs a volume; the image is 2D."
        )
    size = modelled_shape(optics, shape, voxel_size)
    with options_named(), _undersampled_once():
        return model_of(optics).make(optics, size, voxel_size)


def psf_at_depth(
    optics: Optics, shape: Sequence[int], voxel_size: Sequence[float], depth: Any
) -> Any:
    """The PSF of one channel on a grid, for a point below the coverslip.

    Args:
        optics: checked, of one channel, widefield or gibson-lanni.
        shape: of the PSF.
        voxel_size: µm.
        depth: µm; may be traced.
    """
    layered = dataclasses.replace(optics, model="gibson-lanni", depth=depth)
    with warnings.catch_warnings():  # said when the PSF on the coverslip was made
        warnings.simplefilter("ignore")
        return _gibson_lanni(layered, tuple(shape), voxel_size)


def model_name(optics: Optics) -> str:
    """The model that is meant."""
    return optics.model or "widefield"


def model_of(optics: Optics) -> Model:
    """The model that is meant, if there is one of that name."""
    name = model_name(optics)
    if name not in MODELS:
        raise ValueError(
            f"{optics.model_option} is {name!r}; known: {', '.join(MODELS)}."
        )
    return MODELS[name]


def describe(optics: Optics) -> str:
    """The model of one channel in words, with what sets it apart from others."""
    parts = [model_name(optics)]
    for name in optics.given():
        value = getattr(optics, name)
        if value is True:
            parts.append(name.replace("_", " "))
        elif name in PUPIL:
            parts += value
        elif name not in ("model", "fwhm", *LENS):
            number = value[0] if isinstance(value, list) else value
            parts.append(f"{name.replace('_', ' ')} {number:g}")
    return ", ".join(parts)


def layer_index(optics: Optics, name: str) -> float:
    """The refractive index of a layer, as given or as it usually is."""
    given = getattr(optics, name)
    return INDICES[name] if given is None else given


def modelled_shape(optics: Optics, shape, voxel_size) -> tuple[int, ...]:
    """A PSF as deep as the stack, and as wide as the cone of light at its ends."""
    if optics.na is None or optics.index is None:
        assert optics.fwhm is not None  # the model without a lens is the Gaussian
        widths = np.broadcast_to(_fitting_widths(optics.fwhm[0], shape), len(shape))
        reach = np.ceil(2 * widths / np.asarray(voxel_size))
        return tuple(
            2 * min(int(r), n - 1) + 1 for r, n in zip(reach, shape, strict=True)
        )
    lateral = voxel_size[-1]
    depth = 0.0
    if len(shape) == 3:
        depth = (shape[0] // 2) * voxel_size[0]
    cone = depth * math.tan(math.asin(min(optics.na / optics.index, 0.999)))
    half = min(8 + math.ceil(cone / lateral), LARGEST_HALF_WIDTH)
    sizes = [2 * min(half, n - 1) + 1 for n in shape[-2:]]
    return (2 * (shape[0] // 2) + 1, *sizes) if len(shape) == 3 else tuple(sizes)


def cutoffs(optics: Optics) -> tuple[np.ndarray, str] | None:
    """Cycles per µm along (z, y, x) that the optics of one channel transmit.

    Returns:
        The cut-offs and whose they are, if that needs to be said; None where they are
        not known.
    """
    from .. import psf

    if not optics.na or not optics.wavelength or not optics.index:
        return None
    na, wavelength, whose = optics.na, optics.wavelength[0], ""
    if optics.model == "confocal" and optics.excitation:
        wavelength = optics.excitation[0]
    if optics.model == "confocal":
        whose = "of the excitation; a small pinhole lets more through"
    if optics.model == "light-sheet":
        whose = "of the detection; the sheet adds to them along its normal"
    if optics.model == "gibson-lanni":
        na = min(na, layer_index(optics, "sample_index"))
    found = psf.cutoffs(na=na, wavelength=wavelength, index=optics.index)
    return np.asarray(found), whose


def _lens(optics: Optics) -> dict[str, Any]:
    assert optics.wavelength is not None  # `check_optics` has made sure
    return {"na": optics.na, "wavelength": optics.wavelength[0], **_pupil(optics)}


def _pupil(optics: Optics) -> dict[str, Any]:
    kind = "vectorial" if optics.vectorial else "scalar"
    return {"model": kind, "aberrations": parse_aberrations(optics) or None}


def _widefield(optics, shape, size) -> Any:
    from .. import psf

    return psf.widefield(shape, size, index=optics.index, **_lens(optics))


def _confocal(optics, shape, size) -> Any:
    from .. import psf

    return psf.confocal(
        shape,
        size,
        index=optics.index,
        excitation=optics.excitation[0] if optics.excitation else None,
        pinhole=1.0 if optics.pinhole is None else optics.pinhole,
        **_lens(optics),
    )


def _light_sheet(optics, shape, size) -> Any:
    from .. import psf

    return psf.light_sheet(
        shape,
        size,
        index=optics.index,
        sheet_fwhm=optics.sheet_fwhm,
        angle=math.radians(optics.sheet_angle or 0),
        **_lens(optics),
    )


def _gibson_lanni(optics, shape, size) -> Any:
    from .. import psf

    layers = {"tg": COVERSLIP_UM, "tg0": COVERSLIP_UM}
    layers |= {LAYERS[name]: value for name, value in INDICES.items()}
    for name, symbol in LAYERS.items():
        if getattr(optics, name) is not None:
            layers[symbol] = getattr(optics, name)
    return psf.gibson_lanni(shape, size, ni=optics.index, **layers, **_lens(optics))


def _gaussian(optics, shape, size) -> Any:
    from .. import psf

    widths = _fitting_widths(optics.fwhm[0], shape)
    return psf.gaussian(shape, np.asarray(widths) / np.asarray(size))


def _fitting_widths(text: str, shape) -> tuple[float, ...]:
    widths = parse_widths(text)
    if len(widths) not in (1, len(shape)):
        raise ValueError(
            f"--fwhm is {text!r}; the image is {len(shape)}D, and one number or "
            f"{len(shape)} are needed."
        )
    return widths


MODELS = {
    "widefield": Model(LENS, PUPIL, _widefield),
    "confocal": Model(LENS, (*PUPIL, "excitation", "pinhole"), _confocal),
    "light-sheet": Model((*LENS, "sheet_fwhm"), (*PUPIL, "sheet_angle"), _light_sheet),
    "gibson-lanni": Model(
        (*LENS, "depth"), (*PUPIL, *LAYERS, "through_depth"), _gibson_lanni
    ),
    "gaussian": Model(("fwhm",), (), _gaussian),
}


@contextlib.contextmanager
def options_named(**changed: str) -> Iterator[None]:
    """Let what the library refuses name options instead of arguments."""
    try:
        yield
    except ValueError as error:
        raise ValueError(_name_options(str(error), changed)) from None


def _name_options(text: str, changed: dict[str, str]) -> str:
    """The text with options in place of arguments of the library."""
    names = {symbol: option(name) for name, symbol in LAYERS.items()}
    names |= {name: option(name) for name in (*LENS, "excitation", "pinhole")}
    names |= {"ni": "--index", "voxel_size": "the voxel size", **changed}
    for name, replacement in names.items():
        text = text.replace(f"`{name}`", replacement)
    return text


@contextlib.contextmanager
def _undersampled_once() -> Iterator[None]:
    """Say only once, with the strictest limit, that voxels are too large.

    A confocal PSF consists of two others, which would say it again.
    """
    from ..psf import UndersampledWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said = False
    for warning in caught:
        repeated = said and warning.category is UndersampledWarning
        said = said or warning.category is UndersampledWarning
        if not repeated:
            text = _name_options(str(warning.message), {})
            warnings.warn(text, warning.category, stacklevel=4)
