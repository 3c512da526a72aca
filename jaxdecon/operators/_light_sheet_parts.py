"""What the light of a sheet contributes to a stack, computed fast."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core._pytree import pytree, static
from ..fourier import next_fast_len, transfer_function
from ._base import LinearOperator, Shape
from ._light_sheet_profile import Sheet
from ._mirror import MirrorPlane


@pytree
class DirectSheet(LinearOperator):
    """The direct sheet: a few convolutions, one per separable term of its profile::

        image = sum_k (h a_k) * (b_k x)

    with the detection PSF h, a_k(z) the profile across at a node of thickness, and
    b_k(x) its weight along the sheet. One 3D FFT per term and one more.

    Attributes:
        transfer: (term, z, y, x) OTFs of h a_k on `domain`.
        nodes: (term,) narrowness of the sheet at each term.
        sheet: the sheet.
        plane: the mirror behind which the object goes on, or None.
        domain: of sample and mirror image.
        range: of the image.
    """

    transfer: jax.Array
    nodes: jax.Array
    sheet: Sheet
    plane: MirrorPlane | None
    domain: Shape = static()
    range: Shape = static()

    @classmethod
    def from_psf(cls, psf, sheet, plane, domain, range, terms: int) -> "DirectSheet":
        """With `terms` terms."""
        along = jnp.arange(domain[2]) - start_of(domain, range)[2]
        nodes = sheet.nodes(along, terms)
        return cls(
            transfer=_illuminated(psf, sheet, nodes, domain),
            nodes=nodes,
            sheet=sheet,
            plane=plane,
            domain=domain,
            range=range,
        )

    def with_psf(self, psf: jax.Array) -> "DirectSheet":
        """The same sheet, with another PSF or a back projector."""
        terms, sheet = len(self.nodes), self.sheet
        return self.from_psf(psf, sheet, self.plane, self.domain, self.range, terms)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """The image of what the direct sheet lights."""
        x = jnp.asarray(x)

        def add(spectrum, term):
            transfer, weight = term
            return spectrum + jnp.fft.rfftn(x * weight) * transfer, None

        dtype = jnp.result_type(self.transfer, x.dtype)
        start = jnp.zeros(self.transfer.shape[1:], dtype)
        terms = self.transfer, self._weights(x.dtype)
        spectrum = jax.lax.scan(add, start, terms)[0]
        return crop(jnp.fft.irfftn(spectrum, s=self.domain), self.range)

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Light brought back to where the direct sheet was."""
        spectrum = jnp.fft.rfftn(embed(jnp.asarray(y), self.domain))

        def add(x, term):
            transfer, weight = term
            back = jnp.fft.irfftn(spectrum * transfer.conj(), s=self.domain)
            return x + weight * back.astype(x.dtype), None

        dtype = jnp.result_type(y, self.transfer.real)
        terms = self.transfer, self._weights(dtype)
        return jax.lax.scan(add, jnp.zeros(self.domain, dtype), terms)[0]

    def _weights(self, dtype) -> jax.Array:
        """(term, z or 1, 1, x): a term's share of an object voxel."""
        z, x = places(self.domain, self.range)
        weights = self.sheet.weights(x, self.nodes)[:, None, None, :]
        if self.plane is None:
            return weights.astype(dtype)
        # What is seen in the mirror is lit from the other side.
        share = self.plane.share(z[:, None, None], x)
        light = share + self.plane.reflectivity * (1 - share)
        return (weights * light).astype(dtype)


@pytree
class ReflectedSheet(LinearOperator):
    """The reflected sheet, which moves sideways from camera plane to camera plane.

    Of every convolution one plane is needed, and only a slab of columns is lit: the
    slab, transformed along y once and for all and along x plane by plane on a grid just
    large enough, times the PSF's planes, summed over depth.

    Attributes:
        spectra: (z, y, x) 2D spectra of the PSF's planes, the last plane first.
        sheet: the sheet, as it is before it is reflected.
        plane: the mirror.
        domain: of sample and mirror image.
        range: of the image.
        centre: index of the PSF's centre along z and x.
        width: columns of the slab.
        support: voxels from the middle of the sheet to its end.
    """

    spectra: jax.Array
    sheet: Sheet
    plane: MirrorPlane
    domain: Shape = static()
    range: Shape = static()
    centre: tuple[int, int] = static()
    width: int = static()
    support: int = static()

    @classmethod
    def from_psf(cls, psf, sheet, plane, domain, range, support) -> "ReflectedSheet":
        """With a sheet of 2 `support` + 1 voxels across."""
        double = 2 * plane.angle
        lean = abs(math.cos(double)) * (psf.shape[0] - 1) / 2
        width = math.ceil(2 * (support + lean) / math.sin(double)) + 2
        width = min(width, domain[2])
        length = next_fast_len(width + psf.shape[2] - 1)
        return cls(
            spectra=_plane_spectra(psf, domain[1], length),
            sheet=sheet,
            plane=plane,
            domain=domain,
            range=range,
            centre=(psf.shape[0] // 2, psf.shape[2] // 2),
            width=width,
            support=support,
        )

    def with_psf(self, psf: jax.Array) -> "ReflectedSheet":
        """The same sheet, with another PSF or a back projector."""
        sheet, plane, support = self.sheet, self.plane, self.support
        return self.from_psf(psf, sheet, plane, self.domain, self.range, support)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """The image of what the reflected sheet lights."""
        x = jnp.asarray(x)
        spectrum = jnp.fft.rfft(x, axis=1)  # (z, frequency along y, x)
        depth, rows, length = self.spectra.shape
        start = start_of(self.domain, self.range)

        def record(z):
            corner, light = self._slab(z)
            lit = jax.lax.dynamic_slice(spectrum, corner, (depth, rows, self.width))
            lit = jnp.fft.fft(lit * light.astype(x.dtype), n=length)
            seen = jnp.fft.ifft((lit * self.spectra).sum(0))
            line = jnp.zeros((rows, self.domain[2] + length), seen.dtype)
            line = jax.lax.dynamic_update_slice(line, seen, corner[1:])
            first = start[2] + self.centre[1]
            return line[:, first : first + self.range[2]]

        image = jax.lax.map(record, jnp.arange(self.range[0]))
        image = jnp.fft.irfft(image, n=self.domain[1], axis=1)
        return image[:, start[1] : start[1] + self.range[1]]

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Light brought back to where the reflected sheet was."""
        y = jnp.asarray(y)
        _, rows, length = self.spectra.shape
        start, first = start_of(self.domain, self.range), self.centre[1]
        before = start[2] + first
        after = self.domain[2] + length - before - self.range[2]
        along_y = (start[1], self.domain[1] - start[1] - self.range[1])
        spectrum = jnp.fft.rfft(jnp.pad(y, ((0, 0), along_y, (0, 0))), axis=1)

        def bring_back(x, plane):
            z, line = plane
            corner, light = self._slab(z)
            line = jnp.pad(line, ((0, 0), (before, after)))
            seen = jax.lax.dynamic_slice(line, corner[1:], (rows, length))
            lit = jnp.fft.ifft(jnp.fft.fft(seen) * self.spectra.conj())
            lit = lit[..., : self.width] * light.astype(y.dtype)
            held = jax.lax.dynamic_slice(x, corner, lit.shape)
            held = (held + lit).astype(x.dtype)
            return jax.lax.dynamic_update_slice(x, held, corner), None

        dtype = jnp.result_type(spectrum, self.spectra)
        x = jnp.zeros((self.domain[0], rows, self.domain[2]), dtype)
        planes = jnp.arange(self.range[0]), spectrum
        x = jax.lax.scan(bring_back, x, planes)[0]
        return jnp.fft.irfft(x, n=self.domain[1], axis=1)

    def _slab(self, z: jax.Array):
        """Of camera plane z: corner (z, y, x) of what is lit and seen; its light."""
        depth, start = len(self.spectra), start_of(self.domain, self.range)
        first_z = z + start[0] + self.centre[0] - depth + 1
        middle_z = first_z - start[0] + (depth - 1) / 2
        first_x = self._column(z, middle_z) + start[2] - (self.width - 1) / 2
        first_x = jnp.round(jax.lax.stop_gradient(first_x)).astype(first_z.dtype)
        first_x = jnp.clip(first_x, 0, self.domain[2] - self.width)
        places_z = (first_z - start[0] + jnp.arange(depth))[:, None, None]
        places_x = first_x - start[2] + jnp.arange(self.width)
        light = reflected_light(self.sheet, self.plane, z, places_z, places_x)
        zero = jnp.zeros((), first_z.dtype)
        return (first_z, zero, first_x), light

    def _column(self, plane_z, z) -> jax.Array:
        """Where, at depth z, the middle of the reflected sheet of a camera plane is.

        The mirrored place has z* = -z cos(2 angle) - (x - at) sin(2 angle).
        """
        double = 2 * self.plane.angle
        return self.plane.at - (plane_z + z * math.cos(double)) / math.sin(double)


def reflected_light(sheet: Sheet, plane: MirrorPlane, camera, z, x) -> jax.Array:
    """Light of the reflected sheet of a camera plane: the sheet at mirrored places."""
    mirrored_z, mirrored_x = plane.mirrored(z, x)
    # Sample and mirror image: the latter is lit from the other side.
    share = plane.share(z, x)
    light = plane.reflectivity * share + (1 - share)
    return light * sheet.light(mirrored_z - camera, mirrored_x)


@functools.partial(jax.jit, static_argnums=3)
def _illuminated(psf, sheet: Sheet, nodes, domain: Shape) -> jax.Array:
    """OTFs of the PSF times the sheet's profile at each node."""
    z = (jnp.arange(psf.shape[0]) - psf.shape[0] // 2)[:, None, None]

    def transfer(node):
        # What the PSF shows at z lies at -z from the sheet, whose profile is even.
        lit = psf * sheet.profile(z, node).astype(psf.dtype)
        return transfer_function(lit, domain)

    return jax.lax.map(transfer, nodes)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _plane_spectra(psf, rows: int, length: int) -> jax.Array:
    """2D spectra of a PSF's planes, the last first: centred along y, not along x."""
    rest = rows - psf.shape[1]
    padded = jnp.pad(psf[::-1], ((0, 0), (0, rest), (0, 0)))
    centred = jnp.roll(padded, -(psf.shape[1] // 2), 1)
    return jnp.fft.fft(jnp.fft.rfft(centred, axis=1), n=length)


def start_of(domain: Shape, range: Shape) -> Shape:
    """Index, in the object, of the image's first voxel."""
    return tuple((d - n) // 2 for d, n in zip(domain, range, strict=True))


def places(domain: Shape, range: Shape) -> tuple[jax.Array, jax.Array]:
    """Coordinates z and x of the object's voxels, counted from the image's first."""
    start = start_of(domain, range)
    return jnp.arange(domain[0]) - start[0], jnp.arange(domain[2]) - start[2]


def crop(x: jax.Array, range: Shape) -> jax.Array:
    """The part of the object's grid that the camera sees."""
    corners = zip(start_of(x.shape, range), range, strict=True)
    return x[tuple(slice(s, s + n) for s, n in corners)]


def embed(y: jax.Array, domain: Shape) -> jax.Array:
    """The image on the object's grid, zeros around it."""
    sizes = zip(start_of(domain, y.shape), y.shape, domain, strict=True)
    return jnp.pad(y, [(s, d - s - n) for s, n, d in sizes])
