"""Light-sheet stacks, plain or on a mirror, as a linear operator."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import is_traced
from .._core._pytree import pytree, static
from ._base import LinearOperator, Shape, as_argument
from ._blur import crop_to_reach, transform_grid
from ._light_sheet_checks import (
    check_angle,
    check_reach,
    check_sheet,
    check_stack,
    pair,
    per_view,
    plan,
)
from ._light_sheet_exact import ExactSheet
from ._light_sheet_parts import DirectSheet, ReflectedSheet, crop, start_of
from ._light_sheet_profile import Sheet
from ._mirror import Mirror, MirrorPlane
from ._views import Views


@pytree
class LightSheet(LinearOperator):
    """A stack taken with a light sheet that moves with the camera's focal plane::

        image(z, y, x) = [h * (light(z) o)](z, y, x)

    For every camera plane z the object o is multiplied by the sheet shifted to that
    plane, blurred by the detection PSF h, and sampled at that plane. In the camera's
    frame the sheet lies in the focal plane, thin along z, and travels along x; its
    thickness varies along its way (`Sheet`). Made by `from_psf`, or, where the sample
    lies on a mirror, by `reflective_dispim` and `reflective_lattice`: then the
    reflected sheet lights the sample, too, and the camera sees the sample's mirror
    image as well.

    The published scheme needs two 3D FFTs per camera plane, for the operator as for its
    adjoint (`exact=True` is that). Here the direct sheet takes one per separable term
    of its profile, and the reflected one 2D transforms of the slab that it lights.

    Attributes:
        parts: the direct and the reflected sheet, operators from what is seen of the
            object to the image.
        mirror: from the object to what is seen of it; None where they are the same.
        domain: shape of the object, larger than the image by the PSF.
        range: shape of the image.
        turned: the camera looks along the object's x axis: z and x change roles.
        terms: separable terms of the direct sheet; 0: a 3D convolution per plane.
        support: voxels from the middle of the reflected sheet to its end.

    References:
        Wu et al., Nature Communications 8, 1452 (2017),
        doi:10.1038/s41467-017-01250-8; unmatched back projectors: Guo et al., Nature
        Biotechnology 38, 1337 (2020), doi:10.1038/s41587-020-0560-x.
    """

    parts: tuple[LinearOperator, ...]
    mirror: Mirror | None
    domain: Shape = static()
    range: Shape = static()
    turned: bool = static(default=False)
    terms: int = static(default=1)
    support: int = static(default=0)

    @classmethod
    def from_psf(
        cls,
        psf: ArrayLike,
        shape: Sequence[int],
        *,
        fwhm: ArrayLike,
        rayleigh: ArrayLike | None = None,
        focus: ArrayLike | None = None,
        divergence: Literal["sheet", "beam"] = "sheet",
        accuracy: float = 1e-3,
        terms: int | None = None,
        exact: bool = False,
    ) -> "LightSheet":
        """A plain light-sheet microscope: the direct sheet alone.

        Args:
            psf: (z, y, x) of the detection, without the sheet, centred on n // 2.
            shape: (z, y, x) of the image; x is the way of the sheet.
            fwhm: thickness of the sheet at its focus, voxels.
            rayleigh: Rayleigh range, voxels: where it is sqrt(2) times as thick; None:
                equally thick everywhere.
            focus: column x of the focus, voxels; None: the middle of the image.
            divergence: how light fades away from the focus. "sheet": as the sheet gets
                thicker, so that none is lost; "beam": with the square of that, as in
                the middle of a Gaussian beam and in the published program.
            accuracy: share of the light that the fast form may misplace.
            terms: separable terms; None: as many as `accuracy` needs. Must be given
                where thickness, Rayleigh range or focus are traced: those of an
                operator made with known numbers, its `terms`.
            exact: evaluate a 3D convolution per camera plane, for comparison.

        Returns:
            An operator; differentiable in all numbers and the PSF. In the limit of a
            thick sheet it is `Convolution.from_psf(psf, shape)`; a thin sheet that is
            equally thick everywhere makes it that of the PSF times the sheet.

        Raises:
            ValueError: unusable PSF, a shape that is not 3D, lengths that are not
                positive, `terms` missing.

        Example:
            >>> import jaxdecon as jd
            >>> lens = jd.psf.gaussian((9, 5, 5), (6.0, 2.0, 2.0))
            >>> stack = jd.operators.LightSheet.from_psf(
            ...     lens, (16, 12, 20), fwhm=4.0, rayleigh=12.0
            ... )
            >>> stack.range, stack.terms
            ((16, 12, 20), 3)
        """
        psf, shape = check_stack(psf, shape)
        sheet = check_sheet(fwhm, rayleigh, focus, shape, divergence)
        domain = transform_grid(psf.shape, shape, "extend")
        options = {"accuracy": accuracy, "terms": terms, "exact": exact}
        return cls._build(psf, shape, domain, sheet, None, **options)

    @classmethod
    def reflective_dispim(
        cls,
        psfs: Sequence[ArrayLike],
        shape: Sequence[int],
        *,
        fwhm: ArrayLike | Sequence[ArrayLike],
        mirror: ArrayLike,
        rayleigh: ArrayLike | Sequence[ArrayLike] | None = None,
        focus: ArrayLike | Sequence[ArrayLike] | None = None,
        reflectivity: ArrayLike = 1.0,
        mirror_image: bool = True,
        divergence: Literal["sheet", "beam"] = "sheet",
        accuracy: float = 1e-3,
        terms: int | None = None,
        support: int | None = None,
        exact: bool = False,
    ) -> Views:
        """Two objectives at right angles, 45 degrees above a mirror: two views.

        ::

            camera A looks along z ->     lens A   lens B      z + x = mirror
            camera B looks along x ->         \\    /           on the mirror;
            sheet for A travels along x        \\  /            the sample is
            sheet for B travels along z      sample            where z + x < mirror
                                         ================

        A sheet in camera plane z meets the mirror at x = mirror - z and is reflected
        into the column x, towards the lens that looks at it: its light is out of focus
        except in one line. The object has the frame of camera A; view B is taken, and
        given, in the frame of its own camera: its image is (x, y, z) of the object's
        axes.

        Args:
            psfs: of the two detections, each (z, y, x) in the frame of its own camera.
            shape: (z, y, x) of view A; that of view B is (x, y, z).
            fwhm: thickness of the sheet at its focus, voxels; one number, or one per
                view.
            mirror: z + x on the mirror, voxels of view A.
            rayleigh: Rayleigh range, voxels; one, or one per view; None: infinite.
            focus: where the sheet is thinnest, voxels along its way; None: the middle
                of the image.
            reflectivity: share of the light that the mirror gives back.
            mirror_image: whether the sample's mirror image follows from the sample.
                False: the object goes on behind the mirror, and what is seen there is
                found like the rest, as in the published program.
            divergence: as for `from_psf`.
            accuracy: share of the light that the fast form may misplace.
            terms: separable terms; None: as many as `accuracy` needs.
            support: voxels from the middle of the reflected sheet to its end; None: as
                `accuracy` needs. This and `terms` must be given where the sheet is
                traced: those of an operator made with known numbers.
            exact: evaluate a 3D convolution per camera plane, for comparison.

        Raises:
            ValueError: as `from_psf`; not two PSFs; a reflectivity outside 0 to 1.

        Example:
            >>> import jaxdecon as jd
            >>> lens = jd.psf.gaussian((9, 5, 5), (6.0, 2.0, 2.0))
            >>> both = jd.operators.LightSheet.reflective_dispim(
            ...     (lens, lens), (16, 12, 20), fwhm=4.0, mirror=20
            ... )
            >>> both.range
            ((16, 12, 20), (20, 12, 16))
        """
        first, second = (check_stack(p, s) for p, s in pair(psfs, shape))
        domain = common_domain(first, second)
        views = []
        for index, (psf, own_shape) in enumerate((first, second)):
            thickness, length, middle = (
                per_view(value, index) for value in (fwhm, rayleigh, focus)
            )
            views.append(
                cls._build(
                    psf,
                    own_shape,
                    domain[::-1] if index else domain,
                    check_sheet(thickness, length, middle, own_shape, divergence),
                    check_angle(mirror, reflectivity, math.pi / 4),
                    mirror_image=mirror_image,
                    accuracy=accuracy,
                    terms=terms,
                    support=support,
                    exact=exact,
                    turned=bool(index),
                )
            )
        return Views(views)

    @classmethod
    def reflective_lattice(
        cls,
        psf: ArrayLike,
        shape: Sequence[int],
        *,
        fwhm: ArrayLike,
        mirror: ArrayLike,
        angle: float,
        rayleigh: ArrayLike | None = None,
        focus: ArrayLike | None = None,
        reflectivity: ArrayLike = 1.0,
        mirror_image: bool = True,
        divergence: Literal["sheet", "beam"] = "sheet",
        accuracy: float = 1e-3,
        terms: int | None = None,
        support: int | None = None,
        exact: bool = False,
    ) -> "LightSheet":
        """One objective looks obliquely at a mirror; the sheet comes in flat.

        ::

              lens, looks along z     z cos(angle) + (x - mirror) sin(angle) = 0
                \\                     on the mirror, and less in the sample
                 \\      sheet, travels along x
                  \\  . - ' ) angle
            ==============================  (a lattice microscope: some 32 degrees)

        The reflected sheet leaves at twice the angle from the direct one. One camera
        records the sample and its mirror image, seen from the other side: two views in
        one stack, which are deconvolved jointly.

        Args:
            psf: (z, y, x) of the detection, without the sheet, centred on n // 2.
            shape: (z, y, x) of the image in the camera's frame (not turned into that of
                the coverslip).
            fwhm: thickness of the sheet at its focus, voxels.
            mirror: column x where the mirror crosses camera plane 0, voxels.
            angle: between sheet and mirror, radians, between 0 and pi / 2.
            rayleigh: Rayleigh range, voxels; None: infinite.
            focus: column x of the focus, voxels; None: the middle of the image.
            reflectivity: share of the light that the mirror gives back.
            mirror_image: as for `reflective_dispim`.
            divergence: as for `from_psf`.
            accuracy: share of the light that the fast form may misplace.
            terms: as for `reflective_dispim`.
            support: as for `reflective_dispim`.
            exact: evaluate a 3D convolution per camera plane, for comparison.

        Raises:
            ValueError: as `reflective_dispim`; an angle out of range, or in degrees.
        """
        psf, shape = check_stack(psf, shape)
        return cls._build(
            psf,
            shape,
            transform_grid(psf.shape, shape, "extend"),
            check_sheet(fwhm, rayleigh, focus, shape, divergence),
            check_angle(mirror, reflectivity, angle),
            mirror_image=mirror_image,
            accuracy=accuracy,
            terms=terms,
            support=support,
            exact=exact,
        )

    @classmethod
    def _build(
        cls,
        psf: jax.Array,
        shape: Shape,
        domain: Shape,
        sheet: Sheet,
        plane: MirrorPlane | None,
        *,
        exact: bool,
        mirror_image: bool = True,
        turned: bool = False,
        **choices: Any,
    ) -> "LightSheet":
        """From checked parts, all in the frame of the camera."""
        start = start_of(domain, shape)
        common = sheet, plane, domain, shape
        if exact:
            terms, support = 0, 0
            parts = (ExactSheet.from_psf(psf, *common),)
        else:
            terms, support = plan(sheet, plane, domain, start, **choices)
            parts = (DirectSheet.from_psf(psf, *common, terms),)
        if plane is not None and not exact:
            parts += (
                ReflectedSheet.from_psf(psf, sheet, plane, domain, shape, support),
            )
        return cls(
            parts=parts,
            mirror=_mirror(plane, domain, start) if plane and mirror_image else None,
            domain=domain[::-1] if turned else domain,
            range=shape,
            turned=turned,
            terms=terms,
            support=support,
        )

    def back_projection(self, kernel: ArrayLike) -> LinearOperator:
        """The adjoint's geometry with `kernel` in place of the flipped detection PSF.

        What the kernel brings back from a camera plane is multiplied by the sheet of
        that plane, as in the adjoint.

        Args:
            kernel: back projector of the detection PSF, centred on n // 2, reaching no
                further from its centre than the PSF; `back_projector` makes one.

        Returns:
            An operator from images to objects, for use in `RichardsonLucy`.

        Raises:
            ValueError: a kernel that reaches further than the object does.
        """
        kernel = crop_to_reach(jnp.asarray(kernel), self.range, "extend")
        check_reach(kernel.shape, self.range, self.parts[0].domain)
        parts: Any = self.parts
        replaced = tuple(part.with_psf(kernel) for part in parts)
        return dataclasses.replace(self, parts=replaced).T

    def __call__(self, x: ArrayLike) -> jax.Array:
        """The stack that the camera records of the object `x`, of shape `domain`."""
        x = as_argument(x, self.domain, "LightSheet")
        x = jnp.swapaxes(x, 0, 2) if self.turned else x
        seen = x if self.mirror is None else self.mirror(x)
        return functools.reduce(jnp.add, (part(seen) for part in self.parts))

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Bring the light of a stack `y`, of shape `range`, back to the object."""
        y = as_argument(y, self.range, "LightSheet.adjoint")
        seen = functools.reduce(jnp.add, (part.adjoint(y) for part in self.parts))
        x = seen if self.mirror is None else self.mirror.adjoint(seen)
        return jnp.swapaxes(x, 0, 2) if self.turned else x

    def image_region(self, x: jax.Array) -> jax.Array:
        """The part of an object, on `domain`, that lies inside the field of view."""
        return crop(x, self.range[::-1] if self.turned else self.range)


def _mirror(plane: MirrorPlane, domain: Shape, start: Shape) -> Mirror:
    """The mirror on the object's grid; without interpolation where there is no need."""
    whole = None
    if plane.angle == math.pi / 4 and not is_traced(plane.at):
        at = float(np.asarray(plane.at))
        whole = int(at) if at.is_integer() else None
    return Mirror(plane=plane, domain=domain, start=start, whole=whole)


def common_domain(first: tuple[jax.Array, Shape], second: tuple[jax.Array, Shape]):
    """In the frame of the first camera: of both views, the second one turned."""
    grids = [
        transform_grid(psf.shape, shape, "extend") for psf, shape in (first, second)
    ]
    return tuple(max(a, b) for a, b in zip(grids[0], grids[1][::-1], strict=True))
