"""Files with PSFs that change over the field of view, for the images that need them."""

from collections.abc import Callable, Sequence
from typing import Any

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
