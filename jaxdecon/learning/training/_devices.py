"""Batches over several devices: every one gets its share, and all the parameters."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BATCH = "batch"
"""Name of the mesh's only axis."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where arrays lie.

    Attributes:
        mesh: one axis of devices; None: the default device alone.
    """

    mesh: Mesh | None = None

    @classmethod
    def of(cls, mesh: Mesh | Sequence[Any] | None, batch: int) -> "Placement":
        """From a mesh of any form, or a list of devices.

        Raises:
            ValueError: no device; a batch that they cannot share equally.
        """
        if mesh is None:
            return cls()
        devices = np.ravel(mesh.devices if isinstance(mesh, Mesh) else [*mesh])
        if not devices.size or batch % devices.size:
            raise ValueError(
                f"`mesh` has {devices.size} devices and `batch` is {batch}; a batch "
                f"that the devices share equally is needed."
            )
        return cls(Mesh(devices, (BATCH,), axis_types=(AxisType.Auto,)))

    def shared(self, tree: Any) -> Any:
        """Batches, cut along their first axis."""
        return self._put(tree, PartitionSpec(BATCH))

    def everywhere(self, tree: Any) -> Any:
        """The same on every device."""
        return self._put(tree, PartitionSpec())

    def copy(self, tree: Any) -> Any:
        """New arrays, whose memory is nobody else's, on every device."""
        return self.everywhere(jax.tree.map(lambda x: jnp.array(x, copy=True), tree))

    def _put(self, tree: Any, spec: PartitionSpec) -> Any:
        if self.mesh is None:
            return tree
        return jax.device_put(tree, NamedSharding(self.mesh, spec))

    def on_each(
        self, function: Callable, shared: Sequence[bool], result: Sequence[bool]
    ) -> Callable:
        """A function of shares and of common things, run by every device.

        Args:
            function: of several arguments, to a tuple.
            shared: which of its arguments are cut along their first axis.
            result: which parts of its result are; others must be the same everywhere.
        """
        if self.mesh is None:
            return function
        specs = {True: PartitionSpec(BATCH), False: PartitionSpec()}
        # Checking how values vary over devices fails for the derivative of an FFT in
        # jax 0.7.
        return jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=tuple(specs[is_shared] for is_shared in shared),
            out_specs=tuple(specs[is_shared] for is_shared in result),
            check_vma=False,
        )

    def mean(self, tree: Any) -> Any:
        """Inside `on_each`: the mean over devices."""
        return tree if self.mesh is None else jax.lax.pmean(tree, BATCH)
