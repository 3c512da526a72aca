"""Transforms of a volume that several devices hold in slabs along its first axis.

XLA gathers the whole array on every device to transform an axis that is divided. Here
each device transforms the other axes of its slab, all exchange once, so that each has
the first axis whole for a part of the second (a pencil), and transforms that. Padding
and cropping go the same way: every axis is changed while a device has all of it, so
that no size needs to be divisible by the number of devices. For use inside `jit`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from ._transfer import Shape, _embed_axis

AlongAxis = Callable[[jax.Array, int], jax.Array]
"""A linear map of one axis of an array, the same for all the others' indices."""


def filter_slabs(
    x: jax.Array,
    transfer: jax.Array,
    *,
    mesh: Mesh,
    grid: Shape,
    expand: AlongAxis,
    reduce: AlongAxis,
) -> jax.Array:
    """Expand to a periodic grid, convolve circularly, reduce; two exchanges.

    Args:
        x: real, (z, y, x) or (y, x); held in slabs along its first axis.
        transfer: of `transfer_of_slabs`.
        mesh: of one axis.
        grid: shape of the periodic grid.
        expand: from the array's size along an axis to the grid's.
        reduce: from the grid's size along an axis to the result's.

    Returns:
        The result, in slabs along its first axis.
    """
    others = tuple(range(1, x.ndim))

    def enter(slab: jax.Array) -> jax.Array:
        return jnp.fft.rfftn(_along(expand, slab, others), axes=others)

    def pencil(f: jax.Array, transfer: jax.Array) -> jax.Array:
        f = jnp.fft.fft(expand(f, 0), axis=0)
        return reduce(jnp.fft.ifft(f * transfer, axis=0), 0)

    def leave(f: jax.Array) -> jax.Array:
        return _along(reduce, jnp.fft.irfftn(f, s=grid[1:], axes=others), others)

    planes = _planes(reduce, grid[0])
    return _through_pencils(x, enter, pencil, leave, mesh, planes, (transfer,))


def transfer_of_slabs(kernel: jax.Array, shape: Shape, mesh: Mesh) -> jax.Array:
    """`transfer_function`, held in pencils: the first axis whole, the second divided.

    Zeros follow the second axis where the number of devices does not divide it.
    """
    others = tuple(range(1, kernel.ndim))

    def embed(slab: jax.Array, axis: int) -> jax.Array:
        return _embed_axis(slab, axis, shape[axis])

    def enter(slab: jax.Array) -> jax.Array:
        return jnp.fft.rfftn(_along(embed, slab, others), axes=others)

    def pencil(f: jax.Array) -> jax.Array:
        return jnp.fft.fft(embed(f, 0), axis=0)

    return _through_pencils(kernel, enter, pencil, None, mesh)


def map_slabs(x: jax.Array, change: AlongAxis, *, mesh: Mesh) -> jax.Array:
    """Change every axis of an array that is held in slabs, such as pad or crop it."""
    enter = partial(_along, change, axes=tuple(range(1, x.ndim)))

    def pencil(part: jax.Array) -> jax.Array:
        return change(part, 0)

    planes = _planes(change, x.shape[0])
    return _through_pencils(x, enter, pencil, lambda slab: slab, mesh, planes)


def zero_frequency(transfer: jax.Array, mesh: Mesh) -> jax.Array:
    """The transfer function at zero frequency, which one device holds."""
    name, first = _name(mesh), (0,) * transfer.ndim

    def local(pencil: jax.Array) -> jax.Array:
        holds = jax.lax.axis_index(name) == 0
        return jax.lax.psum(jnp.where(holds, pencil[first].real, 0), name)

    pencils, everywhere = PartitionSpec(None, name), PartitionSpec()
    return _on_each(local, mesh, pencils, everywhere)(transfer)


def _through_pencils(x, enter, pencil, leave, mesh: Mesh, planes=None, held=()):
    """Run `enter` on slabs, `pencil` on pencils (with those `held`), `leave` on slabs.

    `planes` is the size of the result's first axis. With `leave` None the result stays
    in pencils.
    """
    name, count, size = _name(mesh), mesh.size, x.shape[0]
    slabs, pencils = PartitionSpec(name), PartitionSpec(None, name)

    def local(slab: jax.Array, *held: jax.Array) -> jax.Array:
        f = enter(slab)
        rows = f.shape[1]
        f = jax.lax.all_to_all(_pad_end(f, 1, count), name, 1, 0, tiled=True)
        f = pencil(f[:size], *held)
        if leave is None:
            return f
        f = jax.lax.all_to_all(_pad_end(f, 0, count), name, 0, 1, tiled=True)
        return leave(f[:, :rows])

    inward, outward = (slabs, *(pencils for _ in held)), slabs if leave else pencils
    run = _on_each(local, mesh, inward, outward)
    return run(_pad_end(x, 0, count), *held)[:planes]


def _on_each(function, mesh: Mesh, in_specs, out_specs):
    # Checking how values vary over devices fails for the derivative of an FFT in 0.7.
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def _along(change: AlongAxis, x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    for axis in axes:
        x = change(x, axis)
    return x


def _pad_end(x: jax.Array, axis: int, count: int) -> jax.Array:
    """Zeros after an axis, so that its size is a multiple of `count`."""
    missing = -x.shape[axis] % count
    if not missing:
        return x
    return jnp.pad(x, [(0, missing if a == axis else 0) for a in range(x.ndim)])


def _name(mesh: Mesh) -> str:
    return mesh.axis_names[0]


def _planes(change: AlongAxis, size: int) -> int:
    """What becomes of the size of the first axis."""
    line = jax.ShapeDtypeStruct((size,), jnp.float32)
    return jax.eval_shape(lambda line: change(line, 0), line).shape[0]
