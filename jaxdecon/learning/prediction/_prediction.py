"""What a prediction comes with."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """An estimate of an object, and how far it can be trusted.

    Maps are (z, y, x) or (y, x) as the image; None where they could not be made.

    Attributes:
        image: the network's estimate, in units of the image above the background.
        residual: what the data say against it, in standard deviations: positive where
            light is missing, negative where there is too much. Needs an operator.
        outside: share of the estimate's energy outside the support of the OTF, for
            which no data can vouch. Needs an operator.
        outside_map: where that energy is.
        familiarity: how the image compares with those of the training: see
            `trust.Familiarity`; needs a record.
        spread: standard deviation between networks, with `others`.
        trust: from 0 to 1: the share of the training's held-out voxels that look as
            bad; 0.5 is typical, 0.01 rare. Without a record, the probability of such a
            residual, if the estimate were true.
        score: one number for all, larger is worse; None: nothing was checked.
        verdict: "no objection", "doubtful" or "unchecked". Never "correct".
        reasons: for it, and what was not or cannot be seen.
        repaired: the estimate pulled back to the data, with `repair`.
        change: what that changed, as a share.
        assessment: all that was found: see `trust.Assessment`.
    """

    image: Any
    residual: Any = None
    outside: float | None = None
    outside_map: Any = None
    familiarity: Any = None
    spread: Any = None
    trust: Any = None
    score: float | None = None
    verdict: str = "unchecked"
    reasons: tuple[str, ...] = ()
    repaired: Any = None
    change: Any = None
    assessment: Any = None

    @property
    def best(self) -> Any:
        """The repaired estimate where there is one, else the network's."""
        return self.image if self.repaired is None else self.repaired
