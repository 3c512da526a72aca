"""Checkpoints of a training, from which it goes on exactly where it was."""

import dataclasses
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._version import __version__
from ._history import KINDS
from ._step import TrainState

FORMAT = 1
KEPT = 2
"""Checkpoints in a folder: the last, and one more."""
PARTS = ("about", "arrays", "history")
"""Folders in each."""
ADVICE = "give another `checkpoint` folder, or remove this one to begin anew"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A training between two steps.

    Attributes:
        step: steps done.
        state: see `TrainState`.
        best: parameters of the best network.
        history: see `Fit.history`.
    """

    step: int
    state: TrainState
    best: Any
    history: Mapping[str, np.ndarray]


class Checkpoints:
    """Snapshots in a folder, written by Orbax in the background.

    A checkpoint gets its name when it is complete; a run that is killed while it writes
    one leaves those before it.

    Args:
        folder: for them; made if it is not there.
        about: what a training must have in common with one that it goes on with, in
            words and numbers that JSON can hold, by topic.
        resume: whether checkpoints may be there already.

    Raises:
        FileExistsError: checkpoints are there and `resume` is not set.
        ValueError: files or folders of another origin have a number for a name.
        NotADirectoryError: the folder is a file.
    """

    def __init__(
        self, folder: str | os.PathLike[str], about: Mapping[str, Any], *, resume: bool
    ):
        import orbax.checkpoint as orbax  # half a second

        self._orbax, self.folder = orbax, Path(folder).absolute()
        self._about = {"format": FORMAT, **about}
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(
                f"`checkpoint` is {folder}, a file; a folder is needed."
            )
        self._refuse_others()
        options = orbax.CheckpointManagerOptions(
            max_to_keep=KEPT, create=True, cleanup_tmp_directories=True
        )
        self._manager = orbax.CheckpointManager(self.folder, options=options)
        self._broken: list[int] = []
        if not resume and self._manager.all_steps():
            self.close()
            raise FileExistsError(
                f"{folder} has checkpoints, and `resume` is False: {ADVICE}."
            )

    def _refuse_others(self) -> None:
        """Folders with a number for a name would be removed as old checkpoints."""
        for path in sorted(self.folder.glob("[0-9]*")):
            if path.name.isdigit() and not is_checkpoint(path):
                raise ValueError(
                    f"`checkpoint` is {self.folder}, where {path.name} is no "
                    f"checkpoint of a training: give another folder."
                )

    def save(self, snapshot: Snapshot) -> None:
        """Keep it; writing goes on in the background.

        Raises:
            OSError: it, or the one before it, could not be written.
        """
        while self._broken:  # Orbax writes nothing before the last step that it knows
            self._manager.delete(self._broken.pop())
        args = self._orbax.args
        # A copy: the next step gives the memory of the state away.
        arrays = jax.tree.map(jnp.copy, _arrays(snapshot.state, snapshot.best))
        about = {**self._about, "jaxdecon": __version__, "arrays": _form(arrays)}
        about["history"] = {name: len(snapshot.history[name]) for name in KINDS}
        # Arrays without elements are none to Orbax.
        history = {n: _with_first(snapshot.history[n], k) for n, k in KINDS.items()}
        parts = args.Composite(
            about=args.JsonSave(about),
            arrays=args.StandardSave(arrays),
            history=args.StandardSave(history),
        )
        try:
            self._manager.save(snapshot.step, args=parts)
        except Exception as error:  # of this one, or of the one before it
            raise OSError(self._not_written(error)) from error

    def last(self, state: TrainState, best: Any) -> Snapshot | None:
        """The last snapshot that can be read, in arrays like these.

        Raises:
            ValueError: it is of another training; or no checkpoint can be read.

        Warns:
            UserWarning: the last one cannot be read, an earlier one can.
        """
        broken = ""
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, history = self._read(step, state, best)
            except _Differs as error:
                raise ValueError(str(error)) from None
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                broken += f" That of step {step}: {reason}."
                self._broken.append(step)
                continue
            if broken:
                warnings.warn(
                    f"a checkpoint in {self.folder} cannot be read; going on from the "
                    f"one before, of step {step}.{broken}",
                    stacklevel=4,
                )
            state, best = _put_back(arrays, state, best)
            return Snapshot(step=step, state=state, best=best, history=history)
        if broken:
            raise ValueError(
                f"no checkpoint in {self.folder} can be read: {ADVICE}.{broken}"
            )
        return None

    def _read(self, step: int, state: TrainState, best: Any) -> tuple[Any, Any]:
        args = self._orbax.args
        part = args.Composite(about=args.JsonRestore())
        about = self._manager.restore(step, args=part)["about"]
        arrays = _arrays(state, best)
        self._compare(step, about, _form(arrays))
        history = {n: np.zeros(1 + about["history"][n], k) for n, k in KINDS.items()}
        part = args.Composite(
            arrays=args.StandardRestore(jax.tree.map(_like, arrays)),
            history=args.StandardRestore(history),
        )
        found = self._manager.restore(step, args=part)
        history = {name: np.asarray(found["history"][name])[1:] for name in KINDS}
        return found["arrays"], history

    def _compare(self, step: int, about: Mapping[str, Any], form: Any) -> None:
        where = f"the checkpoint of step {step} in {self.folder}"
        if about.get("format") != FORMAT:
            raise _Differs(
                f"{where} is of format {about.get('format')}, written by jaxdecon "
                f"{about.get('jaxdecon')}; this version reads {FORMAT}: {ADVICE}."
            )
        for topic, here in self._about.items():
            if there := _differences(about.get(topic), here):
                raise _Differs(
                    f"{where} is of another {topic}: {there}. Go on with the same, or "
                    f"{ADVICE}."
                )
        kept = about["arrays"]
        if kept["parameters"] != form["parameters"]:
            raise _Differs(
                f"{where} has parameters of other shapes than the network, though "
                f"configured alike: it is of another version (jaxdecon "
                f"{about.get('jaxdecon')}): {ADVICE}."
            )
        there, here = (one.get("optimizer", []) for one in (kept, form))
        if there != here:
            raise _Differs(
                f"{where} is of another optimizer: it keeps {_short(there)}, here it "
                f"would be {_short(here)}. Go on with the same, or {ADVICE}."
            )

    def close(self) -> None:
        """Wait for what is being written.

        Warns:
            UserWarning: that failed; what was learned is not lost for it.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            warnings.warn(self._not_written(error), stacklevel=3)
        self._manager.close()

    def _not_written(self, error: Exception) -> str:
        reason = " ".join(str(error).split())[:300]
        return (
            f"a checkpoint could not be written to {self.folder}; is the disk full? "
            f"Those before it are kept. {reason}"
        )


def is_checkpoint(path: Path) -> bool:
    """Whether a folder was written by `Checkpoints`, though it may be damaged."""
    return any((path / part).is_dir() for part in PARTS)


class _Differs(Exception):
    """A checkpoint is of another training."""


def _arrays(state: TrainState, best: Any) -> dict[str, dict[str, Any]]:
    """Arrays by names that do not depend on the version of Flax."""
    parts = {
        "parameters": state.parameters,
        "rest": state.rest,
        "optimizer": state.optimizer,
        "good": state.good,
        "best": best,
    }
    return {
        name: {f"{i:05}": _plain(leaf) for i, leaf in enumerate(jax.tree.leaves(part))}
        for name, part in parts.items()
        if jax.tree.leaves(part)
    }


def _put_back(
    arrays: Mapping[str, Mapping[str, Any]], state: TrainState, best: Any
) -> tuple[TrainState, Any]:
    def filled(name: str, part: Any) -> Any:
        old, structure = jax.tree.flatten(part)
        new = [arrays[name][f"{i:05}"] for i in range(len(old))]
        return structure.unflatten(map(_as_it_was, new, old))

    new = TrainState(
        parameters=filled("parameters", state.parameters),
        rest=filled("rest", state.rest),
        optimizer=filled("optimizer", state.optimizer),
        good=filled("good", state.good),
    )
    return new, filled("best", best)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as_it_was(new: Any, old: Any) -> Any:
    if len(old.sharding.device_set) == 1:
        new = jnp.asarray(np.array(new))  # tied to no device: no other program
    if not _is_key(old):
        return new
    return jax.random.wrap_key_data(new, impl=jax.random.key_impl(old))


def _like(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _form(arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Types and shapes, for JSON."""
    return {
        name: [f"{x.dtype}{list(x.shape)}" for x in part.values()]
        for name, part in arrays.items()
    }


def _short(form: list[str]) -> str:
    more = ", ..." if len(form) > 3 else ""
    return f"{len(form)} arrays ({', '.join(form[:3])}{more})"


def _differences(there: Any, here: Any) -> str:
    """In words, where two values or dictionaries differ; "" where they do not."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return "" if there == here else f"{there}, and here {here}"
    names = sorted({*there, *here})
    parts = [(name, there.get(name), here.get(name)) for name in names]
    return ", ".join(f"{n} {a}, and here {b}" for n, a, b in parts if a != b)


def _with_first(column: np.ndarray, kind: Any) -> np.ndarray:
    return np.concatenate([np.zeros(1, kind), column]).astype(kind)
