"""Models in files: one `.npz` each, of plain arrays and JSON."""

import dataclasses
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ...io._atomic import atomic_target
from .. import trust
from ..networks._config import KINDS, NetworkConfig
from ..pairs._normalise import Normaliser
from ._model import Model, Normalisation, Percentiles
from ._weights import weights_of, with_weights

FORMAT, VERSION = "jaxdecon model", 1
SUFFIX = ".npz"
HEAD, NETWORK, RECORD = "head", "network.", "record."
BROKEN = (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_model(
    path: str | os.PathLike[str], model: Model, *, overwrite: bool = False
) -> None:
    """Write a model; what `Model.save` does.

    The file has the network's arrays, those of the record, and the text `head` (JSON):
    anything can read it that reads NumPy's files, and nothing in it is code.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"{path} ends in {path.suffix!r}; {SUFFIX} is needed.")
    arrays = {NETWORK + name: v for name, v in weights_of(model.network).items()}
    record = None
    if model.record is not None:
        parts, record = model.record.to_parts()
        arrays |= {RECORD + name: np.asarray(value) for name, value in parts.items()}
    head = {
        "format": FORMAT,
        "version": VERSION,
        "network": model.config.to_dict(),
        "normalisation": numbers_of(model.normalisation),
        "record": record,
        "about": dict(model.about),
    }
    text = np.array(_json(head))
    with atomic_target(path, overwrite=overwrite) as partial, partial.open("wb") as out:
        np.savez_compressed(out, **{HEAD: text}, **arrays)  # pyright: ignore[reportArgumentType]


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model that `Model.save` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file, a broken one, one of a later version, or a network
            that this version does not have.

    Example:
        >>> import pathlib, tempfile, jaxdecon as jd
        >>> network = jd.learning.RLN(ndim=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "model.npz"
        ...     jd.learning.Model(network, about={"steps": 0}).save(path)
        ...     model = jd.learning.load_model(path)
        >>> model.config.kind, model.about
        ('rln', {'steps': 0})
    """
    path = Path(path)
    head, arrays = _read(path)
    if head["version"] > VERSION:
        raise ValueError(
            f"{path} is a model of version {head['version']}, and this program knows "
            f"{VERSION}: install a newer jaxdecon."
        )
    config = _config(path, head)
    try:
        weights = _part(arrays, NETWORK)
        bad = [name for name, value in weights.items() if not np.isfinite(value).all()]
        if bad:
            raise ValueError(f"{', '.join(bad[:3])} have NaN or infinite values.")
        network = with_weights(config, weights)
        record = head["record"]
        if record is not None:
            record = trust.TrainingRecord.from_parts(_part(arrays, RECORD), record)
        normalisation = _normalisation(head["normalisation"])
        return Model(network, normalisation, record, dict(head["about"]))
    except BROKEN as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as values:
            arrays = {name: values[name] for name in values.files}
        head = json.loads(str(arrays.pop(HEAD)))
        if head["format"] != FORMAT or not isinstance(head["version"], int):
            raise ValueError(f"its format is {head['format']!r}")
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}.") from None
    except BROKEN as error:
        raise ValueError(
            f"{path} is no model, or is broken ({error}): one is written by "
            f"`jaxdecon train` or `Model.save`."
        ) from error
    return head, arrays


def _config(path: Path, head: dict[str, Any]) -> NetworkConfig:
    known = head.get("network")
    known = known if isinstance(known, dict) else {}
    if known.get("kind") not in KINDS:
        raise ValueError(
            f"{path} holds a network of kind {known.get('kind')!r}; this version has "
            f"{', '.join(KINDS)}."
        )
    try:
        return NetworkConfig.from_dict(known)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds another architecture: {error}") from error


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)
    }


def numbers_of(normalisation: Normalisation) -> dict[str, Any]:
    """A normalisation as JSON."""
    if isinstance(normalisation, Percentiles):
        return dataclasses.asdict(normalisation)
    return {
        "offset": float(normalisation.offset),
        "scale": float(normalisation.scale),
    }


def _normalisation(numbers: dict[str, Any]) -> Normalisation:
    if "scale" in numbers:
        return Normaliser.affine(**numbers)
    return Percentiles(*(numbers[name] for name in ("low", "high", "background")))


def _json(head: dict[str, Any]) -> str:
    try:
        return json.dumps(head)
    except TypeError as error:
        raise ValueError(
            f"`about` holds what JSON cannot ({error}); numbers, texts and lists and "
            f"dictionaries of them are needed."
        ) from None
