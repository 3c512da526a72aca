"""Whether the options for optics fit together, before anything is computed."""

import itertools
import math
from collections.abc import Sequence

from .._core._check import check_positive
from ._psf_models import MODELS, layer_index, model_name, model_of, options_named
from ._psf_numbers import check_micrometres, parse_aberrations, parse_widths
from ._psf_options import Optics, option


def check_optics(optics: Optics, instead: str) -> None:
    """Refuse options that do not fit the model, are missing, or cannot be.

    Args:
        optics: of all channels.
        instead: what the user could give in place of optics: "--psf FILE".
    """
    model, name = model_of(optics), model_name(optics)
    for given in optics.given():
        if given not in ("model", *model.needs, *model.takes):
            users = [k for k, m in MODELS.items() if given in (*m.needs, *m.takes)]
            raise ValueError(
                f"{optics.model_option} {name} does not use {option(given)}, which is "
                f"for {', '.join(users)}."
            )
    missing = [need for need in model.needs if need not in optics.given()]
    if missing:
        raise ValueError(
            f"a PSF is needed: give {instead}, or the optics: {optics.model_option} "
            f"{name} needs {_options(model.needs)} (missing: {_options(missing)})."
        )
    _check_lengths(optics)
    _check_indices(optics)
    parse_aberrations(optics)
    for widths in optics.fwhm or []:
        parse_widths(widths)


def _check_lengths(optics: Optics) -> None:
    for name in ("coverslip", "design_coverslip", "working_distance", "sheet_fwhm"):
        if name in optics.given():
            check_positive(option(name), getattr(optics, name))
    for name, unit in (("depth", "µm"), ("pinhole", "Airy units")):
        value = getattr(optics, name)
        if value is not None and not 0 <= value < math.inf:
            raise ValueError(f"{option(name)} is {value}; zero or more {unit} needed.")
    angle = optics.sheet_angle
    if angle is not None and not -90 <= angle <= 90:
        raise ValueError(f"--sheet-angle is {angle}; degrees from -90 to 90 needed.")
    if optics.sheet_fwhm is not None:
        check_micrometres("--sheet-fwhm", optics.sheet_fwhm)


def _check_indices(optics: Optics) -> None:
    """Wavelengths in µm, and an aperture that every layer but the sample can hold."""
    from ..psf._optics import check_light

    if optics.na is None:
        return
    indices = {name: getattr(optics, name) for name in ("index", "design_index")}
    if optics.model == "gibson-lanni":
        check_positive("--sample-index", layer_index(optics, "sample_index"))
        indices["coverslip_index"] = layer_index(optics, "coverslip_index")
    wavelengths = [("wavelength", w) for w in optics.wavelength or []]
    wavelengths += [("excitation", w) for w in optics.excitation or []]
    for (name, index), (kind, value) in itertools.product(indices.items(), wavelengths):
        if index is not None:
            with options_named(index=option(name)):
                check_light(na=optics.na, index=index, **{kind: value})


def _options(names: Sequence[str]) -> str:
    return ", ".join(option(name) for name in names)
