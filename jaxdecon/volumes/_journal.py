"""What a run is to do and what of it is done, on disk beside the target."""

import contextlib
import dataclasses
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from ._blocks import Block

FORMAT = 1
SUFFIX = ".journal"


class RunRefused(ValueError):
    """A run cannot be taken up again as it was asked for."""


@dataclasses.dataclass(frozen=True)
class Journal:
    """A folder with the manifest of a run and a marker for every finished block.

    A marker is written after the block's shards, by renaming, and removed before they
    are written again. Whatever stops a run, a block with a marker is thus complete.

    Attributes:
        folder: `<target>.journal`, beside the target. It holds `manifest.json`,
            `log.jsonl`, `lock`, and a folder of the run.
        run: name of the run. Its folder has a file per finished block in `blocks`, and,
            until all is done, the target itself. What a task of another run still
            writes, after that was stopped, is not mixed up with it.
    """

    folder: Path
    run: str = ""

    @classmethod
    def beside(cls, target: Path) -> "Journal":
        """The journal of a target."""
        return cls(target.with_name(target.name + SUFFIX))

    @property
    def store(self) -> Path:
        """Where an OME-Zarr target is while it is not finished."""
        return self.folder / self.run / "unfinished.ome.zarr"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away; the lock falls when this process ends, however it does.

        Raises:
            RunRefused: another run has it.
        """
        self.folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunRefused(
                f"another run is writing to the target of {self.folder}: wait for its "
                f"end, or choose another target."
            ) from None
        try:
            yield
        finally:
            if {entry.name for entry in self.folder.iterdir()} <= {"lock"}:
                shutil.rmtree(self.folder, ignore_errors=True)  # nothing was begun
            lock.release()

    def manifest(self) -> dict[str, Any] | None:
        """What the run is to do; None if none was begun."""
        try:
            found = json.loads((self.folder / "manifest.json").read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunRefused(
                f"{self.folder} has a damaged manifest ({error}): remove the folder to "
                f"begin anew."
            ) from error
        return found

    def to_take_up(
        self, target: Path, *, resume: bool, overwrite: bool
    ) -> dict[str, Any] | None:
        """The manifest of the run that is to go on; None to begin anew.

        A finished run is done again if its result is to be replaced, or is gone.
        """
        manifest = self.manifest() if resume else None
        if manifest is None:
            return None
        over = manifest.get("finished") and (overwrite or not target.exists())
        return None if over else manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write down what the run is to do."""
        write_json(self.folder / "manifest.json", {"format": FORMAT} | dict(manifest))

    def start(self) -> "Journal":
        """The journal of a new run; what others have left is removed."""
        self.discard()
        new = dataclasses.replace(self, run=uuid.uuid4().hex[:12])
        (new.folder / new.run / "blocks").mkdir(parents=True)
        return new

    def begin(self, block: Block) -> None:
        """A block's shards are about to be written: it is not done any more.

        Raises:
            RunRefused: the run is not there any more; another was begun.
        """
        if not (self.folder / self.run / "blocks").is_dir():
            raise RunRefused(f"the run {self.run} of {self.folder} was given up.")
        self._marker(block.name).unlink(missing_ok=True)

    def finish(self, block: Block, record: Mapping[str, Any]) -> None:
        """A block's shards are complete."""
        write_json(
            self._marker(block.name),
            {"block": block.name, "number": block.number, **record},
        )

    def done(self) -> set[int]:
        """Numbers of the finished blocks."""
        return {int(record["number"]) for record in self.records()}

    def records(self) -> Iterator[dict[str, Any]]:
        """The markers of all finished blocks."""
        for marker in sorted((self.folder / self.run / "blocks").glob("*.json")):
            with contextlib.suppress(ValueError):  # damaged: the block is done again
                yield json.loads(marker.read_text())

    def log(self, event: str, **facts: Any) -> None:
        """Add a line to `log.jsonl`."""
        entry = {"time": time.time(), "event": event, **facts}
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(entry, default=str) + "\n")

    def discard(self) -> None:
        """Forget all runs, but for the lock and the log."""
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)

    def _marker(self, name: str) -> Path:
        return self.folder / self.run / "blocks" / f"{name}.json"


def known_before(target: Path | None, *, resume: bool, overwrite: bool) -> Any:
    """What an earlier run has measured, if it is to be taken up again; else None."""
    if target is None:
        return None
    manifest = Journal.beside(target).to_take_up(
        target, resume=resume, overwrite=overwrite
    )
    return None if manifest is None else manifest["shared"]


def write_json(path: Path, content: Any) -> None:
    """A JSON file that is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        partial.write_text(json.dumps(content, indent=1, default=str))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to take up a run whose inputs or options are not what they were.

    Raises:
        RunRefused: naming what differs.
    """
    old, new = _flat(before), _flat(json.loads(json.dumps(now, default=str)))
    names = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    if not names:
        return
    told = ", ".join(
        f"{k} ({_short(old, k)} before, {_short(new, k)} now)" for k in names
    )
    raise RunRefused(
        f"{folder} belongs to another run; different are {told}. Give the same inputs "
        f"and options, or begin anew (`resume=False`, on the command line `--restart`)."
    )


def _flat(nested: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _short(values: Mapping[str, Any], key: str) -> str:
    text = str(values.get(key, "not given"))
    return text if len(text) <= 40 else f"{text[:37]}..."
