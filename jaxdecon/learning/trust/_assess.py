"""Put all checks of an estimate together: a map, a verdict, its reasons."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from ...operators import LinearOperator
from ._findings import Findings, findings_of
from ._outside import OutsideSupport
from ._psf_likeness import PSFLikeness, compare_psfs
from ._reasons import alone, compared
from ._record import TrainingRecord
from ._residual import ResidualMap
from ._scores import known_scores, local_map

NO_OBJECTION, DOUBTFUL, UNCHECKED = "no objection", "doubtful", "unchecked"
MOST_CONTRADICTED = 0.01
"""Share of the voxels with |z| above 4 that is doubtful where no record says what is
usual; noise gives 0.00006."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Familiarity:
    """How an image compares with those of the training.

    Attributes:
        scores: "light", "spectrum", "input" and "output" (features), in standard
            deviations of held-out images (of logarithms of distances): above 3 is
            unusual.
        psf: the PSFs compared; None: one is unknown.
    """

    scores: dict[str, float]
    psf: PSFLikeness | None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Assessment:
    """What speaks against an estimate.

    Attributes:
        residual: `ResidualMap`: what the data say; None without an operator.
        outside: `OutsideSupport`: what no data can vouch for; None likewise.
        familiarity: how the image compares with the training; None without a record.
        map: share of held-out voxels that look at least as bad as every voxel: 0.5 is
            typical, 0.01 rare. Without a record the probability of so large a `z`, if
            the estimate were true. None: neither operator nor record.
        scores: of the whole image by name, in standard deviations of held-out images:
            "data" (rms of z), "pull" (how far eight matched updates change it, a share
            of it), "outside" (the share of its energy), "light", "spectrum", "input",
            "output" (distances from the training), "spread".
        score: all together, larger is worse, most of it "pull" and some of it "output",
            which tell large errors best; without a record the share of the voxels
            that the data contradict; NaN if nothing was checked.
        threshold: of `score`, above which an estimate is doubtful.
        verdict: "no objection", "doubtful" or "unchecked".
        reasons: in words, what was found, and what could not be seen.
    """

    residual: ResidualMap | None
    outside: OutsideSupport | None
    familiarity: Familiarity | None
    map: np.ndarray | None
    scores: dict[str, float]
    score: float
    threshold: float
    verdict: str
    reasons: tuple[str, ...]

    @property
    def outside_map(self) -> jax.Array | None:
        """Share of the energy around every voxel that no data can vouch for."""
        return None if self.outside is None else self.outside.map


def assess(
    estimate: ArrayLike,
    images: Any,
    *,
    operator: LinearOperator | None = None,
    background: Any = None,
    noise: Any = None,
    record: TrainingRecord | None = None,
    spread: ArrayLike | None = None,
    voxel_size: float | Sequence[float] | None = None,
    psf: ArrayLike | None = None,
) -> Assessment:
    """Look for what speaks against an estimate: in the data, and in where it is from.

    With an operator: the residual map, the share outside the operator's support, and
    how far eight matched updates would pull the estimate. With a record: how image,
    estimate and PSF compare with the training, and what all scores are on held-out
    images; an estimate is doubtful if all together are above what 95 % of those have.

    No verdict says that an estimate is right. Not seen: invented structure outside the
    support that looks like the training's; a wrong PSF, with which all is consistent;
    at the rim of the field, what light from outside could explain.

    Args:
        estimate: of the operator's field of view, in units of the images.
        images: `(views, *spatial)` or `(*spatial)`, or a tuple where grids differ.
        operator: from the object to the images; None: no physical check.
        background: a number or an array; a tuple, one for each view; None: measured.
        noise: as for `residual_map`; None: measured.
        record: of the network's training; None: no comparison.
        spread: standard deviation of several networks' estimates, like `estimate`;
            counts where the record was measured with one.
        voxel_size: in um, compared with the record's.
        psf: compared with the record's; `(views, *shape)` for several views.

    Raises:
        ValueError: a voxel size other than the training's; shapes that do not fit.

    Example:
        >>> import jax, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> blur = jd.operators.Convolution.from_psf(psf, (64, 64))
        >>> pairs = jd.learning.SimulatedPairs("spheres", blur, key=jax.random.key(0))
        >>> images, truth = pairs[0]
        >>> scene = {"operator": blur, "background": 5.0}
        >>> scene["noise"] = jd.learning.CameraNoise.of(gain=1.0)
        >>> jd.learning.assess(truth, images, **scene).verdict
        'no objection'
        >>> jd.learning.assess(2 * truth, images, **scene).verdict
        'doubtful'
    """
    if record is not None:
        record.check_voxel_size(voxel_size)
    found = findings_of(
        estimate,
        images,
        operator=operator,
        background=background,
        noise=noise,
        spread=spread,
    )
    likeness = _likeness(psf, record, np.ndim(estimate))
    if record is None or record.calibration is None:
        return _alone(found, likeness)
    return _compared(found, record, likeness)


def _likeness(psf: Any, record: TrainingRecord | None, ndim: int) -> PSFLikeness | None:
    """Of the PSFs of several views the least alike."""
    if psf is None or record is None or record.psf is None:
        return None
    given, trained = (list(p) if np.ndim(p) > ndim else [p] for p in (psf, record.psf))
    count = max(len(given), len(trained))
    views = zip(
        *(p * count if len(p) == 1 else p for p in (given, trained)), strict=True
    )
    found = [compare_psfs(one, other) for one, other in views]
    return min(found, key=lambda likeness: (likeness.same, likeness.agreement))


def _alone(found: Findings, likeness: PSFLikeness | None) -> Assessment:
    """By the data alone."""
    checked = found.residual is not None
    contradicted = checked and found.contradicted > MOST_CONTRADICTED
    bad = contradicted or not (likeness is None or likeness.same)
    return Assessment(
        residual=found.residual,
        outside=found.outside,
        familiarity=None,
        map=_by_noise(found),
        scores={},
        score=found.contradicted,
        threshold=MOST_CONTRADICTED,
        verdict=(DOUBTFUL if bad else NO_OBJECTION) if checked else UNCHECKED,
        reasons=alone(found, contradicted, likeness),
    )


def _by_noise(found: Findings) -> np.ndarray | None:
    if found.residual is None:
        return None
    tail = jax.scipy.stats.norm.sf(abs(found.residual.z))
    return np.asarray(2 * tail)


def _compared(
    found: Findings, record: TrainingRecord, likeness: PSFLikeness | None
) -> Assessment:
    """With a record."""
    calibration: Any = record.calibration
    raw = known_scores(found, record)
    scores = {n: float(v) for n, v in calibration.standards(raw).items()}
    score = float(calibration.combined(raw))
    threshold = calibration.threshold(raw)
    large = not score <= threshold  # nor is one that is no number
    bad = large or not (likeness is None or likeness.same)
    maps = {**found.maps, "local": local_map(found, record)}
    familiar = {n: v for n, v in scores.items() if n in found.traits}
    return Assessment(
        residual=found.residual,
        outside=found.outside,
        familiarity=Familiarity(scores=familiar, psf=likeness),
        map=calibration.trust(maps),
        scores=scores,
        score=score,
        threshold=threshold,
        verdict=DOUBTFUL if bad else NO_OBJECTION,
        reasons=compared(found, record, raw, large, likeness),
    )
