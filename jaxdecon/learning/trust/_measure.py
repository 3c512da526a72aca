"""Measure what a network was trained on, and how it does on the like."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from ...operators import LinearOperator
from ..pairs._normalised import NormalisedPairs
from ..pairs._pairs import Pair, PairSource, Subset, as_source
from ._calibration import calibrated
from ._cloud import Cloud
from ._findings import Findings, findings_of, local_features
from ._record import TrainingRecord
from ._scores import KINDS, image_scores, local_map

MOST = 64
LEAST_PAIRS = 4
VOXELS = 4096
"""Of a held-out image, for the tables of its maps."""
PLACES = 128
"""Of a training image, for its local features."""
GOOD = 2.0
"""Errors, relative to the median one, up to which a network did well. Of such images is
what counts as usual: fields with nothing in them, and failures, would hide others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """How pairs are looked at.

    Attributes:
        predict: from images and operator to an estimate, or estimate and spread.
        operator: for all pairs, or a function of their number, or None.
        background: as for `assess`.
        noise: as for `assess`.
    """

    predict: Callable[[Any, Any], Any]
    operator: Any
    background: Any
    noise: Any

    def look(self, source: PairSource, index: int) -> tuple[Pair, Findings, Any]:
        """A pair in units of its images, and what is found of its estimate."""
        pair = raw_pair(source, index)
        operator = self._operator(index)
        given = self.predict(pair.images, operator)
        estimate, spread = given if isinstance(given, tuple) else (given, None)
        found = findings_of(
            estimate,
            pair.images,
            operator=operator,
            spread=spread,
            background=self.background,
            noise=self.noise,
        )
        return pair, found, estimate

    def _operator(self, index: int) -> LinearOperator | None:
        if self.operator is None or isinstance(self.operator, LinearOperator):
            return self.operator
        return self.operator(index)


def measured(
    pairs: Any,
    predict: Callable[[Any, Any], Any],
    *,
    held_out: Any = None,
    operator: LinearOperator | Callable[[int], LinearOperator] | None = None,
    background: Any = None,
    noise: Any = None,
    voxel_size: float | Sequence[float] | None = None,
    psf: ArrayLike | None = None,
    most: int = MOST,
    about: dict[str, Any] | None = None,
) -> TrainingRecord:
    """See `TrainingRecord.measure`."""
    survey = Survey(
        predict=predict, operator=operator, background=background, noise=noise
    )
    pairs = as_source(pairs)
    known, judged = _split(pairs, held_out)
    looks = [survey.look(pairs, i) for i in _some(known, most)]
    trained = [looks[i] for i in good_ones([_error(e, p.truth) for p, _, e in looks])]
    record = TrainingRecord(
        voxel_size=_sizes(voxel_size, np.ndim(trained[0][2])),
        psf=None if psf is None else np.asarray(psf, np.float32),
        clouds=_clouds([found for _, found, _ in trained]),
        about={
            "pairs": len(pairs),
            "held out": held_out is not None,
            **(about or {}),
        },
    )
    judge = pairs if held_out is None else as_source(held_out)
    return _with_held_out(record, survey, judge, _some(judged, most))


def _clouds(found: list[Findings]) -> dict[str, Cloud]:
    clouds = {
        kind: Cloud.of(np.stack([f.traits[kind] for f in found])) for kind in KINDS
    }
    rng = np.random.default_rng(0)
    places = []
    for one in found:
        vectors = np.asarray(local_features(one)).reshape(len(one.traits["input"]), -1)
        places.append(vectors[:, rng.integers(vectors.shape[1], size=PLACES)])
    clouds["local"] = Cloud.of(np.concatenate(places, axis=1).T)
    return clouds


def _with_held_out(
    record: TrainingRecord, survey: Survey, source: PairSource, numbers: list[int]
) -> TrainingRecord:
    """The record with scores and maps of held-out pairs that were predicted well."""
    rng = np.random.default_rng(0)
    scores, samples, facts = [], [], []
    for index in numbers:
        pair, found, estimate = survey.look(source, index)
        maps = {**found.maps, "local": local_map(found, record)}
        voxels = rng.integers(np.size(maps["local"]), size=VOXELS)
        scores.append(image_scores(found, record))
        samples.append({n: np.asarray(m).ravel()[voxels] for n, m in maps.items()})
        error = _error(estimate, pair.truth)
        facts.append({"contradicted": found.contradicted, "error": error})
    good = good_ones([fact["error"] for fact in facts])
    scores, samples, facts = (_by_name(x, good) for x in (scores, samples, facts))
    return dataclasses.replace(
        record,
        calibration=calibrated(scores, samples),
        facts={name: np.asarray(values) for name, values in facts.items()},
        about={**record.about, "left out": len(numbers) - len(good)},
    )


def _by_name(each: list[dict[str, Any]], chosen: Sequence[int]) -> dict[str, list[Any]]:
    return {name: [each[i][name] for i in chosen] for name in each[0]}


def good_ones(errors: Sequence[float]) -> list[int]:
    """Numbers of images that a network did well on; all, where no error is known."""
    values = np.asarray(errors, float)
    known = np.isfinite(values)
    if not known.any():
        return list(range(len(values)))
    return np.flatnonzero(known & (values <= GOOD * np.median(values[known]))).tolist()


def raw_pair(source: PairSource, index: int) -> Pair:
    """A pair in the units of its images, also where the source has normalised it."""
    pair = source[index]
    if isinstance(source, Subset):
        return raw_pair(source._source, source._at(index))
    if not isinstance(source, NormalisedPairs):
        return pair
    rule = source.normaliser(index)
    return Pair(rule.invert(pair.images), rule.invert_object(pair.truth))


def _split(pairs: PairSource, held_out: Any) -> tuple[range, range]:
    """Numbers of the pairs that are learned from, and of those that are judged by."""
    if held_out is not None:
        known, judged = range(len(pairs)), range(len(as_source(held_out)))
    else:
        known, judged = (range(k, len(pairs), 2) for k in (0, 1))
    for name, numbers in (("pairs", known), ("held_out", judged)):
        if len(numbers) < LEAST_PAIRS:
            raise ValueError(
                f"there are {len(numbers)} `{name}` to measure; {LEAST_PAIRS} or more "
                f"are needed, and some 20 for thresholds that mean something."
            )
    return known, judged


def _some(numbers: range, most: int) -> list[int]:
    """At most so many of them, spread evenly."""
    count = min(len(numbers), most)
    return [numbers[int(i)] for i in np.linspace(0, len(numbers) - 1, count).round()]


def _sizes(voxel_size: Any, ndim: int) -> tuple[float, ...] | None:
    if voxel_size is None:
        return None
    sizes = np.broadcast_to(np.asarray(voxel_size, float), (ndim,))
    return tuple(sizes.tolist())


def _error(estimate: Any, truth: Any) -> float:
    """NRMSE to the truth; NaN where the target is no object."""
    truth = np.asarray(truth, float)
    if truth.shape != np.shape(estimate) or not (truth**2).sum() > 0:
        return np.nan
    difference = np.asarray(estimate, float) - truth
    return float(np.sqrt((difference**2).sum() / (truth**2).sum()))
