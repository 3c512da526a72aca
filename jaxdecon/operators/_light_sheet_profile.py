"""The profile of a Gaussian light sheet, exactly and in separable terms."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core._pytree import pytree, static

HALF_MAXIMUM = 4 * math.log(2)
MOST_TERMS = 12
QUANTILES = 101
"""Of the thicknesses of a sheet, for which its tails are computed."""


@pytree
class Sheet:
    """A Gaussian sheet that travels along x and is thin across, in voxels::

        light = u^fading exp(-4 ln 2 u across^2 / fwhm^2)
        u = 1 / (1 + (along - focus)^2 / rayleigh^2)

    so that its thickness is fwhm / sqrt(u), and, with a fading of 1/2, the light in a
    cross-section the same everywhere.

    Attributes:
        fwhm: thickness at the focus, full width at half maximum.
        rayleigh: distance from the focus at which it is sqrt(2) times as thick;
            infinite for a sheet equally thick everywhere.
        focus: where on its way it is thinnest.
        fading: 1/2 for a sheet, 1 for the middle of a beam.

    Methods take `xp=numpy` where everything is known beforehand.
    """

    fwhm: jax.Array
    rayleigh: jax.Array
    focus: jax.Array
    fading: float = static(default=0.5)

    def narrowness(self, along: Any) -> Any:
        """The u above: 1 at the focus, falling with distance from it."""
        return 1 / (1 + ((along - self.focus) / self.rayleigh) ** 2)

    def light(self, across: Any, along: Any, xp: Any = jnp) -> Any:
        """Light at places across and along the sheet, 1 in the focus."""
        u = self.narrowness(along)
        return u**self.fading * self.profile(across, u, xp)

    def profile(self, across: Any, narrowness: Any, xp: Any = jnp) -> Any:
        """The Gaussian across the sheet, 1 in the middle, where u is known."""
        return xp.exp(-HALF_MAXIMUM * narrowness * (across / self.fwhm) ** 2)

    def nodes(self, along: Any, terms: int, xp: Any = jnp) -> Any:
        """Chebyshev nodes in log u between the extremes that it takes at `along`."""
        u = xp.log(self.narrowness(along))
        middle, half = (u.max() + u.min()) / 2, (u.max() - u.min()) / 2
        angles = (np.arange(terms) + 0.5) * np.pi / terms
        # Nodes must differ where a sheet is, after all, equally thick everywhere.
        half = xp.maximum(half, 1e-2 * (terms > 1))
        return xp.exp(middle + half * np.cos(angles))

    def weights(self, along: Any, nodes: Any, xp: Any = jnp) -> Any:
        """Weights (term, along) with light = sum of weight * profile at the node.

        Lagrange interpolation in the logarithm of the thickness: nearly as few terms as
        a singular value decomposition, and differentiable.
        """
        u, at = self.narrowness(along), xp.log(nodes)
        place = xp.log(u)
        products = []
        for k in range(len(nodes)):
            others = [i for i in range(len(nodes)) if i != k]
            factors = [(place - at[i]) / (at[k] - at[i]) for i in others]
            products.append(math.prod(factors, start=u**self.fading))
        return xp.stack(products)


def count_terms(sheet: Sheet, along: np.ndarray, accuracy: float) -> int:
    """Fewest terms that misplace less than that share of the sheet's light."""
    sheet = jax.tree.map(np.asarray, sheet)  # nothing here needs compiling
    reach = int(3 * _thickness(sheet, along).max()) + 2
    across = np.arange(-reach, reach + 1)[:, None]
    exact = sheet.light(across, along, np)
    for terms in range(1, MOST_TERMS):
        nodes = sheet.nodes(along, terms, np)
        profiles = sheet.profile(across, nodes, np)
        error = profiles @ sheet.weights(along, nodes, np) - exact
        if abs(error).sum() < accuracy * exact.sum():
            return terms
    return MOST_TERMS


def half_width(sheet: Sheet, along: np.ndarray, accuracy: float) -> int:
    """Voxels from the sheet's middle beyond which less light lies than that share."""
    sheet = jax.tree.map(np.asarray, sheet)
    thickness = np.quantile(_thickness(sheet, along), np.linspace(0, 1, QUANTILES))
    reach = np.arange(1, math.ceil(3 * thickness.max()) + 1)
    edges = reach[:, None] * math.sqrt(HALF_MAXIMUM) / thickness
    beyond = np.vectorize(math.erfc)(edges).mean(1)
    enough = beyond < accuracy
    return int(reach[np.argmax(enough)] if enough.any() else reach[-1])


def _thickness(sheet: Sheet, along: np.ndarray) -> np.ndarray:
    return sheet.fwhm / np.sqrt(sheet.narrowness(along))
