"""Simulated objects of different kinds, to learn from and to test on."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..._core._check import check_choice, check_positive, check_shape
from ...fourier import filter_real, frequency_grid
from ...psf import FWHM_PER_SIGMA

SHELL = 0.15
"""Thickness of a shell as a share of its radius."""


def simulated_object(
    kind: str,
    shape: Sequence[int],
    *,
    width: float | Sequence[float] = 2.0,
    key: jax.Array,
) -> jax.Array:
    """An object such as a fluorescence microscope looks at, its brightest voxel 1.

    Args:
        kind: "points": specks of different brightness; "filaments": curved lines;
            "shells": hollow ellipsoids; "nuclei": filled ellipsoids of rough texture;
            "clouds": texture without edges, whose spectrum falls as a power law.
        shape: (z, y, x) or (y, x).
        width: FWHM of the finest structure in voxels, one number or one per axis. All
            lengths grow with it, so that voxels that are longer along z are taken into
            account: `width=(1, 3, 3)`.
        key: of `jax.random.key`.

    Returns:
        Non-negative, of `shape`.

    Raises:
        ValueError: unknown kind, a width that is not positive or of other length.

    Example:
        >>> import jax, jaxdecon as jd
        >>> jd.learning.simulated_object(
        ...     "filaments", (16, 32, 32), key=jax.random.key(0)).shape
        (16, 32, 32)
    """
    check_choice("kind", kind, tuple(OBJECTS))
    shape = check_shape("shape", shape)
    check_positive("width", width)
    widths = np.broadcast_to(np.asarray(width, np.float32), len(shape))
    draw, cells, least = OBJECTS[kind]
    count = max(least, int(np.prod(shape) / np.prod(widths) / cells))
    return _simulated(key, widths, draw=draw, shape=shape, count=count)


@functools.partial(jax.jit, static_argnames=("draw", "shape", "count"))
def _simulated(key, widths, *, draw, shape: tuple[int, ...], count: int) -> jax.Array:
    smooth = _smooth(draw(key, shape, widths, count), widths)
    return jnp.maximum(smooth, 0) / smooth.max()


def _smooth(sharp: jax.Array, widths: jax.Array) -> jax.Array:
    """Blurred on a periodic grid by a Gaussian of these FWHMs."""
    sigmas = widths / FWHM_PER_SIGMA
    grids = frequency_grid(sharp.shape)
    exponent = sum((s * k) ** 2 for s, k in zip(sigmas, grids, strict=True))
    return filter_real(sharp, jnp.exp(-2 * np.pi**2 * exponent).astype(sharp.dtype))


def _points(key, shape, widths, count) -> jax.Array:
    place, light = jax.random.split(key)
    where = jax.random.uniform(place, (len(shape), count))
    where = (where * jnp.array(shape)[:, None]).astype(int)
    brightness = jax.random.uniform(light, (count,), minval=0.1)
    return jnp.zeros(shape).at[tuple(where)].add(brightness)


def _filaments(key, shape, widths, count) -> jax.Array:
    """Parabolas through the volume, of different brightness."""
    keys = jax.random.split(key, 4)
    ndim = len(shape)
    along = jnp.linspace(-0.2, 1.2, 6 * max(shape))[:, None, None]
    start = jax.random.uniform(keys[0], (count, ndim))
    slope = jax.random.uniform(keys[1], (count, ndim), minval=-1)
    bend = jax.random.uniform(keys[2], (count, ndim), minval=-1)
    line = start + slope * (along - 0.5) + bend * (along - 0.5) ** 2
    index = jnp.round(line * jnp.array(shape)).astype(int)
    inside = ((index >= 0) & (index < jnp.array(shape))).all(-1)
    brightness = jax.random.uniform(keys[3], (count,), minval=0.3)
    where = tuple(jnp.moveaxis(index, -1, 0))
    return jnp.zeros(shape).at[where].max(inside * brightness, mode="drop")


def _shells(key, shape, widths, count) -> jax.Array:
    def draw(distance, radius, key):
        rim = SHELL * radius
        return jax.nn.sigmoid((1 - abs(distance - radius) / (rim / 2)) * 4)

    return _bodies(key, shape, widths, count, draw)


def _nuclei(key, shape, widths, count) -> jax.Array:
    body, grain = jax.random.split(key)

    def draw(distance, radius, key):
        return (distance < radius) * jax.random.uniform(key, minval=0.5)

    rough = jax.random.exponential(grain, shape)
    texture = _smooth(rough, 0.7 * widths)
    return _bodies(body, shape, widths, count, draw) * texture


def _bodies(key, shape, widths, count, draw) -> jax.Array:
    """Ellipsoids at random places, one after the other: `draw` gives the light of one
    from the distance to its centre and its radius, both in widths."""
    axes = jnp.meshgrid(*map(jnp.arange, shape), indexing="ij", sparse=True)

    def add(light, key):
        place, size, stretch, more = jax.random.split(key, 4)
        centre = jax.random.uniform(place, (len(shape),)) * jnp.array(shape)
        radius = jax.random.uniform(size, minval=2.5, maxval=6)
        form = jax.random.uniform(stretch, (len(shape),), minval=0.8, maxval=1.25)
        parts = zip(axes, centre, widths * form, strict=True)
        distance = jnp.sqrt(sum(((axis - c) / w) ** 2 for axis, c, w in parts))
        return light + draw(distance, radius, more), None

    keys = jax.random.split(key, count)
    return jax.lax.scan(add, jnp.zeros(shape), keys)[0]


def _clouds(key, shape, widths, count) -> jax.Array:
    """Exponentiated Gaussian noise whose amplitude falls as 1 / k^(ndim / 2)."""
    grids = frequency_grid(shape)
    k2 = sum((w * k) ** 2 for w, k in zip(widths, grids, strict=True))
    least = 0.5 * (widths / jnp.array(shape)).min()
    gain = (k2 + least**2) ** (-len(shape) / 4)
    noise = filter_real(jax.random.normal(key, shape), gain)
    return jnp.exp(1.2 * (noise - noise.mean()) / noise.std())


OBJECTS = {
    "points": (_points, 250, 3),
    "filaments": (_filaments, 1500, 4),
    "shells": (_shells, 600, 3),
    "nuclei": (_nuclei, 600, 3),
    "clouds": (_clouds, 1, 1),
}
"""Kinds of simulated objects: how they are drawn, in how many volumes of one width
along every axis there is one, and the least number of them."""
