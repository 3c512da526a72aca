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


def checkpoint_folder(config: Config) -> Path:
    """As configured, or beside the model."""
    name = config["training"]["checkpoint"]
    if name is not None:
        return config.file(name)
    return config.file(config["output"]["model"]).with_suffix(".checkpoints")


def claim(folder: Path, config: Config) -> None:
    """Note whose checkpoints a folder has; refuse those of another configuration."""
    path, here = folder / SETTINGS, _settings(config)
    if not path.exists() or last_step(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(here, indent=1))
        return
    there = json.loads(path.read_text())
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


def _settings(config: Config) -> dict[str, Any]:
    sections = {
        name: {k: v for k, v in values.items() if k not in FREE.get(name, ())}
        for name, values in config.sections.items()
        if values is not None
    }
    return json.loads(json.dumps(sections))


def remove(folder: Path) -> None:
    if not folder.exists():
        return
    if not (folder / SETTINGS).exists():
        raise ValueError(f"{folder} is no folder of this command: it is not removed.")
    shutil.rmtree(folder)


def last_step(folder: Path) -> int | None:
    """Of the last checkpoint."""
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    return max(steps, default=None)
