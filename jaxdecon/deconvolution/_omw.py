"""The OTF-masked Wiener filter: right for OTF supports of any shape."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..psf import hull_gauge, otf_support

TAPER = 0.8
"""Share of the way to the rim of the support from which on the filter is tapered."""


def masked_wiener(psf: jax.Array, otf: jax.Array, alpha: ArrayLike | None) -> jax.Array:
    """conj(F) / (|F|^2 + alpha) inside the hull of the OTF's support, 0 outside.

    Tapered by a Hann window from 0.8 of the way to the rim onwards. With `alpha` None
    it is the squared gain at the rim. The support is found anew for every PSF, and
    taken as constant in derivatives.
    """
    support = otf_support(jax.lax.stop_gradient(psf))
    gauge = jnp.fft.ifftshift(hull_gauge(support))[..., : otf.shape[-1]]
    way = jnp.clip((gauge - TAPER) / (1 - TAPER), 0, 1)
    window = jnp.cos(np.pi / 2 * way) ** 2
    alpha = support.threshold**2 if alpha is None else alpha
    return window * otf.conj() / (abs(otf) ** 2 + alpha)
