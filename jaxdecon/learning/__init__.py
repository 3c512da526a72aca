"""Learning through the forward model: PSFs, back projectors, schemes.

Loads on first use: it is what needs Flax and Optax.
"""

from ._estimate import NullTest as NullTest
from ._estimate import PSFEstimate as PSFEstimate
