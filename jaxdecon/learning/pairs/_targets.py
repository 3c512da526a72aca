"""Targets for training, made by deconvolution."""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from ..._core._check import check_psf
from ...deconvolution import Plan, richardson_lucy

Path = str | os.PathLike[str]
SUFFIX = "_target.ome.zarr"
MADE = "deconvolved_target"
"""Entry of a target's metadata that says how it was made."""


def deconvolved_targets(
    images: Sequence[Any],
    psf: ArrayLike,
    *,
    folder: Path | None = None,
    plan: Plan | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> list[Any]:
    """Deconvolve images, to train networks on the results.

    Args:
        images: arrays, (z, y, x) or (y, x), or paths, of which every time point and
            channel is deconvolved.
        psf: centred on n // 2.
        folder: where the results of paths go, as `<name>_target.ome.zarr`, with the
            metadata of the image. A result that is there already, made of the same
            file in the same way, is not made again.
        plan: of `jaxdecon.deconvolution.plan`, by which to deconvolve; None:
            `jaxdecon.richardson_lucy` with `options`.
        progress: called with the number of images that are done, and of all.
        **options: of `jaxdecon.richardson_lucy`; `iterations` is needed.

    Returns:
        For arrays, the results; for paths, those of the results, in the same order.

    Raises:
        TypeError: paths and arrays mixed; both a plan and options, or neither.
        ValueError: no folder for paths; two images of one name; another result, made
            otherwise, in the place of one; and as `richardson_lucy`.

    Example:
        >>> import jax.numpy as jnp, jaxdecon as jd
        >>> psf = jd.psf.gaussian((9, 9), 3.0)
        >>> images = [jnp.ones((16, 16)).at[8, n].set(90.0) for n in (4, 8)]
        >>> targets = jd.learning.deconvolved_targets(images, psf, iterations=3)
        >>> jd.learning.ArrayPairs(images, targets)[1].truth.shape
        (16, 16)
    """
    if (plan is None) != ("iterations" in options) or (plan and options):
        raise TypeError(
            "either `plan`, or `iterations` and other options of `richardson_lucy`, "
            "are needed."
        )
    psf = check_psf("psf", psf)

    def deconvolve(image: ArrayLike) -> np.ndarray:
        if plan is not None:
            return np.asarray(plan.run(image, psf).raise_for_status().value)
        return np.asarray(richardson_lucy(image, psf, **options))

    told = progress or (lambda done, count: None)
    are_paths = [isinstance(image, str | os.PathLike) for image in images]
    if not any(are_paths):
        return [_told(deconvolve(x), told, n, images) for n, x in enumerate(images)]
    if not all(are_paths):
        raise TypeError("`images` has both paths and arrays; one of them is needed.")
    if folder is None:
        raise ValueError("`folder` is None; paths need one for their results.")
    recipe = _recipe(psf, plan, options)
    targets = _places(images, pathlib.Path(folder))
    for number, (path, target) in enumerate(zip(images, targets, strict=True)):
        _make(path, target, deconvolve, recipe)
        told(number + 1, len(images))
    return targets


def _told(value: Any, told: Callable, number: int, images: Sequence[Any]) -> Any:
    told(number + 1, len(images))
    return value


def _places(images: Sequence[Path], folder: pathlib.Path) -> list[pathlib.Path]:
    from ...io import format_of

    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for image in images:
        format_of(image)
        names.append(pathlib.Path(image).name.split(".")[0] + SUFFIX)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several `images` would become {twice[0]}; rename them.")
    return [folder / name for name in names]


def _make(path: Path, target: pathlib.Path, deconvolve: Callable, recipe: str) -> None:
    """Write the target of a file, unless it is there."""
    from ...io import read, write

    image = read(path)
    made = {"source": pathlib.Path(path).name, "stamp": _stamp(path), "recipe": recipe}
    if target.exists():
        if read(target).metadata.get(MADE) == made:
            return
        raise ValueError(
            f"{target} is there, and was made of another file or in another way; "
            f"remove it, or choose another `folder`."
        )
    metadata = {**image.metadata, MADE: made}
    lazy = _Deconvolved(image, deconvolve)
    write(target, image.replace(data=lazy, metadata=metadata))


class _Deconvolved:
    """Data of an image that are deconvolved, volume by volume, when they are read."""

    dtype = np.dtype(np.float32)

    def __init__(self, image: Any, deconvolve: Callable):
        self.shape, self._image, self._deconvolve = image.shape, image, deconvolve

    def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
        return self._deconvolve(self._image.volume(index)).astype(self.dtype)


def _stamp(path: Path) -> list[int]:
    """Size and time of a file or folder: whether it is still the same."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _recipe(psf: Any, plan: Plan | None, options: dict[str, Any]) -> str:
    """A fingerprint of how targets are made."""
    digest = hashlib.sha256(np.asarray(psf, np.float32).tobytes())
    digest.update(json.dumps(list(np.shape(psf))).encode())
    if plan is None:
        for name in sorted(options):
            value = options[name]
            raw = np.asarray(value)
            digest.update(name.encode())
            plain = raw.dtype.kind in "biufSU"
            digest.update(raw.tobytes() if plain else repr(value).encode())
    else:
        numbers = (plan.gain, plan.offset, plan.background, plan.boundary)
        digest.update(repr((numbers, plan.summary)).encode())
    return digest.hexdigest()
