"""Simulated structures, as crops of samples that go on beyond the field.

Each is a pure function of a key and a static shape, so that it can be compiled.
Lengths are in units of `spacing`, the size of a voxel: by default, in voxels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._check import check_choice
from ...psf import FWHM_PER_SIGMA
from ._objects import simulated_object
from ._structures_draw import (
    Field,
    ball_volume,
    between,
    in_ellipsoid,
    in_gaussian,
    softened,
    stamp,
)
from ._structures_network import membranes, tubules
from ._structures_phantom import phantom

Range = tuple[float, float]
Spacing = float | Sequence[float]
Structure = Callable[..., jax.Array]
"""`structure(key, shape, spacing)` gives a non-negative array of `shape`."""
BRIGHTNESS = (0.2, 1.0)


def spheres(
    key: jax.Array,
    shape: Sequence[int],
    spacing: Spacing = 1.0,
    *,
    radius: Range = (3.0, 7.0),
    fill: float = 0.05,
    brightness: Range = BRIGHTNESS,
) -> jax.Array:
    """Solid spheres (discs in 2D), such as vesicles or large beads.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x); spheres at its border are cut.
        spacing: size of a voxel, one number or one per axis.
        radius: least and greatest.
        fill: share of the volume that spheres take; where they overlap they add.
        brightness: least and greatest.

    Returns:
        Of `shape`.
    """
    field = Field.of(shape, spacing)
    count = field.count(fill / ball_volume(field.ndim, radius), radius[1])
    place, size, light = jax.random.split(key, 3)
    radii = field.voxels(between(size, radius, (count, 1)))
    bodies = radii, between(light, brightness, (count,))

    def draw(offsets, body):
        radii, light = body
        return light * in_ellipsoid(offsets, radii)

    centres = field.places(place, count, radius[1])
    return stamp(field, centres, bodies, draw, reach=radius[1])


def shells(
    key: jax.Array,
    shape: Sequence[int],
    spacing: Spacing = 1.0,
    *,
    radius: Range = (4.0, 9.0),
    thickness: float = 1.5,
    stretch: Range = (0.75, 1.25),
    fill: float = 0.08,
    brightness: Range = BRIGHTNESS,
) -> jax.Array:
    """Hollow ellipsoids, such as membranes of organelles.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x); shells at its border are cut.
        spacing: size of a voxel, one number or one per axis.
        radius: least and greatest, to the outside.
        thickness: of the shell.
        stretch: least and greatest factor on the radius, by axis.
        fill: share of the volume that shells enclose.
        brightness: least and greatest.

    Returns:
        Of `shape`.
    """
    field = Field.of(shape, spacing)
    reach = radius[1] * stretch[1]
    count = field.count(fill / ball_volume(field.ndim, radius), reach)
    place, size, form, light = jax.random.split(key, 4)
    outer = between(size, radius, (count, 1))
    outer = outer * between(form, stretch, (count, field.ndim))
    inner = jnp.maximum(outer - thickness, 1e-3)
    levels = between(light, brightness, (count,))
    bodies = field.voxels(outer), field.voxels(inner), levels

    def draw(offsets, body):
        outer, inner, light = body
        hollow = in_ellipsoid(offsets, outer) - in_ellipsoid(offsets, inner)
        return light * jnp.maximum(hollow, 0)

    return stamp(field, field.places(place, count, reach), bodies, draw, reach=reach)


def beads(
    key: jax.Array,
    shape: Sequence[int],
    spacing: Spacing = 1.0,
    *,
    width: float = 1.0,
    density: float = 5e-4,
    brightness: Range = BRIGHTNESS,
) -> jax.Array:
    """Points of light between the voxels, each a small Gaussian.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x).
        spacing: size of a voxel, one number or one per axis.
        width: FWHM.
        density: beads per unit of volume (of area, in 2D: six times as many).
        brightness: least and greatest light of a bead, the sum over its voxels.

    Returns:
        Of `shape`.
    """
    field = Field.of(shape, spacing)
    density = density if field.ndim == 3 else 6 * density
    sigma = width / FWHM_PER_SIGMA
    reach = 4 * sigma
    count = field.count(density, reach)
    place, light = jax.random.split(key)
    sigmas = field.voxels(sigma)

    def draw(offsets, light):
        return light * in_gaussian(offsets, sigmas)

    levels = between(light, brightness, (count,))
    return stamp(field, field.places(place, count, reach), levels, draw, reach=reach)


def filaments(
    key: jax.Array,
    shape: Sequence[int],
    spacing: Spacing = 1.0,
    *,
    width: float = 2.0,
) -> jax.Array:
    """Curved lines, such as microtubules.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x); lines go on beyond it.
        spacing: size of a voxel, one number or one per axis.
        width: FWHM of a line.

    Returns:
        Of `shape`, at most 1.
    """
    # Made on a periodic grid; the part in its middle does not know of its ends.
    field = Field.of(shape, spacing)
    wide = field.larger(6 * width)
    widths = tuple(width / np.array(field.spacing))
    whole = simulated_object("filaments", wide, width=widths, key=key)
    starts = [(m - n) // 2 for m, n in zip(wide, field.shape, strict=True)]
    box = [slice(s, s + n) for s, n in zip(starts, field.shape, strict=True)]
    return whole[tuple(box)]


def nuclei(
    key: jax.Array,
    shape: Sequence[int],
    spacing: Spacing = 1.0,
    *,
    radius: Range = (8.0, 14.0),
    stretch: Range = (0.8, 1.2),
    grain: float = 2.5,
    fill: float = 0.2,
    brightness: Range = (0.4, 1.0),
) -> jax.Array:
    """Filled ellipsoids of rough texture.

    Args:
        key: of `jax.random.key`.
        shape: (z, y, x) or (y, x); nuclei at its border are cut.
        spacing: size of a voxel, one number or one per axis.
        radius: least and greatest.
        stretch: least and greatest factor on the radius, by axis.
        grain: FWHM of the texture.
        fill: share of the volume that nuclei take.
        brightness: least and greatest, of the mean of a nucleus.

    Returns:
        Of `shape`; grains are up to some five times as bright as the mean.
    """
    field = Field.of(shape, spacing)
    reach = radius[1] * stretch[1]
    count = field.count(fill / ball_volume(field.ndim, radius), reach)
    place, size, form, light, rough = jax.random.split(key, 5)
    radii = between(size, radius, (count, 1))
    radii = radii * between(form, stretch, (count, field.ndim))
    bodies = field.voxels(radii), between(light, brightness, (count,))

    def draw(offsets, body):
        radii, light = body
        return light * in_ellipsoid(offsets, radii)

    solid = stamp(field, field.places(place, count, reach), bodies, draw, reach=reach)
    texture = jnp.exp(1.4 * jax.random.normal(rough, field.shape) - 0.98)
    return solid * softened(texture, field, grain / FWHM_PER_SIGMA)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Several structures in one field, each of random brightness.

    Args:
        parts: names of `STRUCTURES`, or functions like them.

    Example:
        >>> import jax, jaxdecon as jd
        >>> both = jd.learning.Mixture(("beads", "tubules"))
        >>> both(jax.random.key(0), (8, 16, 16)).shape
        (8, 16, 16)
    """

    parts: tuple[Any, ...]

    def __call__(
        self, key: jax.Array, shape: Sequence[int], spacing: Spacing = 1.0
    ) -> jax.Array:
        """The sum of all."""
        light = jnp.zeros(tuple(shape))
        for number, part in enumerate(self.parts):
            draw, level = jax.random.split(jax.random.fold_in(key, number))
            one = as_structure(part)(draw, shape, spacing)
            most = jnp.maximum(one.max(), jnp.finfo(one.dtype).tiny)
            light = light + between(level, BRIGHTNESS) * one / most
        return light


def as_structure(structure: Any) -> Structure:
    """A structure by its name, or itself.

    Raises:
        TypeError: no function and no name.
        ValueError: an unknown name.
    """
    if not isinstance(structure, str) and callable(structure):
        return structure  # pyright: ignore[reportReturnType]
    if not isinstance(structure, str):
        raise TypeError(
            f"`structure` is {structure!r}; a name or a function of key, shape and "
            f"spacing is needed."
        )
    return STRUCTURES[check_choice("structure", structure, tuple(STRUCTURES))]


STRUCTURES: dict[str, Structure] = {
    "spheres": spheres,
    "shells": shells,
    "beads": beads,
    "filaments": filaments,
    "tubules": tubules,
    "membranes": membranes,
    "nuclei": nuclei,
    "phantom": phantom,
    "mixture": Mixture(("spheres", "shells", "beads", "filaments", "tubules")),
}
"""Structures by name: `STRUCTURES["tubules"](key, shape)`."""
