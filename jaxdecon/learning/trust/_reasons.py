"""The verdict's reasons in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._findings import Findings
from ._psf_likeness import PSFLikeness
from ._record import TrainingRecord
from ._scores import departures
from ._traits import trait_names

MOST_NAMED = 3
"""Traits that are named in a reason."""
UNUSUAL = "unusual, though not enough to doubt the result"
PICTURES = {
    "light": "the light is not as in the training images",
    "spectrum": "the power spectrum of the image is not as in training",
    "input": "the structure in the image is not as in training",
    "output": "the structure in the result is not as in training",
}


def alone(found: Findings, bad: bool, likeness: PSFLikeness | None) -> tuple[str, ...]:
    """Reasons where no record says what is usual."""
    if found.residual is None:
        return ("nothing was checked: there is no operator, and no record with scores",)
    text = _contradicted(found, None) if bad else _agreed(found)
    return (text, *_psf(likeness), _not_seen(found))


def compared(
    found: Findings,
    record: TrainingRecord,
    scores: Mapping[str, float],
    bad: bool,
    likeness: PSFLikeness | None,
) -> tuple[str, ...]:
    """What is unusual about an estimate, and what could not be seen."""
    calibration: Any = record.calibration
    named = calibration.unusual(scores)
    if bad and not named:  # many scores that are somewhat high
        named = sorted(scores, key=lambda n: -calibration.standard(n, scores[n]))[:1]
    reasons = [_reason(name, found, record) for name in named]
    if not bad:
        reasons = [f"{UNUSUAL}: {text}" for text in reasons]
    if not reasons:
        reasons = [f"no score is worse than those of {_number(record)}{_usual(record)}"]
    return (*reasons, *_psf(likeness), _not_seen(found))


def _psf(likeness: PSFLikeness | None) -> list[str]:
    return [] if likeness is None or likeness.same else [str(likeness)]


def _number(record: TrainingRecord) -> str:
    """The images that the thresholds are of."""
    count = getattr(record.calibration, "count", 0)
    if _held_out(record):
        others = record.about.get("left out", 0)
        more = f" ({others} failures or empty fields left out)" if others else ""
        return f"{count} held-out images{more}"
    return f"{count} images of the training (nothing was held out, so this says little)"


def _data(record: TrainingRecord) -> str:
    return "held-out data" if _held_out(record) else "training data"


def _held_out(record: TrainingRecord) -> bool:
    return bool(record.about.get("held out", True))


def _usual(record: TrainingRecord) -> str:
    errors = np.asarray(record.facts.get("error", ()), float)
    errors = errors[np.isfinite(errors)]
    return f", whose error is {np.median(errors):.0%} (NRMSE)" if errors.size else ""


def _reason(name: str, found: Findings, record: TrainingRecord) -> str:
    if name == "data":
        return _contradicted(found, record)
    if name in PICTURES:
        return _picture(name, found, record)
    calibration: Any = record.calibration
    value, usual = found.scores[name], calibration.typical(name)
    text = {
        "outside": "{} of the result's energy is where no light gets through",
        "pull": "the data change the result by {} within eight matched updates",
        "spread": "the networks differ from one another by {}",
    }[name].format(f"{value:.1%}")
    return f"{text} ({usual:.1%} on {_data(record)})"


def _contradicted(found: Findings, record: TrainingRecord | None) -> str:
    usual = ""
    if record is not None and len(record.facts.get("contradicted", ())):
        share = np.nanmedian(record.facts["contradicted"])
        usual = f" ({share:.2%} on {_data(record)})"
    return (
        f"the data contradict the result in {found.contradicted:.2%} of its volume"
        f"{usual}: structure there is invented or missing"
    )


def _picture(kind: str, found: Findings, record: TrainingRecord) -> str:
    ndim = len(np.shape(found.estimate))
    names = trait_names(kind, ndim, len(found.traits[kind]))
    worst = departures(kind, found, record, names)[:MOST_NAMED]
    listed = ", ".join(
        f"{name} ({off:+.1f} standard deviations)" for name, off in worst
    )
    return f"{PICTURES[kind]}: {listed}"


def _agreed(found: Findings) -> str:
    return f"the data contradict the result in {found.contradicted:.2%} of its volume"


def _not_seen(found: Findings) -> str:
    if found.outside is None:
        return "not seen without an operator: whether the data agree with the result"
    rim = "at the rim, what light from outside can explain; " if found.rim else ""
    return (
        f"not seen by the data: {float(found.outside.share):.1%} of the result's "
        f"energy, outside the operator's support; {rim}and whether the PSF is right"
    )
