"""What `LightSheet` is given, checked and completed."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import (
    check_choice,
    check_count,
    check_positive,
    check_psf,
    check_shape,
    check_share,
    is_traced,
)
from ._base import Shape
from ._blur import crop_to_reach
from ._light_sheet_profile import Sheet, count_terms, half_width
from ._mirror import MirrorPlane


def check_stack(psf: ArrayLike, shape: Sequence[int]) -> tuple[jax.Array, Shape]:
    """A detection PSF and the shape of a stack, the PSF cut to what can matter."""
    shape = check_shape("shape", shape)
    if len(shape) != 3:
        raise ValueError(f"`shape` is {shape}; a stack needs (z, y, x).")
    return crop_to_reach(check_psf("psf", psf, 3), shape, "extend"), shape


FADINGS = {"sheet": 0.5, "beam": 1.0}
"""Powers of the narrowness with which light fades from the focus, by `divergence`."""


def check_sheet(
    fwhm: Any, rayleigh: Any, focus: Any, shape: Shape, divergence: str = "sheet"
) -> Sheet:
    """A sheet, with defaults filled in."""
    check_choice("divergence", divergence, tuple(FADINGS))
    check_number("fwhm", fwhm)
    check_positive("fwhm", fwhm)
    if rayleigh is not None and not _is_infinite(rayleigh):
        check_number("rayleigh", rayleigh)
        check_positive("rayleigh", rayleigh)
    focus = (shape[2] - 1) / 2 if focus is None else focus
    check_number("focus", focus)
    numbers = fwhm, math.inf if rayleigh is None else rayleigh, focus
    thickness, length, middle = scalars(*numbers)
    return Sheet(
        fwhm=thickness, rayleigh=length, focus=middle, fading=FADINGS[divergence]
    )


def _is_infinite(value: Any) -> bool:
    return not is_traced(value) and np.shape(value) == () and value == math.inf


def check_angle(mirror: Any, reflectivity: Any, angle: float) -> MirrorPlane:
    """Where the mirror lies."""
    check_number("mirror", mirror)
    check_number("reflectivity", reflectivity)
    if not is_traced(reflectivity) and not 0 <= float(reflectivity) <= 1:
        raise ValueError(f"`reflectivity` is {reflectivity}; 0 to 1 is needed.")
    if not 0 < angle < math.pi / 2:
        raise ValueError(
            f"`angle` is {angle}; radians between 0 and pi / 2 are needed, e.g. "
            f"`math.radians(32)`."
        )
    at, reflectivity = scalars(mirror, reflectivity)
    return MirrorPlane(at=at, reflectivity=reflectivity, angle=float(angle))


def check_number(name: str, value: Any) -> None:
    """One finite number (skipped while tracing)."""
    if np.shape(value) != ():
        raise ValueError(f"`{name}` has shape {np.shape(value)}; a number is needed.")
    if not is_traced(value) and not math.isfinite(value):
        raise ValueError(f"`{name}` is {value}; a finite number is needed.")


def check_reach(kernel: Shape, range: Shape, domain: Shape) -> None:
    """A kernel that reaches no further than the object beyond the image."""
    for size, n, d in zip(kernel, range, domain, strict=True):
        if n + 2 * (size // 2) > d:
            raise ValueError(
                f"`kernel` has shape {kernel}, and reaches further than the object of "
                f"shape {domain} beyond an image of {range}: crop it to the PSF."
            )


def scalars(*values: Any) -> list[jax.Array]:
    """Numbers as floating-point arrays, known ones also where a jit surrounds us."""
    floating = jnp.result_type(float)
    with jax.ensure_compile_time_eval():
        return [jnp.asarray(value, floating) for value in values]


def pair(psfs: Sequence[ArrayLike], shape: Sequence[int]):
    """The PSF and the shape of two views at right angles."""
    if len(psfs) != 2:
        raise ValueError(
            f"`psfs` holds {len(psfs)} PSFs; two are needed, one per view."
        )
    shape = check_shape("shape", shape)
    return zip(psfs, (shape, shape[::-1]), strict=True)


def per_view(value: Any, index: int) -> Any:
    """A number, or that of one view."""
    if np.ndim(value) == 0:
        return value
    if len(value) != 2:
        raise ValueError(f"{value} was given; one number, or one per view, is needed.")
    return value[index]


def plan(
    sheet: Sheet,
    plane: MirrorPlane | None,
    domain: Shape,
    start: Shape,
    *,
    accuracy: float,
    terms: int | None,
    support: int | None = None,
) -> tuple[int, int]:
    """How many terms, and how many voxels of the reflected sheet, accuracy needs."""
    check_share("accuracy", accuracy)
    along = np.arange(domain[2]) - start[2]
    if terms is None:
        refuse_traced("terms", sheet)
        terms = count_terms(sheet, along, accuracy)
    if support is None and plane is not None:
        refuse_traced("support", sheet, plane)
        support = half_width(sheet, mirrored_way(plane, domain, start), accuracy)
    return check_count("terms", terms, 1), check_count("support", support or 0)


def mirrored_way(plane: MirrorPlane, domain: Shape, start: Shape) -> np.ndarray:
    """Places along its way that the reflected sheet passes inside the object."""
    z = np.arange(domain[0])[:, None] - start[0]
    plane = jax.tree.map(np.asarray, plane)
    return plane.mirrored(z, np.arange(domain[2]) - start[2])[1]


def refuse_traced(name: str, *values: Any) -> None:
    """Sizes of arrays cannot depend on numbers that are not known yet."""
    if is_traced(*values):
        raise ValueError(
            f"`{name}` cannot be derived from traced numbers: give that of an operator "
            f"made with known ones, its `{name}`."
        )
