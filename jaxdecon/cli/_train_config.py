"""The file that says what to train: sections, keys, and what they may hold."""

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_list(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, list) and bool(v) and all(map(test, v))


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_are_texts = _is_list(_is_text)
TESTS: dict[str, Callable[[Any], bool]] = {
    "a whole number": _is_whole,
    "a whole number above 0": lambda v: _is_whole(v) and v > 0,
    "a whole number from 0 to 4294967295": lambda v: _is_whole(v) and 0 <= v < 2**32,
    "a number": _is_number,
    "text": _is_text,
    "true or false": lambda v: isinstance(v, bool),
    "a list of whole numbers": _is_list(_is_whole),
    "a list of numbers above 0": _is_list(lambda v: _is_number(v) and v > 0),
    "a number or [low, high]": lambda v: (
        _is_number(v) or (_is_list(_is_number)(v) and len(v) == 2)
    ),
    "a name or a list of names": lambda v: _is_text(v) or _are_texts(v),
    "a path or a list of paths": lambda v: _is_text(v) or _are_texts(v),
    "a pattern, a list of paths, or a list of such lists": lambda v: (
        _is_text(v) or _are_texts(v) or _is_list(_are_texts)(v)
    ),
    "a path, a list of paths, or a table of optics": lambda v: (
        _is_text(v) or _are_texts(v) or isinstance(v, dict)
    ),
    'true, false, or a list of "z", "y", "x", "turns"': lambda v: (
        isinstance(v, bool) or (_are_texts(v) and set(v) <= {"z", "y", "x", "turns"})
    ),
    'a number, or "all"': lambda v: _is_whole(v) or v == "all",
}
"""What a value may be, in words, and whether it is."""


def _network_keys() -> dict[str, tuple[str, Any]]:
    from ..learning import NetworkConfig

    words = {"str": "text", "bool": "true or false", "int": "a whole number"}
    fields = dataclasses.fields(NetworkConfig)
    return {
        field.name: (
            words[str(getattr(field.type, "__name__", field.type)).split(" ")[0]],
            None,
        )
        for field in fields
    }


COUNT = "a whole number above 0"
FROM_NOTHING = "a whole number from 0 to 4294967295"
SIZES = "a list of numbers above 0"
PSF = "a path, a list of paths, or a table of optics"
SECTIONS: dict[str, dict[str, tuple[str, Any]]] = {
    "data": {
        "inputs": ("a pattern, a list of paths, or a list of such lists", None),
        "targets": ("a path or a list of paths", None),
        "channels": ("a list of whole numbers", None),
        "target_channel": ("a whole number", None),
        "voxel_size": (SIZES, None),
        "psf": (PSF, None),
        "patch": ("a list of whole numbers", None),
        "best_of": (COUNT, 1),
        "augment": ('true, false, or a list of "z", "y", "x", "turns"', None),
        "hold_out": ("a number", 0.2),
        "targets_have_background": ("true or false", False),
    },
    "simulation": {
        "structures": ("a name or a list of names", "mixture"),
        "shape": ("a list of whole numbers", None),
        "voxel_size": (SIZES, None),
        "spacing": (SIZES, None),
        "psf": (PSF, None),
        "places": (COUNT, 4),
        "photons": ("a number or [low, high]", [50.0, 1000.0]),
        "background": ("a number or [low, high]", 5.0),
        "read_noise": ("a number or [low, high]", 0.0),
        "gain": ("a number", 1.0),
        "offset": ("a number", 0.0),
        "length": (COUNT, 1000),
        "held_out": (FROM_NOTHING, 32),
    },
    "normalise": {
        "low": ("a number", 2.0),
        "high": ("a number", 99.9),
        "background": ("a number", None),
    },
    "training": {
        "steps": (COUNT, 1000),
        "batch": (COUNT, 4),
        "loss": ("text", "ssim_mse"),
        "optimizer": ("text", "adam"),
        "rate": ("a number", 1e-3),
        "schedule": ("text", "cosine"),
        "clip": ("a number", 1.0),
        "seed": (FROM_NOTHING, 0),
        "validate_every": (COUNT, 100),
        "patience": (COUNT, None),
        "checkpoint": ("text", None),
        "checkpoint_every": (COUNT, None),
        "log": ("text", None),
        "devices": ('a number, or "all"', 1),
    },
    "output": {"model": ("text", "model.npz")},
}
"""By section and key: what a value may be, and what it is where it is not given."""
NEEDED = {"data": ("inputs", "targets", "patch"), "simulation": ("shape", "psf")}


@dataclasses.dataclass(frozen=True)
class Config:
    """What a file says, with defaults for what it does not.

    Attributes:
        path: of the file.
        sections: values by section and key; of "data" and "simulation", one is None.
        given: what is in the file, as it is.
    """

    path: Path
    sections: Mapping[str, Any]
    given: Mapping[str, Any]

    def __getitem__(self, section: str) -> Any:
        return self.sections[section]

    def file(self, name: str) -> Path:
        """A path of the file, which counts from its folder."""
        return self.path.parent / Path(name).expanduser()


def read_config(path: str) -> Config:
    """Read and check a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no TOML; an unknown section or key, a value of another kind, a key
            that is missing: the message names section, key and what is known.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no file {path}; a TOML file is needed.")
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    known = {"network": _network_keys(), **SECTIONS}
    for section, values in given.items():
        _check_section(path, section, values, known)
    if "kind" not in given.get("network", {}):
        raise ValueError(f"{path}: [network] kind is missing.")
    sources = [name for name in NEEDED if name in given]
    if len(sources) != 1:
        raise ValueError(
            f"{path} has {' and '.join(map(_section, sources)) or 'no pairs'}; one of "
            f"{' and '.join(map(_section, NEEDED))} is needed."
        )
    _check_needed(path, sources[0], given[sources[0]])
    sections = {
        name: {
            key: given.get(name, {}).get(key, default)
            for key, (_, default) in keys.items()
        }
        for name, keys in known.items()
    }
    (absent,) = set(NEEDED) - set(sources)
    return Config(file, {**sections, absent: None}, given)


def _check_section(path: str, section: str, values: Any, known: Any) -> None:
    if section not in known or not isinstance(values, dict):
        raise ValueError(
            f"{path} has a section [{section}]; known are "
            f"{', '.join(map(_section, known))}."
        )
    keys = known[section]
    for key, value in values.items():
        if key not in keys:
            raise ValueError(
                f"{path}: [{section}] has no {key}; it has {', '.join(keys)}."
            )
        what, _ = keys[key]
        if not TESTS[what](value):
            raise ValueError(
                f"{path}: [{section}] {key} is {value!r}; {what} is needed."
            )


def _check_needed(path: str, section: str, values: Mapping[str, Any]) -> None:
    missing = [key for key in NEEDED[section] if key not in values]
    if missing:
        raise ValueError(f"{path}: [{section}] needs {', '.join(missing)}.")


def _section(name: str) -> str:
    return f"[{name}]"


def expanded(config: Config, section: str, key: str, value: Any) -> list[str]:
    """The files of a pattern, or of paths and patterns.

    Those of a pattern are in the order in which people count: a2, a10.

    Raises:
        FileNotFoundError: a path is not there, or a pattern matches nothing.
    """
    found: list[str] = []
    for name in [value] if isinstance(value, str) else value:
        path = config.file(name)
        matches = sorted(map(str, _matching(path)), key=_counted)
        if not matches:
            raise FileNotFoundError(
                f"{config.path}: [{section}] {key}: nothing is at {path}."
            )
        found += matches
    return found


def _matching(path: Path) -> Sequence[Path]:
    if path.exists():
        return [path]
    # What is there is no pattern, whatever it is called.
    here = next(parent for parent in path.parents if parent.exists())
    return list(here.glob(str(path.relative_to(here))))


def _counted(name: str) -> list[Any]:
    """Text and numbers, in turns."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
