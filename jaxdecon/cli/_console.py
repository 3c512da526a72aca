"""What every command shares: output, warnings, the compilation cache."""

import contextlib
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line on standard output, as it is."""
    console.print(text, markup=False)


def cache_folder() -> Path:
    """Where compiled programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jaxdecon" / "compiled"


def start_jax() -> None:
    """Keep compiled programs on disk, and say when a GPU lies idle."""
    import jax

    if not jax.config.values.get("jax_compilation_cache_dir"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    hint = idle_gpu_hint()
    if hint:
        warnings.warn(hint, stacklevel=2)


def idle_gpu_hint() -> str:
    """What to install if this machine has an NVIDIA GPU that JAX does not use."""
    import jax

    present = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()
    if not present or jax.default_backend() != "cpu":
        return ""
    return (
        "an NVIDIA GPU is present, but JAX runs on the CPU: install "
        '"jaxdecon[cuda12]" or "jaxdecon[cuda13]", matching the driver'
    )


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Show every warning as one line on standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: errors.print(
            f"warning: {message}", markup=False
        )
        yield


def progress_bar() -> Progress:
    """A bar with a description, the share done, throughput and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
