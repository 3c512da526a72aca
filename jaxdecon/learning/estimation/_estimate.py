"""What every estimate of a PSF says of itself."""

import dataclasses
from typing import Any

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class NullTest:
    """Whether the data prefer an estimate to none.

    Scores are negative log-likelihoods (or another objective that falls as the fit
    gets better) of the same data.

    Attributes:
        score: of the estimate.
        null: of the PSF without what was estimated: no aberration, no change.
        twin: of the estimate's sign twin, where there is one: the aberrations that
            give the same intensities on the other side of focus. None: not asked.
        threshold: by how much `score` must be below `null`.
        passed: whether it is, and below `twin`, too, where there is one.
    """

    score: float
    null: float
    threshold: float
    twin: float | None = None
    passed: bool

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        twin = "" if self.twin is None else f", sign twin {self.twin:.6g}"
        return (
            f"null test {verdict}: score {self.score:.6g}, without {self.null:.6g}"
            f"{twin}; a gain of {self.threshold:.3g} is needed"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PSFEstimate:
    """A PSF learned from data, and how far to trust it.

    Attributes:
        psf: (z, y, x) or (y, x), centred on n // 2, non-negative, unit sum.
        parameters: of the model, a tree like `start`.
        errors: one standard deviation of each parameter from the Fisher information, a
            tree like `parameters`; infinite where the data say nothing.
        covariance: of all parameters in the order of `jax.tree.leaves`, flattened.
        method: by which it was found.
        reliable: whether its tests were passed. Do not use what is not.
        message: what was done, and what is doubtful, in words.
        null_test: whether the data prefer it to no aberration; None: not asked.
        unidentified: combinations of parameters that the data do not determine, in
            words.
        residual: what a pixel-wise correction adds to the model, with `psf` the sum;
            None: none was asked for.
        history: the objective, iteration by iteration, of the best start.
    """

    psf: jax.Array
    parameters: Any
    errors: Any
    covariance: jax.Array
    method: str
    reliable: bool
    message: str
    null_test: NullTest | None = None
    unidentified: tuple[str, ...] = ()
    residual: jax.Array | None = None
    history: jax.Array | None = None

    def raise_if_unreliable(self) -> "PSFEstimate":
        """This estimate, if it is reliable.

        Raises:
            ValueError: it is not, with the reason.
        """
        if not self.reliable:
            raise ValueError(f"the PSF is not reliable: {self.message}")
        return self
