"""Scores of an estimate relative to a training record."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._findings import Findings, brightness, local_features
from ._record import TrainingRecord

KINDS = ("light", "spectrum", "input", "output")
"""Clouds of whole images."""


def image_scores(found: Findings, record: TrainingRecord) -> dict[str, float]:
    """All scores of one image: physical ones, and distances from the training."""
    distances = {
        kind: float(record.clouds[kind].distance(found.traits[kind]))
        for kind in KINDS
        if kind in record.clouds
    }
    return {**found.scores, **distances}


def local_map(found: Findings, record: TrainingRecord) -> np.ndarray:
    """How far from the training what is around every voxel looks, where there is light.

    In the dark, which has structure of its own kind, by as much less as it is darker
    than the mean.
    """
    vectors = np.moveaxis(np.asarray(local_features(found)), 0, -1)
    far = record.clouds["local"].distance(vectors)
    return (far * np.asarray(brightness(found.image))).astype(np.float32)


def departures(
    kind: str, found: Findings, record: TrainingRecord, names: Sequence[str]
) -> list[tuple[str, float]]:
    """Entries of a vector by how many standard deviations they are off, worst first."""
    off = record.clouds[kind].departures(found.traits[kind])
    order = np.argsort(-abs(off))
    return [(names[int(i)], float(off[i])) for i in order]


def known_scores(found: Findings, record: Any) -> dict[str, float]:
    """Those scores that the record has a calibration for."""
    scores = image_scores(found, record)
    return {n: v for n, v in scores.items() if n in record.calibration.scores}
