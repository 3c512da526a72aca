"""The folder of a training's checkpoints, and whose they are."""

import json
import shutil
from pathlib import Path
from typing import Any

from ._train_config import Config

SETTINGS = "training.json"
"""In a folder of checkpoints: the configuration that they belong to."""
FREE = {
    "training": ("steps", "patience", "log", "checkpoint", "devices"),
    "output": ("model",),
}
"""What may be another when a training goes on."""
PARTIAL = "*.orbax-checkpoint-tmp*"
"""What a run that was killed leaves of a checkpoint."""


def checkpoint_folder(config: Config) -> Path:
    """As configured, or beside the model."""
    name = config["training"]["checkpoint"]
    if name is not None:
        return config.file(name)
    return config.file(config["output"]["model"]).with_suffix(".checkpoints")


def claim(folder: Path, config: Config) -> None:
    """Note whose checkpoints a folder has.

    Raises:
        ValueError: they are of another configuration; or the folder has other things,
            and was not made by this command.
    """
    path, here = folder / SETTINGS, _settings(config)
    if not path.exists():
        _check_empty(folder)
    if not path.exists() or last_step(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(here, indent=1))
        return
    there = _read(path)
    changed = [
        f"[{section}] {key} was {there.get(section, {}).get(key)} and is {value}"
        for section, values in here.items()
        for key, value in values.items()
        if there.get(section, {}).get(key) != value
    ]
    if changed or set(there) != set(here):
        changed = changed or ["other sections"]
        raise ValueError(
            f"{folder} has checkpoints of another training ({'; '.join(changed)}): "
            f"take that back, give [training] checkpoint = another folder, or begin "
            f"again with --anew."
        )


def _check_empty(folder: Path) -> None:
    if folder.is_dir() and (others := sorted(p.name for p in folder.iterdir())):
        raise ValueError(
            f"{folder} has {_listed(others)}, and no checkpoints of this command: give "
            f"[training] checkpoint = a folder of its own."
        )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path}, which says whose checkpoints are beside it, cannot be read "
            f"({error}): give [training] checkpoint = another folder, or begin again "
            f"with --anew."
        ) from error


def _settings(config: Config) -> dict[str, Any]:
    sections = {
        name: {k: v for k, v in values.items() if k not in FREE.get(name, ())}
        for name, values in config.sections.items()
        if values is not None
    }
    return json.loads(json.dumps(sections))


def remove(folder: Path) -> None:
    """Remove checkpoints, and the folder if nothing else is in it.

    Raises:
        ValueError: it was not made by this command.
    """
    if not folder.exists():
        return
    if not (folder / SETTINGS).exists():
        raise ValueError(f"{folder} is no folder of this command: it is not removed.")
    for path in [*_checkpoints(folder), *folder.glob(PARTIAL)]:
        shutil.rmtree(path)
    (folder / SETTINGS).unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def last_step(folder: Path) -> int | None:
    """Of the last checkpoint."""
    return max((int(path.name) for path in _checkpoints(folder)), default=None)


def _checkpoints(folder: Path) -> list[Path]:
    from ..learning.training._checkpoints import is_checkpoint

    return [p for p in folder.glob("[0-9]*") if p.name.isdigit() and is_checkpoint(p)]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 2} others" if len(names) > 3 else ""
    return ", ".join(names[: 2 if more else 3]) + more
