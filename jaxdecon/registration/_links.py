"""Where all tiles are, from what pairs of them say: one sparse, robust solution."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from ._links_graph import bridging, components_of, unchecked_links
from ._links_system import System, design, normal_equations

MODELS = ("translation", "affine")
STAGE_SIGMA = 5.0
"""Voxels that neighbours may be away from where the stage says, relative to another."""
FLOOR = 0.1
"""Voxels that a link may be wrong by beyond its noise: tissue that gives way, stages
that turn, lenses that distort."""
CUT = 5.0
"""Standard errors, or robust estimates of them, from which a link is rejected."""
SUSPECT = 4.0
"""Stage errors from which a link is the likelier one to be wrong of two."""
SETTLE = 5
"""Times that rejected links are looked at again."""
STRAIN = 2.0
"""Voxels that the linear part of an affine tile may move its borders by."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Links:
    """Pairs of tiles, and points of both that show the same place.

    Attributes:
        pairs: (links, 2) numbers of tiles; a pair may occur several times.
        first: (links, d) points in voxels of the first tile.
        second: (links, d) the same places in voxels of the second.
        covariance: (links, d, d) of their difference.
        usable: (links,) False: only says that the two are neighbours.
        ncc: (links,) correlation.
        significance: (links,) standard errors that it is away from zero.
        overlap: (links,) voxels that count.
    """

    pairs: np.ndarray
    first: np.ndarray
    second: np.ndarray
    covariance: np.ndarray
    usable: np.ndarray
    ncc: np.ndarray
    significance: np.ndarray
    overlap: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def offset(self) -> np.ndarray:
        """(links, d): position of the second tile minus that of the first."""
        return self.first - self.second

    @classmethod
    def from_offsets(
        cls,
        pairs: ArrayLike,
        offsets: ArrayLike,
        *,
        covariance: ArrayLike | None = None,
        usable: ArrayLike | None = None,
    ) -> "Links":
        """Links of tiles that are only shifted.

        Args:
            pairs: (links, 2) numbers of tiles.
            offsets: (links, d) position of the second minus that of the first, voxels.
            covariance: (links, d, d), or one for all; None: 0, so that all count alike.
            usable: (links,); None: all.
        """
        first = np.atleast_2d(np.asarray(offsets, float))
        count, d = first.shape
        shared = np.zeros((d, d)) if covariance is None else np.asarray(covariance)
        ones = np.ones(count)
        return cls(
            pairs=np.asarray(pairs, int).reshape(count, 2),
            first=first,
            second=np.zeros_like(first),
            covariance=np.broadcast_to(shared, (count, d, d)),
            usable=ones > 0 if usable is None else np.asarray(usable, bool),
            ncc=ones,
            significance=np.full(count, np.inf),
            overlap=ones,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Where tiles are, and how far their links agree.

    Attributes:
        positions: (tiles, d) of the first voxel of every tile, voxels of the mosaic.
        matrices: (tiles, d + 1, d + 1) from voxels of a tile to those of the mosaic.
        residual: (links, d) what a link says minus where its tiles are, voxels; also of
            links that are not used.
        rejected: (links,) usable links that contradict the others.
        unchecked: (links,) used links that no loop of other links checks.
        components: groups of tiles that used links hold together, largest first.
        rms: of the residuals' lengths over used links, voxels.
        notes: what to know, in words.
    """

    positions: np.ndarray
    matrices: np.ndarray
    residual: np.ndarray
    rejected: np.ndarray
    unchecked: np.ndarray
    components: tuple[tuple[int, ...], ...]
    rms: float
    notes: tuple[str, ...]

    @property
    def message(self) -> str:
        """The result in a sentence, and the notes."""
        count = len(self.positions)
        begin = f"{count} tiles placed, rms residual of links {self.rms:.2g} voxels"
        return "; ".join([begin, *self.notes])


def solve_links(
    nominal: ArrayLike,
    links: Links,
    *,
    shapes: ArrayLike | None = None,
    model: str = "translation",
    stage_sigma: float = STAGE_SIGMA,
    floor: float = FLOOR,
    cut: float = CUT,
) -> Placement:
    """Positions of all tiles that agree best with all links at once.

    Minimises the squared residuals of the links, weighed by their covariances, plus two
    weak terms: neighbours (pairs in `links`, usable or not) keep their nominal distance
    to within `stage_sigma`, and all tiles together stay where they are. So a tile
    without usable links moves with its neighbours, and groups that nothing links stay
    about where the stage says. Links that contradict the others lose their weight:
    Geman-McClure's estimator, approached through a series of gentler ones.

    Args:
        nominal: (tiles, d) positions by the stage, voxels.
        links: between them.
        shapes: (tiles, d) of the tiles; needed for "affine".
        model: "translation", or "affine": every tile also deforms a little.
        stage_sigma: repeatability of the stage, voxels.
        floor: voxels that a link may be wrong by beyond its noise.
        cut: standard errors from which a link is rejected.

    Returns:
        The placement.

    Raises:
        ValueError: shapes that do not fit; links of tiles that are not there.

    References:
        Preibisch et al., Bioinformatics 25, 1463 (2009),
        doi:10.1093/bioinformatics/btp184; Yang et al., IEEE Robot. Autom. Lett. 5, 1127
        (2020), doi:10.1109/LRA.2020.2965893 (the series of estimators).

    Example:
        >>> links = Links.from_offsets([(0, 1), (1, 2), (0, 2)], [[9], [11], [20]])
        >>> solve_links([[0], [10], [20]], links).positions.round(1)
        array([[ 0.3],
               [ 9.3],
               [20.3]])
    """
    origins, sizes = _check(nominal, links, shapes, model, stage_sigma)
    system = design(
        origins,
        sizes if model == "affine" else None,
        links,
        stage_sigma=stage_sigma,
        floor=floor,
        strain=STRAIN,
    )
    used, unknowns = _robust(system, links.usable, cut, stage_sigma)
    residual = system.residual(unknowns)
    rejected = links.usable & ~used
    matrices = system.matrices(unknowns)
    components = components_of(len(origins), links.pairs[used])
    unchecked = used.copy()
    unchecked[used] = unchecked_links(len(origins), links.pairs[used])
    lengths = np.linalg.norm(residual[used], axis=1)
    return Placement(
        positions=matrices[:, :-1, -1].copy(),
        matrices=matrices,
        residual=residual,
        rejected=rejected,
        unchecked=unchecked,
        components=components,
        rms=float(np.sqrt((lengths**2).mean())) if used.any() else 0.0,
        notes=tuple(_notes(links, rejected, unchecked, components, len(origins))),
    )


def _check(nominal, links: Links, shapes, model: str, stage_sigma: float):
    origins = np.asarray(nominal, float)
    if origins.ndim != 2 or not np.isfinite(origins).all():
        raise ValueError(
            f"`nominal` has shape {origins.shape}; (tiles, d) finite positions are "
            f"needed."
        )
    if model not in MODELS:
        raise ValueError(f"`model` is {model!r}; known are {', '.join(MODELS)}.")
    if model == "affine" and shapes is None:
        raise ValueError('`shapes` of the tiles are needed for `model="affine"`.')
    if not stage_sigma > 0:
        raise ValueError(f"`stage_sigma` is {stage_sigma}; voxels above 0 are needed.")
    if links.first.shape[1:] != origins.shape[1:]:
        raise ValueError(
            f"`links` are in {links.first.shape[1]} dimensions, `nominal` in "
            f"{origins.shape[1]}."
        )
    if len(links) and not 0 <= links.pairs.min() <= links.pairs.max() < len(origins):
        raise ValueError(
            f"`links` name tile {links.pairs.max()}; there are {len(origins)}."
        )
    return origins, None if shapes is None else np.asarray(shapes, float)


def _robust(system: System, usable: np.ndarray, cut: float, stage_sigma: float):
    """Which links are used, and the solution under them."""
    trust = usable * _geman_mcclure(system.from_nominal(), SUSPECT * stage_sigma)
    unknowns = normal_equations(system, trust)
    if not usable.any():
        return usable, unknowns
    limit = max(float(system.errors(unknowns)[usable].max()), cut)
    while limit > cut:
        weights = trust * _geman_mcclure(system.errors(unknowns), limit)
        unknowns = normal_equations(system, weights)
        limit /= 2
    errors = system.errors(unknowns)
    kept = usable & (errors <= cut * _spread(errors[usable]))
    for _ in range(SETTLE):  # those that stay count for what their errors say
        kept |= _reconnected(system, usable, kept)
        unknowns = normal_equations(system, kept.astype(float))
        errors = system.errors(unknowns)
        before, kept = kept, usable & (errors <= cut * _spread(errors[usable]))
        if (kept == before).all():
            break
    return kept, unknowns


def _reconnected(system: System, usable: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Links to take back, since without them tiles hang on nothing.

    Where two links of a tile contradict each other, and no third one decides, both have
    been given up. The one nearer to what the stage says is the likelier.
    """
    spare = np.flatnonzero(usable & ~kept)
    spare = spare[np.argsort(system.from_nominal()[spare], kind="stable")]
    return bridging(len(system.origins), system.pairs, kept, spare)


def _geman_mcclure(errors: np.ndarray, limit: float) -> np.ndarray:
    return (limit**2 / (limit**2 + errors**2)) ** 2


def _spread(errors: np.ndarray) -> float:
    """Typical error by the median, at least the one that the covariances announce."""
    return max(1.0, float(np.median(errors)) / 1.54)  # the median of chi, d = 3


def _notes(links: Links, rejected, unchecked, components, count: int):
    unusable = int((~links.usable).sum())
    if unusable:
        yield f"{unusable} of {len(links)} links have too little in common to be used"
    if rejected.any():
        where = [f"{a}-{b}" for a, b in links.pairs[rejected][:8].tolist()]
        more = ", ..." if rejected.sum() > 8 else ""
        yield (
            f"{_links_in_words(rejected)} at odds with the others and rejected: "
            f"{', '.join(where)}{more}"
        )
    if len(components) > 1:
        alone = sum(len(group) == 1 for group in components)
        yield (
            f"{len(components)} groups, {alone} of one tile, that no link joins keep "
            f"their nominal distance"
        )
    if unchecked.any() and count > 2:
        yield f"{_links_in_words(unchecked)} checked by no others"


def _links_in_words(which: np.ndarray) -> str:
    count = int(which.sum())
    return "1 link is" if count == 1 else f"{count} links are"
