"""A sample on a mirror: its mirror image, as the lens sees it behind the mirror."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree, static
from ._base import LinearOperator, Shape, as_argument
from ._warp import Warp


@pytree
class MirrorPlane:
    """Where a mirror lies in a camera's frame: z cos(angle) + (x - at) sin(angle) = 0.

    The sample is where the left-hand side, the distance from the mirror, is negative.
    Mirroring maps a place p to ``p - 2 distance(p) (cos(angle), sin(angle))``.

    Attributes:
        at: column x where the mirror crosses camera plane z = 0, voxels.
        reflectivity: share of the light that the mirror gives back.
        angle: between mirror and x axis, radians.
    """

    at: jax.Array
    reflectivity: jax.Array
    angle: float = static()

    def distance(self, z: Any, x: Any) -> Any:
        """Signed distance from the mirror, voxels; negative in the sample."""
        return z * math.cos(self.angle) + (x - self.at) * math.sin(self.angle)

    def mirrored(self, z: Any, x: Any) -> tuple[Any, Any]:
        """The places (z, x) on the other side of the mirror."""
        twice = 2 * self.distance(z, x)
        return z - math.cos(self.angle) * twice, x - math.sin(self.angle) * twice

    def share(self, z: Any, x: Any) -> jax.Array:
        """Share of a voxel that lies in the sample, 0.5 on the mirror itself."""
        return jnp.clip(0.5 - self.distance(z, x), 0, 1)


@pytree
class Mirror(LinearOperator):
    """The sample and, behind the mirror, its mirror image::

        (M x)(p) = s(p) x(p) + reflectivity s(p*) x(p*)

    with p* the mirrored place and s 1 in the sample, 0 behind the mirror: what an
    object's array holds behind the mirror is no part of the sample. Interpolated
    linearly, unless the mirror maps voxels to voxels.

    Attributes:
        plane: the mirror.
        domain: shape (z, y, x) of the object.
        start: index of the place (0, 0, 0) of the camera's frame.
        whole: z + x of the mirror at 45 degrees between voxels, if that is an integer
            known beforehand; None: interpolate.
    """

    plane: MirrorPlane
    domain: Shape = static()
    start: Shape = static()
    whole: int | None = static(default=None)

    @property
    def range(self) -> Shape:
        """Shape of sample and mirror image, that of `domain`."""
        return self.domain

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Add the mirror image to `x`."""
        x = as_argument(x, self.domain, "Mirror")
        x = x * self._share(x.dtype)
        image = self._flip(x) if self._is_flip else jax.vmap(self._warp, 1, 1)(x)
        return x + self.plane.reflectivity.astype(x.dtype) * image

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Bring light back from behind the mirror."""
        y = as_argument(y, self.domain, "Mirror.adjoint")
        turn_back = jax.vmap(self._warp.adjoint, 1, 1)
        image = self._flip(y) if self._is_flip else turn_back(y)
        reflectivity = self.plane.reflectivity.astype(y.dtype)
        return (y + reflectivity * image) * self._share(y.dtype)

    def _share(self, dtype) -> jax.Array:
        z = jnp.arange(self.domain[0]) - self.start[0]
        x = jnp.arange(self.domain[2]) - self.start[2]
        return self.plane.share(z[:, None, None], x).astype(dtype)

    @property
    def _is_flip(self) -> bool:
        return self.whole is not None

    def _flip(self, x: jax.Array) -> jax.Array:
        """x(m - x, y, m - z), which is its own adjoint."""
        depth, _, width = self.domain
        assert self.whole is not None
        m = self.whole + self.start[0] + self.start[2]
        low_z, low_x = m + 1 - width, m + 1 - depth
        edges = (low_z, depth - width - low_z, 0), (low_x, width - depth - low_x, 0)
        flipped = jnp.swapaxes(x, 0, 2)[::-1, :, ::-1]
        zero = jnp.zeros((), x.dtype)
        return jax.lax.pad(flipped, zero, (edges[0], (0, 0, 0), edges[1]))

    @property
    def _warp(self) -> Warp:
        """Mirroring in the plane (z, x)."""
        cos, sin = math.cos(self.plane.angle), math.sin(self.plane.angle)
        turn = [[1 - 2 * cos * cos, -2 * cos * sin], [-2 * cos * sin, 1 - 2 * sin**2]]
        # The mirror crosses z = 0 at `at`; here counted from the array's corner.
        z, x = self.start[0], self.start[2] + self.plane.at
        shift = 2 * (z * cos + x * sin)
        rows = [[*turn[0], shift * cos], [*turn[1], shift * sin], [0.0, 0.0, 1.0]]
        matrix = jnp.stack(
            [jnp.stack([jnp.asarray(v, float) for v in r]) for r in rows]
        )
        plane = (self.domain[0], self.domain[2])
        return Warp(matrix=matrix, domain=plane, range=plane)
