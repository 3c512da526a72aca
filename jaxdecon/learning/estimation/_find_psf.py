"""Find the PSF of an image in what there is: beads in it, its optics, itself."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_image
from ...psf import DistilledPSF, PSFField, distil_field
from ._bead_likeness import look_for_beads
from ._semi_blind import semi_blind
from ._varying_worth import VaryingWorth, varying_worth

GRID = 3
"""Cells along y and x in which beads are told apart."""
LEAST_IN_CELL = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundPSF:
    """The PSF of an image, and where it comes from; from `find_psf`.

    Attributes:
        psf: to deconvolve with: (z, y, x) or (y, x), or a field if one is worth it.
        source: "beads", "optics" or "semi-blind".
        evidence: what was looked at, and what was found: pairs of a topic and a
            sentence.
        worth: what a varying PSF would save; None where nothing is known to vary.
    """

    psf: jax.Array | PSFField
    source: str
    evidence: tuple[tuple[str, str], ...]
    worth: VaryingWorth | None = None

    def explain(self) -> str:
        """The evidence in words, a line each."""
        return "\n".join(f"{topic:<10} {text}" for topic, text in self.evidence)


def find_psf(
    image: ArrayLike,
    *,
    model: Callable[..., ArrayLike] | None = None,
    start: Mapping[str, Any] | None = None,
    bounds: Mapping[str, Any] | None = None,
    beads: bool = True,
    gain: float = 1.0,
    offset: float = 0.0,
    background: float = 0.0,
    key: jax.Array | None = None,
) -> FoundPSF:
    """Find the PSF with which to deconvolve an image.

    1. Beads: are the bright spots of the image, those that are alone, all alike, and
       as wide as the optics allow? Then the PSF is distilled from them (`psf.distil`),
       and where there are enough, over the field (`psf.distil_field`): used if a
       rehearsal says that it is worth its cost (`varying_worth`).
    2. Optics: else the PSF is that of the model.
    3. Semi-blind: if bounds are given, the parameters of `start` are estimated from the
       image within them (`estimate_psf`), and used if the estimate passes its tests.

    Args:
        image: (z, y, x) or (y, x), non-negative, in the camera's units.
        model: `model(**parameters)` gives the PSF on the image's voxels; None: the
            optics are not known.
        start: its parameters; None: it takes none.
        bounds: by parameter, (low, high), of those to be estimated; the others of
            `start` stay as they are.
        beads: whether to look for beads.
        gain: units per photon.
        offset: units without light.
        background: offset and stray light, in units.
        key: of `jax.random.key`; None: always the same.

    Raises:
        ValueError: no beads, and no model: with what was found instead of beads.
    """
    volume = np.asarray(check_image("image", image))
    start = dict(start or {})
    unknown = set(bounds or {}) - set(start)
    if unknown:
        raise ValueError(
            f"`bounds` names {sorted(unknown)}, and `start` has {sorted(start)}."
        )
    nominal = None if model is None else jnp.asarray(model(**start))
    evidence: list[tuple[str, str]] = []
    light = {"gain": gain, "offset": offset, "background": background}
    if beads:
        verdict = look_for_beads(volume, nominal)
        evidence.append(("beads", verdict.reason))
        if verdict.are_beads and verdict.distilled is not None:
            return _of_beads(volume, verdict.distilled, evidence, light, key)
    if model is None or nominal is None:
        raise ValueError(_nothing_found(evidence))
    if bounds:
        estimate = _estimate(volume, model, start, bounds, light, evidence)
        if estimate is not None:
            return FoundPSF(psf=estimate, source="semi-blind", evidence=tuple(evidence))
    evidence.append(("psf", "the model's, with its parameters as they are"))
    return FoundPSF(psf=nominal, source="optics", evidence=tuple(evidence))


def _nothing_found(evidence: Sequence[tuple[str, str]]) -> str:
    looked = "".join(f" {text}." for _, text in evidence)
    return (
        f"no PSF was found: the image is not one of beads, and the optics are not "
        f"known.{looked} Give a PSF, or `model`."
    )


def _of_beads(volume, distilled: DistilledPSF, evidence, light, key) -> FoundPSF:
    evidence.append(("psf", f"distilled from {len(distilled.fits)} beads"))
    found = _field(volume, distilled, evidence)
    if found is None:
        return FoundPSF(psf=distilled.psf, source="beads", evidence=tuple(evidence))
    worth = varying_worth(volume, found, key=key, **light)
    evidence.append(("varying", str(worth)))
    return FoundPSF(
        psf=found if worth.worth_it else distilled.psf,
        source="beads",
        evidence=tuple(evidence),
        worth=worth,
    )


def _field(volume, distilled: DistilledPSF, evidence) -> PSFField | None:
    """PSFs on a grid, if there are beads everywhere on it."""
    grid = (1,) * (volume.ndim - 2) + (GRID, GRID)
    try:
        made = distil_field(volume, distilled.beads, grid=grid, min_beads=LEAST_IN_CELL)
    except ValueError as error:
        evidence.append(("varying", f"not told over the field: {error}"))
        return None
    return made.field


def _estimate(volume, model, start, bounds, light, evidence) -> Any:
    """The PSF estimated from the image, if it can be relied on."""
    free = {name: value for name, value in start.items() if name in bounds}
    kept = {name: value for name, value in start.items() if name not in bounds}
    try:
        estimate = semi_blind(
            volume,
            functools.partial(model, **kept),
            start=free,
            bounds=bounds,
            gain=light["gain"],
            offset=light["offset"],
        )
    except ValueError as error:
        evidence.append(("semi-blind", str(error)))
        return None
    evidence.append(("semi-blind", estimate.message))
    return estimate.psf if estimate.reliable else None
