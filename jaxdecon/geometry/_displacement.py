"""A smooth displacement of places, known on a coarse lattice."""

from collections.abc import Sequence

import jax

from .._core._pytree import pytree
from ._trilinear import sample

TURNS = 3
"""Fixed-point steps that undo a displacement: each gains a factor of its gradient."""


@pytree
class Displacement:
    """p -> p + u(p), with u interpolated linearly between the nodes of a lattice.

    Attributes:
        values: (d, *lattice) displacements at the nodes, voxels.
        spacing: (d,) voxels between nodes.
        before: (d,) voxels from the first node to voxel 0. Beyond the lattice the
            displacement is that of its border.
    """

    values: jax.Array
    spacing: jax.Array
    before: jax.Array

    def __call__(self, at: Sequence[jax.Array]) -> list[jax.Array]:
        """Where places go, one array per axis."""
        return [a + u for a, u in zip(at, self.at(at), strict=True)]

    def at(self, places: Sequence[jax.Array]) -> list[jax.Array]:
        """The displacement of places, one array per axis."""
        sizes = zip(places, self.before, self.spacing, strict=True)
        nodes = [(a + b) / s for a, b, s in sizes]
        return [sample(component, nodes)[0] for component in self.values]

    def inverse(self, at: Sequence[jax.Array]) -> list[jax.Array]:
        """The places that go to given ones, where the displacement varies slowly."""
        places = list(at)
        for _ in range(TURNS):
            moved = self.at(places)
            places = [a - u for a, u in zip(at, moved, strict=True)]
        return places


def transformed(matrix: jax.Array, at: Sequence[jax.Array]) -> list[jax.Array]:
    """Places mapped by a homogeneous matrix, one array per axis."""
    places = []
    for row in matrix[:-1]:
        place = row[-1]
        for a, c in enumerate(at):
            place = place + row[a] * c
        places.append(place)
    return places
