"""The light sheet model as it was published: a 3D convolution per camera plane."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree, static
from ..fourier import filter_real, transfer_function
from ._base import LinearOperator, Shape
from ._light_sheet_parts import embed, places, reflected_light, start_of
from ._light_sheet_profile import Sheet
from ._mirror import MirrorPlane


@pytree
class ExactSheet(LinearOperator):
    """Direct and reflected sheet, without any approximation::

        image(z) = [h * (light(z) x)](z) for every camera plane z

    with two 3D FFTs per camera plane, and as many for the adjoint: slow, and what the
    fast parts are measured against.

    Attributes:
        transfer: OTF of the detection.
        sheet: the sheet.
        plane: the mirror, or None.
        domain: of sample and mirror image.
        range: of the image.
    """

    transfer: jax.Array
    sheet: Sheet
    plane: MirrorPlane | None
    domain: Shape = static()
    range: Shape = static()

    @classmethod
    def from_psf(cls, psf, sheet, plane, domain, range) -> "ExactSheet":
        """In the frame of the camera."""
        transfer = transfer_function(psf, domain)
        return cls(
            transfer=transfer, sheet=sheet, plane=plane, domain=domain, range=range
        )

    def with_psf(self, psf: jax.Array) -> "ExactSheet":
        """The same sheet, with another PSF or a back projector."""
        return dataclasses.replace(self, transfer=transfer_function(psf, self.domain))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """The image, camera plane by camera plane."""
        x = jnp.asarray(x)
        return jax.lax.map(lambda z: self.record(x, z), jnp.arange(self.range[0]))

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Every plane brought back by a 3D convolution."""
        y = jnp.asarray(y)

        def add(x, z):
            return x + self.bring_back(y[z], z), None

        dtype = jnp.result_type(y, self.transfer.real)
        x = jnp.zeros(self.domain, dtype)
        return jax.lax.scan(add, x, jnp.arange(self.range[0]))[0]

    def record(self, x: jax.Array, z: jax.Array) -> jax.Array:
        """What the camera sees of the object in its plane z, (y, x)."""
        blurred = filter_real(x * self.light(z).astype(x.dtype), self.transfer)
        first = start_of(self.domain, self.range)
        corner = (z + first[0], *(jnp.full_like(z, start) for start in first[1:]))
        return jax.lax.dynamic_slice(blurred, corner, (1, *self.range[1:]))[0]

    def bring_back(self, image: jax.Array, z: jax.Array) -> jax.Array:
        """The adjoint of `record`."""
        alone = jnp.zeros(self.range, image.dtype).at[z].set(image)
        back = filter_real(embed(alone, self.domain), self.transfer.conj())
        return back * self.light(z).astype(image.dtype)

    def light(self, camera: jax.Array) -> jax.Array:
        """Light at the object's voxels, (z, 1, x), for one camera plane."""
        z, x = places(self.domain, self.range)
        z = z[:, None, None]
        direct = self.sheet.light(z - camera, x)
        if self.plane is None:
            return direct
        share = self.plane.share(z, x)
        direct = direct * (share + self.plane.reflectivity * (1 - share))
        return direct + reflected_light(self.sheet, self.plane, camera, z, x)
