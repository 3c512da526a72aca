"""`--auto`: plan how to deconvolve a volume, say so, and do it."""

import warnings
from typing import Any

from ._console import say
from ._solve import Settings, check_memory, tell


def make_plan(volume, psf, settings: Settings, label: str) -> Any:
    """The `Plan` for a volume; `label` goes before what is said of it."""
    from ..deconvolution import plan
    from ..psf import PSFField

    say(f"{label}planning")
    check_memory(volume.shape, psf.shape, **settings.memory_options)
    try:
        made = plan(
            volume,
            psf,
            gain=settings.gain,
            offset=settings.offset,
            background=settings.background,
            boundary=settings.boundary,
        )
    except ValueError as error:
        raise ValueError(f"{label}{error}") from error
    if isinstance(psf, PSFField):
        from ..learning import varying_worth  # Flax and Optax, seconds to load

        worth = varying_worth(
            volume,
            psf,
            gain=made.gain,
            offset=made.offset,
            background=made.background,
        )
        say(f"{label}psf: {worth}")
    lines = made.explain() if settings.explain else f"auto: {made.summary}"
    for line in lines.splitlines():
        say(f"{label}{line}")
    if not settings.explain:
        for warning in made.warnings:
            warnings.warn(f"{label}{warning}", stacklevel=2)
    return made


def run_plan(plan, volume, psf, progress, label: str) -> Any:
    """The `Result` for a volume that was planned, or for one like it."""
    check_memory(
        volume.shape,
        psf.shape,
        boundary=plan.boundary,
        matched=plan.choice.matched,
        accelerated=plan.choice.accelerated,
    )
    result = plan.run(volume, psf, progress=progress)
    tell(result, label)
    return result
