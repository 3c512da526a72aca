"""What is to be said of a prediction that no check of its light tells."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...deconvolution import estimate_background
from ...psf import PSFField
from ._model import Model
from ._optics import kept_psf, psf_in

OTHER_BACKGROUND = 0.1
"""Share of an image's range by which its darkest parts are off, that is said."""


def voxel_note(model: Model, voxel_size: Sequence[float | None] | None) -> list[str]:
    """That voxel sizes were not compared, though the training's is known."""
    trained = None if model.record is None else model.record.voxel_size
    if trained is None or (voxel_size is not None and None not in voxel_size):
        return []
    size = " x ".join(f"{one:.4g}" for one in trained)
    return [
        f"not seen: whether the image has the voxels of the training, {size} µm: its "
        f"own size is not known"
    ]


def background_note(model: Model, images: np.ndarray, levels: Any) -> list[str]:
    """That the training's background was taken for that of other images."""
    known = getattr(model.normalisation, "background", None)
    if levels is not None or known is None or isinstance(known, str):
        return []
    found = float(np.mean([estimate_background(view) for view in images]))
    span = np.percentile(images, model.normalisation.high) - min(found, known)
    if abs(found - known) <= OTHER_BACKGROUND * span:
        return []
    return [
        f"no background was given: that of the training, {known:.4g}, was taken off, "
        f"and the darkest parts of the image have {found:.4g}: give its `background`"
    ]


def spread_note(model: Model, spread: Any) -> list[str]:
    """That a spread does not count, as none was measured in training."""
    calibration = None if model.record is None else model.record.calibration
    if spread is None or (calibration is not None and "spread" in calibration.scores):
        return []
    return [
        "how far the networks differ does not count in the verdict: the model was made "
        "without `others`, and what is usual is not known"
    ]


def psf_to_compare(model: Model, psf: Any, psfs: Any, operator: Any) -> Any:
    """What was given for this image, to be compared with the PSF of the record.

    Args:
        model: with a record, or without one.
        psf: as it was given.
        psfs: in use, of every view; None: there is an operator.
        operator: as it was given.

    Returns:
        (*shape), or (views, *shape); None: nothing was given that can be compared.
    """
    trained = None if model.record is None else model.record.psf
    if trained is None:
        return None
    if operator is not None:
        return psf_in(operator, np.shape(trained)[-model.config.ndim :])
    if psf is None or psfs is None:
        return None
    if len(psfs) == 1 and isinstance(psfs[0], PSFField):
        return psfs[0].mean
    return kept_psf(psfs)
