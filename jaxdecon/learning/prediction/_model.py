"""A trained network with all that its use needs."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_choice
from ...deconvolution import estimate_background
from .. import trust
from ..networks._config import NetworkConfig
from ..networks._network import Network
from ..pairs._normalise import HIGH, LOW, Normaliser
from ..pairs._normalised import NormalisedPairs
from ..pairs._pairs import as_source
from ._optics import kept_psf, operator_of, psfs_of
from ._run import Runner, measured_rule, spread_of

MEASURED: Literal["measured"] = "measured"


@dataclasses.dataclass(frozen=True)
class Percentiles:
    """Normalisation of every image by what it holds; see `Normaliser.fit`.

    Attributes:
        low: percentile that becomes 0.
        high: percentile that becomes 1.
        background: what becomes 0 in place of a percentile: a number, or "measured" in
            the darkest parts of every image; None: none.
    """

    low: float = LOW
    high: float = HIGH
    background: float | Literal["measured"] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(
                f"`low`, `high` are {self.low}, {self.high}; 0 <= low < high <= 100 is "
                f"needed."
            )
        if isinstance(self.background, str):
            check_choice("background", self.background, (MEASURED,))

    def normaliser(self, image: ArrayLike, background: Any) -> Normaliser:
        """Of an image; `background` becomes 0, where it is given."""
        return Normaliser.fit(
            image, low=self.low, high=self.high, background=background
        )


Normalisation = Normaliser | Percentiles
UNTRAINED = Percentiles(background=MEASURED)
"""For networks with the operator in their wiring of which nothing is known: to them all
light above the background is the object's."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network, how its images are normalised, and what it was trained on.

    Attributes:
        network: trained.
        normalisation: `Percentiles` of every image, or (low, high) of them; or one
            `Normaliser` for all images.
        record: of the training data, with which images are compared; None: not known.
        about: how it was trained, anything that JSON can hold.

    Example:
        >>> import numpy as np, jaxdecon as jd
        >>> network = jd.learning.DenseDeconNet(ndim=2)
        >>> image = np.random.default_rng(0).poisson(20.0, (32, 32))
        >>> model = jd.learning.Model(network)
        >>> jd.learning.predict(model, image, check=False).image.shape
        (32, 32)
    """

    network: Network
    normalisation: Any = Percentiles()
    record: trust.TrainingRecord | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.network, Network):
            raise TypeError(
                f"`network` is a {type(self.network).__name__}; a network of "
                f"`jaxdecon.learning` is needed."
            )
        if not isinstance(self.normalisation, Normaliser | Percentiles):
            object.__setattr__(self, "normalisation", Percentiles(*self.normalisation))

    @property
    def config(self) -> NetworkConfig:
        """Of the network."""
        return self.network.config

    def normaliser(
        self, image: ArrayLike, background: float | None = None
    ) -> Normaliser:
        """The normaliser of an image.

        Args:
            image: as it was taken.
            background: what becomes 0, where the network knows the operator or was
                trained with a known background, and looked at nowhere else; None: as in
                training.

        Raises:
            ValueError: the image is constant, or has NaN.
        """
        rule = self.normalisation
        if isinstance(rule, Normaliser):
            return rule
        known = background if self.uses_background else None
        known = rule.background if known is None else known
        if known == MEASURED:
            known = estimate_background(np.asarray(image))
        return rule.normaliser(image, known)

    @property
    def uses_background(self) -> bool:
        """Whether a background that is given becomes 0."""
        rule = self.normalisation
        if isinstance(rule, Normaliser):
            return False
        return self.network.needs_operator or rule.background is not None

    @property
    def measures_background(self) -> bool:
        """Whether the background becomes 0, and is looked for where none is given."""
        return getattr(self.normalisation, "background", None) == MEASURED

    def check_voxel_size(self, voxel_size: Any) -> None:
        """Refuse images of other voxels; see `TrainingRecord.check_voxel_size`."""
        if self.record is not None:
            self.record.check_voxel_size(voxel_size)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the model to a `.npz` file, whole or not at all; see `load_model`.

        Raises:
            FileExistsError: `path` is there, and `overwrite` is not set.
            ValueError: another suffix; `about` holds what JSON cannot.
        """
        from ._model_file import write_model

        write_model(path, self, overwrite=overwrite)

    @classmethod
    def of(
        cls,
        network: Network,
        pairs: Any,
        *,
        validation: Any = None,
        normalisation: Any = None,
        psf: Any = None,
        operator: Any = None,
        others: Sequence[Any] = (),
        about: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> "Model":
        """A model with a record of the pairs that its network was trained on.

        Args:
            network: trained.
            pairs: those of the training: `NormalisedPairs`, or in units of the images.
            validation: pairs with truth that were held out; on these the thresholds of
                verdicts are found. None: on every other one of `pairs`, which makes
                the network look better than it is.
            normalisation: as for `Model`; None: that of `pairs`.
            psf: of the training, kept in the record and taken where none is given.
            operator: for all pairs, or a function of their number; None: of `psf`, and
                no physical scores without it.
            others: networks or models with which this one will be an ensemble: see
                `predict`; their spread on held-out pairs becomes known.
            about: how it was trained, anything that JSON can hold.
            how: voxel_size, background, noise, most: see `TrainingRecord.measure`.

        Raises:
            ValueError: fewer than 4 pairs; as `predict`.
        """
        if normalisation is None:
            normalisation = normalisation_of(pairs)
        model = cls(network, normalisation, about=dict(about or {}))
        psfs = None if psf is None else psfs_of(psf, model.config)
        if operator is None and psfs is not None:
            operator = operator_of(psfs, as_source(pairs).spatial_shape(0))

        models = [
            one if isinstance(one, Model) else cls(one, normalisation)
            for one in (model, *others)
        ]

        def estimate(images: Any, operator: Any) -> Any:
            images = np.asarray(images, np.float32)
            rules = [measured_rule(m, images, how.get("background")) for m in models]
            runs = [Runner(m.network, r) for m, r in zip(models, rules, strict=True)]
            found = [run(images[None], operator)[0] for run in runs]
            return found[0] if len(found) == 1 else (found[0], spread_of(found))

        record = trust.TrainingRecord.measure(
            pairs,
            estimate,
            held_out=validation,
            operator=operator,
            psf=None if psfs is None else kept_psf(psfs),
            **how,
        )
        return dataclasses.replace(model, record=record)


def as_model(network: Any) -> Model:
    """A model; a network is one without a record, and normalised in the usual way.

    Raises:
        TypeError: something else.
    """
    if isinstance(network, Model):
        return network
    physics = isinstance(network, Network) and network.needs_operator
    return Model(network, UNTRAINED if physics else Percentiles())


def normalisation_of(pairs: Any) -> Normalisation:
    """How pairs were normalised; the default for those that are not."""
    if not isinstance(pairs, NormalisedPairs):
        return Percentiles()
    return pairs.fixed or Percentiles(**pairs.options)
