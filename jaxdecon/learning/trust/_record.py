"""What a network was trained on, and how it does on the like."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._core._check import check_positive
from ._calibration import Calibration
from ._cloud import Cloud

VERSION = 1
"""Of the parts in a file."""
CLOUDS = ("light", "spectrum", "input", "output", "local")
"""That a calibrated record has."""
SAME_VOXEL = 0.01
"""Relative difference of voxel sizes that is rounding: files give three digits, which
is half a per cent at most. A network's error grows with the difference as that of a
PSF of a wrong width does, and is not seen yet at one per cent."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TrainingRecord:
    """What a network was trained on; made by `TrainingRecord.measure`.

    Attributes:
        voxel_size: in um, (z, y, x) or (y, x); None: unknown.
        psf: of the training, or None.
        clouds: what training images and estimates of them look like: "light",
            "spectrum", "input" and "output" (features), and "local" (features around
            voxels of the images).
        calibration: scores and maps of held-out images; None: nothing was held out.
        facts: of held-out images, one number for each: "contradicted" (share of the
            voxels), "error" (NRMSE to the truth).
        about: anything else, as JSON can hold it.
    """

    voxel_size: tuple[float, ...] | None = None
    psf: np.ndarray | None = None
    clouds: dict[str, Cloud] = dataclasses.field(default_factory=dict)
    calibration: Calibration | None = None
    facts: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def measure(cls, pairs: Any, predict: Any, **how: Any) -> "TrainingRecord":
        """Measure training pairs, and what a network makes of held-out ones.

        Args:
            pairs: a source of training pairs, in units of the images; or
                `NormalisedPairs`, which are brought back to them.
            predict: function of the images of a pair, `(views, *spatial)`, and its
                operator (or None), that gives the estimate `(*spatial)` in units of the
                images; or a tuple of estimate and spread (standard deviation of
                several networks).
            **how: `held_out`, a source of pairs that the network was not trained on
                (None: every other one of `pairs`, which makes it look better than it
                is); `operator`, for all pairs, or a function of a pair's number (in
                `held_out` and `pairs` alike), or None: no physical scores;
                `background` and `noise`, for all, as for `assess` (None: measured in
                every image); `voxel_size` in um; `psf`, an array; `most`, pairs of
                either kind that are looked at (64); `about`, a dictionary.

        Raises:
            ValueError: fewer than 4 pairs.
        """
        from ._measure import measured  # which makes records

        return measured(pairs, predict, **how)

    def check_voxel_size(self, voxel_size: Any) -> None:
        """Refuse images whose voxels have another size than those of the training.

        Sizes within 1 % are the same; what is not known is not compared.

        Args:
            voxel_size: of the image, µm: one number, or one or None per axis; or None.

        Raises:
            ValueError: another size; the message names both.
        """
        trained = self.voxel_size
        if trained is None or voxel_size is None:
            return
        one = isinstance(voxel_size, int | float)
        given = (voxel_size,) * len(trained) if one else tuple(voxel_size)
        if len(given) != len(trained):
            raise ValueError(
                f"`voxel_size` is {given}; {len(trained)} numbers in µm are needed."
            )
        pairs = zip(given, trained, strict=True)
        if any(g is not None and abs(g / t - 1) > SAME_VOXEL for g, t in pairs):
            raise ValueError(
                f"the image has voxels of {_words(given)} µm, and the network was "
                f"trained on {_words(trained)} µm: it knows structures by their size "
                f"in voxels. Resample the image, correct its voxel size, or use a "
                f"network trained on this size."
            )

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by name, and the rest as JSON can hold it."""
        arrays: dict[str, np.ndarray] = {}
        for kind, cloud in self.clouds.items():
            for name, array in cloud.to_arrays().items():
                arrays[f"cloud/{kind}/{name}"] = np.asarray(array, np.float64)
        groups: dict[str, Mapping[str, np.ndarray]] = {"fact": self.facts}
        if self.calibration is not None:
            groups |= {
                "score": self.calibration.scores,
                "table": self.calibration.tables,
            }
        for group, values in groups.items():
            arrays |= {f"{group}/{n}": np.asarray(v) for n, v in values.items()}
        if self.psf is not None:
            arrays["psf"] = np.asarray(self.psf, np.float32)
        rest = {
            "version": VERSION,
            "voxel_size": self.voxel_size and list(self.voxel_size),
            "calibrated": self.calibration is not None,
            "about": self.about,
        }
        return arrays, rest

    @classmethod
    def from_parts(
        cls, arrays: Mapping[str, np.ndarray], rest: Mapping[str, Any]
    ) -> "TrainingRecord":
        """The record of such parts.

        Raises:
            ValueError: of a newer version; parts missing.
        """
        if rest.get("version") != VERSION:
            raise ValueError(
                f"the training record has version {rest.get('version')!r}; this "
                f"version of jaxdecon reads {VERSION}."
            )
        groups: dict[str, dict[str, Any]] = {}
        for name, array in arrays.items():
            group, _, key = name.partition("/")
            groups.setdefault(group, {})[key] = np.asarray(array)
        calibration = None
        if rest["calibrated"]:
            calibration = Calibration(groups.get("score", {}), groups.get("table", {}))
            calibration.check()
        size = rest["voxel_size"]
        return cls(
            voxel_size=None if size is None else _sizes(size),
            psf=groups["psf"][""] if "psf" in groups else None,
            clouds=_clouds(groups.get("cloud", {}), calibration is not None),
            calibration=calibration,
            facts=groups.get("fact", {}),
            about=dict(rest["about"]),
        )


def _words(size: Any) -> str:
    return " x ".join("?" if s is None else f"{float(s):.4g}" for s in size)


def _sizes(size: Any) -> tuple[float, ...]:
    check_positive("voxel_size", np.asarray(size))
    return tuple(float(one) for one in size)


def _clouds(parts: Mapping[str, np.ndarray], needed: bool) -> dict[str, Cloud]:
    """Whole and finite ones: with NaN nothing would ever be unusual."""
    kinds = dict.fromkeys(name.split("/")[0] for name in parts)
    fields = [field.name for field in dataclasses.fields(Cloud)]
    try:
        clouds = {k: Cloud(**{f: parts[f"{k}/{f}"] for f in fields}) for k in kinds}
    except KeyError as error:
        raise ValueError(f"the training record lacks {error}.") from None
    if needed and not set(CLOUDS) <= set(clouds):
        raise ValueError(f"the training record lacks some of {', '.join(CLOUDS)}.")
    for kind, cloud in clouds.items():
        count = np.size(cloud.mean)
        shapes = [np.shape(array) for array in cloud.to_arrays().values()]
        finite = all(np.isfinite(array).all() for array in cloud.to_arrays().values())
        if shapes != [(count,), (count,), (count, count)] or not finite:
            raise ValueError(f"the training record has a broken cloud {kind!r}.")
    return clouds
