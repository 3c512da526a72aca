"""What OME-XML says of the optics: lens, immersion, wavelengths."""

from typing import Any
from xml.etree.ElementTree import Element

from ._units import in_micrometres

IMMERSIONS = {
    "air": 1.0,
    "water": 1.333,
    "waterdipping": 1.333,
    "glycerol": 1.47,
    "oil": 1.518,
}
"""Refractive indices of what OME names, where the file gives no number."""
MODES = {
    "widefield": "widefield",
    "wide-field": "widefield",
    "laserscanningconfocalmicroscopy": "confocal",
    "spinningdiskconfocal": "confocal",
    "spim": "light-sheet",
    "singleplaneillumination": "light-sheet",
    "lightsheet": "light-sheet",
}
"""Acquisition modes of OME for which there is a PSF model, and its name."""


def ome_optics(root: Element, pixels: Element) -> dict[str, Any]:
    """The optics of one image, as far as its OME-XML says them.

    Args:
        root: of the OME-XML.
        pixels: of the image, inside `root`.

    Returns:
        Of "na", "index", "immersion" and "channels" what is known; of a channel
        "wavelength" (emission) and "excitation" in µm, "mode" ("widefield",
        "confocal" or "light-sheet") and "pinhole" in µm.
    """
    settings = _settings(root, pixels)
    lens = _lens(root, None if settings is None else settings.get("ID"))
    found: dict[str, Any] = {}
    if lens is not None:
        found["na"] = _number(lens.get("LensNA") or lens.get("CalibratedNA"))
        immersion = (lens.get("Immersion") or "").lower()
        found["immersion"] = immersion or None
        found["index"] = IMMERSIONS.get(immersion)
    measured = None if settings is None else _number(settings.get("RefractiveIndex"))
    if measured is not None:
        found["index"] = measured
    channels = [_channel(c) for c in pixels if _name(c) == "Channel"]
    if any(channels):
        found["channels"] = channels
    return {name: value for name, value in found.items() if value is not None}


def _settings(root: Element, pixels: Element) -> Element | None:
    """The objective settings of the image that has these pixels."""
    images = [e for e in root.iter() if _name(e) == "Image"]
    image = next((e for e in images if pixels in list(e)), None)
    if image is None:
        return None
    return next((e for e in image if _name(e) == "ObjectiveSettings"), None)


def _lens(root: Element, wanted: str | None) -> Element | None:
    """The lens of that name; the only one, if none is named."""
    lenses = [e for e in root.iter() if _name(e) == "Objective"]
    named = [e for e in lenses if wanted is not None and e.get("ID") == wanted]
    if named:
        return named[0]
    return lenses[0] if len(lenses) == 1 and wanted is None else None


def _channel(element: Element) -> dict[str, Any]:
    def length(name: str, unit: str) -> float | None:
        number = _number(element.get(name))
        return in_micrometres(number, element.get(f"{name}Unit", unit))

    found = {
        "wavelength": length("EmissionWavelength", "nm"),
        "excitation": length("ExcitationWavelength", "nm"),
        "mode": MODES.get((element.get("AcquisitionMode") or "").lower()),
        "pinhole": length("PinholeSize", "µm"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(text: str | None) -> float | None:
    """A positive number; None for what is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _name(element: Element) -> str:
    """The tag without its namespace."""
    return element.tag.rpartition("}")[2]
