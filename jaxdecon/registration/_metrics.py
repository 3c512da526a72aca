"""What a registration raises: a correlation, an information, or a user's function."""

import abc
import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._core._check import check_choice
from ..geometry._trilinear import sample
from ._correlation import significance
from ._histogram import Information, bin_count, information, joint_counts, to_bins
from ._local import localised
from ._moments import Pair, moments, over_planes, warped_at, weight_at, where
from ._normal import Normal, correlation, correlation_step, least_squares_step

Compare = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""From warped image, fixed image and weight of every voxel to a score to raise."""


@dataclasses.dataclass(frozen=True)
class Metric(abc.ABC):
    """How well two images agree, and the normal equations that raise it.

    `prepare` is called once on every level of a pyramid; the other methods take what it
    returns. `compare` is the score as a plain function, which derivatives are taken of.
    """

    name = ""
    units = "each"
    """What gets mean 0, variance 1: "each", "both" as the fixed volume, "neither"."""
    edges = False
    """Whether starts are found from edges: values need not correspond."""

    def prepare(self, pair: Pair) -> Pair:
        """The volumes as the metric takes them."""
        return pair

    @abc.abstractmethod
    def look(self, pair: Pair, rows: jax.Array, into: jax.Array) -> Normal:
        """The normal equations at a pose.

        Args:
            pair: the volumes, prepared.
            rows: (d, d + 1), from unit coordinates to voxels of the moving volume.
            into: (d (d + 1), n), derivative of the rows by the parameters.
        """

    def step(self, normal: Normal, damping: jax.Array) -> jax.Array:
        """Of the parameters, towards a higher score."""
        return least_squares_step(normal, damping)

    @abc.abstractmethod
    def compare(self, warped, fixed, weight) -> jax.Array:
        """The score of two images, of any shape."""

    def evidence(self, normal: Normal) -> jax.Array:
        """For a pose, to be compared with that for others; grows with the overlap."""
        return significance(normal.ncc, normal.weight)

    def association(self, pair: Pair, rows: jax.Array, normal: Normal) -> jax.Array:
        """From 0 to 1: how far one image says what the other is."""
        return normal.ncc

    def variance(self, normal: Normal) -> jax.Array:
        """By which the inverse of the normal matrix is the parameters' covariance."""
        gain = normal.both / jnp.maximum(normal.warped, 1e-30)
        left = jnp.maximum(normal.fixed - gain * normal.both, 0)
        free = jnp.maximum(normal.weight - normal.hessian.shape[0], 1)
        return left / free / jnp.maximum(gain**2, 1e-30)


class Correlation(Metric):
    """Normalised cross-correlation: brightness and contrast of the two may differ."""

    name = "ncc"

    def look(self, pair, rows, into):
        return Normal.from_gram(moments(pair, rows), into, centred=True)

    def step(self, normal, damping):
        return correlation_step(normal, damping)

    def compare(self, warped, fixed, weight):
        total = jnp.maximum(weight.sum(), 1)
        g, f = (v - (v * weight).sum() / total for v in (warped, fixed))
        gg, ff, gf = ((a * b * weight).sum() for a, b in ((g, g), (f, f), (g, f)))
        return correlation(gg, ff, gf)


class LocalCorrelation(Correlation):
    """The correlation in windows of a few voxels: illumination may be uneven."""

    name = "local-ncc"

    def prepare(self, pair):
        return localised(pair)


class SquaredDifferences(Metric):
    """Minus the mean square of the differences; brightness is to be the same."""

    name = "ssd"
    units = "both"

    def look(self, pair, rows, into):
        gram = moments(pair, rows)
        normal = Normal.from_gram(gram, into, centred=False)
        total = gram[-3, -3] - 2 * gram[-3, -2] + gram[-2, -2]
        score = -total / jnp.maximum(normal.weight, 1)
        return dataclasses.replace(normal, score=score)

    def compare(self, warped, fixed, weight):
        return -((warped - fixed) ** 2 * weight).sum() / jnp.maximum(weight.sum(), 1)


class MutualInformation(Metric):
    """Mutual information: whatever relates the values of the two."""

    name = "mi"
    edges = True

    def prepare(self, pair):
        return dataclasses.replace(
            pair,
            fixed=to_bins(pair.fixed, pair.fixed_weight, bin_count(pair.fixed.size)),
            moving=to_bins(pair.moving, pair.moving_weight, bin_count(pair.fixed.size)),
        )

    def look(self, pair, rows, into):
        counts, found = self._inform(pair, rows)

        def pixelwise(g, f):
            slope, curvature = found.derivative(g, f)
            return curvature, g, slope / curvature

        normal = Normal.from_gram(moments(pair, rows, pixelwise), into, centred=False)
        return dataclasses.replace(
            normal,
            score=found.mutual,
            toward_warped=jnp.zeros_like(normal.toward_warped),
            weight=counts.sum(),
        )

    def _inform(self, pair, rows) -> tuple[jax.Array, Information]:
        bins = bin_count(pair.fixed.size)

        def count(plane):
            unit, at = where(rows, plane)
            warped = sample(pair.moving, at)[0]
            weight = weight_at(pair, plane, unit, at)
            return joint_counts(plane.fixed, warped, weight, bins)

        counts = over_planes(pair, count, jnp.zeros((bins, bins), rows.dtype))
        return counts, information(counts)

    def compare(self, warped, fixed, weight):
        bins = bin_count(fixed.size)

        @jax.checkpoint
        def count(total, plane):
            fixed, warped, weight = plane
            return total + joint_counts(fixed, warped, weight, bins), None

        rows = tuple(v.reshape(len(v), -1) for v in (fixed, warped, weight))
        zero = jnp.zeros((bins, bins), fixed.dtype)
        return information(jax.lax.scan(count, zero, rows)[0]).mutual

    def evidence(self, normal):
        return jnp.sqrt(2 * normal.weight * jnp.maximum(normal.score, 0))

    def association(self, pair, rows, normal):
        return self._inform(pair, rows)[1].ratio

    def variance(self, normal):
        return jnp.ones_like(normal.weight)  # its normal matrix is an information


@dataclasses.dataclass(frozen=True)
class Plain(MutualInformation):
    """A user's function of warped image, fixed image and weights.

    A pose is judged by the mutual information of the two: what values the function
    takes says nothing about chance.
    """

    function: Compare
    name = "score"
    units = "neither"

    def prepare(self, pair):
        return pair

    def look(self, pair, rows, into):
        return super().look(super().prepare(pair), rows, into)

    def compare(self, warped, fixed, weight):
        return self.function(warped, fixed, weight)

    def association(self, pair, rows, normal):
        return super().association(super().prepare(pair), rows, normal)


_NAMED = {
    kind.name: kind()
    for kind in (Correlation, LocalCorrelation, SquaredDifferences, MutualInformation)
}
METRICS = tuple(_NAMED)
"""Names of metrics; a function is one, too."""


def as_metric(metric: str | Compare) -> Metric:
    """By its name, or from a function.

    Raises:
        ValueError: neither.
    """
    if not isinstance(metric, str):
        if not callable(metric):
            raise ValueError(f"`metric` is {metric!r}; a name or a function is needed.")
        return Plain(metric)
    check_choice("metric", metric, METRICS)
    return _NAMED[metric]


def score_at(metric: Metric, pair: Pair, rows: jax.Array) -> jax.Array:
    """The score of prepared volumes at a pose; differentiable in both."""
    warped, weight = warped_at(pair, rows)
    return metric.compare(warped, pair.fixed, jax.lax.stop_gradient(weight))
