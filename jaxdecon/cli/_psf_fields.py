"""Files with PSFs that change over the field of view, for the images that need them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._psf_models import make_psf, psf_at_depth
from ._psf_options import Optics

DEPTHS = 9
"""At which a PSF is made; between them it is interpolated."""
MUCH = 0.05
"""Change of a PSF through a stack, in its norm, from which it is worth a word."""
FIELD_SUFFIX = ".npz"
ALIKE = 0.01
"""Difference of voxel sizes, as a share, that does not matter."""


def is_field(path: str) -> bool:
    """Whether a file is one with a field of PSFs, by its name."""
    return path.lower().endswith(FIELD_SUFFIX)


def read_field(
    path: str,
    shape: Sequence[int],
    voxel_size: Sequence[float | None],
    say: Callable[[str], None],
) -> Any:
    """A `jaxdecon.psf.PSFField` for images of that shape and voxel size.

    Args:
        path: of the file.
        shape: of the image.
        voxel_size: of the image, µm.
        say: gets the messages.
    """
    from .. import io, psf

    stored = io.read_psf_field(path)
    field = psf.PSFField.from_grid(stored.psfs, stored.positions)
    if field.ndim != len(shape):
        raise ValueError(
            f"{path} has PSFs for {field.ndim}D images; the image is {len(shape)}D."
        )
    _check_size(path, stored.voxel_size, voxel_size, say)
    if stored.image_shape not in (None, tuple(shape)):
        say(
            f"psf: {path} was measured in images of {_times(stored.image_shape)} "
            f"voxels, this one has {_times(shape)}: their first voxels are taken to be "
            f"at one place"
        )
    say(
        f"psf: {_times(field.nodes)} PSFs of {_times(field.shape)} over the field, "
        f"which differ from their mean by up to {field.variation:.1%}"
    )
    return field


def through_depth(
    optics: Optics,
    shape: Sequence[int],
    voxel_size: Sequence[float],
    energy: float,
    say: Callable[[str], None],
) -> Any:
    """A `jaxdecon.psf.PSFField` of Gibson and Lanni's PSFs at the depths of a stack.

    Args:
        optics: checked, of one channel; its depth is that of the first plane.
        shape: of the stack, (z, y, x).
        voxel_size: µm.
        energy: share of the PSFs' to keep.
        say: gets the messages.
    """
    from .. import psf

    if len(shape) != 3:
        raise ValueError("--through-depth needs a volume; the image is 2D.")
    assert optics.depth is not None  # `check_optics` has made sure
    planes = np.linspace(0, shape[0] - 1, min(DEPTHS, shape[0]))
    whole = make_psf(optics, tuple(shape), voxel_size).shape
    made = [
        psf_at_depth(optics, whole, voxel_size, optics.depth + p * voxel_size[0])
        for p in planes
    ]
    size = psf.crop_to_energy(np.mean(made, axis=0), energy).shape
    starts = [n // 2 - m // 2 for n, m in zip(whole, size, strict=True)]
    box = tuple(slice(a, a + n) for a, n in zip(starts, size, strict=True))
    field = psf.PSFField.from_depths([np.asarray(p)[box] for p in made], planes)
    last = optics.depth + planes[-1] * voxel_size[0]
    say(
        f"psf: {planes.size} PSFs of {_times(size)} from {optics.depth:g} to "
        f"{last:.3g} µm below the coverslip, which differ from their mean by up to "
        f"{field.variation:.1%}"
    )
    return field


def say_of_depth(
    optics: Optics,
    kept: np.ndarray,
    depth_of_stack: float,
    voxel_size: Sequence[float],
    say: Callable[[str], None],
) -> None:
    """Tell if one PSF is not that of all planes of a stack.

    Args:
        optics: of Gibson and Lanni's model.
        kept: the PSF at the depth that was given.
        depth_of_stack: µm.
        voxel_size: µm.
        say: gets the message.
    """
    assert optics.depth is not None
    deepest = optics.depth + depth_of_stack
    last = np.asarray(psf_at_depth(optics, kept.shape, voxel_size, deepest))
    change = np.linalg.norm(last / last.sum() - kept / kept.sum())
    share = float(change / np.linalg.norm(kept / kept.sum()))
    if share > MUCH:
        say(
            f"psf: {depth_of_stack:.3g} µm deeper it has changed by {share:.0%} of its "
            f"norm: --through-depth gives every depth its own"
        )


def _check_size(path, theirs, ours, say) -> None:
    """Refuse images with other voxels: neither PSFs nor places would fit."""
    if None in theirs or None in ours:
        say(f"psf: voxel size of {path} or of the image unknown; taken to be the same")
        return
    pairs = zip(theirs, ours, strict=True)
    if any(abs(a / b - 1) > ALIKE for a, b in pairs):
        raise ValueError(
            f"{path} is for voxels of {_numbers(theirs)} µm, and the image has "
            f"{_numbers(ours)}: fields are not resampled; measure beads with the same "
            f"settings."
        )


def _times(numbers: Sequence[int] | None) -> str:
    return "x".join(map(str, numbers or ()))


def _numbers(sizes: Sequence[Any]) -> str:
    return ", ".join(f"{s:.4g}" for s in sizes)
