"""A training as a file describes it, checked and ready."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._train_config import Config

LEAST_PAIRS = 4
"""Of which a record can be made."""
MOST_PAIRS = 64
"""Of which it is made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A network, what it is trained on, and how."""

    config: Config
    network: Any
    material: Any
    optimizer: Any
    devices: Any

    def lines(self) -> list[str]:
        """What will be done, in words."""
        said, network = self.config["training"], self.network
        return [
            f"pairs: {self.material.summary}",
            f"network: {network.config.kind}, {network.config.ndim}D, "
            f"{network.config.views} view(s), {network.parameter_count:,} parameters",
            f"training: {said['steps']} steps of {said['batch']} pairs, loss "
            f"{said['loss']}, {said['optimizer']} with a rate of {said['rate']:g} "
            f"({said['schedule']})",
        ]

    def memory(self) -> int:
        """Bytes that a step takes."""
        from ..learning import training_memory

        said = self.config["training"]
        return training_memory(
            self.network,
            self.material.pairs,
            batch=said["batch"],
            optimizer=self.optimizer,
            loss=said["loss"],
            operator=self.material.operator,
        )

    def fit(self, folder: Path, progress: Any) -> Any:
        """Train, with checkpoints in a folder."""
        import jax

        from ..learning import fit

        said, material = self.config["training"], self.material
        return fit(
            self.network,
            material.pairs,
            steps=said["steps"],
            batch=said["batch"],
            optimizer=self.optimizer,
            loss=said["loss"],
            validation=material.held_out,
            operator=material.operator,
            validation_operator=material.held_out_operator,
            validate_every=said["validate_every"],
            patience=said["patience"],
            checkpoint=folder,
            checkpoint_every=said["checkpoint_every"],
            mesh=self.devices,
            log=None if said["log"] is None else self.config.file(said["log"]),
            progress=progress,
            key=jax.random.fold_in(jax.random.key(said["seed"]), 1),
        )

    def model(self, fit: Any) -> Any:
        """The trained network with a record of what it was trained on."""
        about = {
            "steps": fit.steps,
            "best_step": fit.best_step,
            "loss": float(fit.best),
            "seconds": round(fit.seconds, 1),
        }
        return self._recorded(fit.network, about)

    def rehearse(self) -> None:
        """Make the record of a few pairs: what is wrong there ends no long training.

        Raises:
            ValueError: pairs of which no record can be made.
        """
        self._recorded(self.network, {}, LEAST_PAIRS)

    def _recorded(
        self, network: Any, about: Mapping[str, Any], most: int = MOST_PAIRS
    ) -> Any:
        from ..learning import Model

        material = self.material
        held_out = material.raw_held_out
        return Model.of(
            network,
            self._lit(material.raw, 2 * most),
            validation=None if held_out is None else self._lit(held_out, most),
            normalisation=material.normalisation,
            psf=material.psfs or None,
            operator=material.record_operator,
            voxel_size=material.voxel_size,
            background=material.background,
            most=most,
            about={"config": self.config.given, **about},
        )

    def _lit(self, pairs: Any, most: int) -> Any:
        """Pairs with something in them: others cannot be normalised by themselves."""
        from ..learning import Model
        from ..learning.pairs._pairs import Subset

        model = Model(self.network, self.material.normalisation)
        numbers = (n for n in range(len(pairs)) if self._is_lit(model, pairs[n]))
        found = [*itertools.islice(numbers, most)]
        if len(found) < LEAST_PAIRS:
            raise ValueError(
                f"{self.config.path}: of {len(pairs)} pairs looked at, {len(found)} "
                f"have something in them, and {LEAST_PAIRS} or more are needed to know "
                f"what the network was trained on: larger patches, or `best_of`."
            )
        return Subset(pairs, found)

    def _is_lit(self, model: Any, pair: Any) -> bool:
        from ..learning.prediction._run import measured_rule

        images = np.asarray(pair.images, np.float32)
        try:
            measured_rule(model, images, self.material.background)
        except ValueError:
            return False
        return True


def prepared(config: Config) -> Training:
    """All that is needed, checked: pairs are looked at.

    Raises:
        ValueError: what does not fit; see `learning.check_pairs`.
    """
    import jax

    from ..learning import NetworkConfig, as_loss, build, check_pairs, make_optimizer
    from ._train_data import material

    said = config["training"]
    as_loss(said["loss"])
    devices = _devices(said["devices"])
    optimizer = make_optimizer(
        said["optimizer"],
        steps=said["steps"],
        rate=said["rate"],
        schedule=said["schedule"],
        clip=said["clip"] or None,
    )
    chosen = {k: v for k, v in config["network"].items() if v is not None}
    physics = chosen["kind"] == "unrolled" or bool(chosen.get("physics"))
    found = material(config, physics=physics)
    check_pairs(found.pairs, least=said["batch"])
    if found.held_out is not None:
        check_pairs(found.held_out, least=1)
    views, *spatial = found.pairs[0].images.shape
    own = {"views": views, "ndim": len(spatial)}
    _check_fits(config, chosen, own)
    key = jax.random.fold_in(jax.random.key(said["seed"]), 0)
    network = build(NetworkConfig.from_dict({**own, **chosen}), key)
    if network.needs_operator and found.operator is None:
        raise ValueError(
            f"{config.path}: this network has the physics in its wiring: [data] psf is "
            f"needed."
        )
    training = Training(
        config=config,
        network=network,
        material=found,
        optimizer=optimizer,
        devices=devices,
    )
    training.rehearse()
    return training


def _check_fits(
    config: Config, chosen: Mapping[str, Any], own: Mapping[str, int]
) -> None:
    for name, value in own.items():
        if chosen.get(name, value) != value:
            raise ValueError(
                f"{config.path}: [network] {name} is {chosen[name]}, and the pairs "
                f"have {value}."
            )


def _devices(wanted: int | str) -> Any:
    import jax

    there = jax.devices()
    if wanted == 1:
        return None
    count = len(there) if wanted == "all" else int(wanted)
    if not 0 < count <= len(there):
        raise ValueError(
            f"[training] devices is {wanted}; there are {len(there)} of them here."
        )
    return there[:count]
