"""PSFs that change over the field of view."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core._check import as_float_array, check_values, is_traced
from .._core._pytree import pytree


@pytree
class PSFField:
    """PSFs at the nodes of a grid over an image, and by interpolation everywhere.

    Made by `from_grid` or `from_model`. Estimates of varying blur (`distil_field`,
    `learning.fit_pupil_field`) are fields, and whatever deconvolves takes one in place
    of a PSF.

    Attributes:
        psfs: `(*nodes, z, y, x)` or `(*nodes, y, x)`, with as many axes of nodes as the
            image has; each PSF centred on n // 2, with unit sum.
        positions: of the nodes along every axis of the image, voxels, increasing. An
            axis with one node is one along which nothing changes.
    """

    psfs: jax.Array
    positions: tuple[jax.Array, ...]

    @classmethod
    def from_grid(
        cls, psfs: ArrayLike, positions: Sequence[ArrayLike | Sequence[float]]
    ) -> "PSFField":
        """A field from PSFs on a grid of nodes.

        Args:
            psfs: `(*nodes, z, y, x)` or `(*nodes, y, x)`, non-negative; each is
                divided by its sum.
            positions: for every axis of the image, the nodes' coordinates in voxels.

        Raises:
            ValueError: shapes that do not fit, positions that do not increase,
                negative or infinite values, and holes: nodes whose PSF is zero or NaN,
                with their places.

        Example:
            >>> import jax.numpy as jnp, jaxdecon as jd
            >>> sharp, blurred = (jd.psf.gaussian((9, 9), w) for w in (2.0, 4.0))
            >>> field = jd.psf.PSFField.from_grid(
            ...     jnp.stack([sharp, blurred])[None], ([0.0], [0.0, 100.0]))
            >>> [round(float(w), 1) for w in jd.psf.fwhm(field.at((50.0, 100.0)))]
            [4.0, 4.0]
        """
        psfs = as_float_array("psfs", psfs)
        nodes = tuple(np.atleast_1d(np.asarray(p, psfs.dtype)) for p in positions)
        _check_nodes(psfs, nodes)
        _check_psfs(psfs, len(nodes))
        axes = tuple(range(len(nodes), psfs.ndim))
        return cls(
            psfs=psfs / psfs.sum(axes, keepdims=True),
            positions=tuple(jnp.asarray(p, psfs.dtype) for p in nodes),
        )

    @classmethod
    def from_model(
        cls,
        model: Callable[[jax.Array], ArrayLike],
        positions: Sequence[ArrayLike | Sequence[float]],
    ) -> "PSFField":
        """A field from a PSF as a function of position.

        Interpolate what a pupil is made of rather than voxels of the PSF: choose nodes
        so dense that neighbours differ little.

        Args:
            model: gives the PSF at a position (ndim,) in voxels.
            positions: as for `from_grid`.

        Raises:
            ValueError: as `from_grid`.
        """
        nodes = [np.atleast_1d(np.asarray(p, float)) for p in positions]
        psfs = jnp.stack(
            [jnp.asarray(model(jnp.asarray(p))) for p in itertools.product(*nodes)]
        )
        shape = (*(n.size for n in nodes), *psfs.shape[1:])
        return cls.from_grid(psfs.reshape(shape), positions)

    @classmethod
    def from_depths(
        cls,
        psfs: Sequence[ArrayLike] | jax.Array,
        planes: ArrayLike | Sequence[float],
    ) -> "PSFField":
        """A field that changes with depth alone, as under a refractive-index mismatch.

        Args:
            psfs: (depths, z, y, x), such as `gibson_lanni` gives at several depths.
            planes: z of each, voxels of the image, increasing.

        Raises:
            ValueError: as `from_grid`.

        Example:
            >>> import jaxdecon as jd
            >>> psfs = [jd.psf.gibson_lanni((15, 9, 9), (0.3, 0.1, 0.1), na=1.2,
            ...                             wavelength=0.52, depth=depth)
            ...         for depth in (0.0, 6.0)]
            >>> jd.psf.PSFField.from_depths(psfs, [0.0, 20.0]).nodes
            (2, 1, 1)
        """
        stack = jnp.stack([as_float_array("psfs", psf) for psf in psfs])
        constant = (1,) * (stack.ndim - 2)
        nodes = stack.reshape(len(stack), *constant, *stack.shape[1:])
        return cls.from_grid(nodes, (planes, *([0.0] for _ in constant)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError(
            "a `PSFField` is many PSFs, and one is needed here: give its `.mean`, or "
            "its PSF `.at` a position."
        )

    @property
    def ndim(self) -> int:
        """Axes of the image."""
        return len(self.positions)

    @property
    def nodes(self) -> tuple[int, ...]:
        """Nodes along every axis."""
        return self.psfs.shape[: self.ndim]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one PSF."""
        return self.psfs.shape[self.ndim :]

    @property
    def mean(self) -> jax.Array:
        """The mean over the nodes: the one PSF to use if only one can be."""
        return self.psfs.mean(tuple(range(self.ndim)))

    def at(self, position: ArrayLike | Sequence[float]) -> jax.Array:
        """The PSF at a position (ndim,), voxels: linear between nodes.

        Beyond the outermost nodes, theirs.
        """
        result = self.psfs
        for nodes, p in zip(self.positions, jnp.asarray(position), strict=True):
            weights = hat_weights(nodes, p[None])[:, 0].astype(result.dtype)
            result = jnp.tensordot(weights, result, axes=1)
        return result

    def shifted(self, origin: ArrayLike | Sequence[float]) -> "PSFField":
        """The same PSFs, for a part of the image that begins at `origin` (ndim,)."""
        moved = zip(self.positions, jnp.asarray(origin), strict=True)
        return PSFField(psfs=self.psfs, positions=tuple(p - o for p, o in moved))

    @property
    def variation(self) -> float:
        """Largest distance between a node's PSF and the mean, in Euclidean norm.

        As a share of the norm of the mean: 0 if nothing varies.
        """
        axes = tuple(range(self.ndim, self.psfs.ndim))
        distance = jnp.sqrt(((self.psfs - self.mean) ** 2).sum(axes)).max()
        return float(distance / jnp.linalg.norm(self.mean))


def hat_weights(nodes: jax.Array, coordinates: jax.Array) -> jax.Array:
    """Weight of each node at each coordinate, (nodes, coordinates); sums are 1."""
    if nodes.size == 1:
        return jnp.ones((1, coordinates.size), nodes.dtype)
    inside = jnp.clip(coordinates, nodes[0], nodes[-1])
    last = nodes.size - 2
    left = jnp.clip(jnp.searchsorted(nodes, inside, side="right") - 1, 0, last)
    share = (inside - nodes[left]) / (nodes[left + 1] - nodes[left])
    rows = jnp.arange(nodes.size)[:, None]
    return jnp.where(rows == left, 1 - share, 0) + jnp.where(rows == left + 1, share, 0)


def _check_nodes(psfs: jax.Array, nodes: Sequence[np.ndarray]) -> None:
    ndim = len(nodes)
    if ndim not in (2, 3) or psfs.ndim != 2 * ndim:
        raise ValueError(
            f"`psfs` has shape {psfs.shape} for {ndim} axes of `positions`; (*nodes, "
            f"*psf) with as many axes of nodes as of the PSF, 2 or 3, is needed."
        )
    sizes = tuple(n.size for n in nodes)
    if any(n.ndim != 1 for n in nodes) or sizes != psfs.shape[:ndim]:
        raise ValueError(
            f"`positions` are for {sizes} nodes, and `psfs` of shape {psfs.shape} has "
            f"{psfs.shape[:ndim]}."
        )
    for axis, positions in enumerate(nodes):
        if not np.isfinite(positions).all() or (np.diff(positions) <= 0).any():
            raise ValueError(
                f"`positions[{axis}]` is {positions.tolist()}; finite numbers that "
                f"increase are needed."
            )


def _check_psfs(psfs: jax.Array, ndim: int) -> None:
    """Refuse holes, saying where they are, then whatever else is no PSF."""
    if is_traced(psfs):
        return
    sums: Any = np.asarray(psfs.sum(tuple(range(ndim, psfs.ndim))))
    holes = np.argwhere((sums == 0) | ~np.isfinite(sums)).tolist()
    if holes:
        shown = ", ".join(str(tuple(hole)) for hole in holes[:5])
        raise ValueError(
            f"`psfs` has holes: at {len(holes)} of {sums.size} nodes ({shown}"
            f"{', ...' if len(holes) > 5 else ''}) the PSF is zero or not finite. Fill "
            f"them from their neighbours, or use fewer nodes."
        )
    check_values("psfs", psfs)
