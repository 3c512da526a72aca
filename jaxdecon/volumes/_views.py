"""What is measured of large views before they are fused: poses, light, noise."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..deconvolution import estimate_background
from ..fusion._part import Light
from ..fusion._register_views import per_view, psf_scale, register_views
from ..fusion._scene import agreement, make_scene
from ..geometry._matrix import check_matrix, scaling
from ._agree import looks
from ._blocks import Shape
from ._coarse import Coarse, coarse_copy, to_coarse, to_full
from ._source import Source

COARSE_VOXELS = 2**22
"""Of the copies on which poses and exposures are measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overview:
    """Large views seen coarsely.

    Attributes:
        views: the sources.
        sizes: voxel sizes of every view, µm; None: alike, and cubes.
        index: of the leading axes.
    """

    views: tuple[Source, ...]
    sizes: tuple[Any, ...]
    index: Shape

    @functools.cached_property
    def copies(self) -> tuple[Coarse, ...]:
        """Coarse copies of the views; made when they are first asked for."""
        return tuple(coarse_copy(v, self.index, COARSE_VOXELS) for v in self.views)

    @property
    def coarse_sizes(self) -> list[list[float]]:
        """Of the coarse voxels, in the units of `sizes`."""
        return [
            [
                float(n)
                for n in np.diag(scaling("voxel_sizes", size, len(copy.step)))[:-1]
                * copy.step
            ]
            for size, copy in zip(self.sizes, self.copies, strict=True)
        ]

    def register(
        self, psfs: Any, psf_sizes: Sequence[Any], levels: Sequence[float], **options
    ) -> np.ndarray:
        """Poses from voxels of the first view to those of each, (views, 4, 4).

        Args:
            psfs: of the views; None: unknown.
            psf_sizes: their voxel sizes; None: as the view's.
            levels: backgrounds.
            options: of `register_views`.

        Raises:
            RuntimeError: a view that could not be registered.
        """
        first = self.copies[0]
        initial = options.pop("initial", None)
        if initial is not None:
            pairs = zip(initial, self.copies, strict=True)
            initial = [None if m is None else to_coarse(m, first, c) for m, c in pairs]
        # Without sizes the voxels of views and PSFs are cubes of one size, 1.
        plain = zip(psf_sizes, self.sizes, strict=True)
        found = register_views(
            [c.volume - b for c, b in zip(self.copies, levels, strict=True)],
            psfs,
            voxel_sizes=self.coarse_sizes,
            psf_voxel_sizes=[p or s or 1.0 for p, s in plain],
            initial=initial,
            **options,
        )
        for i, one in enumerate(found, 1):
            if not bool(one.converged):
                raise RuntimeError(
                    f"view {i} could not be registered to view 0: {one.message}. Give "
                    f"its rough pose as `initial`, or `matrices`."
                )
        others = zip(found, self.copies[1:], strict=True)
        poses = [to_full(np.asarray(f.matrix, float), first, c) for f, c in others]
        return np.stack([np.eye(len(first.step) + 1), *poses])

    def exposures(self, matrices: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """Brightness of every view in terms of the first, over their overlap.

        Raises:
            ValueError: a view that shows nothing of the first.
        """
        first = self.copies[0]
        coarse = [
            to_coarse(m, first, c) for m, c in zip(matrices, self.copies, strict=True)
        ]
        scene = make_scene(
            [copy.volume for copy in self.copies],
            None,
            matrices=coarse,
            background=list(levels),
            voxel_sizes=self.coarse_sizes,
            psf_voxel_sizes=None,
            region="first",
            grid=None,
            initial=None,
            model="rigid",
        )
        _, exposures = agreement(*scene.show())
        for i, exposure in enumerate(exposures):
            if not exposure > 0:
                raise ValueError(
                    f"view {i} has no light where the first has; its exposure is "
                    f"{exposure:.3g}: check matrices and backgrounds."
                )
        return exposures


def measured_lights(
    overview: Overview, index: Shape, matrices: np.ndarray, background: Any, given: Any
) -> tuple[Light, ...]:
    """Background, exposure and noise of every view, for one channel.

    Args:
        overview: of that channel.
        index: of its first volume.
        matrices: poses of the views.
        background: "auto", one for all views, or one for each.
        given: exposures; None: measured.
    """
    views = overview.views
    samples = [[v.read(index, region) for region in looks(v.shape)] for v in views]
    levels = backgrounds(background, samples)
    exposures = given
    if exposures is None:
        exposures = overview.exposures(matrices, levels)
    return tuple(
        Light(
            background=np.float32(level),
            exposure=np.float32(exposure),
            noise=np.float32(dark_variance(parts, level)),
        )
        for level, exposure, parts in zip(levels, exposures, samples, strict=True)
    )


def backgrounds(
    background: Any, samples: Sequence[Sequence[np.ndarray]]
) -> list[float]:
    """One per view, as given, or from the darkest parts of what was sampled."""
    if isinstance(background, str):
        if background != "auto":
            raise ValueError(f"`background` is {background!r}; 'auto' or numbers.")
        found = []
        for parts in samples:
            lit = [part for part in parts if np.ptp(part) > 0]
            found.append(estimate_background(np.stack(lit)) if lit else 0.0)
        return found
    if np.ndim(background) == 0:
        return [float(background)] * len(samples)
    return [float(b) for b in per_view("background", background, len(samples))]


def dark_variance(parts: Sequence[np.ndarray], level: float) -> float:
    """Mean square of what lies below the background, as `_dark_noise` has it."""
    below = np.concatenate([np.minimum(np.ravel(p) - level, 0.0) for p in parts])
    return float((below**2).sum() / max(int((below < 0).sum()), 1))


def check_poses(matrices: Any, count: int) -> np.ndarray:
    """Poses that were given, (views, 4, 4)."""
    given = per_view("matrices", matrices, count)
    return np.stack([check_matrix(f"matrices[{i}]", m) for i, m in enumerate(given)])


def linear_parts(matrices, sizes, psf_sizes) -> list[np.ndarray]:
    """(3, 3) of every view: from voxels of the grid to those of its PSF."""
    return [
        psf_scale(size, psf_size, len(matrix) - 1) @ matrix[:-1, :-1]
        for matrix, size, psf_size in zip(matrices, sizes, psf_sizes, strict=True)
    ]
