"""`jaxdecon train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ._console import progress_bar, say, start_jax
from ._train_checkpoints import checkpoint_folder, claim, last_step, remove
from ._train_config import read_config
from ._train_job import Training, prepared

INTERRUPTED = 130


def train(
    config: Annotated[
        str,
        typer.Argument(metavar="CONFIG", help="A TOML file; the manual has all keys."),
    ],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done, and do nothing."),
    ] = False,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Remove the checkpoints of an earlier run first."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that exists.")
    ] = False,
) -> None:
    """Train a network, on pairs in files or on simulated ones.

        jaxdecon train network.toml --dry-run

        jaxdecon train network.toml

    Writes a model for `jaxdecon predict`, and the learning curves as a figure beside
    it. Run it again after an interruption: it goes on from the last checkpoint.
    """
    from .. import io, report

    said = read_config(config)
    target = said.file(said["output"]["model"])
    _check_target(target)
    report.check_plots()
    io.check_target(target, overwrite=overwrite)
    figure = target.with_suffix(".png")
    io.check_target(figure, overwrite=overwrite)
    start_jax()
    training = prepared(said)
    for line in training.lines():
        say(line)
    if dry_run:
        say(f"memory: {training.memory() / 2**20:.3g} MiB for a step")
        say(f"would write {target} and {figure}")
        return
    folder = checkpoint_folder(said)
    if anew:
        remove(folder)
    claim(folder, said)
    fit = _trained(training, folder, config)
    _write(training, fit, target, figure, overwrite)
    fit.raise_for_status()


def _check_target(target: Path) -> None:
    if target.suffix.lower() != ".npz":
        raise ValueError(f"[output] model is {target}; a name that ends in .npz.")


class Progress:
    """A line with the last losses.

    Attributes:
        done: steps.
    """

    def __init__(self, bar: Any, steps: int, done: int):
        self._bar, self.done = bar, done
        self._task = bar.add_task("training", total=steps, completed=done, speed="")
        self._last: dict[str, float] = {}

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """After a step."""
        self._last |= values
        names = {"loss": "loss", "validation": "held out"}
        parts = [f"{names[n]} {value:.3g}" for n, value in self._last.items()]
        self._bar.update(self._task, completed=step, speed=", ".join(parts))
        self.done = step


def _trained(training: Training, folder: Path, path: str) -> Any:
    """With a progress line; an interruption says how to go on."""
    done = last_step(folder) or 0
    if done:
        say(f"going on from step {done}, which {folder} keeps")
    with progress_bar() as bar:
        progress = Progress(bar, training.config["training"]["steps"], done)
        try:
            fit = training.fit(folder, progress)
        except KeyboardInterrupt:
            bar.stop()
            say(_farewell(progress.done, folder, path))
            raise typer.Exit(INTERRUPTED) from None
    say(fit.message)
    return fit


def _farewell(done: int, folder: Path, path: str) -> str:
    kept = last_step(folder)
    if kept is None:
        return f"interrupted at step {done}, before the first checkpoint."
    return (
        f"interrupted at step {done}; {folder} keeps step {kept}: "
        f'"jaxdecon train {path}" goes on from there.'
    )


def _write(
    training: Training, fit: Any, target: Path, figure: Path, overwrite: bool
) -> None:
    from .. import io, report

    if fit.status == "not finite" and not fit.history["validation"].size:
        return  # nobody knows whether the network is any good
    # The model first: a figure alone would be in the way of the next try.
    training.model(fit).save(target, overwrite=overwrite)
    curves = report.training_figure(fit, title=str(target))
    with io.atomic_target(figure, overwrite=overwrite) as partial:
        curves.savefig(partial, format="png")
    say(f"wrote {target} and {figure}")
