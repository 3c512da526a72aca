"""Convolution of a volume that several devices hold together."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from .._core._check import is_traced
from .._core._pytree import pytree, static
from ..fourier import (
    filter_slabs,
    map_slabs,
    next_fast_len,
    transfer_of_slabs,
    zero_frequency,
)
from ._base import LinearOperator, Shape, as_argument
from ._blur import PAD_MODES, crop_to_reach, transform_grid
from ._convolution import Convolution


def z_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A line of devices that hold a volume together, each a slab of it along z.

    Args:
        devices: to use; None: all, those of other hosts included.

    Example:
        >>> import jax, jaxdecon as jd
        >>> mesh = jd.operators.z_mesh(jax.devices()[:1])
        >>> mesh.axis_names, mesh.size
        (('z',), 1)
    """
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh(
        (len(devices),), ("z",), axis_types=(AxisType.Auto,), devices=devices
    )


def on_mesh(array: ArrayLike, mesh: Mesh) -> jax.Array:
    """Lay an array out over the devices of a mesh: its first axis that they divide.

    A NumPy array goes to the devices slab by slab, never whole to one. JAX cannot
    divide an axis into slabs of different sizes: an array whose axes the number of
    devices does not divide is copied to all of them.

    Args:
        array: of any shape. With several hosts: the same on all, or already a global
            array (`jax.make_array_from_process_local_data`).
        mesh: of `z_mesh`.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> volume = jd.operators.on_mesh(np.ones((8, 9, 9)), jd.operators.z_mesh())
        >>> volume.sharding.spec[0]
        'z'
    """
    check_mesh(mesh)
    if isinstance(array, np.ma.MaskedArray) or is_traced(array):
        return array  # pyright: ignore[reportReturnType]
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    return jax.device_put(array, layout(array.shape, mesh))


def layout(shape: Shape, mesh: Mesh) -> NamedSharding:
    """The first axis that the number of devices divides is divided; else none."""
    divisible = [axis for axis, n in enumerate(shape) if n % mesh.size == 0]
    spec = [None] * divisible[0] + [mesh.axis_names[0]] if divisible else []
    return NamedSharding(mesh, PartitionSpec(*spec))


def check_mesh(mesh: Any) -> Mesh:
    """A mesh of one axis, over which the compiler may divide arrays."""
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"`mesh` is a {type(mesh).__name__}; a `jax.sharding.Mesh` is needed: "
            f"`jaxdecon.operators.z_mesh()` makes one of all devices."
        )
    if len(mesh.axis_names) != 1 or mesh.axis_types != (AxisType.Auto,):
        axes = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
        raise ValueError(
            f"`mesh` has the axes {axes}; one axis, of type Auto, is needed: use "
            f"`jaxdecon.operators.z_mesh(devices)`, or give `jax.make_mesh` "
            f"`axis_types=(jax.sharding.AxisType.Auto,)`."
        )
    return mesh


def images_on_mesh(mesh: Mesh, *values: Any) -> Any:
    """The arrays among values, or in lists of them, on a mesh; the rest as it is."""

    def place(value: Any) -> Any:
        if isinstance(value, str) or np.ndim(value) == 0:
            return value
        return on_mesh(value, mesh)

    return jax.tree.map(place, values)


def mesh_of(operator: LinearOperator) -> Mesh | None:
    """The devices that hold an operator, or one inside it; None if only one does."""
    parts = jax.tree.leaves(operator, is_leaf=_is_sharded)
    return next((part.mesh for part in parts if _is_sharded(part)), None)


def _is_sharded(part: Any) -> bool:
    return isinstance(part, ShardedConvolution)


@pytree
class ShardedConvolution(Convolution):
    """A `Convolution` whose arrays several devices hold, each a slab along axis 0.

    Made by `Convolution.from_psf(..., mesh=mesh)`. Every device has 1 / devices of
    object, image, OTF and temporaries; an application exchanges half of the spectrum
    twice (`all_to_all`), and gathers nothing. Any sizes will do. What goes in should
    be held in slabs already, by `on_mesh`; what comes out is, where the number of
    devices divides its first axis. With "extend", the object's first axis is rounded
    up so that they do.

    Attributes:
        transfer: OTF, its second axis divided, followed by zeros up to a multiple of
            the number of devices.
        mesh: the devices.
    """

    mesh: Mesh = static()

    def back_projection(self, kernel: ArrayLike) -> LinearOperator:
        """As `Convolution.back_projection`."""
        kernel = crop_to_reach(jnp.asarray(kernel), self.range, self.boundary)
        transfer = _transfer(kernel, self.grid, self.mesh).conj()
        return dataclasses.replace(self, transfer=transfer).T

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Blur the object `x`, of shape `domain`, and record it."""
        return _blur(self, as_argument(x, self.domain, "Convolution"))

    def adjoint(self, y: ArrayLike) -> jax.Array:
        """Correlate the image `y`, of shape `range`, with the PSF."""
        return _correlate(self, as_argument(y, self.range, "Convolution.adjoint"))

    def sensitivity(self, dtype: Any = float) -> jax.Array:
        """Share of each object voxel's light that the camera records."""
        if self.boundary == "periodic":
            return self._gain.astype(dtype)
        return _sensitivity(self, dtype)

    def lift(self, y: jax.Array) -> jax.Array:
        """The image itself, with its outermost voxels repeated beyond the field."""
        return _lift(self, y)

    def image_region(self, x: jax.Array) -> jax.Array:
        """The part of an object, on `domain`, that lies inside the field of view."""
        return _image_region(self, x)

    @property
    def _gain(self) -> jax.Array:
        return zero_frequency(self.transfer, self.mesh)

    def _filter(self, x, transfer, expand, reduce) -> jax.Array:
        return filter_slabs(
            *(x, transfer),
            mesh=self.mesh,
            grid=self.grid,
            expand=expand,
            reduce=reduce,
        )

    def _pad_along(self, x: jax.Array, axis: int) -> jax.Array:
        """Object to grid."""
        mode = PAD_MODES.get(self.boundary)
        return x if mode is None else self._pad_axis(x, axis, mode)

    def _pad_transposed(self, x: jax.Array, axis: int) -> jax.Array:
        """Grid to object, the transpose of `_pad_along`."""
        if self.boundary not in PAD_MODES:
            return x
        shape = (*x.shape[:axis], self.domain[axis], *x.shape[axis + 1 :])
        pad = partial(self._pad_along, axis=axis)
        return jax.linear_transpose(pad, jax.ShapeDtypeStruct(shape, x.dtype))(x)[0]

    def _crop_along(self, x: jax.Array, axis: int) -> jax.Array:
        """Grid to image."""
        before = self._margins[axis][0]
        return jax.lax.slice_in_dim(x, before, before + self.range[axis], axis=axis)

    def _embed_along(self, x: jax.Array, axis: int) -> jax.Array:
        """Image to grid, the transpose of `_crop_along`."""
        return self._pad_axis(x, axis, "constant")

    def _repeat_along(self, x: jax.Array, axis: int) -> jax.Array:
        """Image to grid, the outermost voxels repeated."""
        return self._pad_axis(x, axis, "edge")

    def _pad_axis(self, x: jax.Array, axis: int, mode: str) -> jax.Array:
        margins = [(0, 0)] * x.ndim
        margins[axis] = self._margins[axis]
        return jnp.pad(x, margins, mode=mode)


def sharded_convolution(
    psf: jax.Array, shape: Shape, boundary: str, mesh: Mesh
) -> ShardedConvolution:
    """The operator of `Convolution.from_psf`, whose arguments are checked."""
    check_mesh(mesh)
    first, *others = transform_grid(psf.shape, shape, boundary)
    if (
        boundary == "extend"
    ):  # the object has the grid's shape: let the devices divide it
        first = mesh.size * next_fast_len(-(-first // mesh.size))
    grid = (first, *others)
    return ShardedConvolution(
        transfer=_transfer(psf, grid, mesh),
        domain=grid if boundary == "extend" else shape,
        range=shape,
        grid=grid,
        boundary=boundary,
        mesh=mesh,
    )


# As whole programs, also where the user calls them one by one: else every step between
# would lay its result out anew.
_transfer = jax.jit(transfer_of_slabs, static_argnums=(1, 2))


@jax.jit
def _blur(op: ShardedConvolution, x: jax.Array) -> jax.Array:
    return op._filter(x, op.transfer, op._pad_along, op._crop_along)


@jax.jit
def _correlate(op: ShardedConvolution, y: jax.Array) -> jax.Array:
    return op._filter(y, op.transfer.conj(), op._embed_along, op._pad_transposed)


@partial(jax.jit, static_argnums=1)
def _sensitivity(op: ShardedConvolution, dtype: Any) -> jax.Array:
    return op.adjoint(jnp.ones(op.range, dtype))


@jax.jit
def _lift(op: ShardedConvolution, y: jax.Array) -> jax.Array:
    if op.boundary == "extend":
        y = map_slabs(y, op._repeat_along, mesh=op.mesh)
    return y / op._gain


@jax.jit
def _image_region(op: ShardedConvolution, x: jax.Array) -> jax.Array:
    if op.boundary == "extend":
        x = map_slabs(x, op._crop_along, mesh=op.mesh)
    return jax.lax.with_sharding_constraint(x, layout(op.range, op.mesh))
