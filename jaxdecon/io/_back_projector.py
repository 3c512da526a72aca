"""Learned back projectors: one `.npz` file each, of plain arrays and JSON."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ._atomic import atomic_target
from ._psf_field import BROKEN

FORMAT, VERSION = "jaxdecon back projector", 1
SUFFIX = ".npz"


class BackProjector(Protocol):
    """What is written of a learned back projector."""

    @property
    def kernel(self) -> Any:
        """Centred on n // 2, unit sum."""
        ...

    @property
    def psf(self) -> Any:
        """For which it was made."""
        ...

    @property
    def iterations(self) -> int:
        """For which it was made."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """How it was made, and how good it is: numbers, texts, lists of them."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredBackProjector:
    """A learned back projector, as it was read from a file.

    Attributes:
        kernel: (z, y, x) or (y, x), centred on n // 2, unit sum.
        psf: for which it was made, of the kernel's shape.
        iterations: for which it was made.
        about: how it was made, and how good it is.
    """

    kernel: np.ndarray
    psf: np.ndarray
    iterations: int
    about: dict[str, Any]


def write_back_projector(
    path: str | Path, learned: BackProjector, *, overwrite: bool = False
) -> None:
    """Write a learned back projector to a `.npz` file, whole or not at all.

    The file has the arrays `kernel` and `psf`, and the text `about` (JSON), which
    anything can read that reads NumPy's files; nothing in it is code.

    Args:
        path: ends in .npz.
        learned: of `jaxdecon.learning.back_projector`, or what was read before.
        overwrite: replace what is there.

    Raises:
        FileExistsError: `path` is there, and `overwrite` is not set.
        ValueError: another suffix.

    Example:
        >>> import pathlib, tempfile, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> made = jd.io.StoredBackProjector(
        ...     kernel=jd.back_projector(psf), psf=psf, iterations=2, about={})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "learned.npz"
        ...     jd.io.write_back_projector(path, made)
        ...     jd.io.read_back_projector(path).iterations
        2
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"{path} ends in {path.suffix!r}; {SUFFIX} is needed.")
    head = {
        "format": FORMAT,
        "version": VERSION,
        "iterations": int(learned.iterations),
        "about": dict(learned.about),
    }
    kernel, psf = (np.asarray(a, np.float32) for a in (learned.kernel, learned.psf))
    text = np.array(json.dumps(head))
    with atomic_target(path, overwrite=overwrite) as partial, partial.open("wb") as out:
        np.savez_compressed(out, kernel=kernel, psf=psf, about=text)


def read_back_projector(path: str | Path) -> StoredBackProjector:
    """Read what `write_back_projector` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file, or of a later version; broken.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as values:
            parts = {name: values[name] for name in ("kernel", "psf", "about")}
        head = json.loads(str(parts["about"]))
        if head["version"] > VERSION:
            raise _Later
        stored = _stored(parts, head)
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}.") from None
    except _Later:
        raise ValueError(
            f"{path} is of version {head['version']}, and this program knows "
            f"{VERSION}: install a newer jaxdecon."
        ) from None
    except (KeyError, *BROKEN) as error:
        raise ValueError(
            f"{path} is no learned back projector ({error}): one is written by "
            f"`jaxdecon tune` or `jaxdecon.io.write_back_projector`."
        ) from None
    return stored


class _Later(Exception):
    """A file of a version that this program does not know."""


def _stored(parts: dict[str, np.ndarray], head: Any) -> StoredBackProjector:
    if head["format"] != FORMAT or not isinstance(head["version"], int):
        raise ValueError(f"its format is {head['format']!r}")
    kernel, psf = parts["kernel"], parts["psf"]
    finite = all(np.isfinite(a).all() for a in (kernel, psf))
    whole = finite and kernel.sum() > 0
    if kernel.shape != psf.shape or kernel.ndim not in (2, 3) or not whole:
        raise ValueError(f"kernel {kernel.shape} and PSF {psf.shape} cannot be used")
    return StoredBackProjector(
        kernel=kernel,
        psf=psf,
        iterations=int(head["iterations"]),
        about=dict(head["about"]),
    )
