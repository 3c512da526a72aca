"""Files with PSFs that change over the field of view: `.npz`, without pickles."""

import dataclasses
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._atomic import atomic_target

SUFFIX = ".npz"
FORMAT, VERSION = "jaxdecon PSF field", 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredPSFField:
    """What a file with a PSF field holds, as plain arrays.

    Attributes:
        psfs: `(*nodes, z, y, x)` or `(*nodes, y, x)`.
        positions: of the nodes along every axis, voxels of the image that the beads
            were in.
        voxel_size: µm per axis, None where unknown.
        image_shape: of that image; None: unknown.
    """

    psfs: np.ndarray
    positions: tuple[np.ndarray, ...]
    voxel_size: tuple[float | None, ...]
    image_shape: tuple[int, ...] | None


def write_psf_field(
    path: str | os.PathLike[str],
    psfs: Any,
    positions: Sequence[Any],
    *,
    voxel_size: Sequence[float | None] | None = None,
    image_shape: Sequence[int] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the arrays of a `jaxdecon.psf.PSFField`.

    Args:
        path: ends in `.npz`.
        psfs: `(*nodes, z, y, x)` or `(*nodes, y, x)`.
        positions: per axis of the image, of the nodes, voxels.
        voxel_size: µm per axis; None: unknown.
        image_shape: of the image that `positions` count voxels of; None: unknown.
        overwrite: replace what is there.

    Raises:
        ValueError: another suffix; positions that do not fit.
        FileExistsError: `path` is there, and `overwrite` is not set.

    Example:
        >>> import pathlib, tempfile, jax.numpy as jnp, jaxdecon as jd
        >>> psfs = jnp.stack([jd.psf.gaussian((9, 9), w) for w in (2.0, 3.0)])[None]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "field.npz"
        ...     jd.io.write_psf_field(path, psfs, ([31.5], [15.5, 47.5]))
        ...     stored = jd.io.read_psf_field(path)
        >>> field = jd.psf.PSFField.from_grid(stored.psfs, stored.positions)
        >>> field.nodes
        (1, 2)
    """
    path, psfs = Path(path), np.asarray(psfs)
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"{path} is for a PSF field; a name that ends in {SUFFIX}.")
    nodes = [np.atleast_1d(np.asarray(p, float)) for p in positions]
    ndim = len(nodes)
    if psfs.ndim != 2 * ndim or psfs.shape[:ndim] != tuple(n.size for n in nodes):
        raise ValueError(
            f"`psfs` has the shape {psfs.shape}, and `positions` are for "
            f"{tuple(n.size for n in nodes)} nodes; (*nodes, *psf) is needed."
        )
    size = (None,) * ndim if voxel_size is None else voxel_size
    arrays = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "psfs": psfs,
        "voxel_size": np.array([np.nan if s is None else s for s in size], float),
        "image_shape": np.array(image_shape or [], int),
        **{f"positions_{axis}": n for axis, n in enumerate(nodes)},
    }
    with (
        atomic_target(path, overwrite=overwrite) as partial,
        partial.open("wb") as file,
    ):
        np.savez_compressed(file, **arrays)


BROKEN = (TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file, or another one, may raise."""


def read_psf_field(path: str | os.PathLike[str]) -> StoredPSFField:
    """Read what `write_psf_field` has written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no PSF field, or one of a later version.
    """
    arrays = _load(path)
    if str(arrays.get("format")) != FORMAT:
        raise ValueError(
            f"{path} is no PSF field (no mark {FORMAT!r} in it): make one with "
            f"`jaxdecon psf BEADS --from-beads --grid 1,3,3 -o field{SUFFIX}`."
        )
    if int(arrays["version"]) > VERSION:
        raise ValueError(
            f"{path} is a PSF field of version {int(arrays['version'])}, and this "
            f"program knows {VERSION}: use a newer one."
        )
    try:
        psfs, size = arrays["psfs"], arrays["voxel_size"]
        axes = range(psfs.ndim // 2)
        return StoredPSFField(
            psfs=psfs,
            positions=tuple(arrays[f"positions_{axis}"] for axis in axes),
            voxel_size=tuple(None if np.isnan(s) else float(s) for s in size),
            image_shape=tuple(int(n) for n in arrays["image_shape"]) or None,
        )
    except KeyError as error:
        raise ValueError(f"{path} is no whole PSF field: {error} is missing.") from None


def _load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}.") from None
    except BROKEN as error:
        raise ValueError(f"{path} is no PSF field: {error}") from None
