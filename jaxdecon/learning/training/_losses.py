"""Losses: what networks are trained to make small.

A loss is a function `loss(prediction, truth)` of two batches, (batch, z, y, x) or
(batch, y, x), to one number: the mean over the batch. All are differentiable, and
compute in float32 where the network does in half precision.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..._core._check import check_choice, check_positive
from ...metrics import ssim
from ...metrics._shells import correlate
from ...metrics._spectrum import check_window, shell_sums

Loss = Callable[[jax.Array, jax.Array], jax.Array]
K1, K2 = 0.01, 0.03
"""Constants of the structural similarity, as published."""
LEAST_SIMILARITY = 1e-6
"""Of (1 + SSIM) / 2, whose logarithm is taken."""
PUSH = 1.3
"""Published weight of the push towards non-negative values."""


def mse(prediction: ArrayLike, truth: ArrayLike) -> jax.Array:
    """Mean squared error."""
    prediction, truth = _checked(prediction, truth)
    return batch_mean(per_sample((prediction - truth) ** 2))


def l1(prediction: ArrayLike, truth: ArrayLike) -> jax.Array:
    """Mean absolute error, which bright voxels rule less than the squared one."""
    prediction, truth = _checked(prediction, truth)
    return batch_mean(per_sample(abs(prediction - truth)))


def ssim_mse(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    local: bool = False,
    data_range: float = 1.0,
    sigma: float = 1.5,
) -> jax.Array:
    """The published loss of DenseDeconNet and RLN::

        MSE - ln((1 + SSIM) / 2)

    Args:
        prediction: `(batch, *spatial)`, on a scale of about 0 to 1.
        truth: of the same shape.
        local: the similarity under a sliding Gaussian window, as `metrics.ssim`. By
            default, as published, of each sample as a whole: one mean, one variance,
            one covariance, which is no measure of structure.
        data_range: range of the values.
        sigma: of the local window, in voxels; it is 11 voxels wide for 1.5.

    Raises:
        ValueError: shapes that differ, or are smaller than the local window.

    References:
        Guo et al., Nature Biotechnology 38, 1337 (2020),
        doi:10.1038/s41587-020-0560-x; Li et al., Nature Methods 19, 1427 (2022),
        doi:10.1038/s41592-022-01652-7.
    """
    check_positive("data_range", data_range)
    p, t = _checked(prediction, truth)
    if local:
        one = functools.partial(ssim, sigma=sigma, data_range=data_range)
        similarity = jax.vmap(one)(p, t)
    else:
        similarity = _global_ssim(p, t, data_range)
    share = jnp.maximum((1 + similarity) / 2, LEAST_SIMILARITY)
    return batch_mean(per_sample((p - t) ** 2) - jnp.log(share))


def _global_ssim(p: jax.Array, t: jax.Array, data_range: float) -> jax.Array:
    """Structural similarity with one window for all of a sample."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    m_p, m_t = per_sample(p), per_sample(t)
    wide = (slice(None), *[None] * (p.ndim - 1))
    p, t = p - m_p[wide], t - m_t[wide]
    v_p, v_t, both = per_sample(p * p), per_sample(t * t), per_sample(p * t)
    means = (2 * m_p * m_t + c1) / (m_p**2 + m_t**2 + c1)
    return means * (2 * both + c2) / (v_p + v_t + c2)


def fourier_ring(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    highest: float = 0.5,
    window: str | None = "hann",
) -> jax.Array:
    """One minus the Fourier ring (in 3D, shell) correlation, the mean over rings.

    All frequencies count alike, however little power they have: fine detail as much as
    what is coarse. A factor on the prediction changes nothing: add a loss that does
    see intensities, e.g. `weighted((1, mse), (0.1, fourier_ring))`.

    Args:
        prediction: `(batch, *spatial)`.
        truth: of the same shape.
        highest: frequency, in cycles per voxel, up to which rings count. What the
            optics do not transmit is best left out.
        window: "hann", or None for patches that are dark at their borders.

    Raises:
        ValueError: shapes that differ, or are too small for one ring; no ring below
            `highest`.
    """
    check_window(window)
    p, t = _checked(prediction, truth)
    sizes = (1.0,) * (p.ndim - 1)

    def one(p: jax.Array, t: jax.Array) -> jax.Array:
        sums = shell_sums(p, t, sizes=sizes, window=window, sector=None)
        return correlate(sums).correlation

    curves = jax.vmap(one)(p, t)
    rings = int(curves.shape[-1] * min(1.0, highest / 0.5) + 1e-6)
    if rings < 1:
        raise ValueError(
            f"`highest` is {highest}; images of shape {p.shape[1:]} have no ring below."
        )
    return 1 - batch_mean(curves[:, :rings].mean(-1))


def with_nonnegativity(
    loss: Loss, weight: float = PUSH, *, below_zero: bool = False
) -> Loss:
    """A loss with a push towards non-negative predictions::

        loss(prediction, truth) - weight * min(prediction)

    Args:
        loss: to add to.
        weight: 1.3 as published.
        below_zero: push negative values only. As published, a minimum above zero is
            rewarded, too, and the background is lifted.
    """

    def pushed(prediction: ArrayLike, truth: ArrayLike) -> jax.Array:
        p = as_float(prediction)
        least = p.min(tuple(range(1, p.ndim)))
        least = jnp.minimum(least, 0) if below_zero else least
        return loss(prediction, truth) - weight * batch_mean(least)  # pyright: ignore[reportArgumentType]

    return pushed


def weighted(*terms: tuple[float, Loss]) -> Loss:
    """The weighted sum of losses.

    Args:
        *terms: pairs of a weight and a loss.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = weighted((1.0, mse), (0.5, l1))
        >>> float(loss(jnp.full((2, 4, 4), 2.0), jnp.zeros((2, 4, 4))))
        5.0
    """
    if not terms:
        raise ValueError("`weighted` got no terms; pairs (weight, loss) are needed.")

    def summed(prediction: jax.Array, truth: jax.Array) -> jax.Array:
        first, *others = (weight * loss(prediction, truth) for weight, loss in terms)
        return sum(others, first)

    return summed


LOSSES: dict[str, Loss] = {
    "mse": mse,
    "l1": l1,
    "ssim_mse": ssim_mse,
    "ssim_mse_local": functools.partial(ssim_mse, local=True),
    "published": with_nonnegativity(ssim_mse),
    "fourier_ring": fourier_ring,
    "mse_fourier_ring": weighted((1.0, mse), (0.1, fourier_ring)),
}
"""Losses by name. "published": `ssim_mse` with the push; "mse_fourier_ring": `mse` and
a tenth of `fourier_ring`."""


def as_loss(loss: Any) -> Loss:
    """A loss by its name in `LOSSES`, or itself.

    Raises:
        TypeError: no function and no name.
        ValueError: an unknown name.
    """
    if not isinstance(loss, str) and callable(loss):
        return loss  # pyright: ignore[reportReturnType]
    if not isinstance(loss, str):
        raise TypeError(
            f"`loss` is {loss!r}; a name or a function of prediction and truth is "
            f"needed."
        )
    return LOSSES[check_choice("loss", loss, tuple(LOSSES))]


def _checked(prediction: ArrayLike, truth: ArrayLike) -> tuple[jax.Array, jax.Array]:
    p, t = as_float(prediction), as_float(truth)
    if p.shape != t.shape or p.ndim not in (3, 4):
        raise ValueError(
            f"`prediction` has shape {p.shape} and `truth` {t.shape}; two of one shape "
            f"(batch, z, y, x) or (batch, y, x) are needed."
        )
    dtype = jnp.result_type(p, t)
    return p.astype(dtype), t.astype(dtype)


def as_float(value: ArrayLike) -> jax.Array:
    """At least float32."""
    array = jnp.asarray(value)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def per_sample(values: jax.Array) -> jax.Array:
    """Means over all axes but the first, one by one: sums keep their digits."""
    while values.ndim > 1:
        values = values.mean(-1)
    return values


def batch_mean(values: jax.Array) -> jax.Array:
    """The mean of the samples' losses."""
    return values.mean()
