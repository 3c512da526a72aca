"""One call for all ways to estimate a PSF from images."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..._core._check import check_choice
from ._blind import experimental_blind
from ._diversity import phase_diversity
from ._estimate import PSFEstimate
from ._fit_beads import fit_beads
from ._semi_blind import semi_blind

METHODS: dict[str, Callable[..., PSFEstimate]] = {
    "beads": fit_beads,
    "phase-diversity": phase_diversity,
    "semi-blind": semi_blind,
    "experimental-blind": experimental_blind,
}
"""Names of the ways, and the functions that go them."""


def estimate_psf(
    data: Any,
    model: Any,
    *,
    method: Literal[
        "beads", "phase-diversity", "semi-blind", "experimental-blind"
    ] = "beads",
    start: Mapping[str, Any],
    **options: Any,
) -> PSFEstimate:
    """Estimate the parameters of a PSF model from images.

    - "beads": from crops of beads, (bead, z, y, x) or (z, y, x), by `fit_beads`.
    - "phase-diversity": from two to four images of one object, by `phase_diversity`.
    - "semi-blind": one or two parameters within bounds, from one image, by
      `semi_blind`.
    - "experimental-blind": from one image, by `experimental_blind`; fails often.

    Args:
        data: what the method needs.
        model: `model(**parameters)` gives the PSF on the voxels of `data`, and is
            differentiable, e.g. `functools.partial(jd.psf.widefield, (33, 33, 33), 0.1,
            na=1.1, wavelength=0.52, index=1.33)`; for phase diversity one, or one for
            every image.
        method: how.
        start: of the model's parameters, those to be estimated, by keyword.
        options: of the method's own function.

    Returns:
        A `PSFEstimate`: PSF, parameters, errors, and whether to rely on them.

    Raises:
        ValueError: unknown method; what its function refuses.

    Example:
        >>> import functools, jax, jaxdecon as jd
        >>> model = functools.partial(jd.psf.widefield, (15, 15, 15), (0.25, 0.1, 0.1),
        ...                           na=1.1, wavelength=0.52, index=1.33)
        >>> bead = 1e5 * model(aberrations={"coma": 0.4}) + 2
        >>> found = jd.learning.estimate_psf(
        ...     bead, model, start={"aberrations": {"coma": 0.0}}, starts=1,
        ...     noise=jd.deconvolution.Poisson())
        >>> round(float(found.parameters["aberrations"]["coma"]), 2), found.reliable
        (0.4, True)
    """
    check_choice("method", method, tuple(METHODS))
    return METHODS[method](data, model, start=start, **options)
