"""Numbers of PSF options: aberrations, widths, lengths in µm."""

import math
from typing import Any

from ._psf_options import Optics


def check_micrometres(name: str, value: Any) -> None:
    """Refuse what can only be nm, by the name of its option."""
    from ..psf._optics import check_micrometres

    try:
        check_micrometres(name, value)
    except ValueError as error:
        raise ValueError(str(error).replace(f"`{name}`", name)) from None


def parse_aberrations(optics: Optics) -> dict[tuple[int, int], float]:
    """(n, m) -> radians, rms, of what was given as NAME=WAVES or NAME=RADIANSrad."""
    coefficients: dict[tuple[int, int], float] = {}
    for text in optics.aberration or []:
        name, _, value = text.rpartition("=")
        radians = _radians(value.strip(), text)
        mode = _zernike_mode(name.strip(), text)
        if mode in coefficients:
            raise ValueError(
                f"--aberration {text}: {name} is given twice; add them up."
            )
        coefficients[mode] = radians
    return coefficients


def _zernike_mode(name: str, text: str) -> tuple[int, int]:
    from ..psf._zernike import mode_of

    numbers = name.replace(" ", "").split(",")
    try:
        key = tuple(int(number) for number in numbers)
    except ValueError:
        key = (name.replace("-", " "),)
    try:
        return mode_of(key if len(key) == 2 else key[0])
    except ValueError as error:
        raise ValueError(f"--aberration {text}: {error}") from None


def _radians(value: str, text: str) -> float:
    from ..psf._zernike import LARGEST_RADIANS

    number = value.removesuffix("rad")
    try:
        radians = float(number) * (2 * math.pi if number == value else 1)
    except ValueError:
        raise ValueError(
            f"--aberration is {text!r}; NAME=WAVES (rms) or NAME=RADIANSrad is needed: "
            f"spherical=0.1, coma=0.6rad."
        ) from None
    if not abs(radians) <= LARGEST_RADIANS:
        raise ValueError(
            f"--aberration {text} is too much for a pupil; waves (rms) are needed, at "
            f"most {LARGEST_RADIANS / 2 / math.pi:.3g}, typically below 0.5."
        )
    return radians


def parse_widths(text: str) -> tuple[float, ...]:
    """Numbers of "0.6,0.25,0.25"."""
    try:
        widths = tuple(float(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if len(widths) not in (1, 2, 3) or not all(0 < w < math.inf for w in widths):
        raise ValueError(f"--fwhm is {text!r}; z,y,x in µm is needed: 0.6,0.25,0.25")
    check_micrometres("--fwhm", widths)
    return widths
